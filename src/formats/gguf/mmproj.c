/*
 * mmproj.c (gguf) - the eyes of a language model as llama.cpp's multimodal loader (mtmd) reads them: a tower and its
 * projector in a second file, mmproj-NAME.gguf beside NAME.gguf.
 *
 * That loader's kind "mlp" is LLaVA: a plain tower, the rows between two of its layers without the class token's, two linear
 * layers with GELU (its tanh form) between. A norm at the tower's end is computed wherever the file has one, so that where
 * the rows come from before it, it has a name of ours. Since May 2025 (up to July 2026 at least) it computes class tokens
 * wrongly, which no file can mend; who exports such a tower is told. The whole configuration stands in a key of ours: drivetrain opens such
 * pairs of files as the model that they were written from.
 */
#include "formats/gguf/mmproj.h"

#include "base/json.h"
#include "base/output.h"
#include "base/say.h"
#include "base/text.h"
#include "data/image/processor.h"
#include "formats/megatron/megatron.h"
#include "models/build.h"

#include <stdlib.h>
#include <string.h>

#define NAMES "formats/gguf/names_mmproj.def"
#include "formats/hf/expand_names.h"

#define CONFIG "drivetrain.config"

/* The norm at the tower's end: computed, or passed over. */
static const dt_name_row last_norm[2][2] = {
    {{DT_WHEN_always, DT_MAP_direct, "vision_model.ln_post.weight", {"drivetrain.v.post_ln.weight"}},
     {DT_WHEN_always, DT_MAP_direct, "vision_model.ln_post.bias", {"drivetrain.v.post_ln.bias"}}},
    {{DT_WHEN_always, DT_MAP_direct, "vision_model.ln_post.weight", {"v.post_ln.weight"}},
     {DT_WHEN_always, DT_MAP_direct, "vision_model.ln_post.bias", {"v.post_ln.bias"}}},
};

dt_status dt_gguf_eyes_names(dt_name_table *out, dt_arena *arena, const dt_model_config *c,
                             const dt_name_table *language, dt_error *err)
{
    dt_name_table norm = {.prefix = "", .row = last_norm[c->feature_layers == 0], .row_count = 2};
    dt_name_part part[] = {{.canonical = "", .external = "", .table = &names},
                           {.canonical = "", .external = "", .table = &norm},
                           {.canonical = "language_model.", .external = "", .table = language}};
    return dt_names_compose(out, arena, part, language ? 3 : 2, err);
}

/* ---- what llama.cpp can compute ---- */

static bool is_gelu(dt_activation a)
{
    return a == DT_ACT_GELU || a == DT_ACT_GELU_TANH;
}

