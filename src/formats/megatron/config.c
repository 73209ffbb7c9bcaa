/*
 * config.c (megatron) - Megatron's configuration as flat keys, read and written.
 *
 * The keys of config.def are the state format's own. A run's arguments and older releases say some things by other
 * names or as switches (swiglu, untie_embeddings_and_output_weights); those are read here, never written.
 */
#include "base/json.h"
#include "base/text.h"
#include "formats/megatron/megatron.h"
#include "models/build.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

/* ---- values that are words ---- */

typedef const char *(*word_of)(int value);

static const char *normalization_word(int v)
{
    return dt_normalization_name((dt_normalization)v);
}

static const char *placement_word(int v)
{
    return dt_norm_placement_name((dt_norm_placement)v);
}

static const char *position_word(int v)
{
    return dt_position_embedding_name((dt_position_embedding)v);
}

static const char *rope_word(int v)
{
    return dt_rope_scaling_name((dt_rope_scaling)v);
}

static const char *softmax_word(int v)
{
    return dt_softmax_type_name((dt_softmax_type)v);
}

static const char *router_word(int v)
{
    return dt_router_score_name((dt_router_score)v);
}

static const char *pooling_word(int v)
{
    return dt_vision_pooling_name((dt_vision_pooling)v);
}

static const char *text_pooling_word(int v)
{
    return dt_text_pooling_name((dt_text_pooling)v);
}

static const char *resize_word(int v)
{
    return dt_position_resize_name((dt_position_resize)v);
}

static const char *projector_word(int v)
{
    return dt_projector_name((dt_projector)v);
}

static const char *activation_word(int v)
{
    return dt_activation_name((dt_activation)v);
}

/* Other spellings, of arguments, of NeMo and of functions' names. */
static const struct {
    const char *alias, *word;
} aliases[] = {
    {"erf_gelu", "gelu"},
    {"openai_gelu", "fast_gelu"},
    {"gelu_tanh", "fast_gelu"},
    {"gelu_new", "fast_gelu"},
    {"swish", "silu"},
    {"relu2", "squared_relu"},
    {"squared-relu", "squared_relu"},
    {"rmsnorm", "RMSNorm"},
    {"layernorm", "LayerNorm"},
    {"rms_norm", "RMSNorm"},
    {"layer_norm", "LayerNorm"},
};

static dt_status read_word(const json_t *json, const char *key, word_of word, int *out, dt_error *err)
{
    const char *text = NULL, *names[32], *dot;
    int count = 0;
    DT_PASS(dt_json_string(json, key, &text, err));
    if (!text)
        return DT_OK;
    if ((dot = strrchr(text, '.')))
        text = dot + 1; /* "torch.nn.functional.silu" */
    for (int i = 0; i < COUNT(aliases); i++)
        if (strcmp(aliases[i].alias, text) == 0)
            text = aliases[i].word;
    for (; count < COUNT(names) && (names[count] = word(count)); count++)
        if (strcmp(names[count], text) == 0) {
            *out = count;
            return DT_OK;
        }
    dt_text list = {0};
    for (int i = 0; i < count; i++)
        dt_text_printf(&list, "%s%s", i ? ", " : "", names[i]);
    const char *near = dt_nearest(text, names, (size_t)count);
    dt_fail(err, DT_UNSUPPORTED, "key \"%s\" is \"%s\"; drivetrain knows %s%s%s%s", key, text,
            list.data ? list.data : "", near ? " (nearest: " : "", near ? near : "", near ? ")" : "");
    dt_text_free(&list);
    return DT_UNSUPPORTED;
}

#define READ_ENUM(type, word)                                                                                \
    static dt_status read_##type(const json_t *json, const char *key, type *out, dt_error *err)              \
    {                                                                                                        \
        int value = (int)*out;                                                                               \
        DT_PASS(read_word(json, key, word, &value, err));                                                    \
        *out = (type)value;                                                                                  \
        return DT_OK;                                                                                        \
    }
READ_ENUM(dt_normalization, normalization_word)
READ_ENUM(dt_norm_placement, placement_word)
READ_ENUM(dt_rope_scaling, rope_word)

