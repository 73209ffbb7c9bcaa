/*
 * shared.c - what several Hugging Face families write alike: activation names, rotary settings, switches.
 */
#include "base/json.h"
#include "base/text.h"
#include "formats/hf/family.h"

#include <string.h>

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

/* The first row of an activation is the name that is written. */
static const struct {
    const char *name;
    dt_activation activation;
} activations[] = {
    {"gelu", DT_ACT_GELU},
    {"gelu_python", DT_ACT_GELU},
    {"gelu_new", DT_ACT_GELU_TANH},
    {"gelu_pytorch_tanh", DT_ACT_GELU_TANH},
    {"gelu_fast", DT_ACT_GELU_TANH},
    {"gelu_accurate", DT_ACT_GELU_TANH},
    {"gelu_python_tanh", DT_ACT_GELU_TANH},
    {"quick_gelu", DT_ACT_QUICK_GELU},
    {"relu", DT_ACT_RELU},
    {"relu2", DT_ACT_SQUARED_RELU},
    {"silu", DT_ACT_SILU},
    {"swish", DT_ACT_SILU},
    {"tanh", DT_ACT_TANH},
    {"sigmoid", DT_ACT_SIGMOID},
    {"linear", DT_ACT_IDENTITY},
};

dt_status dt_hf_read_activation(const char *key, const char *name, dt_activation *out, dt_error *err)
{
    const char *names[COUNT(activations)];
    for (int i = 0; i < COUNT(activations); i++) {
        names[i] = activations[i].name;
        if (strcmp(names[i], name) == 0) {
            *out = activations[i].activation;
            return DT_OK;
        }
    }
    const char *near = dt_nearest(name, names, COUNT(activations));
    return dt_fail(
        err, DT_UNSUPPORTED,
        "config.json: \"%s\" is \"%s\"; drivetrain knows gelu, gelu_new, quick_gelu, relu, relu2, silu, "
        "tanh, sigmoid, linear%s%s%s",
        key, name, near ? " (nearest: " : "", near ? near : "", near ? ")" : "");
}

const char *dt_hf_activation_name(dt_activation activation)
{
    for (int i = 0; i < COUNT(activations); i++)
        if (activations[i].activation == activation)
            return activations[i].name;
    return NULL;
}

static const struct {
    const char *name;
    dt_rope_scaling scaling;
    bool readable;
} ropes[] = {
    {"default", DT_ROPE_PLAIN, true},    {"linear", DT_ROPE_LINEAR, true},
    {"llama3", DT_ROPE_LLAMA3, true},    {"yarn", DT_ROPE_YARN, false},
    {"dynamic", DT_ROPE_DYNAMIC, false}, {"longrope", DT_ROPE_LONGROPE, false},
};

static dt_status read_rope_type(const char *type, dt_rope_scaling *out, dt_error *err)
{
    const char *names[COUNT(ropes)];
    for (int i = 0; i < COUNT(ropes); i++) {
        names[i] = ropes[i].name;
        if (strcmp(names[i], type) != 0)
            continue;
        *out = ropes[i].scaling;
        return ropes[i].readable
                   ? DT_OK
                   : dt_fail(err, DT_UNSUPPORTED,
                             "config.json: \"rope_type\" is \"%s\", which drivetrain cannot compute "
                             "yet; it can default, linear, llama3",
                             type);
    }
    const char *near = dt_nearest(type, names, COUNT(ropes));
    return dt_fail(err, DT_UNSUPPORTED,
                   "config.json: \"rope_type\" is \"%s\"; drivetrain knows default, linear, "
                   "llama3%s%s%s",
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

/*
 * v5 has rope_parameters with everything inside; v4 rope_theta beside rope_scaling, whose oldest spelling says
 * "type". What is inside wins; of both, rope_scaling, unless it is empty: transformers of either version reads that.
 */
dt_status dt_hf_read_partial_rope(dt_model_config *c, const json_t *json, dt_error *err)
{
    const json_t *inside = dt_json_get(json, "rope_scaling");
    const char *type = NULL;
    if (!inside || (json_is_object(inside) && json_object_size(inside) == 0))
        inside = dt_json_get(json, "rope_parameters");
    DT_PASS(dt_json_real(json, "rope_theta", &c->rotary_base, err));
    DT_PASS(dt_json_real(json, "partial_rotary_factor", &c->rotary_percent, err));
    if (!inside)
        return DT_OK;
    if (!json_is_object(inside))
        return dt_fail(err, DT_FORMAT, "config.json: \"rope_parameters\" or \"rope_scaling\" is no object");
    DT_PASS(dt_json_string(inside, "type", &type, err));
    DT_PASS(dt_json_string(inside, "rope_type", &type, err));
    if (type)
        DT_PASS(read_rope_type(type, &c->rope_scaling_type, err));
    DT_PASS(dt_json_real(inside, "rope_theta", &c->rotary_base, err));
    DT_PASS(dt_json_real(inside, "partial_rotary_factor", &c->rotary_percent, err));
    if (c->rope_scaling_type == DT_ROPE_PLAIN)
        return DT_OK;
    if (!dt_json_get(inside, "factor"))
        return dt_fail(err, DT_FORMAT, "config.json: \"rope_type\" is \"%s\", but \"factor\" is missing",
                       type);
    DT_PASS(dt_json_real(inside, "factor", &c->rope_scaling_factor, err));
    if (c->rope_scaling_type == DT_ROPE_LLAMA3)
        c->rope_original_max_position = c->max_sequence_length;
    DT_PASS(dt_json_real(inside, "low_freq_factor", &c->rope_low_freq_factor, err));
    DT_PASS(dt_json_real(inside, "high_freq_factor", &c->rope_high_freq_factor, err));
    return dt_json_int(inside, "original_max_position_embeddings", &c->rope_original_max_position, err);
}

dt_status dt_hf_read_rope(dt_model_config *c, const json_t *json, dt_error *err)
{
    DT_PASS(dt_hf_read_partial_rope(c, json, err));
    return refuse_partial_rotation(c, err);
}

dt_status dt_hf_write_rope(const dt_model_config *c, json_t *json, dt_error *err)
{
    json_t *scaling = json_null();
    if (c->rope_scaling_type == DT_ROPE_LINEAR)
        scaling = json_pack("{s:s,s:f}", "rope_type", "linear", "factor", c->rope_scaling_factor);
    else if (c->rope_scaling_type == DT_ROPE_LLAMA3)
        scaling = json_pack("{s:s,s:f,s:f,s:f,s:I}", "rope_type", "llama3", "factor", c->rope_scaling_factor,
                            "low_freq_factor", c->rope_low_freq_factor, "high_freq_factor",
                            c->rope_high_freq_factor, "original_max_position_embeddings",
                            (json_int_t)c->rope_original_max_position);
    if (json_object_set_new(json, "rope_theta", json_real(c->rotary_base)) ||
        json_object_set_new(json, "rope_scaling", scaling))
        return dt_fail_memory(err, 64, "config.json");
    return DT_OK;
}

dt_status dt_hf_refuse_true(const json_t *json, const char *key, dt_error *err)
{
    bool value = false;
    DT_PASS(dt_json_bool(json, key, &value, err));
    return value ? dt_fail(err, DT_UNSUPPORTED,
                           "config.json: \"%s\" is true, which drivetrain does not compute", key)
                 : DT_OK;
}

void dt_hf_null_means(const json_t *json, const char *key, int64_t *field, int64_t value)
{
    if (json_is_null(json_object_get(json, key)))
        *field = value;
}