static const char *tower_obstacle(const dt_model_config *v)
{
    const struct {
        bool in_the_way;
        const char *key;
    } row[] = {{strcmp(v->model_type, "clip_vit") != 0, "vision.model_type"},
               {v->normalization != DT_NORM_LAYERNORM, "vision.normalization"},
               {v->layer_scale, "vision.x_layer_scale"},
               {v->qk_layernorm, "vision.qk_layernorm"},
               {v->gated_linear_unit, "vision.gated_linear_unit"},
               {v->vision_causal, "vision.x_vision_causal"},
               {v->num_channels != 3, "vision.num_channels"},
               {v->class_token_len > 1, "vision.class_token_len"},
               {v->img_h != v->img_w, "vision.img_w"},
               {!is_gelu(v->activation_func) && v->activation_func != DT_ACT_QUICK_GELU &&
                    v->activation_func != DT_ACT_SILU,
                "vision.activation_func"}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        if (row[i].in_the_way)
            return row[i].key;
    return NULL;
}

static bool layers_ascend(const dt_model_config *c)
{
    for (int i = 0; i < c->feature_layers; i++)
        if (dt_config_feature_depth(c, i) < 1 ||
            (i > 0 && dt_config_feature_depth(c, i) <= dt_config_feature_depth(c, i - 1)))
            return false;
    return true;
}

static const char *obstacle(const dt_model_config *c)
{
    const dt_model_config *p = c->projection;
    const struct {
        bool in_the_way;
        const char *key;
    } row[] = {{p->projector_type != DT_PROJECTOR_MLP, "vision_projection.projector_type"},
               {!is_gelu(p->activation_func), "vision_projection.activation_func"},
               {p->gated_linear_unit, "vision_projection.gated_linear_unit"},
               {p->projector_norm, "vision_projection.x_projector_norm"},
               {!p->add_bias_linear, "vision_projection.add_bias_linear"},
               {c->drop_class_token != (c->vision->class_token_len > 0), "drop_vision_class_token"},
               {c->pixel_shuffle, "pixel_shuffle"},
               {c->image_newline, "x_image_newline"},
               {!layers_ascend(c), "x_vision_feature_layer"}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        if (row[i].in_the_way)
            return row[i].key;
    return tower_obstacle(c->vision);
}

dt_status dt_gguf_check_eyes(const dt_model_config *c, dt_error *err)
{
    const char *key = c->projection ? obstacle(c) : "vision_projection";
    if (!key)
        return DT_OK;
    dt_fail(err, DT_UNSUPPORTED,
            "llama.cpp's LLaVA does not compute the eyes of this %s: \"%s\" is in the way", c->family, key);
    dt_error_try(err,
                 c->projection ? "--part language for the language model alone, or --to hf" : "--to onnx");
    return DT_UNSUPPORTED;
}

/* ---- metadata ---- */

static void put_triple(dt_gguf_keys *k, const char *key, const double value[3])
{
    dt_gguf_key_array(k, key, DT_GGUF_F32, 3);
    for (int i = 0; i < 3; i++) {
        float narrow = (float)value[i];
        dt_text_append(&k->text, (const char *)&narrow, sizeof narrow);
    }
}

/* How pictures are normalised: as the model's processor says, else as CLIP's were. */
static void put_normalization(dt_gguf_keys *k, const dt_checkpoint *from)
{
    static const double mean[3] = {0.48145466, 0.4578275, 0.40821073},
                        std[3] = {0.26862954, 0.26130258, 0.27577711};
    dt_image_processor *p = NULL;
    dt_error why = {0};
    if (dt_image_processor_open(&p, from->path, NULL, &why) != DT_OK)
        dt_say(from->log, DT_LOG_WARNING, "pictures are normalised as CLIP's: %s", why.line[0]);
    put_triple(k, "clip.vision.image_mean", p ? p->s.mean : mean);
    put_triple(k, "clip.vision.image_std", p ? p->s.std : std);
    dt_image_processor_close(p);
}

static void put_layers(dt_gguf_keys *k, const dt_model_config *c)
{
    int count = c->feature_layers ? c->feature_layers : 1;
    dt_gguf_key_array(k, "clip.vision.feature_layer", DT_GGUF_I32, (uint64_t)count);
    for (int i = 0; i < count; i++)
        dt_gguf_put_number(
            &k->text, (uint64_t)(c->feature_layers ? dt_config_feature_depth(c, i) : c->vision->num_layers),
            4);
}

static void put_tower(dt_gguf_keys *k, const dt_model_config *c)
{
    const dt_model_config *v = c->vision;
    const struct {
        const char *key;
        int64_t value;
    } row[] = {{"clip.vision.image_size", v->img_h},
               {"clip.vision.patch_size", v->patch_dim},
               {"clip.vision.embedding_length", v->hidden_size},
               {"clip.vision.feed_forward_length", v->ffn_hidden_size},
               {"clip.vision.block_count", v->num_layers},
               {"clip.vision.attention.head_count", v->num_attention_heads},
               {"clip.vision.projection_dim", c->projection->hidden_size}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        dt_gguf_key_u32(k, row[i].key, (uint32_t)row[i].value);
    dt_gguf_key_f32(k, "clip.vision.attention.layer_norm_epsilon", (float)v->layernorm_epsilon);
    dt_gguf_key_bool(k, "clip.use_gelu", is_gelu(v->activation_func));
    dt_gguf_key_bool(k, "clip.use_silu", v->activation_func == DT_ACT_SILU);
    put_layers(k, c);
}

/* The maker's words of how pictures are made, whole: llama.cpp asks for less. */
static dt_status put_processor(dt_gguf_keys *k, const char *model, dt_error *err)
{
    char path[4096];
    dt_map map = {0};
    if (!dt_image_processor_file(path, sizeof path, model))
        return DT_OK;
    DT_PASS(dt_map_open(&map, path, err));
    char *text = strndup((const char *)map.data, map.size);
    dt_map_close(&map);
    if (!text)
        return dt_fail_memory(err, map.size, path);
    dt_gguf_key_string(k, DT_GGUF_PROCESSOR, text);
    free(text);
    return DT_OK;
}

static dt_status put_own(dt_gguf_keys *k, const dt_model_config *c, dt_error *err)
{
    json_t *json = NULL;
    DT_PASS(dt_megatron_write_config(c, &json, err));
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (!text)
        return dt_fail_memory(err, 4096, "a configuration");
    dt_gguf_key_string(k, CONFIG, text);
    free(text);
    return DT_OK;
}

static void tell_defect(const dt_checkpoint *from)
{
    if (from->config.vision->class_token_len > 0)
        dt_say(from->log, DT_LOG_WARNING,
               "llama.cpp since May 2025 puts the class token behind the patches (its issue 25814): where "
               "that is "
               "not mended it sees less than this model does");
}

dt_status dt_gguf_put_eyes(dt_gguf_keys *k, const dt_checkpoint *from, int file_type, dt_error *err)
{
    dt_model_config c = from->config;
    tell_defect(from);
    c.padded_vocab_size = c.vocab_size; /* as the language model's file has it */
    dt_gguf_key_string(k, "general.architecture", DT_GGUF_EYES);
    dt_gguf_key_string(k, "general.type", "mmproj");
    dt_gguf_key_u32(k, "general.file_type", (uint32_t)file_type);
    dt_gguf_key_bool(k, "clip.has_vision_encoder", true);
    dt_gguf_key_string(k, "clip.projector_type", "mlp");
    put_tower(k, &c);
    put_normalization(k, from);
    DT_PASS(put_processor(k, from->path, err));
    return put_own(k, &c, err);
}

dt_status dt_gguf_map_eyes(dt_mapping **out, dt_arena *arena, const dt_model_config *c, dt_error *err)
{
    const dt_param_spec *all = NULL;
    dt_name_table table;
    int count = 0, taken = 0;
    DT_PASS(dt_model_parameters(c, arena, &all, &count, err));
    dt_param_spec *spec = DT_NEW_ARRAY(arena, dt_param_spec, count + 1);
    if (!spec)
        return dt_fail_memory(err, sizeof *spec * (size_t)count, "the tensors to write");
    for (int i = 0; i < count; i++)
        if (!dt_starts_with(all[i].name, "language_model."))
            spec[taken++] = all[i];
    DT_PASS(dt_gguf_eyes_names(&table, arena, c, NULL, err));
    DT_PASS(dt_mapping_create(out, arena, spec, taken, err));
    return dt_names_map(*out, &table, c, err);
}

/* ---- reading ---- */

dt_status dt_gguf_read_eyes(dt_checkpoint *c, dt_gguf *g, bool *whole, dt_error *err)
{
    const char *text = NULL;
    json_t *json = NULL;
    DT_PASS(dt_gguf_string(g, CONFIG, &text, err));
    *whole = text != NULL;
    if (!text)
        return DT_OK;
    DT_PASS(dt_json_parse(&json, text, strlen(text), CONFIG, err));
    dt_status status = dt_megatron_is_llava(json)
                           ? dt_megatron_read_llava(json, &c->config, &c->parts, err)
                           : dt_fail(err, DT_FORMAT, "key \"" CONFIG "\" describes no model that sees");
    json_decref(json);
    return status;
}