/* Megatron's "yarn" is rope, scaled. */
static dt_status read_dt_position_embedding(const json_t *json, const char *key, dt_position_embedding *out,
                                            dt_error *err)
{
    const char *text = json_string_value(json_object_get(json, key));
    int value = (int)*out;
    if (text && strcmp(text, "yarn") == 0)
        value = DT_POSITION_ROPE;
    else
        DT_PASS(read_word(json, key, position_word, &value, err));
    *out = (dt_position_embedding)value;
    return DT_OK;
}
READ_ENUM(dt_activation, activation_word)
READ_ENUM(dt_softmax_type, softmax_word)
READ_ENUM(dt_router_score, router_word)
READ_ENUM(dt_vision_pooling, pooling_word)
READ_ENUM(dt_text_pooling, text_pooling_word)
READ_ENUM(dt_position_resize, resize_word)
READ_ENUM(dt_projector, projector_word)

/* ---- what drivetrain does not compute yet ---- */

static const char *const refused_switches[] = {
    "multi_latent_attention",   "qk_l2_norm",
    "attention_output_gate",    "apply_residual_connection_post_layernorm",
    "rotary_percent_per_layer", "use_kitchen",
    "is_hybrid_model",
};

static const char *const refused_values[] = {
    "no_rope_freq", "mrope_section",  "linear_attention_freq", "experimental_attention_variant",
    "softcap",      "mtp_num_layers", "moe_router_num_groups", "moe_latent_size",
};

static bool says_nothing(const json_t *value)
{
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_number(value) && json_number_value(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static dt_status refuse_unknown_mathematics(const json_t *json, dt_error *err)
{
    for (int i = 0; i < COUNT(refused_switches); i++)
        if (json_is_true(json_object_get(json, refused_switches[i])))
            return dt_fail(err, DT_UNSUPPORTED, "key \"%s\" is true, which drivetrain does not compute yet",
                           refused_switches[i]);
    for (int i = 0; i < COUNT(refused_values); i++)
        if (!says_nothing(json_object_get(json, refused_values[i])))
            return dt_fail(err, DT_UNSUPPORTED, "key \"%s\" is set, which drivetrain does not compute yet",
                           refused_values[i]);
    return DT_OK;
}

/* ---- reading ---- */

static dt_status read_rows(const json_t *json, dt_model_config *c, dt_error *err)
{
#define INT(field, key, initial, extension)        DT_PASS(dt_json_int(json, key, &c->field, err));
#define REAL(field, key, initial, extension)       DT_PASS(dt_json_real(json, key, &c->field, err));
#define BOOL(field, key, initial, extension)       DT_PASS(dt_json_bool(json, key, &c->field, err));
#define ENUM(field, key, type, initial, extension) DT_PASS(read_##type(json, key, &c->field, err));
#include <drivetrain/config.def>
#undef INT
#undef REAL
#undef BOOL
#undef ENUM
    return DT_OK;
}

static dt_status no_window(const json_t *value, dt_error *err)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    dt_fail(err, DT_UNSUPPORTED,
            "key \"window_size\" is %.80s; drivetrain computes [keys before, 0], -1 before for all",
            text ? text : "?");
    free(text);
    return DT_UNSUPPORTED;
}

/* [keys before, keys after], or the same as text from a command line: "128,0". */
static dt_status read_window_size(const json_t *json, dt_model_config *c, dt_error *err)
{
    const json_t *value = dt_json_get(json, "window_size");
    json_int_t side[2];
    int read = 0;
    if (!value)
        return DT_OK;
    if (json_is_string(value) &&
        sscanf(json_string_value(value), "%" JSON_INTEGER_FORMAT ",%" JSON_INTEGER_FORMAT "%n", &side[0],
               &side[1], &read) == 2 &&
        json_string_value(value)[read] == 0)
        read = 2;
    else if (json_is_array(value) && json_array_size(value) == 2)
        for (read = 0; read < 2 && json_is_integer(json_array_get(value, (size_t)read)); read++)
            side[read] = json_integer_value(json_array_get(value, (size_t)read));
    if (read != 2 || side[0] < -1 || side[0] > INT32_MAX || side[1] > 0 || side[1] < -1 ||
        (side[0] >= 0 && side[1] != 0))
        return no_window(value, err);
    c->window_left = side[0];
    return DT_OK;
}

/* Which layers have the window: all but one in so many, or a list of zeros and ones. */
static dt_status read_windows(const json_t *json, dt_model_config *c, dt_error *err)
{
    const json_t *list = dt_json_get(json, "window_attn_skip_freq");
    bool windowed[DT_MAX_LAYERS];
    DT_PASS(read_window_size(json, c, err));
    if (c->window_left < 0)
        return DT_OK; /* nothing to skip */
    if (!json_is_array(list))
        return dt_json_int(json, "window_attn_skip_freq", &c->window_attn_skip_freq, err);
    if (json_array_size(list) > DT_MAX_LAYERS)
        return dt_fail(err, DT_LIMIT, "key \"window_attn_skip_freq\" lists %zu layers, at most %d are read",
                       json_array_size(list), DT_MAX_LAYERS);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_boolean(item) &&
            !(json_is_integer(item) && json_integer_value(item) >= 0 && json_integer_value(item) <= 1))
            return dt_fail(err, DT_FORMAT,
                           "key \"window_attn_skip_freq\" lists something other than 0 and 1");
        windowed[i] = json_is_true(item) || json_integer_value(item) == 1;
    }
    dt_config_list_windows(c, windowed, (int)json_array_size(list));
    return DT_OK;
}

