/*
 * rope.c (gguf) - rotary settings: keys that llama.cpp has, tables that stand for the rest, keys of ours for the numbers
 * that the tables were made from.
 *
 *   linear     keys
 *   llama3     rope_freqs.weight: divisors of frequencies; where our keys are missing the published numbers are tried
 *   yarn       keys; llama.cpp scales cosines by 1 + 0.1 ln(factor) and then by the key "attn_factor"
 *   longrope   rope_factors_{short,long}.weight: llama.cpp takes the long ones when its context is longer than the
 *              model's first; transformers when the sequence is
 */
#include "base/json.h"
#include "formats/gguf/family.h"

#include <math.h>
#include <string.h>

/* ---- the tables ---- */

static void llama3_factors(const dt_model_config *c, float *out)
{
    double low = (double)c->rope_original_max_position / c->rope_low_freq_factor;
    double high = (double)c->rope_original_max_position / c->rope_high_freq_factor;
    for (int64_t i = 0; i < c->kv_channels / 2; i++) {
        double wave = 2 * M_PI * pow(c->rotary_base, 2.0 * (double)i / (double)c->kv_channels);
        double smooth = ((double)c->rope_original_max_position / wave - c->rope_low_freq_factor) /
                        (c->rope_high_freq_factor - c->rope_low_freq_factor);
        double divisor = wave < high  ? 1
                         : wave > low ? c->rope_scaling_factor
                                      : 1 / ((1 - smooth) / c->rope_scaling_factor + smooth);
        out[i] = (float)divisor;
    }
}

static void long_factors(const dt_model_config *c, float *out)
{
    for (int i = 0; i < c->rope_factors; i++)
        out[i] = (float)c->rope_long_factor[i];
}

static void short_factors(const dt_model_config *c, float *out)
{
    for (int i = 0; i < c->rope_factors; i++)
        out[i] = (float)c->rope_short_factor[i];
}

static const struct {
    dt_rope_scaling scaling;
    dt_gguf_table table;
} tables[] = {
    {DT_ROPE_LLAMA3, {"rope_freqs.weight", llama3_factors}},
    {DT_ROPE_LONGROPE, {"rope_factors_long.weight", long_factors}},
    {DT_ROPE_LONGROPE, {"rope_factors_short.weight", short_factors}},
};

const dt_gguf_table *dt_gguf_table_at(const dt_model_config *c, int index, int64_t *count)
{
    bool rotates = c->position_embedding_type == DT_POSITION_ROPE;
    for (size_t i = 0; rotates && i < sizeof tables / sizeof tables[0]; i++)
        if (tables[i].scaling == c->rope_scaling_type && index-- == 0) {
            *count = c->rope_scaling_type == DT_ROPE_LONGROPE ? c->rope_factors : c->kv_channels / 2;
            return &tables[i].table;
        }
    return NULL;
}

/* ---- reading ---- */

static dt_status read_list(const json_t *json, const char *key, double *out, int *count, dt_error *err)
{
    const json_t *list = dt_json_get(json, key);
    size_t n = json_array_size(list);
    if (n < 1 || n > DT_MAX_ROPE_FACTORS || (*count && n != (size_t)*count))
        return dt_fail(err, DT_FORMAT, "\"%s\" is no list of 1 to %d factors as long as the other one", key,
                       DT_MAX_ROPE_FACTORS);
    for (size_t i = 0; i < n; i++)
        out[i] = json_number_value(json_array_get(list, i));
    *count = (int)n;
    return DT_OK;
}

/* What the two papers make of a factor; 0 in a configuration stands for it. */
static double usual_attention_factor(const dt_model_config *c)
{
    double factor = c->rope_scaling_factor;
    if (factor <= 1)
        return 1;
    if (c->rope_scaling_type == DT_ROPE_YARN)
        return 0.1 * log(factor) + 1;
    return sqrt(1 + log(factor) / log((double)c->rope_original_max_position));
}

/* An f32 that stands for the usual value is the usual value. */
static double attention_factor_of(const dt_model_config *c, double given)
{
    double usual = usual_attention_factor(c);
    return fabs(given - usual) <= 1e-6 * usual ? 0 : given;
}

