/*
 * rope.c (hf) - rotary settings as Hugging Face's families write them, v4 and v5; written so that both read them.
 *
 * What is not known is refused by name: a key more, or another type, would rotate differently.
 */
#include "base/json.h"
#include "base/text.h"
#include "formats/hf/family.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static const struct {
    const char *name;
    dt_rope_scaling scaling;
} ropes[] = {
    {"default", DT_ROPE_PLAIN}, {"linear", DT_ROPE_LINEAR},   {"llama3", DT_ROPE_LLAMA3},
    {"yarn", DT_ROPE_YARN},     {"dynamic", DT_ROPE_DYNAMIC}, {"longrope", DT_ROPE_LONGROPE},
};

static dt_status read_rope_type(const char *type, dt_rope_scaling *out, dt_error *err)
{
    const char *names[COUNT(ropes)];
    for (int i = 0; i < COUNT(ropes); i++) {
        names[i] = ropes[i].name;
        if (strcmp(names[i], type) == 0) {
            *out = ropes[i].scaling;
            return DT_OK;
        }
    }
    const char *near = dt_nearest(type, names, COUNT(ropes));
    return dt_fail(
        err, DT_UNSUPPORTED,
        "config.json: \"rope_type\" is \"%s\"; drivetrain knows default, linear, llama3, yarn, dynamic, "
        "longrope%s%s%s",
        type, near ? " (nearest: " : "", near ? near : "", near ? ")" : "");
}

/* transformers rotates whole heads in the families read here, whatever this key says. */
static dt_status refuse_partial_rotation(const dt_model_config *c, dt_error *err)
{
    return c->rotary_percent == 1
               ? DT_OK
               : dt_fail(err, DT_UNSUPPORTED,
                         "config.json: \"partial_rotary_factor\" is %g; a %s rotates whole heads (1)",
                         c->rotary_percent, c->family);
}

/* Every key that rotary settings may have; one more would change what is computed. */
static dt_status check_rope_keys(const json_t *inside, dt_error *err)
{
    static const char *const known[] = {"type",
                                        "rope_type",
                                        "rope_theta",
                                        "partial_rotary_factor",
                                        "factor",
                                        "low_freq_factor",
                                        "high_freq_factor",
                                        "attention_factor",
                                        "beta_fast",
                                        "beta_slow",
                                        "truncate",
                                        "mscale",
                                        "short_factor",
                                        "long_factor",
                                        "mscale_all_dim",
                                        "finetuned",
                                        "original_max_position_embeddings"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)inside, key, value)
    {
        bool found = json_is_null(value);
        for (int i = 0; i < COUNT(known) && !found; i++)
            found = strcmp(known[i], key) == 0;
        if (!found)
            return dt_fail(err, DT_UNSUPPORTED,
                           "config.json: the rotary settings hold \"%s\", which drivetrain does not know",
                           key);
    }
    return DT_OK;
}

static dt_status read_factors(const json_t *inside, const char *key, double *out, int *count, dt_error *err)
{
    const json_t *list = dt_json_get(inside, key);
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n < 1 || n > DT_MAX_ROPE_FACTORS || (*count && n != (size_t)*count))
        return dt_fail(err, DT_FORMAT,
                       "config.json: \"%s\" is no list of 1 to %d factors as long as the other one", key,
                       DT_MAX_ROPE_FACTORS);
    for (size_t i = 0; i < n; i++) {
        if (!json_is_number(json_array_get(list, i)))
            return dt_fail(err, DT_FORMAT, "config.json: \"%s\" holds something that is no number", key);
        out[i] = json_number_value(json_array_get(list, i));
    }
    *count = (int)n;
    return DT_OK;
}