/* The names that a run's arguments have for the same things. */
static dt_status read_argument_names(const json_t *json, dt_model_config *c, dt_error *err)
{
    bool untie = !c->share_embeddings_and_output_weights, grouped = true;
    DT_PASS(dt_json_real(json, "norm_epsilon", &c->layernorm_epsilon, err));
    DT_PASS(dt_json_bool(json, "apply_layernorm_1p", &c->layernorm_zero_centered_gamma, err));
    DT_PASS(dt_json_bool(json, "untie_embeddings_and_output_weights", &untie, err));
    c->share_embeddings_and_output_weights = !untie;
    if (c->max_sequence_length <= 0)
        DT_PASS(dt_json_int(json, "max_position_embeddings", &c->max_sequence_length, err));
    if (c->max_sequence_length <= 0)
        DT_PASS(dt_json_int(json, "seq_length", &c->max_sequence_length, err));
    DT_PASS(dt_json_bool(json, "group_query_attention", &grouped, err));
    if (!grouped)
        c->num_query_groups = c->num_attention_heads; /* the argument's own default, 1, is then not used */
    return DT_OK;
}

/* Which layers have experts: one in so many, or a list of zeros and ones. */
static dt_status read_expert_layers(const json_t *json, dt_model_config *c, dt_error *err)
{
    const json_t *list = dt_json_get(json, "moe_layer_freq");
    DT_PASS(dt_json_int(json, "num_experts", &c->num_moe_experts, err));
    if (!json_is_array(list))
        return dt_json_int(json, "moe_layer_freq", &c->moe_layer_freq, err);
    if (json_array_size(list) > DT_MAX_LAYERS)
        return dt_fail(err, DT_LIMIT, "key \"moe_layer_freq\" lists %zu layers, at most %d are read",
                       json_array_size(list), DT_MAX_LAYERS);
    c->moe_listed = (int)json_array_size(list);
    for (int i = 0; i < c->moe_listed; i++) {
        const json_t *item = json_array_get(list, (size_t)i);
        if (!json_is_integer(item) || json_integer_value(item) < 0 || json_integer_value(item) > 1)
            return dt_fail(err, DT_FORMAT, "key \"moe_layer_freq\" lists something other than 0 and 1");
        c->moe_layers[i / 8] |= (uint8_t)(json_integer_value(item) << (i % 8));
    }
    return DT_OK;
}

/*
 * Activations as switches. Fused bias-gelu computes the tanh form, whatever the configuration says of gelu: that is
 * how such models were trained.
 */
