/*
 * trtllm.h - TensorRT-LLM beyond its checkpoint: the engine built from it, the Hugging Face folder beside it.
 */
#ifndef DT_EXPORT_TRTLLM_H
#define DT_EXPORT_TRTLLM_H

#include <drivetrain/export.h>

#include <stddef.h>

/* Is trtllm-build in PATH? `path` may be NULL. Errors: DT_NOT_FOUND says which releases have it. */
dt_status dt_trtllm_builder(char *path, size_t bytes, dt_error *err);
/* Build OUTPUT/engine (for two parts engine/encoder and engine/decoder); what the builder says goes to build.log there. */
dt_status dt_trtllm_build(const char *output, dt_error *err);

/* Both OUTPUT/trtllm and OUTPUT/hf, each proven; OUTPUT appears when both are written. */
dt_status dt_trtllm_and_hf(dt_exported *out, const dt_checkpoint *from, const char *output,
                           const dt_export_request *request, dt_error *err);

#endif
