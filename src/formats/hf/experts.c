/*
 * experts.c (hf) - what Qwen's mixtures of experts say alike in config.json, and the names of experts in one tensor.
 *
 * "norm_topk_prob": the chosen experts' weights are made to add up to one, which is the softmax of the chosen logits;
 * without, they are parts of the softmax of all. A layer has experts when "decoder_sparse_step" divides its number,
 * counted from one, and "mlp_only_layers" does not list it.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#define NAMES "formats/hf/names_fused_experts.def"
#include "formats/hf/expand_names.h"

const dt_name_table *dt_hf_fused_expert_names(void)
{
    return &names;
}

static dt_status read_layers(dt_model_config *c, const json_t *json, dt_error *err)
{
    const json_t *only = dt_json_get(json, "mlp_only_layers");
    int64_t step = 1;
    DT_PASS(dt_json_int(json, "decoder_sparse_step", &step, err));
    if (step < 1)
        return dt_fail(err, DT_UNSUPPORTED,
                       "config.json: \"decoder_sparse_step\" is %lld, expected at least 1", (long long)step);
    if (only && !json_is_array(only))
        return dt_fail(err, DT_FORMAT, "config.json: \"mlp_only_layers\" is no list");
    if ((step == 1 && json_array_size(only) == 0) || c->num_layers < 1 || c->num_layers > DT_MAX_LAYERS)
        return DT_OK; /* every layer; a wrong number of them is told by dt_config_check */
    c->moe_listed = (int)c->num_layers;
    for (int64_t i = step - 1; i < c->num_layers; i += step)
        c->moe_layers[i / 8] |= (uint8_t)(1 << (i % 8));
    for (size_t k = 0; k < json_array_size(only); k++) {
        const json_t *item = json_array_get(only, k);
        int64_t layer = json_integer_value(item);
        if (!json_is_integer(item) || layer < 0)
            return dt_fail(err, DT_FORMAT,
                           "config.json: \"mlp_only_layers\" holds something that is no layer");
        if (layer < c->num_layers)
            c->moe_layers[layer / 8] &= (uint8_t) ~(1 << (layer % 8));
    }
    return DT_OK;
}

dt_status dt_hf_read_experts(dt_model_config *c, const json_t *json, dt_error *err)
{
    bool whole = false;
    DT_PASS(dt_json_bool(json, "norm_topk_prob", &whole, err));
    c->moe_router_pre_softmax = !whole;
    return read_layers(c, json, err);
}

dt_status dt_hf_write_experts(const dt_model_config *c, json_t *json, dt_error *err)
{
    json_t *only = json_array();
    int failed = json_object_set(json, "mlp_only_layers", only);
    for (int64_t i = 0; i < c->num_layers; i++)
        if (!dt_config_layer_is_moe(c, i))
            failed |= json_array_append_new(only, json_integer(i));
    json_decref(only);
    failed |= json_object_set_new(json, "decoder_sparse_step", json_integer(1));
    failed |= json_object_set_new(json, "norm_topk_prob", json_boolean(!c->moe_router_pre_softmax));
    return failed ? dt_fail_memory(err, 256, "config.json") : DT_OK;
}
