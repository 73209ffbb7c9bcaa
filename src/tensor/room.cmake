dt_room(tensor USES base
  HEADERS dtype.h
  SOURCES dtype.c shape.c convert.c blocks.c blocks_write.c blocks_k.c)
