/*
 * llava.c (hf) - config.json of LLaVA and LLaVA-NeXT: a tower and a language model of any family that stands alone here, a
 * projector between them, and what of the tower's rows it takes.
 *
 * Files have three sets of names: transformers 4 wrote those that are written here (version 5 reads them), 5 leaves out the
 * tower's own prefix, and some files hold them as they lie in memory, below "model.".
 */
#include "formats/hf/compound.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

#define NAMES "formats/hf/names_llava.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {KEY(INT, "image_token_index", image_token_index)
                                     KEY(ALIAS, "image_token_id", image_token_index)};

static void defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "llava");
    c->image_token_index = 32000;
    c->drop_class_token = true;
    c->feature_layers = 1;
    c->feature_layer[0] = -2;
}

static void defaults_next(dt_model_config *c)
{
    static const int32_t usual[][2] = {{336, 672}, {672, 336}, {672, 672}, {1008, 336}, {336, 1008}};
    defaults(c);
    c->image_newline = true;
    c->grid_points = sizeof usual / sizeof usual[0];
    memcpy(c->grid_point, usual, sizeof usual);
}

/* ---- reading ---- */

static dt_status read_layer(const json_t *value, int32_t *out, dt_error *err)
{
    json_int_t layer = json_integer_value(value);
    if (!json_is_integer(value) || layer < -DT_MAX_LAYERS || layer > DT_MAX_LAYERS)
        return dt_fail(err, DT_FORMAT, "key \"vision_feature_layer\" holds something that is no layer");
    *out = (int32_t)layer;
    return DT_OK;
}

static dt_status read_layers(dt_model_config *c, const json_t *json, dt_error *err)
{
    const json_t *value = dt_json_get(json, "vision_feature_layer");
    if (!value)
        return DT_OK;
    if (!json_is_array(value))
        return read_layer(value, &c->feature_layer[0], err);
    if (json_array_size(value) < 1 || json_array_size(value) > DT_MAX_FEATURE_LAYERS)
        return dt_fail(err, DT_LIMIT, "key \"vision_feature_layer\" lists %zu layers; 1 to %d are read",
                       json_array_size(value), DT_MAX_FEATURE_LAYERS);
    c->feature_layers = (int)json_array_size(value);
    for (int i = 0; i < c->feature_layers; i++)
        DT_PASS(read_layer(json_array_get(value, (size_t)i), &c->feature_layer[i], err));
    return DT_OK;
}

/* "default" cuts off the first row of each picture, which is a class token only where the tower has one. */
static dt_status read_strategy(dt_model_config *c, const json_t *json, dt_error *err)
{
    const char *strategy = "default";
    DT_PASS(dt_json_string(json, "vision_feature_select_strategy", &strategy, err));
    c->drop_class_token = strcmp(strategy, "full") != 0;
    if (c->drop_class_token && strcmp(strategy, "default") != 0)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "config.json: \"vision_feature_select_strategy\" is \"%s\"; drivetrain knows default and full",
            strategy);
    if (c->drop_class_token && c->vision->class_token_len != 1)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "config.json: \"vision_feature_select_strategy\" is \"default\", which would cut off a patch: a "
            "%s has %lld class tokens",
            c->vision->family, (long long)c->vision->class_token_len);
    return DT_OK;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    c->final_logit_softcapping = 0; /* the class's head is its own, without what Gemma 2's does to logits */
    DT_PASS(read_layers(c, json, err));
    return read_strategy(c, json, err);
}

static dt_status read_next(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                           dt_error *err)
{
    DT_PASS(read(c, json, evidence, err));
    if (!c->drop_class_token && c->vision->class_token_len)
        return dt_fail(err, DT_UNSUPPORTED,
                       "config.json: \"vision_feature_select_strategy\" is \"full\": the class tokens of a "
                       "%s's tiles have "
                       "no place in a picture",
                       c->vision->family);
    return dt_json_pairs(json, "image_grid_pinpoints", DT_MAX_GRID_POINTS, &c->grid_points, c->grid_point,
                         err);
}