/* The share of one attention factor that a "mscale" of yarn makes. */
static double yarn_scale(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

/* What yarn and longrope have beyond a factor. mscale's two keys say an attention factor in other words. */
static dt_status read_long_context(dt_model_config *c, const json_t *inside, dt_error *err)
{
    double mscale = 0, all = 0, fast = 0, slow = 0;
    bool truncate = true;
    DT_PASS(dt_json_real(inside, "attention_factor", &c->rope_attention_factor, err));
    if (c->rope_scaling_type == DT_ROPE_LONGROPE) {
        c->rope_factors = 0;
        DT_PASS(read_factors(inside, "short_factor", c->rope_short_factor, &c->rope_factors, err));
        return read_factors(inside, "long_factor", c->rope_long_factor, &c->rope_factors, err);
    }
    DT_PASS(dt_json_real(inside, "mscale", &mscale, err));
    DT_PASS(dt_json_real(inside, "mscale_all_dim", &all, err));
    DT_PASS(dt_json_real(inside, "beta_fast", &fast, err));
    DT_PASS(dt_json_real(inside, "beta_slow", &slow, err));
    DT_PASS(dt_json_bool(inside, "truncate", &truncate, err));
    c->rope_beta_fast = fast != 0 ? fast : 32;
    c->rope_beta_slow = slow != 0 ? slow : 1;
    c->rope_no_truncate = !truncate;
    if (!dt_json_get(inside, "attention_factor") && mscale != 0 && all != 0)
        c->rope_attention_factor =
            yarn_scale(c->rope_scaling_factor, mscale) / yarn_scale(c->rope_scaling_factor, all);
    return DT_OK;
}

/* The scaling of one kind of layer; `json` is the configuration around it. */
static dt_status read_scaling(dt_model_config *c, const json_t *json, const json_t *inside, int64_t trained,
                              dt_error *err)
{
    const char *type = NULL;
    DT_PASS(check_rope_keys(inside, err));
    DT_PASS(dt_json_string(inside, "type", &type, err));
    DT_PASS(dt_json_string(inside, "rope_type", &type, err));
    if (type && strcmp(c->family, "phi3") == 0 && (strcmp(type, "su") == 0 || strcmp(type, "yarn") == 0))
        type = "longrope"; /* what Phi-3's older files call it */
    if (type)
        DT_PASS(read_rope_type(type, &c->rope_scaling_type, err));
    DT_PASS(dt_json_real(inside, "rope_theta", &c->rotary_base, err));
    DT_PASS(dt_json_real(inside, "partial_rotary_factor", &c->rotary_percent, err));
    if (c->rope_scaling_type == DT_ROPE_PLAIN)
        return DT_OK;
    bool ratio = c->rope_scaling_type == DT_ROPE_YARN || c->rope_scaling_type == DT_ROPE_LONGROPE;
    if (ratio || c->rope_scaling_type == DT_ROPE_LLAMA3) {
        c->rope_original_max_position = c->max_sequence_length;
        DT_PASS(dt_json_int(inside, "original_max_position_embeddings", &c->rope_original_max_position, err));
        c->rope_original_max_position = trained ? trained : c->rope_original_max_position;
        DT_PASS(dt_json_int(json, "original_max_position_embeddings", &c->rope_original_max_position, err));
    }
    if (!dt_json_get(inside, "factor") && !ratio)
        return dt_fail(err, DT_FORMAT, "config.json: \"rope_type\" is \"%s\", but \"factor\" is missing",
                       type);
    if (ratio && c->rope_original_max_position > 0)
        c->rope_scaling_factor = (double)c->max_sequence_length / (double)c->rope_original_max_position;
    DT_PASS(dt_json_real(inside, "factor", &c->rope_scaling_factor, err));
    DT_PASS(dt_json_real(inside, "low_freq_factor", &c->rope_low_freq_factor, err));
    DT_PASS(dt_json_real(inside, "high_freq_factor", &c->rope_high_freq_factor, err));
    return ratio ? read_long_context(c, inside, err) : DT_OK;
}

/*
 * v5 has rope_parameters with everything inside; v4 rope_theta beside rope_scaling, whose oldest spelling says
 * "type". What is inside wins; of both, rope_scaling, unless it is empty: transformers of either version reads that.
 */
static dt_status settings_of(const json_t *json, const json_t **inside, dt_error *err)
{
    *inside = dt_json_get(json, "rope_scaling");
    if (!*inside || (json_is_object(*inside) && json_object_size(*inside) == 0))
        *inside = dt_json_get(json, "rope_parameters");
    if (*inside && !json_is_object(*inside))
        return dt_fail(err, DT_FORMAT, "config.json: \"rope_parameters\" or \"rope_scaling\" is no object");
    return DT_OK;
}

dt_status dt_hf_read_trained_rope(dt_model_config *c, const json_t *json, int64_t trained, dt_error *err)
{
    const json_t *inside;
    DT_PASS(settings_of(json, &inside, err));
    DT_PASS(dt_json_real(json, "rope_theta", &c->rotary_base, err));
    DT_PASS(dt_json_real(json, "partial_rotary_factor", &c->rotary_percent, err));
    return inside ? read_scaling(c, json, inside, trained, err) : DT_OK;
}

dt_status dt_hf_read_partial_rope(dt_model_config *c, const json_t *json, dt_error *err)
{
    return dt_hf_read_trained_rope(c, json, 0, err);
}

dt_status dt_hf_read_rope(dt_model_config *c, const json_t *json, dt_error *err)
{
    DT_PASS(dt_hf_read_partial_rope(c, json, err));
    return refuse_partial_rotation(c, err);
}

/* Windowed layers have a base of their own and no scaling: all that a published model has. */
static dt_status read_window_rope(dt_model_config *c, const json_t *inside, dt_error *err)
{
    const char *type = NULL;
    DT_PASS(dt_json_string(inside, "rope_type", &type, err));
    if (type && strcmp(type, "default") != 0)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "config.json: \"rope_type\" of sliding_attention is \"%s\"; drivetrain knows default there",
            type);
    DT_PASS(check_rope_keys(inside, err));
    return dt_json_real(inside, "rope_theta", &c->window_rotary_base, err);
}

