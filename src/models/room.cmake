dt_room(models
  SOURCES registry.c inputs.c gpt.c t5.c bert.c vit.c pictures.c projector.c dual_encoder.c
          features.c merge.c llava.c
  USES base tensor graph data nn
  HEADERS)
