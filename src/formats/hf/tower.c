/*
 * tower.c (hf) - see tower.h: sizes of pictures and patches, defaults and biases of vision towers.
 */
#include "formats/hf/tower.h"

#include "base/json.h"

#include <stdio.h>

void dt_hf_tower_defaults(dt_model_config *c, int64_t patch)
{
    snprintf(c->model_type, sizeof c->model_type, "clip_vit");
    c->position_embedding_type = DT_POSITION_NONE; /* the tower's table is no text's */
    c->max_sequence_length = -1;
    c->hidden_size = 768;
    c->num_layers = 12;
    c->num_attention_heads = 12;
    c->ffn_hidden_size = 3072;
    c->img_h = c->img_w = 224;
    c->patch_dim = patch;
    c->activation_func = DT_ACT_GELU;
    c->class_token_len = 1;
    c->patch_bias = true;
    c->ln_post = true;
}

/* A number, or two of them. */
static dt_status read_pair(const json_t *json, const char *key, int64_t *first, int64_t *second,
                           dt_error *err)
{
    const json_t *value = dt_json_get(json, key);
    bool list = json_is_array(value);
    if (!value)
        return DT_OK;
    const json_t *a = list ? json_array_get(value, 0) : value, *b = list ? json_array_get(value, 1) : value;
    if ((list && json_array_size(value) != 2) || !json_is_integer(a) || !json_is_integer(b))
        return dt_fail(err, DT_FORMAT, "key \"%s\" is no number and no list of two", key);
    *first = json_integer_value(a);
    *second = json_integer_value(b);
    return DT_OK;
}

dt_status dt_hf_read_picture_sizes(dt_model_config *c, const json_t *json, dt_error *err)
{
    int64_t width = c->patch_dim;
    DT_PASS(read_pair(json, "image_size", &c->img_h, &c->img_w, err));
    DT_PASS(read_pair(json, "patch_size", &c->patch_dim, &width, err));
    if (width != c->patch_dim)
        return dt_fail(err, DT_UNSUPPORTED,
                       "config.json: \"patch_size\" is %lld x %lld; drivetrain computes square patches",
                       (long long)c->patch_dim, (long long)width);
    return DT_OK;
}

dt_status dt_hf_write_picture_sizes(const dt_model_config *c, json_t *json, bool lists, dt_error *err)
{
    json_int_t P = c->patch_dim;
    if (!lists && c->img_h != c->img_w)
        return dt_fail(err, DT_UNSUPPORTED, "the class's pictures are square, this model's are %lld x %lld",
                       (long long)c->img_w, (long long)c->img_h);
    json_t *image =
        lists ? json_pack("[I,I]", (json_int_t)c->img_h, (json_int_t)c->img_w) : json_integer(c->img_h);
    json_t *patch = lists ? json_pack("[I,I]", P, P) : json_integer(P);
    if (json_object_set_new(json, "image_size", image) | json_object_set_new(json, "patch_size", patch))
        return dt_fail_memory(err, 256, "config.json");
    return DT_OK;
}

void dt_hf_tower_biases(dt_model_config *c)
{
    c->add_bias_linear = c->add_qkv_bias;
    c->attention_output_bias = c->mlp_bias = true;
}

int64_t dt_hf_mlp_width(const dt_model_config *c, double ratio)
{
    double wide = (double)c->hidden_size * ratio;
    if (!(wide >= 0 && wide < 1 << 24))
        return 0; /* dt_config_check refuses it */
    int64_t width = (int64_t)wide;
    return c->gated_linear_unit ? (width * 2 / 3 + 7) / 8 * 8 : width;
}

dt_status dt_hf_mlp_ratio(const dt_model_config *c, json_t **out, dt_error *err)
{
    double ratio = (double)c->ffn_hidden_size * (c->gated_linear_unit ? 1.5 : 1) / (double)c->hidden_size;
    if (dt_hf_mlp_width(c, ratio) != c->ffn_hidden_size)
        return dt_fail(err, DT_UNSUPPORTED, "no \"mlp_ratio\" makes an MLP of this class %lld wide",
                       (long long)c->ffn_hidden_size);
    *out = ratio == (double)(int64_t)ratio ? json_integer((json_int_t)ratio) : json_real(ratio);
    return DT_OK;
}