static dt_status read_activation_switches(const json_t *json, dt_model_config *c, dt_error *err)
{
    bool swiglu = false, squared = false, openai = false, quick = false, fused = false;
    DT_PASS(dt_json_bool(json, "swiglu", &swiglu, err));
    DT_PASS(dt_json_bool(json, "squared_relu", &squared, err));
    DT_PASS(dt_json_bool(json, "openai_gelu", &openai, err));
    DT_PASS(dt_json_bool(json, "quick_geglu", &quick, err));
    DT_PASS(dt_json_bool(json, "bias_gelu_fusion", &fused, err));
    DT_PASS(dt_json_bool(json, "bias_activation_fusion", &fused, err));
    c->gated_linear_unit = c->gated_linear_unit || swiglu || quick;
    if (swiglu)
        c->activation_func = DT_ACT_SILU;
    else if (quick)
        c->activation_func = DT_ACT_QUICK_GELU;
    else if (squared)
        c->activation_func = DT_ACT_SQUARED_RELU;
    else if (openai || (fused && c->activation_func == DT_ACT_GELU))
        c->activation_func = DT_ACT_GELU_TANH;
    return DT_OK;
}

static double yarn_scale(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

/* GPTModel's yarn (core/models/common/embeddings/yarn_rotary_pos_embedding.py); it turns whole heads, by halves. */
static dt_status read_yarn(const json_t *json, dt_model_config *c, dt_error *err)
{
    const char *text = json_string_value(json_object_get(json, "position_embedding_type"));
    double mscale = 1, all = 1;
    bool rounded = true;
    if (!text || strcmp(text, "yarn") != 0)
        return DT_OK;
    if (!dt_json_get(json, "yarn_rotary_scaling_factor") ||
        !dt_json_get(json, "yarn_original_max_position_embeddings"))
        return dt_fail(
            err, DT_UNSUPPORTED, "key \"position_embedding_type\" is \"yarn\", but \"%s\" is missing",
            dt_json_get(json, "yarn_rotary_scaling_factor") ? "yarn_original_max_position_embeddings"
                                                            : "yarn_rotary_scaling_factor");
    c->rope_scaling_type = DT_ROPE_YARN;
    DT_PASS(dt_json_real(json, "yarn_rotary_scaling_factor", &c->rope_scaling_factor, err));
    DT_PASS(dt_json_int(json, "yarn_original_max_position_embeddings", &c->rope_original_max_position, err));
    DT_PASS(dt_json_real(json, "yarn_beta_fast", &c->rope_beta_fast, err));
    DT_PASS(dt_json_real(json, "yarn_beta_slow", &c->rope_beta_slow, err));
    DT_PASS(dt_json_real(json, "yarn_mscale", &mscale, err));
    DT_PASS(dt_json_real(json, "yarn_mscale_all_dim", &all, err));
    DT_PASS(dt_json_bool(json, "yarn_correction_range_round_to_int", &rounded, err));
    c->rope_no_truncate = !rounded;
    if (dt_json_get(json, "yarn_mscale") && dt_json_get(json, "yarn_mscale_all_dim"))
        c->rope_attention_factor =
            yarn_scale(c->rope_scaling_factor, mscale) / yarn_scale(c->rope_scaling_factor, all);
    if (c->rotary_percent != 1 || c->rotary_interleaved)
        return dt_fail(err, DT_UNSUPPORTED, "key \"%s\" is set, which Megatron's yarn does not compute",
                       c->rotary_interleaved ? "rotary_interleaved" : "rotary_percent");
    return DT_OK;
}

static dt_status read_factors(const json_t *json, const char *key, double *out, int *count, dt_error *err)
{
    const json_t *list = dt_json_get(json, key);
    size_t n = json_array_size(list);
    if (!list)
        return DT_OK;
    if (n < 1 || n > DT_MAX_ROPE_FACTORS)
        return dt_fail(err, DT_FORMAT, "key \"%s\" is no list of 1 to %d factors", key, DT_MAX_ROPE_FACTORS);
    for (size_t i = 0; i < n; i++) {
        if (!json_is_number(json_array_get(list, i)))
            return dt_fail(err, DT_FORMAT, "key \"%s\" holds something that is no number", key);
        out[i] = json_number_value(json_array_get(list, i));
    }
    *count = *count == 0 || *count == (int)n ? (int)n : -1; /* lists that differ fit no model */
    return DT_OK;
}

static dt_status read_rope_switches(const json_t *json, dt_model_config *c, dt_error *err)
{
    static const char *const factors[] = {"seq_len_interpolation_factor",
                                          "rotary_seq_len_interpolation_factor"};
    bool scaled = false;
    DT_PASS(read_yarn(json, c, err));
    DT_PASS(read_factors(json, "x_rope_short_factor", c->rope_short_factor, &c->rope_factors, err));
    DT_PASS(read_factors(json, "x_rope_long_factor", c->rope_long_factor, &c->rope_factors, err));
    if (json_is_boolean(json_object_get(json, "rope_scaling")))
        DT_PASS(dt_json_bool(json, "rope_scaling", &scaled, err));
    DT_PASS(dt_json_bool(json, "use_rope_scaling", &scaled, err));
    if (scaled && c->rope_scaling_type == DT_ROPE_PLAIN)
        c->rope_scaling_type = DT_ROPE_LLAMA3;
    for (int i = 0; i < COUNT(factors); i++) {
        double factor = 0;
        DT_PASS(dt_json_real(json, factors[i], &factor, err));
        if (factor == 0 || factor == 1)
            continue;
        if (scaled)
            return dt_fail(err, DT_UNSUPPORTED, "key \"%s\" together with rope scaling is not computed",
                           factors[i]);
        c->rope_scaling_type = DT_ROPE_LINEAR;
        c->rope_scaling_factor = factor;
    }
    return DT_OK;
}

static dt_status read_stop_ids(const json_t *json, dt_model_config *c, dt_error *err)
{
    const json_t *value = dt_json_get(json, "eos_token_id");
    size_t count = !value ? 0 : json_is_array(value) ? json_array_size(value) : 1;
    if (count > DT_MAX_STOP_IDS)
        return dt_fail(err, DT_LIMIT, "key \"eos_token_id\" lists %zu ids, at most %d are kept", count,
                       DT_MAX_STOP_IDS);
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            return dt_fail(err, DT_FORMAT, "key \"eos_token_id\" holds something that is no token id");
        c->eos_token_ids[c->eos_count++] = (int32_t)json_integer_value(id);
    }
    return DT_OK;
}

