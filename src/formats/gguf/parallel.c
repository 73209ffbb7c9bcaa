/*
 * parallel.c (gguf) - architectures "falcon" and "gptneox": attention and MLP side by side.
 *
 * Both have GELU; llama.cpp computes its tanh form, transformers the exact one: up to 5e-4 apart, which no key says. A
 * Falcon with ALiBi, or one branch after the other, is none that llama.cpp computes.
 */
#include "formats/gguf/family.h"

#include "base/json.h"

#define name_rows   falcon_rows
#define name_copies falcon_copies
#define name_skips  falcon_skips
#define names       falcon_names
#define NAMES       "formats/gguf/names_falcon.def"
#include "formats/hf/expand_names.h"
#undef name_rows
#undef name_copies
#undef name_skips
#undef names
#define NAMES "formats/gguf/names_fused.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/gguf/keys_norm.def"
};

static void falcon_defaults(dt_model_config *c)
{
    dt_gguf_decoder_defaults(c);
    c->position_embedding_type = DT_POSITION_ROPE;
    c->parallel_residual = true;
}

static dt_status falcon_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                             dt_error *err)
{
    (void)evidence;
    c->parallel_shared_norm = !dt_gguf_has(json, "blk.0.attn_norm_2.weight");
    return dt_gguf_read_rope(c, json, err);
}

static dt_status falcon_write(const dt_model_config *c, json_t *json, dt_error *err)
{
    int failed = json_object_set_new(json, "tensor_data_layout", json_string("jploski"));
    if (!c->parallel_shared_norm)
        failed |= dt_gguf_put_tensor(json, "blk.0.attn_norm_2.weight");
    return dt_gguf_written(failed | dt_gguf_write_rope(c, json), err);
}

static void gpt_neox_defaults(dt_model_config *c)
{
    dt_gguf_decoder_defaults(c);
    c->position_embedding_type = DT_POSITION_ROPE;
    c->parallel_residual = true;
    c->add_qkv_bias = c->attention_output_bias = c->mlp_bias = true;
}

static dt_status gpt_neox_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                               dt_error *err)
{
    (void)evidence;
    DT_PASS(dt_json_bool(json, "use_parallel_residual", &c->parallel_residual, err));
    return dt_gguf_read_rope(c, json, err);
}

static dt_status gpt_neox_write(const dt_model_config *c, json_t *json, dt_error *err)
{
    int failed = json_object_set_new(json, "use_parallel_residual", json_boolean(c->parallel_residual));
    return dt_gguf_written(failed | dt_gguf_write_rope(c, json), err);
}

DT_GGUF_FAMILY(falcon, "falcon", falcon_defaults, falcon_read, falcon_write, keys, falcon_names)
DT_GGUF_FAMILY(gpt_neox, "gpt_neox", gpt_neox_defaults, gpt_neox_read, gpt_neox_write, keys, names)
