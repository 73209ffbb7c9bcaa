dt_room(models
  SOURCES registry.c inputs.c gpt.c t5.c bert.c vit.c pictures.c projector.c
  USES base tensor graph nn
  HEADERS)