static const dt_model_type *find_stock(const char *model_type)
{
    char family[48];
    snprintf(family, sizeof family, "megatron_%.32s", model_type);
    return dt_model_type_find(family);
}

/* `model_type` is what the tensors say; a configuration that says it itself knows better. */
static dt_status read_identity(const json_t *json, const char *model_type, dt_model_config *c, dt_error *err)
{
    const char *type = NULL, *family = NULL, *version = NULL, *writer = NULL, *text = NULL;
    if (json_is_string(json_object_get(json, "model_type")))
        type = json_string_value(json_object_get(json, "model_type"));
    DT_PASS(dt_json_string(json, "x_family", &family, err));
    const dt_model_type *named = family ? dt_model_type_find(family) : NULL, *row = NULL;
    if (type && !strchr(type, '.')) /* arguments hold "ModelType.encoder_or_decoder" for all */
        model_type = type;
    else if (named)
        model_type = named->model_type;
    row = find_stock(model_type);
    if (!row && named && strcmp(named->model_type, model_type) == 0) /* of a kind that Megatron has not */
        row = named;
    if (!row)
        return dt_fail(err, DT_UNSUPPORTED,
                       "key \"model_type\" is \"%s\"; drivetrain reads gpt, t5, bert, clip_vit, radio, "
                       "projector and llava",
                       model_type);
    if (family && (!named || strcmp(named->model_type, row->model_type) != 0))
        return dt_fail(err, DT_UNSUPPORTED, "key \"x_family\" is \"%s\", which is no %s model", family,
                       row->model_type);
    snprintf(c->model_type, sizeof c->model_type, "%s", row->model_type);
    snprintf(c->family, sizeof c->family, "%s", (named ? named : row)->family);
    DT_PASS(dt_json_string(json, "megatron_core", &version, err));
    DT_PASS(dt_json_string(json, "x_written_by", &writer, err));
    DT_PASS(dt_json_string(json, "x_text_family", &text, err));
    if (text && !dt_model_type_find(text))
        return dt_fail(err, DT_UNSUPPORTED, "key \"x_text_family\" is \"%s\", which is no model", text);
    snprintf(c->text_family, sizeof c->text_family, "%s", text ? text : "");
    if (version)
        snprintf(c->written_by, sizeof c->written_by, "megatron-core %.40s", version);
    else if (writer)
        snprintf(c->written_by, sizeof c->written_by, "%.60s", writer);
    else if (json_object_get(json, "consumed_train_samples"))
        snprintf(c->written_by, sizeof c->written_by, "Megatron-LM");
    return DT_OK;
}

