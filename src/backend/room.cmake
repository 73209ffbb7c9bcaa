# The cpu backend's files are listed in cpu/sources.cmake, which sets dt_cpu_sources (relative to src/backend) and
# the instruction-set flags of single files.
set(dt_cpu_sources)
include(${CMAKE_CURRENT_LIST_DIR}/cpu/sources.cmake OPTIONAL)

dt_room(backend
  SOURCES backend.c weights.c executor.c checks.c pages.c bucket.c alibi.c rope_table.c
          reference/reference.c reference/operands.c reference/activation.c reference/attention.c
          reference/attention_grad.c reference/cross_entropy.c reference/elementwise.c reference/experts.c reference/fused_linear.c
          reference/gather.c reference/groups.c reference/heads.c reference/layer_norm.c reference/linear.c
          reference/rms_norm.c reference/rope.c reference/scalars.c reference/sinusoid.c
          ${dt_cpu_sources}
  USES base tensor graph)
