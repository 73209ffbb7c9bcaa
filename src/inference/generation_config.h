/*
 * generation_config.h - transformers' generation_config.json as options of dt_generate.
 */
#ifndef DT_INFERENCE_GENERATION_CONFIG_H
#define DT_INFERENCE_GENERATION_CONFIG_H

#include "base/arena.h"
#include "base/json.h"

#include <drivetrain/inference.h>

/* Take over what a document asks for; arrays are owned by `arena`. A wrong type is DT_FORMAT and names the key. */
dt_status dt_generation_config_read(const json_t *document, dt_arena *arena, const dt_log *log,
                                    dt_generate_options *options, dt_error *err);

#endif