/* What BERT has by default and no other model: Megatron's arguments imply two token types by the binary head. */
static dt_status read_bert(const json_t *json, dt_model_config *c, dt_error *err)
{
    if (strcmp(c->model_type, "bert") != 0)
        return DT_OK;
    c->add_binary_head = true;
    DT_PASS(dt_json_bool(json, "bert_binary_head", &c->add_binary_head, err));
    DT_PASS(dt_json_bool(json, "add_binary_head", &c->add_binary_head, err));
    if (!dt_json_get(json, "num_tokentypes"))
        c->num_tokentypes = c->add_binary_head ? 2 : 0;
    return DT_OK;
}

/*
 * The type that a model is to be exported as says what its configuration has no words for: Falcon's branches stand side by
 * side, Gemma multiplies embeddings by the root of their width, Nemotron-NAS stretches rotary waves as Llama 3.
 */
static dt_status read_export_type(const json_t *json, dt_model_config *c, dt_error *err)
{
    const char *type = NULL;
    DT_PASS(dt_json_string(json, "export_model_type", &type, err));
    snprintf(c->export_model_type, sizeof c->export_model_type, "%s", type ? type : "");
    if (!type)
        return DT_OK;
    if (strcmp(type, "falcon") == 0 && !json_object_get(json, "x_parallel_residual"))
        c->parallel_residual = true;
    if (strcmp(type, "gemma") == 0 && !json_object_get(json, "x_embedding_multiplier"))
        c->embedding_multiplier = sqrt((double)c->hidden_size);
    if (strcmp(type, "nemotron_nas") == 0 && c->rope_scaling_type == DT_ROPE_PLAIN)
        c->rope_scaling_type = DT_ROPE_LLAMA3;
    return DT_OK;
}

dt_status dt_megatron_read_config(const json_t *json, const char *model_type, dt_model_config *c,
                                  dt_error *err)
{
    dt_config_init(c);
    if (!json_is_object(json))
        return dt_fail(err, DT_FORMAT, "a configuration must be a JSON object");
    DT_PASS(read_identity(json, model_type, c, err));
    DT_PASS(refuse_unknown_mathematics(json, err));
    DT_PASS(read_rows(json, c, err));
    DT_PASS(read_argument_names(json, c, err));
    DT_PASS(read_windows(json, c, err));
    DT_PASS(dt_megatron_read_vision(json, c, err));
    DT_PASS(read_bert(json, c, err));
    DT_PASS(read_expert_layers(json, c, err));
    DT_PASS(dt_megatron_read_shapes(json, c, err));
    DT_PASS(read_activation_switches(json, c, err));
    DT_PASS(read_rope_switches(json, c, err));
    DT_PASS(read_export_type(json, c, err));
    bool encoder = strcmp(c->model_type, "t5") == 0; /* arguments name encoder layers for every model */
    c->encoder_num_layers = !encoder ? 0 : c->encoder_num_layers > 0 ? c->encoder_num_layers : c->num_layers;
    if (!encoder)
        c->decoder_num_layers = 0;
    if (c->vocab_size <= 0)
        c->vocab_size = c->padded_vocab_size > 0 ? c->padded_vocab_size : 0;
    return read_stop_ids(json, c, err);
}

/* ---- writing ---- */

static int put_word(json_t *json, const char *key, const char *word)
{
    return json_object_set_new(json, key, word ? json_string(word) : json_null());
}

