/*
 * presets.c (megatron) - a multimodal run's arguments as LLaVAModel's compound configuration. The arguments are the language
 * model's; of the tower and the projector they hold names, whose sizes stand in Megatron's examples/multimodal/config.py.
 *
 * What a spec decides (a norm in the projector) is seen in the tensors (state.c).
 */
#include "base/json.h"
#include "base/text.h"
#include "formats/megatron/megatron.h"

#include <string.h>

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static const struct {
    const char *type;
    int layers, hidden, heads, ffn;
    const char *activation;
    double epsilon;
    bool gated, scaled; /* a gated unit; ls1 and ls2 */
} tower_sizes[] = {{"clip", 24, 1024, 16, 4096, "quick_gelu", 1e-5, false, false},
                   {"siglip", 27, 1152, 16, 4304, "fast_gelu", 1e-6, false, false},
                   {"internvit300M", 24, 1024, 16, 4096, "gelu", 1e-6, false, true},
                   {"radio", 32, 1280, 16, 5120, "fast_gelu", 1e-6, false, false},
                   {"radio-g", 40, 1536, 24, 4096, "silu", 1e-6, true, true},
                   {"cradio-g", 40, 1536, 24, 6144, "fast_gelu", 1e-6, false, false}};

static const struct {
    const char *begins; /* language_model_type */
    int ffn;
    const char *activation, *norm; /* NULL: the language model's */
    bool bias;
} projector_sizes[] = {{"llama3_8b", 14336, "gelu", NULL, false},
                       {"llama3.1_8b", 4096, "gelu", "LayerNorm", true},
                       {"llama3.2_1b", 2048, "gelu", "LayerNorm", false},
                       {"llama_nemotron_8b", 14336, "gelu", "LayerNorm", true},
                       {"mistral_7b", 14336, "gelu", NULL, false},
                       {"yi-34b", 20480, "gelu", "LayerNorm", false},
                       {"qwen2.0_72B", 29568, "gelu", "LayerNorm", false},
                       {"qwen2.5_72B", 29568, "gelu", "LayerNorm", false},
                       {"qwen2.5_7B", 3584, "gelu", NULL, false},
                       {"nemotron5-8b", 21504, "squared_relu", NULL, false}};

/* Names that the constructor and the arguments have for the same. */
static const struct {
    const char *argument, *key;
} renamed[] = {{"img_h", "img_h"},
               {"img_w", "img_w"},
               {"patch_dim", "patch_dim"},
               {"pixel_shuffle", "pixel_shuffle"},
               {"disable_vision_class_token", "drop_vision_class_token"},
               {"decoder_seq_length", "language_max_sequence_length"},
               {"padded_vocab_size", "padded_vocab_size"},
               {"consumed_train_samples", "consumed_train_samples"}};

bool dt_megatron_is_multimodal_run(const json_t *args)
{
    return json_is_string(json_object_get(args, "vision_model_type")) &&
           json_is_string(json_object_get(args, "language_model_type")) &&
           !json_is_object(json_object_get(args, "vision"));
}

static dt_status no_sizes(const char *key, const char *type, dt_error *err)
{
    dt_fail(err, DT_UNSUPPORTED,
            "key \"%s\" is \"%s\", whose sizes neither the arguments hold nor drivetrain knows", key, type);
    dt_error_try(err, "--config FILE, a config.json with \"language\", \"vision\" and \"vision_projection\"");
    return DT_UNSUPPORTED;
}

