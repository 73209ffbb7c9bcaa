/*
 * falcon.c (hf) - config.json of Falcon, which comes in three shapes: 7B (one key and value, branches side by side below one
 * norm), 40B and 11B (the new architecture: grouped queries, two norms or one), RW (one branch after the other).
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <stdio.h>

#define NAMES "formats/hf/names_falcon.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_falcon.def"
};

typedef struct shape {
    bool grouped; /* the new decoder architecture */
    bool parallel, multi_query;
    int64_t norms, groups;
} shape;

static void defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "gpt");
    c->vocab_size = 65024;
    c->hidden_size = 4544;
    c->num_layers = 32;
    c->num_attention_heads = 71;
    c->max_sequence_length = 2048;
    c->position_embedding_type = DT_POSITION_ROPE;
    c->add_bias_linear = false;
    c->bos_token_id = 11;
    c->eos_count = 1;
    c->eos_token_ids[0] = 11;
}

/* transformers builds other combinations too, but cannot run them. */
static dt_status check_shape(const shape *s, dt_error *err)
{
    if (s->grouped && !s->parallel)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "config.json: \"parallel_attn\" is false, which \"new_decoder_architecture\" cannot be");
    if (s->parallel && s->norms != 1 && !(s->grouped && s->norms == 2))
        return dt_fail(err, DT_UNSUPPORTED, "config.json: \"num_ln_in_parallel_attn\" is %lld, expected %s",
                       (long long)s->norms, s->grouped ? "1 or 2" : "null or 1");
    return DT_OK;
}

static dt_status read_shape(const json_t *json, shape *s, dt_error *err)
{
    DT_PASS(dt_json_bool(json, "new_decoder_architecture", &s->grouped, err));
    DT_PASS(dt_json_bool(json, "parallel_attn", &s->parallel, err));
    DT_PASS(dt_json_bool(json, "multi_query", &s->multi_query, err));
    DT_PASS(dt_json_int(json, "num_kv_heads", &s->groups, err));
    s->norms = s->grouped ? 2 : 1;
    DT_PASS(dt_json_int(json, "num_ln_in_parallel_attn", &s->norms, err));
    return check_shape(s, err);
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    shape s = {.parallel = true, .multi_query = true};
    bool alibi = false;
    DT_PASS(dt_json_bool(json, "alibi", &alibi, err));
    if (alibi)
        c->position_embedding_type = DT_POSITION_ALIBI;
    DT_PASS(read_shape(json, &s, err));
    c->parallel_residual = s.parallel;
    c->parallel_shared_norm = s.parallel && s.norms == 1;
    if (s.grouped)
        c->num_query_groups = s.groups > 0 ? s.groups : c->num_attention_heads;
    else
        c->num_query_groups = s.multi_query ? 1 : c->num_attention_heads;
    if (!s.grouped && !s.multi_query && s.groups > 0 && s.groups != c->num_attention_heads)
        return dt_fail(err, DT_UNSUPPORTED,
                       "config.json: \"num_kv_heads\" is %lld, but without \"multi_query\" and "
                       "\"new_decoder_architecture\" each of the %lld heads has its own",
                       (long long)s.groups, (long long)c->num_attention_heads);
    return dt_hf_read_rope(c, json, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    bool alone = c->num_query_groups == c->num_attention_heads; /* each head its own key and value */
    bool two_norms = c->parallel_residual && !c->parallel_shared_norm;
    bool grouped = two_norms || (!alone && c->num_query_groups != 1);
    int failed = json_object_set_new(json, "new_decoder_architecture", json_boolean(grouped));
    failed |= json_object_set_new(json, "multi_query", json_boolean(!grouped && !alone));
    failed |= json_object_set_new(json, "parallel_attn", json_boolean(c->parallel_residual));
    failed |= json_object_set_new(json, "num_kv_heads", json_integer(c->num_query_groups));
    failed |=
        json_object_set_new(json, "alibi", json_boolean(c->position_embedding_type == DT_POSITION_ALIBI));
    if (grouped)
        failed |= json_object_set_new(json, "num_ln_in_parallel_attn", json_integer(two_norms ? 2 : 1));
    return failed ? dt_fail_memory(err, 256, "config.json") : dt_hf_write_rope(c, json, err);
}

DT_HF_FAMILY(falcon, "FalconForCausalLM", defaults, read, write)