static dt_status read_longrope(dt_model_config *c, const json_t *json, dt_error *err)
{
    double given = 0;
    c->rope_scaling_type = DT_ROPE_LONGROPE;
    c->rope_factors = 0;
    c->rope_original_max_position = c->max_sequence_length;
    DT_PASS(read_list(json, "rope_factors_short", c->rope_short_factor, &c->rope_factors, err));
    DT_PASS(read_list(json, "rope_factors_long", c->rope_long_factor, &c->rope_factors, err));
    DT_PASS(dt_json_int(json, "rope.scaling.original_context_length", &c->rope_original_max_position, err));
    c->rope_scaling_factor = (double)c->max_sequence_length / (double)c->rope_original_max_position;
    DT_PASS(dt_json_real(json, "drivetrain.rope.factor", &c->rope_scaling_factor, err));
    DT_PASS(dt_json_real(json, "rope.scaling.attn_factor", &given, err));
    c->rope_attention_factor = given != 0 ? attention_factor_of(c, given) : 0;
    return DT_OK;
}

static dt_status read_yarn(dt_model_config *c, const json_t *json, dt_error *err)
{
    double given = 1;
    c->rope_scaling_type = DT_ROPE_YARN;
    c->rope_original_max_position = c->max_sequence_length;
    DT_PASS(dt_json_real(json, "rope.scaling.factor", &c->rope_scaling_factor, err));
    DT_PASS(dt_json_int(json, "rope.scaling.original_context_length", &c->rope_original_max_position, err));
    DT_PASS(dt_json_real(json, "rope.scaling.yarn_beta_fast", &c->rope_beta_fast, err));
    DT_PASS(dt_json_real(json, "rope.scaling.yarn_beta_slow", &c->rope_beta_slow, err));
    DT_PASS(dt_json_real(json, "rope.scaling.attn_factor", &given, err));
    DT_PASS(dt_json_bool(json, "drivetrain.rope.no_truncate", &c->rope_no_truncate, err));
    c->rope_attention_factor = attention_factor_of(c, given * usual_attention_factor(c));
    return DT_OK;
}

static dt_status read_llama3(dt_model_config *c, const json_t *json, dt_error *err)
{
    c->rope_scaling_type = DT_ROPE_LLAMA3;
    c->rope_scaling_factor = 8;
    DT_PASS(dt_json_real(json, "drivetrain.rope.factor", &c->rope_scaling_factor, err));
    DT_PASS(dt_json_real(json, "drivetrain.rope.low_freq_factor", &c->rope_low_freq_factor, err));
    DT_PASS(dt_json_real(json, "drivetrain.rope.high_freq_factor", &c->rope_high_freq_factor, err));
    return dt_json_int(json, "drivetrain.rope.original_context_length", &c->rope_original_max_position, err);
}

static dt_status read_scaling(dt_model_config *c, const json_t *json, dt_error *err)
{
    const char *type = NULL;
    DT_PASS(dt_json_string(json, "rope.scaling.type", &type, err));
    if (dt_gguf_has(json, "rope_freqs.weight"))
        return read_llama3(c, json, err);
    if (dt_gguf_has(json, "rope_factors_long.weight"))
        return read_longrope(c, json, err);
    if (!type || strcmp(type, "none") == 0)
        return DT_OK;
    if (strcmp(type, "yarn") == 0)
        return read_yarn(c, json, err);
    if (strcmp(type, "linear") != 0)
        return dt_fail(err, DT_UNSUPPORTED,
                       "\"rope.scaling.type\" is \"%s\"; drivetrain reads none, linear and yarn from GGUF",
                       type);
    c->rope_scaling_type = DT_ROPE_LINEAR;
    return dt_json_real(json, "rope.scaling.factor", &c->rope_scaling_factor, err);
}

