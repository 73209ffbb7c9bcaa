/*
 * windows.c (gguf) - attention windows: where llama.cpp's graph of an architecture has them, and where it has none.
 *
 * Which layers are windowed is fixed for an architecture: all but the last of each `period`. An architecture without
 * windows computes the same as one with them on sequences that no window cuts; so such a model is told to llama.cpp with
 * a context of that length, and the real one stands in keys of ours.
 */
#include "base/json.h"
#include "formats/gguf/family.h"

static bool windowed(const dt_model_config *c, int64_t layer)
{
    return dt_config_layer_window(c, layer) >= 0;
}

static bool repeats(const dt_model_config *c, int64_t period)
{
    for (int64_t i = 0; i < c->num_layers; i++)
        if (windowed(c, i) != (period == 0 || i % period < period - 1))
            return false;
    return true;
}

dt_status dt_gguf_read_periodic_window(dt_model_config *c, const json_t *json, int64_t period, dt_error *err)
{
    int64_t window = 0;
    bool list[DT_MAX_LAYERS];
    DT_PASS(dt_json_int(json, "attention.sliding_window", &window, err));
    DT_PASS(dt_json_int(json, "attention.sliding_window_pattern", &period, err));
    if (window < 1 || c->num_layers < 1 || c->num_layers > DT_MAX_LAYERS)
        return DT_OK;
    c->window_left = window - 1;
    for (int64_t i = 0; i < c->num_layers; i++)
        list[i] = period < 1 || i % period < period - 1;
    dt_config_list_windows(c, list, (int)c->num_layers);
    return DT_OK;
}

int dt_gguf_write_periodic_window(const dt_model_config *c, json_t *json, int64_t period)
{
    int failed = 0;
    bool any = false;
    for (int64_t i = 0; i < c->num_layers; i++)
        any |= windowed(c, i);
    if (any)
        failed |= json_object_set_new(json, "attention.sliding_window", json_integer(c->window_left + 1));
    if (!any || repeats(c, period))
        return failed;
    for (int64_t other = 2; other <= c->num_layers + 1; other++)
        if (repeats(c, other))
            return failed |
                   json_object_set_new(json, "attention.sliding_window_pattern", json_integer(other));
    return failed;
}

dt_status dt_gguf_read_ignored_window(dt_model_config *c, const json_t *json, dt_error *err)
{
    int64_t window = 0;
    DT_PASS(dt_json_int(json, "drivetrain.sliding_window", &window, err));
    DT_PASS(dt_json_int(json, "drivetrain.context_length", &c->max_sequence_length, err));
    if (window > 0)
        c->window_left = window - 1;
    return DT_OK;
}

int64_t dt_gguf_context(const dt_model_config *c)
{
    int64_t context = c->max_sequence_length;
    for (int64_t i = 0; i < c->num_layers; i++)
        if (windowed(c, i) && dt_config_layer_window(c, i) + 1 < context)
            context = dt_config_layer_window(c, i) + 1;
    return context;
}

int dt_gguf_write_ignored_window(const dt_model_config *c, json_t *json)
{
    if (!repeats(c, 0)) /* in no layer; or in some, which does not come back, and so is refused */
        return 0;
    int failed = json_object_set_new(json, "context_length", json_integer(dt_gguf_context(c)));
    failed |= json_object_set_new(json, "drivetrain.context_length", json_integer(c->max_sequence_length));
    return failed | json_object_set_new(json, "drivetrain.sliding_window", json_integer(c->window_left + 1));
}
