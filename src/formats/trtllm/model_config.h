/*
 * model_config.h (trtllm) - what the files of config.json share: common keys (model_config.c), those of decoders' classes
 * (model_config_decoders.c) and of encoder-decoders' (model_config_encdec.c). Writers return non-zero when memory was short.
 */
#ifndef DT_FORMATS_TRTLLM_MODEL_CONFIG_H
#define DT_FORMATS_TRTLLM_MODEL_CONFIG_H

#include "formats/trtllm/trtllm.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

typedef struct pair {
    const char *key;
    json_t *value; /* taken over */
} pair;

static inline int put(json_t *json, const pair *list, int count)
{
    int failed = 0;
    for (int i = 0; i < count; i++)
        failed |= json_object_set_new(json, list[i].key, list[i].value);
    return failed;
}
#define PUT(json, ...) put(json, (pair[]){__VA_ARGS__}, COUNT(((pair[]){__VA_ARGS__})))

/* An integer where x is one. */
json_t *dt_trtllm_number(double x);

/* "rotary_scaling": null without. */
json_t *dt_trtllm_rotary_scaling_json(const dt_model_config *c);
dt_status dt_trtllm_read_rotary(const json_t *json, dt_model_config *c, dt_error *err);

/* What Megatron's helper passes to every class, whether it reads it or not. */
int dt_trtllm_write_helper(const dt_model_config *c, const dt_trtllm_plan *p, json_t *json);

/* "moe" of the classes that have one, and the same keys flat, as older classes have them. */
json_t *dt_trtllm_moe_json(const dt_model_config *c);
int dt_trtllm_write_flat_moe(const dt_model_config *c, json_t *json);
dt_status dt_trtllm_read_experts(const json_t *json, dt_model_config *c, dt_error *err);

#endif