dt_status dt_gguf_read_rope(dt_model_config *c, const json_t *json, dt_error *err)
{
    int64_t rotated = -1, head = c->kv_channels > 0           ? c->kv_channels
                                 : c->num_attention_heads > 0 ? c->hidden_size / c->num_attention_heads
                                                              : 0;
    DT_PASS(dt_json_real(json, "rope.freq_base", &c->rotary_base, err));
    DT_PASS(dt_json_int(json, "rope.dimension_count", &rotated, err));
    if (rotated >= 0 && head > 0)
        c->rotary_percent = (double)rotated / (double)head;
    return read_scaling(c, json, err);
}

/* ---- writing ---- */

static int put_real(json_t *json, const char *key, double value)
{
    return json_object_set_new(json, key, json_real(value));
}

static int put_int(json_t *json, const char *key, int64_t value)
{
    return json_object_set_new(json, key, json_integer(value));
}

static int write_llama3(const dt_model_config *c, json_t *json)
{
    int failed = dt_gguf_put_tensor(json, "rope_freqs.weight");
    failed |= put_real(json, "drivetrain.rope.factor", c->rope_scaling_factor);
    failed |= put_real(json, "drivetrain.rope.low_freq_factor", c->rope_low_freq_factor);
    failed |= put_real(json, "drivetrain.rope.high_freq_factor", c->rope_high_freq_factor);
    return failed | put_int(json, "drivetrain.rope.original_context_length", c->rope_original_max_position);
}

static json_t *list_of(const double *factor, int count)
{
    json_t *list = json_array();
    for (int i = 0; list && i < count; i++)
        json_array_append_new(list, json_real(factor[i]));
    return list;
}

static int write_longrope(const dt_model_config *c, json_t *json)
{
    double factor = c->rope_attention_factor != 0 ? c->rope_attention_factor : usual_attention_factor(c);
    int failed = dt_gguf_put_tensor(json, "rope_factors_long.weight");
    failed |= json_object_set_new(json, "rope_factors_long", list_of(c->rope_long_factor, c->rope_factors));
    failed |= json_object_set_new(json, "rope_factors_short", list_of(c->rope_short_factor, c->rope_factors));
    failed |= put_int(json, "rope.scaling.original_context_length", c->rope_original_max_position);
    failed |= put_real(json, "drivetrain.rope.factor", c->rope_scaling_factor);
    return failed | put_real(json, "rope.scaling.attn_factor", factor);
}

static int write_yarn(const dt_model_config *c, json_t *json)
{
    int failed = json_object_set_new(json, "rope.scaling.type", json_string("yarn"));
    failed |= put_real(json, "rope.scaling.factor", c->rope_scaling_factor);
    failed |= put_int(json, "rope.scaling.original_context_length", c->rope_original_max_position);
    failed |= put_real(json, "rope.scaling.yarn_beta_fast", c->rope_beta_fast);
    failed |= put_real(json, "rope.scaling.yarn_beta_slow", c->rope_beta_slow);
    if (c->rope_attention_factor != 0)
        failed |=
            put_real(json, "rope.scaling.attn_factor", c->rope_attention_factor / usual_attention_factor(c));
    if (c->rope_no_truncate)
        failed |= json_object_set_new(json, "drivetrain.rope.no_truncate", json_true());
    return failed;
}

static int write_linear(const dt_model_config *c, json_t *json)
{
    int failed = json_object_set_new(json, "rope.scaling.type", json_string("linear"));
    return failed | put_real(json, "rope.scaling.factor", c->rope_scaling_factor);
}

int dt_gguf_write_rope(const dt_model_config *c, json_t *json)
{
    int failed = put_real(json, "rope.freq_base", c->rotary_base);
    failed |= put_int(json, "rope.dimension_count", llround((double)c->kv_channels * c->rotary_percent));
    failed |= put_int(json, "attention.value_length", c->kv_channels);
    switch (c->rope_scaling_type) {
    case DT_ROPE_LINEAR:
        return failed | write_linear(c, json);
    case DT_ROPE_LLAMA3:
        return failed | write_llama3(c, json);
    case DT_ROPE_YARN:
        return failed | write_yarn(c, json);
    case DT_ROPE_LONGROPE:
        return failed | write_longrope(c, json);
    default:
        return failed; /* what is not written does not come back, and so is refused */
    }
}
