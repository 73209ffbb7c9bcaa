dt_room(export
  SOURCES targets.c types.c export.c trtllm.c parity.c peer.c spawn.c hash.c engine.c
  USES base tensor graph backend data nn models formats inference verify
  HEADERS export.h
  LINKS PkgConfig::jansson PkgConfig::nettle)