static int write_rows(const dt_model_config *c, const dt_model_config *plain, json_t *json)
{
    int failed = 0;
#define DIFFERS(field, extension) (!(extension) || c->field != plain->field)
#define INT(field, key, initial, extension)                                                                  \
    if (DIFFERS(field, extension) && c->field != plain->field)                                               \
        failed |= json_object_set_new(json, key, json_integer(c->field));
#define REAL(field, key, initial, extension)                                                                 \
    if (DIFFERS(field, extension))                                                                           \
        failed |= json_object_set_new(json, key, json_real(c->field));
#define BOOL(field, key, initial, extension)                                                                 \
    if (DIFFERS(field, extension))                                                                           \
        failed |= json_object_set_new(json, key, json_boolean(c->field));
#define WORD_dt_normalization      dt_normalization_name
#define WORD_dt_norm_placement     dt_norm_placement_name
#define WORD_dt_position_embedding dt_position_embedding_name
#define WORD_dt_rope_scaling       dt_rope_scaling_name
#define WORD_dt_activation         dt_activation_name
#define WORD_dt_softmax_type       dt_softmax_type_name
#define WORD_dt_router_score       dt_router_score_name
#define WORD_dt_vision_pooling     dt_vision_pooling_name
#define WORD_dt_text_pooling       dt_text_pooling_name
#define WORD_dt_position_resize    dt_position_resize_name
#define WORD_dt_projector          dt_projector_name
#define ENUM(field, key, type, initial, extension)                                                           \
    if (DIFFERS(field, extension))                                                                           \
        failed |= put_word(json, key, WORD_##type(c->field));
#include <drivetrain/config.def>
#undef INT
#undef REAL
#undef BOOL
#undef ENUM
    return failed;
}

static int write_factors(const char *key, const double *factor, int count, json_t *json)
{
    json_t *list = json_array();
    int failed = list == NULL;
    for (int i = 0; i < count; i++)
        failed |= json_array_append_new(list, json_real(factor[i]));
    return failed | json_object_set_new(json, key, list);
}

/* As GPTModel asks for it; a null mscale is yarn's own. */
static int write_yarn(const dt_model_config *c, double mscale, json_t *json)
{
    static const char *const ours[] = {
        "x_rope_scaling_type",     "x_rope_beta_fast",   "x_rope_beta_slow",   "x_rope_original_max_position",
        "x_rope_attention_factor", "x_rope_no_truncate", "rope_scaling_factor"};
    for (int i = 0; i < COUNT(ours); i++)
        json_object_del(json, ours[i]);
    return put_word(json, "position_embedding_type", "yarn") |
           json_object_set_new(json, "yarn_rotary_scaling_factor", json_real(c->rope_scaling_factor)) |
           json_object_set_new(json, "yarn_original_max_position_embeddings",
                               json_integer(c->rope_original_max_position)) |
           json_object_set_new(json, "yarn_beta_fast", json_real(c->rope_beta_fast)) |
           json_object_set_new(json, "yarn_beta_slow", json_real(c->rope_beta_slow)) |
           json_object_set_new(json, "yarn_mscale", mscale != 0 ? json_real(mscale) : json_null()) |
           json_object_set_new(json, "yarn_mscale_all_dim", mscale != 0 ? json_real(0) : json_null()) |
           json_object_set_new(json, "yarn_correction_range_round_to_int",
                               json_boolean(!c->rope_no_truncate));
}

/* Rotary scaling that Megatron itself knows is told in its words. */
static int write_rope(const dt_model_config *c, json_t *json)
{
    int failed = 0;
    double mscale;
    if (dt_config_yarn_is_megatrons(c, &mscale))
        return write_yarn(c, mscale, json);
    if (c->rope_scaling_type == DT_ROPE_LONGROPE) {
        failed |= write_factors("x_rope_short_factor", c->rope_short_factor, c->rope_factors, json);
        failed |= write_factors("x_rope_long_factor", c->rope_long_factor, c->rope_factors, json);
    }
    if (c->rope_scaling_type == DT_ROPE_PLAIN || c->rope_scaling_type == DT_ROPE_LINEAR)
        json_object_del(json, "rope_scaling_factor");
    if (c->rope_scaling_type == DT_ROPE_LINEAR) {
        json_object_del(json, "x_rope_scaling_type");
        failed |=
            json_object_set_new(json, "seq_len_interpolation_factor", json_real(c->rope_scaling_factor));
    } else if (c->rope_scaling_type == DT_ROPE_LLAMA3) {
        json_object_del(json, "x_rope_scaling_type");
        failed |= json_object_set_new(json, "rope_scaling", json_true());
    }
    return failed;
}

static int write_windows(const dt_model_config *c, json_t *json)
{
    if (c->window_left < 0)
        return 0;
    int failed = json_object_set_new(json, "window_size", json_pack("[I,i]", (json_int_t)c->window_left, 0));
    if (!c->window_listed)
        return c->window_attn_skip_freq == 0
                   ? failed
                   : failed | json_object_set_new(json, "window_attn_skip_freq",
                                                  json_integer(c->window_attn_skip_freq));
    json_t *list = json_array();
    for (int i = 0; list && i < c->window_listed; i++)
        failed |= json_array_append_new(list, json_integer(c->window_layers[i / 8] >> (i % 8) & 1));
    return failed | json_object_set_new(json, "window_attn_skip_freq", list);
}

static int write_expert_layers(const dt_model_config *c, json_t *json)
{
    if (!c->moe_listed)
        return c->moe_layer_freq == 1
                   ? 0
                   : json_object_set_new(json, "moe_layer_freq", json_integer(c->moe_layer_freq));
    json_t *list = json_array();
    for (int i = 0; list && i < c->moe_listed; i++)
        json_array_append_new(list, json_integer(c->moe_layers[i / 8] >> (i % 8) & 1));
    return json_object_set_new(json, "moe_layer_freq", list);
}

/* Said even where it is the default of the other models. */
static int write_bert(const dt_model_config *c, json_t *json)
{
    if (strcmp(c->model_type, "bert") != 0)
        return 0;
    return json_object_set_new(json, "add_binary_head", json_boolean(c->add_binary_head)) |
           json_object_set_new(json, "num_tokentypes", json_integer(c->num_tokentypes));
}

static int write_stop_ids(const dt_model_config *c, json_t *json)
{
    if (c->eos_count == 0)
        return 0;
    json_t *list = json_array();
    for (int i = 0; i < c->eos_count; i++)
        if (!list || json_array_append_new(list, json_integer(c->eos_token_ids[i])))
            return -1;
    if (c->eos_count > 1)
        return json_object_set_new(json, "eos_token_id", list);
    json_decref(list);
    return json_object_set_new(json, "eos_token_id", json_integer(c->eos_token_ids[0]));
}

dt_status dt_megatron_write_config(const dt_model_config *c, json_t **out, dt_error *err)
{
    dt_model_config plain;
    if (c->vision && c->projection)
        return dt_megatron_write_llava(c, out, err);
    json_t *json = json_object();
    int failed = json == NULL;
    dt_config_init(&plain);
    failed |= put_word(json, "model_type", c->model_type);
    failed |= write_rows(c, &plain, json);
    failed |= write_rope(c, json);
    failed |= write_windows(c, json);
    failed |= write_stop_ids(c, json);
    failed |= write_bert(c, json);
    failed |= dt_megatron_write_vision(c, json);
    failed |= dt_megatron_write_shapes(c, json);
    failed |= c->num_moe_experts ? write_expert_layers(c, json) : 0;
    if (c->softmax_scale == 1.0 / sqrt((double)c->kv_channels))
        json_object_del(json, "softmax_scale");
    if (c->export_model_type[0])
        failed |= put_word(json, "export_model_type", c->export_model_type);
    if (!dt_starts_with(c->family, "megatron_"))
        failed |= put_word(json, "x_family", c->family);
    if (c->text_family[0])
        failed |= put_word(json, "x_text_family", c->text_family);
    if (c->written_by[0] && dt_starts_with(c->written_by, "megatron-core "))
        failed |= put_word(json, "megatron_core", c->written_by + strlen("megatron-core "));
    *out = json;
    if (!failed && c->vision) { /* two towers */
        json_t *tower = NULL;
        DT_PASS(dt_megatron_write_config(c->vision, &tower, err));
        failed |= json_object_set_new(json, "vision", tower);
    }
    return failed ? dt_fail_memory(err, 4096, "config.json") : DT_OK;
}
