/*
 * shapes.c (megatron) - layers that are not all alike: the "block_configs" of Megatron's heterogeneous models, which are
 * those of Nemotron-NAS, as text inside a configuration.
 *
 * Either maker's words are read (n_heads_in_group, ffn_mult; num_query_groups, ffn_hidden_size), Megatron's written.
 */
#include "base/json.h"
#include "formats/megatron/megatron.h"

#include <stdlib.h>
#include <string.h>

static const char text_key[] = "heterogeneous_layers_config_encoded_json";

static dt_status read_kind(const json_t *part, dt_branch_kind *out, dt_error *err)
{
    bool none = false, linear = false;
    DT_PASS(dt_json_bool(part, "no_op", &none, err));
    DT_PASS(dt_json_bool(part, "replace_with_linear", &linear, err));
    *out = none ? DT_BRANCH_NONE : linear ? DT_BRANCH_LINEAR : DT_BRANCH_FULL;
    return DT_OK;
}

/* -1 when the layer has the model's own. */
static dt_status read_groups(const json_t *part, const dt_model_config *c, int64_t *out, dt_error *err)
{
    int64_t sharing = 0;
    *out = -1;
    if (json_object_get(part, "num_query_groups"))
        return dt_json_int(part, "num_query_groups", out, err);
    if (!dt_json_get(part, "n_heads_in_group"))
        return DT_OK;
    DT_PASS(dt_json_int(part, "n_heads_in_group", &sharing, err));
    if (sharing < 1 || c->num_attention_heads % sharing)
        return dt_fail(err, DT_UNSUPPORTED, "\"n_heads_in_group\" is %lld, which does not divide %lld heads",
                       (long long)sharing, (long long)c->num_attention_heads);
    *out = c->num_attention_heads / sharing;
    return DT_OK;
}

/* ffn_mult: two thirds of so many times hidden_size, up to the next multiple of 256. */
static dt_status read_width(const json_t *part, const dt_model_config *c, int64_t *out, dt_error *err)
{
    double times = 0;
    *out = -1;
    if (json_object_get(part, "ffn_hidden_size"))
        return dt_json_int(part, "ffn_hidden_size", out, err);
    if (!dt_json_get(part, "ffn_mult"))
        return DT_OK;
    DT_PASS(dt_json_real(part, "ffn_mult", &times, err));
    double width = 2 * times * (double)c->hidden_size / 3;
    if (!(width >= 1 && width < INT32_MAX / 2))
        return dt_fail(err, DT_UNSUPPORTED, "\"ffn_mult\" is %g, which makes no width of an MLP", times);
    *out = ((int64_t)width + 255) / 256 * 256;
    return DT_OK;
}

static dt_status size_or_own(int64_t size, int64_t own, int32_t *out, dt_error *err)
{
    int64_t chosen = size == -1 ? own : size;
    if (chosen < 1 || chosen > INT32_MAX)
        return dt_fail(err, DT_UNSUPPORTED, "a layer's size is %lld, expected at least 1", (long long)chosen);
    *out = (int32_t)chosen;
    return DT_OK;
}

static dt_status read_shape(const json_t *block, const dt_model_config *c, dt_layer_shape *out, dt_error *err)
{
    const json_t *attention = dt_json_get(block, "attention"), *mlp = dt_json_get(block, "ffn");
    int64_t groups, width;
    if (!mlp)
        mlp = dt_json_get(block, "mlp");
    if (!json_is_object(attention) || !json_is_object(mlp))
        return dt_fail(err, DT_FORMAT, "it has no objects \"attention\" and \"ffn\"");
    DT_PASS(read_kind(attention, &out->attention, err));
    DT_PASS(read_kind(mlp, &out->mlp, err));
    DT_PASS(read_groups(attention, c, &groups, err));
    DT_PASS(read_width(mlp, c, &width, err));
    DT_PASS(size_or_own(groups, c->num_query_groups, &out->num_query_groups, err));
    return size_or_own(width, c->ffn_hidden_size, &out->ffn_hidden_size, err);
}

static dt_status read_list(const json_t *list, dt_model_config *c, dt_error *err)
{
    dt_model_config sizes = *c;
    dt_config_derive(&sizes);
    if (!json_is_array(list) || json_array_size(list) > DT_MAX_SHAPES)
        return dt_fail(err, DT_FORMAT, "\"block_configs\" is no list of at most %d layers", DT_MAX_SHAPES);
    c->shape_count = (int)json_array_size(list);
    for (int i = 0; i < c->shape_count; i++)
        DT_TRY(read_shape(json_array_get(list, (size_t)i), &sizes, &c->shape[i], err), err,
               "while reading layer %d of \"block_configs\"", i);
    return DT_OK;
}

dt_status dt_megatron_read_shapes(const json_t *json, dt_model_config *c, dt_error *err)
{
    static const char *const pointers[] = {"heterogeneous_layers_config_path", "heterogeneous_block_specs"};
    const char *text = NULL;
    json_t *inside = NULL;
    DT_PASS(dt_json_string(json, text_key, &text, err));
    if (!text || !text[0]) {
        for (int i = 0; i < 2; i++) {
            const json_t *value = json_object_get(json, pointers[i]);
            if (json_is_true(value) || (json_is_string(value) && json_string_length(value)))
                return dt_fail(err, DT_UNSUPPORTED,
                               "key \"%s\" is set, but the shapes of the layers are not there: \"%s\"",
                               pointers[i], text_key);
        }
        return DT_OK;
    }
    dt_status status = dt_json_parse(&inside, text, strlen(text), text_key, err);
    if (status == DT_OK)
        status = read_list(dt_json_get(inside, "block_configs"), c, err);
    json_decref(inside);
    if (status != DT_OK)
        dt_error_while(err, "while reading key \"%s\"", text_key);
    return status;
}

/* ---- writing ---- */

static json_t *branch(dt_branch_kind kind, const char *size_key, int64_t size)
{
    return json_pack("{s:b,s:b,s:o}", "no_op", kind == DT_BRANCH_NONE, "replace_with_linear",
                     kind == DT_BRANCH_LINEAR, size_key,
                     kind == DT_BRANCH_FULL ? json_integer(size) : json_null());
}

int dt_megatron_write_shapes(const dt_model_config *c, json_t *json)
{
    if (c->shape_count == 0)
        return 0;
    json_t *list = json_array();
    int failed = list == NULL;
    for (int i = 0; i < c->shape_count; i++) {
        const dt_layer_shape *s = &c->shape[i];
        json_t *attention = branch(s->attention, "num_query_groups", s->num_query_groups);
        json_t *mlp = branch(s->mlp, "ffn_hidden_size", s->ffn_hidden_size);
        failed |= json_array_append_new(list, json_pack("{s:o,s:o}", "attention", attention, "ffn", mlp));
    }
    json_t *whole = json_pack("{s:o}", "block_configs", list);
    char *text = whole ? json_dumps(whole, JSON_SORT_KEYS) : NULL;
    failed |= !text || json_object_set_new(json, text_key, json_string(text));
    failed |= json_object_set_new(json, "heterogeneous_block_specs", json_true());
    free(text);
    json_decref(whole);
    return failed;
}
