/*
 * windows.c - sliding windows as Hugging Face's families write them: one size, and which layers have it.
 *
 * transformers counts a query's own key ("sliding_window" 4 sees three before it); dt_model_config counts those
 * before it, as Megatron does. Which of the three ways a family has is its file's business.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <string.h>

static dt_status read_size(dt_model_config *c, const json_t *json, int64_t initial, dt_error *err)
{
    int64_t window = initial;
    if (json_is_null(json_object_get(json, "sliding_window")))
        window = -1; /* said to be none, whatever the class's default */
    DT_PASS(dt_json_int(json, "sliding_window", &window, err));
    if (window == 0 || window < -1 || window > INT32_MAX)
        return dt_fail(err, DT_UNSUPPORTED, "config.json: \"sliding_window\" is %lld, expected at least 1",
                       (long long)window);
    c->window_left = window < 0 ? -1 : window - 1;
    return DT_OK;
}

static dt_status read_types(dt_model_config *c, const json_t *types, dt_error *err)
{
    bool windowed[DT_MAX_LAYERS];
    size_t count = json_array_size(types);
    if (!json_is_array(types) || count > DT_MAX_LAYERS)
        return dt_fail(err, DT_FORMAT, "config.json: \"layer_types\" is no list of at most %d layers",
                       DT_MAX_LAYERS);
    if ((int64_t)count != c->num_layers)
        return dt_fail(err, DT_FORMAT,
                       "config.json: \"layer_types\" has %zu entries, \"num_hidden_layers\" is %lld", count,
                       (long long)c->num_layers);
    for (size_t i = 0; i < count; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        windowed[i] = type && strcmp(type, "sliding_attention") == 0;
        if (!windowed[i] && (!type || strcmp(type, "full_attention") != 0))
            return dt_fail(err, DT_UNSUPPORTED,
                           "config.json: \"layer_types\" holds \"%s\"; drivetrain knows full_attention and "
                           "sliding_attention",
                           type ? type : "something that is no text");
        if (windowed[i] && c->window_left < 0)
            return dt_fail(
                err, DT_FORMAT,
                "config.json: \"layer_types\" holds sliding_attention, but there is no \"sliding_window\"");
    }
    dt_config_list_windows(c, windowed, (int)count);
    return DT_OK;
}

dt_status dt_hf_read_window(dt_model_config *c, const json_t *json, int64_t initial, dt_error *err)
{
    return read_size(c, json, initial, err);
}

dt_status dt_hf_read_layer_windows(dt_model_config *c, const json_t *json, int64_t initial, int64_t skip,
                                   dt_error *err)
{
    const json_t *types = dt_json_get(json, "layer_types");
    DT_PASS(read_size(c, json, initial, err));
    c->window_attn_skip_freq = skip;
    return types ? read_types(c, types, err) : DT_OK;
}

dt_status dt_hf_read_switched_windows(dt_model_config *c, const json_t *json, dt_error *err)
{
    const json_t *types = dt_json_get(json, "layer_types");
    bool on = false, windowed[DT_MAX_LAYERS];
    int64_t full = 28; /* the classes' default */
    DT_PASS(dt_json_bool(json, "use_sliding_window", &on, err));
    DT_PASS(dt_json_int(json, "max_window_layers", &full, err));
    if (on)
        DT_PASS(read_size(c, json, 4096, err));
    if (types)
        return read_types(c, types, err);
    if (!on || c->num_layers < 1 || c->num_layers > DT_MAX_LAYERS)
        return DT_OK; /* a wrong number of layers is told by dt_config_check */
    for (int64_t i = 0; i < c->num_layers; i++)
        windowed[i] = i >= full;
    dt_config_list_windows(c, windowed, (int)c->num_layers);
    return DT_OK;
}

/* ---- writing ---- */

dt_status dt_hf_write_window(const dt_model_config *c, json_t *json, dt_error *err)
{
    json_t *size = c->window_left < 0 ? json_null() : json_integer(c->window_left + 1);
    return json_object_set_new(json, "sliding_window", size) ? dt_fail_memory(err, 64, "config.json") : DT_OK;
}

dt_status dt_hf_write_layer_windows(const dt_model_config *c, json_t *json, dt_error *err)
{
    json_t *types = json_array();
    int failed = json_object_set(json, "layer_types", types);
    for (int64_t i = 0; i < c->num_layers; i++)
        failed |= json_array_append_new(
            types, json_string(dt_config_layer_window(c, i) < 0 ? "full_attention" : "sliding_attention"));
    json_decref(types);
    return failed ? dt_fail_memory(err, 64, "config.json") : dt_hf_write_window(c, json, err);
}

/* Layers from "max_window_layers" on, for readers that know no "layer_types". */
dt_status dt_hf_write_switched_windows(const dt_model_config *c, json_t *json, dt_error *err)
{
    int64_t full = 0;
    while (full < c->num_layers && dt_config_layer_window(c, full) < 0)
        full++;
    int failed = json_object_set_new(json, "use_sliding_window", json_boolean(c->window_left >= 0));
    failed |= json_object_set_new(json, "max_window_layers", json_integer(full));
    return failed ? dt_fail_memory(err, 64, "config.json") : dt_hf_write_layer_windows(c, json, err);
}
