/*
 * gpt_oss.c (hf) - config.json of gpt-oss: experts with biases and a bounded gated unit, sinks, windows in turns.
 *
 * The unit is quick_gelu(min(gate, limit)) · (clamp(up) + 1): Megatron's quick_gelu with activation_func_clamp_value
 * and a glu_linear_offset of 1. Weights are the softmax of the chosen logits. "hidden_act" says nothing: the class
 * does not read it. Published files hold the experts as MXFP4, which is refused by its key "quantization_config".
 */
#include "base/json.h"
#include "formats/hf/family.h"

#define NAMES "formats/hf/names_gpt_oss.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_gpt_oss.def"
};

static const double swiglu_alpha = 1.702; /* quick_gelu's */

static void defaults(dt_model_config *c)
{
    dt_hf_llama_defaults(c);
    c->vocab_size = 201088;
    c->hidden_size = 2880;
    c->moe_ffn_hidden_size = 2880;
    c->num_layers = 36;
    c->num_attention_heads = 64;
    c->num_query_groups = 8;
    c->kv_channels = 64;
    c->max_sequence_length = 131072;
    c->layernorm_epsilon = 1e-5;
    c->rotary_base = 150000;
    c->num_moe_experts = 128;
    c->moe_router_topk = 4;
    c->add_bias_linear = true;
    c->activation_func = DT_ACT_QUICK_GELU;
    c->activation_func_clamp_value = 7;
    c->glu_linear_offset = 1;
    c->softmax_type = DT_SOFTMAX_LEARNABLE;
    c->bos_token_id = -1;
    c->eos_count = 0;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    double alpha = swiglu_alpha;
    bool biases = true;
    (void)evidence;
    DT_PASS(dt_json_real(json, "swiglu_alpha", &alpha, err));
    DT_PASS(dt_json_bool(json, "attention_bias", &biases, err));
    if (alpha != swiglu_alpha)
        return dt_fail(err, DT_UNSUPPORTED, "config.json: \"swiglu_alpha\" is %g; drivetrain computes %g",
                       alpha, swiglu_alpha);
    if (!biases)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "config.json: \"attention_bias\" is false; drivetrain reads gpt-oss with biases everywhere");
    if (!dt_json_get(json, "rope_parameters") && !dt_json_get(json, "rope_scaling"))
        return dt_fail(
            err, DT_UNSUPPORTED,
            "config.json has no \"rope_parameters\" and no \"rope_scaling\", and what a gpt-oss does "
            "without depends on transformers' version");
    c->ffn_hidden_size = c->moe_ffn_hidden_size;
    DT_PASS(dt_hf_read_layer_windows(c, json, 128, 2, err));
    return dt_hf_read_rope(c, json, err);
}

/* Said in so many words: the class takes silence for yarn. */
static dt_status write_plain_rope(const dt_model_config *c, json_t *json, dt_error *err)
{
    json_t *rope = json_pack("{s:s,s:f}", "rope_type", "default", "rope_theta", c->rotary_base);
    return json_object_set_new(json, "rope_parameters", rope) ? dt_fail_memory(err, 128, "config.json")
                                                              : DT_OK;
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    int failed = json_object_set_new(json, "swiglu_alpha", json_real(swiglu_alpha));
    failed |= json_object_set_new(json, "attention_bias", json_true());
    failed |= json_object_set_new(json, "hidden_act", json_string("silu"));
    if (failed)
        return dt_fail_memory(err, 128, "config.json");
    DT_PASS(dt_hf_write_layer_windows(c, json, err));
    return c->rope_scaling_type == DT_ROPE_PLAIN ? write_plain_rope(c, json, err)
                                                 : dt_hf_write_rope(c, json, err);
}

DT_HF_FAMILY(gpt_oss, "GptOssForCausalLM", defaults, read, write)
