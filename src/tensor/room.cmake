dt_room(tensor USES base
  HEADERS dtype.h
  SOURCES dtype.c shape.c convert.c)
