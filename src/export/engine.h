/*
 * engine.h (export) - writes an engine. `type` is what products are computed in: f32, bf16, f16 or q8_0; NULL as stored.
 */
#ifndef DT_EXPORT_ENGINE_H
#define DT_EXPORT_ENGINE_H

#include <drivetrain/checkpoint.h>

dt_status dt_engine_write(const dt_checkpoint *from, const char *path, const dt_export_options *options,
                          const char *type, dt_export_result *result, dt_error *err);

#endif