static dt_status read_parts(dt_config_parts *parts, dt_model_config *c, const json_t *json, dt_error *err)
{
    dt_model_config *p = &parts->projection;
    const char *activation = "gelu";
    dt_config_init(p);
    snprintf(p->model_type, sizeof p->model_type, "projector");
    snprintf(p->family, sizeof p->family, "megatron_projector");
    p->position_embedding_type = DT_POSITION_NONE;
    p->num_layers = p->num_attention_heads = 1;
    p->hidden_size = p->ffn_hidden_size = c->hidden_size;
    p->input_size = dt_config_feature_width(c);
    DT_PASS(dt_json_bool(json, "multimodal_projector_bias", &p->add_bias_linear, err));
    DT_PASS(dt_json_string(json, "projector_hidden_act", &activation, err));
    DT_PASS(dt_hf_read_activation("projector_hidden_act", activation, &p->activation_func, err));
    c->projection = p;
    return DT_OK;
}

/* ---- writing ---- */

static json_t *layers_of(const dt_model_config *c)
{
    if (c->feature_layers == 1)
        return json_integer(c->feature_layer[0]);
    json_t *list = json_array();
    for (int i = 0; list && i < c->feature_layers; i++)
        json_array_append_new(list, json_integer(c->feature_layer[i]));
    return list;
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    const char *activation = dt_hf_activation_name(c->projection->activation_func);
    if (c->feature_layers == 0)
        return dt_fail(err, DT_UNSUPPORTED,
                       "LLaVA takes rows between its tower's layers, this %s what the tower returns",
                       c->family);
    if (!activation)
        return dt_fail(err, DT_UNSUPPORTED, "the projector's activation has no name in transformers");
    int failed = json_object_set_new(json, "vision_feature_layer", layers_of(c));
    failed |= json_object_set_new(json, "vision_feature_select_strategy",
                                  json_string(c->drop_class_token ? "default" : "full"));
    failed |= json_object_set_new(json, "projector_hidden_act", json_string(activation));
    failed |=
        json_object_set_new(json, "multimodal_projector_bias", json_boolean(c->projection->add_bias_linear));
    failed |= json_object_set_new(json, "image_seq_length", json_integer(dt_config_feature_rows(c)));
    return failed ? dt_fail_memory(err, 4096, "config.json") : DT_OK;
}

static dt_status write_next(const dt_model_config *c, json_t *json, dt_error *err)
{
    DT_PASS(write(c, json, err));
    return json_object_set_new(json, "image_grid_pinpoints",
                               dt_json_from_pairs(c->grid_points, c->grid_point))
               ? dt_fail_memory(err, 4096, "config.json")
               : DT_OK;
}

/* ---- where its parts are: as written here, as transformers 5 writes, as in memory ---- */

static const struct dt_hf_compound members = {
    .text = {.key = "text_config",
             .model_type = "llama",
             .kind = "gpt",
             .canonical = "language_model.",
             .probe = "embedding.word_embeddings.weight",
             .place = {{"language_model.model.", "language_model.", true},
                       {"language_model.model.", "language_model.", true},
                       {"model.language_model.", "", true},
                       {"language_model.", "language_model.", false}}},
    .vision = {.key = "vision_config",
               .model_type = "clip_vision_model",
               .canonical = "vision_model.",
               .probe = "conv1.weight",
               .place = {{"vision_tower.", "vision_tower.", false},
                         {"vision_tower.", "vision_tower.", true},
                         {"model.vision_tower.", "model.vision_tower.", true},
                         {"model.vision_tower.", "model.vision_tower.", false}}},
    .own = {.canonical = "",
            .probe = "vision_projection.encoder.linear_fc1.weight",
            .place = {{"language_model.", "", true}, {"language_model.", "", true}, {"", "model.", true}}},
    .read_parts = read_parts};

DT_HF_COMPOUND(llava, "LlavaForConditionalGeneration", &members, defaults, read, write)
DT_HF_COMPOUND(llava_next, "LlavaNextForConditionalGeneration", &members, defaults_next, read_next,
               write_next)
