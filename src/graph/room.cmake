dt_room(graph
  SOURCES build.c cost.c dot.c gradient_pass.c gradients.c graph.c ops.c plan.c shapes.c shapes_attention.c
          shapes_backward.c shapes_experts.c verify.c
  USES base tensor
  HEADERS graph.h)
