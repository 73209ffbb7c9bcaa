dt_room(models
  SOURCES registry.c inputs.c gpt.c t5.c
  USES base tensor graph nn
  HEADERS)
