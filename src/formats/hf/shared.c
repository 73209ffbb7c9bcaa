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
