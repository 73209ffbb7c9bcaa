dt_room(base
  HEADERS status.h memory.h log.h version.h
  SOURCES fail.c memory.c arena.c map.c cores.c pool.c rng.c text.c output.c folder.c partial.c bundle.c json.c say.c gguf.c gguf_values.c
  LINKS PkgConfig::jansson)
