dt_room(verify
  SOURCES recording.c rows.c inputs.c seen.c pixels.c replay.c compare.c report.c continuations.c verify.c tensors.c models.c agreement.c trace.c
  USES base tensor graph backend data nn models formats inference
  HEADERS verify.h)
