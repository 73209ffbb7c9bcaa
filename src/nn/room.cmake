dt_room(nn
  SOURCES config.c config_check.c config_difference.c layer.c layer_spec.c moe.c rope.c embedding.c stock.c vision.c
  USES base tensor graph
  HEADERS config.h config.def layer_spec.h)