static dt_status tower_of(const char *type, json_t **out, dt_error *err)
{
    for (int i = 0; i < COUNT(tower_sizes); i++) {
        if (strcmp(tower_sizes[i].type, type) != 0)
            continue;
        *out =
            json_pack("{s:s, s:i, s:i, s:i, s:i, s:s, s:s, s:f, s:b, s:b, s:b, s:b}", "vision_model_type",
                      type, "num_layers", tower_sizes[i].layers, "hidden_size", tower_sizes[i].hidden,
                      "num_attention_heads", tower_sizes[i].heads, "ffn_hidden_size", tower_sizes[i].ffn,
                      "activation_func", tower_sizes[i].activation, "normalization", "LayerNorm",
                      "layernorm_epsilon", tower_sizes[i].epsilon, "gated_linear_unit", tower_sizes[i].gated,
                      "x_layer_scale", tower_sizes[i].scaled, "add_bias_linear", 1, "add_qkv_bias", 1);
        return *out ? DT_OK : dt_fail_memory(err, 4096, "a configuration");
    }
    return no_sizes("vision_model_type", type, err);
}

static dt_status projector_of(const char *type, const json_t *args, json_t **out, dt_error *err)
{
    const char *inherited = json_string_value(json_object_get(args, "normalization"));
    int64_t hidden = 0;
    double epsilon = 1e-5;
    DT_PASS(dt_json_int(args, "hidden_size", &hidden, err));
    DT_PASS(dt_json_real(args, "norm_epsilon", &epsilon, err));
    for (int i = 0; i < COUNT(projector_sizes); i++) {
        const char *norm = projector_sizes[i].norm;
        if (!dt_starts_with(type, projector_sizes[i].begins))
            continue;
        *out =
            json_pack("{s:i, s:i, s:I, s:i, s:s, s:s, s:f, s:b}", "num_layers", 1, "num_attention_heads", 1,
                      "hidden_size", (json_int_t)hidden, "ffn_hidden_size", projector_sizes[i].ffn,
                      "activation_func", projector_sizes[i].activation, "normalization",
                      norm        ? norm
                      : inherited ? inherited
                                  : "LayerNorm",
                      "layernorm_epsilon", norm ? 1e-5 : epsilon, "add_bias_linear", projector_sizes[i].bias);
        return *out ? DT_OK : dt_fail_memory(err, 4096, "a configuration");
    }
    return no_sizes("language_model_type", type, err);
}

/* All that has a value of its own is the language model's; its type names no module here. */
static int copy_language(const json_t *args, json_t **out)
{
    const char *key;
    json_t *value;
    int failed = !(*out = json_object());
    json_object_foreach((json_t *)(uintptr_t)args, key, value)
    {
        if (!failed && !json_is_object(value) && strcmp(key, "model_type") != 0 &&
            strcmp(key, "language_model_type") != 0)
            failed |= json_object_set(*out, key, value);
    }
    return failed;
}

dt_status dt_megatron_of_multimodal_run(json_t **out, const json_t *args, dt_error *err)
{
    json_t *json = json_object(), *language = NULL, *tower = NULL, *projector = NULL;
    const char *vision = json_string_value(json_object_get(args, "vision_model_type"));
    const char *words = json_string_value(json_object_get(args, "language_model_type"));
    dt_status status;
    DT_GO(status, json ? DT_OK : dt_fail_memory(err, 4096, "a configuration"));
    DT_GO(status, tower_of(vision, &tower, err));
    DT_GO(status, projector_of(words, args, &projector, err));
    int failed = copy_language(args, &language);
    failed |= json_object_set_new(json, "model_type", json_string("llava"));
    failed |= json_object_set(json, "language", language) | json_object_set(json, "vision", tower);
    failed |= json_object_set(json, "vision_projection", projector);
    for (int i = 0; i < COUNT(renamed); i++)
        if (dt_json_get(args, renamed[i].argument))
            failed |= json_object_set(json, renamed[i].key, json_object_get(args, renamed[i].argument));
    if (json_is_true(json_object_get(args, "use_tile_tags")))
        failed |= json_object_set_new(json, "tile_tags", json_true());
    if (failed)
        status = dt_fail_memory(err, 4096, "a configuration");
done:
    json_decref(language);
    json_decref(tower);
    json_decref(projector);
    if (status == DT_OK)
        *out = json;
    else
        json_decref(json);
    return status;
}