dt_status dt_hf_read_layer_rope(dt_model_config *c, const json_t *json, double window_base, dt_error *err)
{
    const json_t *inside, *full, *windowed;
    c->window_rotary_base = window_base;
    DT_PASS(dt_json_real(json, "rope_local_base_freq", &c->window_rotary_base, err));
    DT_PASS(settings_of(json, &inside, err));
    full = inside ? dt_json_get(inside, "full_attention") : NULL;
    windowed = inside ? dt_json_get(inside, "sliding_attention") : NULL;
    if (!full && !windowed)
        return dt_hf_read_rope(c, json, err);
    DT_PASS(dt_json_real(json, "rope_theta", &c->rotary_base, err));
    if ((full && !json_is_object(full)) || (windowed && !json_is_object(windowed)))
        return dt_fail(err, DT_FORMAT, "config.json: \"rope_parameters\" of a kind of layers is no object");
    if (windowed)
        DT_PASS(read_window_rope(c, windowed, err));
    if (full)
        DT_PASS(read_scaling(c, json, full, 0, err));
    return refuse_partial_rotation(c, err);
}

/* ---- writing ---- */

static json_t *factors(const double *factor, int count)
{
    json_t *list = json_array();
    for (int i = 0; list && i < count; i++)
        json_array_append_new(list, json_real(factor[i]));
    return list;
}

/* v4 wants longrope's "type", and of Phi-3 no key but the lists: what follows from sizes is left out. */
static int write_longrope(const dt_model_config *c, json_t *scaling)
{
    double ratio = (double)c->max_sequence_length / (double)c->rope_original_max_position;
    int failed = json_object_set_new(scaling, "short_factor", factors(c->rope_short_factor, c->rope_factors));
    failed |= json_object_set_new(scaling, "long_factor", factors(c->rope_long_factor, c->rope_factors));
    if (c->rope_scaling_factor != ratio)
        failed |= json_object_set_new(scaling, "factor", json_real(c->rope_scaling_factor));
    return failed;
}

static int write_yarn(const dt_model_config *c, json_t *scaling)
{
    int failed = json_object_set_new(scaling, "beta_fast", json_real(c->rope_beta_fast));
    failed |= json_object_set_new(scaling, "beta_slow", json_real(c->rope_beta_slow));
    failed |= json_object_set_new(scaling, "truncate", json_boolean(!c->rope_no_truncate));
    return failed;
}

static int write_scaling(const dt_model_config *c, json_t *json, json_t *scaling)
{
    dt_rope_scaling type = c->rope_scaling_type;
    json_t *trained = json_integer(c->rope_original_max_position);
    int failed = json_object_set_new(scaling, type == DT_ROPE_LONGROPE ? "type" : "rope_type",
                                     json_string(dt_rope_scaling_name(type)));
    if (type == DT_ROPE_LONGROPE)
        failed |=
            write_longrope(c, scaling) | json_object_set(json, "original_max_position_embeddings", trained);
    else
        failed |= json_object_set_new(scaling, "factor", json_real(c->rope_scaling_factor));
    if (type == DT_ROPE_YARN)
        failed |= write_yarn(c, scaling);
    if (type == DT_ROPE_YARN || type == DT_ROPE_LLAMA3)
        failed |= json_object_set(scaling, "original_max_position_embeddings", trained);
    if (c->rope_attention_factor != 0 && (type == DT_ROPE_YARN || type == DT_ROPE_LONGROPE))
        failed |= json_object_set_new(scaling, "attention_factor", json_real(c->rope_attention_factor));
    if (type == DT_ROPE_LLAMA3) {
        failed |= json_object_set_new(scaling, "low_freq_factor", json_real(c->rope_low_freq_factor));
        failed |= json_object_set_new(scaling, "high_freq_factor", json_real(c->rope_high_freq_factor));
    }
    json_decref(trained);
    return failed;
}

dt_status dt_hf_write_rope(const dt_model_config *c, json_t *json, dt_error *err)
{
    json_t *scaling = c->rope_scaling_type == DT_ROPE_PLAIN ? json_null() : json_object();
    int failed = json_object_set_new(json, "rope_theta", json_real(c->rotary_base));
    failed |= json_object_set_new(json, "rope_scaling", scaling);
    if (!failed && c->rope_scaling_type != DT_ROPE_PLAIN)
        failed |= write_scaling(c, json, scaling);
    return failed ? dt_fail_memory(err, 64, "config.json") : DT_OK;
}

dt_status dt_hf_write_layer_rope(const dt_model_config *c, json_t *json, dt_error *err)
{
    double base = c->window_rotary_base != 0 ? c->window_rotary_base : c->rotary_base;
    if (json_object_set_new(json, "rope_local_base_freq", json_real(base)))
        return dt_fail_memory(err, 64, "config.json");
    return dt_hf_write_rope(c, json, err);
}
