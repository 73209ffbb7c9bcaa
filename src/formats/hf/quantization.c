/*
 * quantization.c (hf) - "quantization_config": weights as 8-bit floats with static scales are read (formats/scales.c finds
 * the scales); every other method is refused by its name.
 *
 * Peer  transformers utils/quantization_config.py
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <string.h>

enum { BLOCK = 128 };

/* A method, and the key beside it that says 8-bit floats; NULL: it can be nothing else. */
static const struct {
    const char *method, *key, *value;
} methods[] = {
    {"fp8", NULL, NULL},
    {"fbgemm_fp8", NULL, NULL},
    {"compressed-tensors", "format", "float-quantized"},
    {"modelopt", "quant_algo", "FP8"},
};

enum { METHODS = sizeof methods / sizeof methods[0] };

/* Scales of fine-grained fp8 belong to blocks of 128 x 128; other sizes cannot be told from the scales alone. */
static dt_status check_blocks(const json_t *quantization, dt_error *err)
{
    const json_t *size = dt_json_get(quantization, "weight_block_size");
    for (size_t i = 0; size && i < 2; i++)
        if (json_array_size(size) != 2 || json_integer_value(json_array_get(size, i)) != BLOCK)
            return dt_fail(err, DT_UNSUPPORTED,
                           "key \"quantization_config.weight_block_size\": blocks of %d x %d are read", BLOCK,
                           BLOCK);
    return DT_OK;
}

dt_status dt_hf_check_quantization(const json_t *json, dt_error *err)
{
    const json_t *quantization = dt_json_get(json, "quantization_config");
    const char *method = NULL, *value = NULL;
    if (!quantization)
        return DT_OK;
    DT_PASS(dt_json_string(quantization, "quant_method", &method, err));
    for (int i = 0; method && i < METHODS; i++) {
        if (strcmp(methods[i].method, method) != 0)
            continue;
        if (methods[i].key)
            DT_PASS(dt_json_string(quantization, methods[i].key, &value, err));
        if (!methods[i].key || (value && strcmp(value, methods[i].value) == 0))
            return check_blocks(quantization, err);
        return dt_fail(err, DT_UNSUPPORTED,
                       "key \"quantization_config\": \"%s\" with \"%s\": \"%s\"; drivetrain reads \"%s\"",
                       method, methods[i].key, value ? value : "", methods[i].value);
    }
    return dt_fail(err, DT_UNSUPPORTED,
                   "key \"quantization_config\": weights quantised by \"%s\" cannot be read; 8-bit floats of "
                   "fp8, fbgemm_fp8, compressed-tensors and modelopt can",
                   method ? method : "");
}

int dt_hf_write_quantization(json_t *json)
{
    json_t *weights = json_pack("{s:i,s:s,s:s,s:b,s:b}", "num_bits", 8, "type", "float", "strategy",
                                "channel", "symmetric", 1, "dynamic", 0);
    json_t *group = json_pack("{s:[s],s:o,s:n,s:n}", "targets", "Linear", "weights", weights,
                              "input_activations", "output_activations");
    json_t *all = json_pack("{s:s,s:s,s:s,s:{s:o},s:[s]}", "quant_method", "compressed-tensors", "format",
                            "float-quantized", "quantization_status", "compressed", "config_groups",
                            "group_0", group, "ignore", "lm_head");
    return all ? json_object_set_new(json, "quantization_config", all) : -1;
}
