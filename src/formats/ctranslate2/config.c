/*
 * config.c (ctranslate2) - what a model.bin computes: told by scalars where there are some, by names and shapes of its
 * tensors, and by what CTranslate2 does where nothing is said.
 *
 * Peer  ctranslate2 specs/transformer_spec.py, attention_spec.py; TransformerBase and TransformerBig are old names
 *       whose heads went without saying.
 */
#include "base/fail.h"
#include "base/text.h"
#include "formats/ctranslate2/ctranslate2.h"
#include "formats/open.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static const struct {
    const char *name, *model_type;
    int heads; /* 0: "num_heads" says it */
} specs[] = {{"TransformerSpec", "t5", 0},
             {"TransformerBase", "t5", 8},
             {"TransformerBig", "t5", 16},
             {"TransformerDecoderSpec", "gpt", 0}};

static const dt_activation activations[] = {DT_ACT_RELU,       DT_ACT_GELU_TANH, DT_ACT_SILU,   DT_ACT_GELU,
                                            DT_ACT_QUICK_GELU, DT_ACT_TANH,      DT_ACT_SIGMOID};

typedef struct reader {
    const dt_stored_set *set;
    const dt_ct2_file *file;
} reader;

/* "STACK/NAME" as a number; `otherwise` when the file does not say. */
static double scalar(const reader *r, const char *stack, const char *name, double otherwise)
{
    char full[128];
    snprintf(full, sizeof full, "%s/%s", stack, name);
    const json_t *value = json_object_get(r->file->scalars, full);
    return value ? json_number_value(value) : otherwise;
}

static const dt_stored_tensor *tensor(const reader *r, const char *stack, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "%s/%s", stack, name);
    return dt_stored_set_find(r->set, full);
}

static dt_status need_matrix(const reader *r, const char *stack, const char *name, int64_t *rows,
                             int64_t *cols, dt_error *err)
{
    const dt_stored_tensor *t = tensor(r, stack, name);
    if (!t || t->shape.rank != 2)
        return dt_fail(err, DT_FORMAT, "variable \"%s/%s\" is %s", stack, name, t ? "no matrix" : "missing");
    *rows = t->shape.dim[0];
    *cols = t->shape.dim[1];
    return DT_OK;
}

/* ---- what is not computed ---- */

/* Scalars, with the value that they have in a model computed here; NAN: any, since they are read or change nothing. */
static const struct {
    const char *name;
    double expected;
} known[] = {{"activation", NAN},
             {"alibi", 0},
             {"alibi_use_positive_positions", NAN},
             {"scale_alibi", NAN},
             {"alignment_layer", NAN},
             {"alignment_heads", NAN},
             {"embeddings_merge", NAN},
             {"multi_query_attention", NAN},
             {"num_heads", NAN},
             {"num_heads_kv", NAN},
             {"head_dim", NAN},
             {"pre_norm", NAN},
             {"scale_embeddings", NAN},
             {"multiply_by_sqrt_depth", NAN},
             {"scale_outputs", NAN},
             {"start_from_zero_embedding", NAN},
             {"queries_scale", NAN},
             {"relative_attention_max_distance", NAN},
             {"rotary_dim", NAN},
             {"rotary_interleave", NAN},
             {"rotary_base", NAN},
             {"layer_norm_use_residual", 0},
             {"weight_scale", NAN}};

static dt_status check_scalars(const reader *r, dt_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(r->file->scalars, name, value)
    {
        const char *slash = strrchr(name, '/'), *last = slash ? slash + 1 : name;
        int i = 0;
        while (i < COUNT(known) && strcmp(known[i].name, last) != 0)
            i++;
        bool fits =
            i < COUNT(known) && (isnan(known[i].expected) || known[i].expected == json_number_value(value));
        if (!fits)
            return dt_fail(err, DT_UNSUPPORTED, "variable \"%s\" is %g, which drivetrain does not compute",
                           name, json_number_value(value));
    }
    return DT_OK;
}

/* ---- what is ---- */

static int64_t count_layers(const reader *r, const char *stack)
{
    int64_t layers = 0;
    char name[64];
    do
        snprintf(name, sizeof name, "layer_%" PRId64 "/self_attention/linear_0/weight", layers);
    while (tensor(r, stack, name) && ++layers < DT_MAX_LAYERS);
    return layers;
}

static dt_status read_positions(const reader *r, const char *stack, dt_model_config *c, dt_error *err)
{
    const dt_stored_tensor *bias = tensor(r, stack, "layer_0/self_attention/relative_attention_bias");
    const dt_stored_tensor *next = tensor(r, stack, "layer_1/self_attention/relative_attention_bias");
    const dt_stored_tensor *table = tensor(r, stack, "position_encodings/encodings");
    double rotary = scalar(r, stack, "layer_0/self_attention/rotary_dim", -1);
    c->max_sequence_length = -1;
    if (bias && bias->shape.rank == 2) {
        bool same = true;
        if (next)
            DT_PASS(dt_stored_same(bias, next, &same, err));
        c->relative_bias_per_layer = !same;
        c->position_embedding_type = DT_POSITION_RELATIVE;
        c->relative_attention_num_buckets = bias->shape.dim[0];
        c->relative_attention_max_distance =
            (int64_t)scalar(r, stack, "layer_0/self_attention/relative_attention_max_distance", 128);
    } else if (table && table->shape.rank == 2) {
        c->position_embedding_type = DT_POSITION_LEARNED;
        c->max_sequence_length = table->shape.dim[0];
        c->positions_per_stack = strcmp(c->model_type, "t5") == 0;
    } else if (rotary >= 0) {
        c->position_embedding_type = DT_POSITION_ROPE;
        c->rotary_percent = rotary > 0 ? rotary / (double)c->kv_channels : 1;
        c->rotary_interleaved = scalar(r, stack, "layer_0/self_attention/rotary_interleave", 1) != 0;
        c->rotary_base = scalar(r, stack, "layer_0/self_attention/rotary_base", 10000);
    } else {
        c->position_embedding_type = DT_POSITION_SINUSOIDAL;
        c->sinusoids_to_base = true;
        c->position_offset = 1;
    }
    return DT_OK;
}

/* true, or nothing said, means the root of the width; a real number means itself. */
static double multiplier(const reader *r, const char *stack, int64_t hidden)
{
    char full[128];
    snprintf(full, sizeof full, "%s/scale_embeddings", stack);
    const json_t *said = json_object_get(r->file->scalars, full);
    double root = sqrt((double)hidden), value = said ? json_number_value(said) : 1;
    if (said && json_is_real(said) && value == 1)
        return 0;
    if (strcmp(stack, "encoder") == 0)
        value *= scalar(r, stack, "embeddings_0/multiply_by_sqrt_depth", 1);
    else
        value *= scalar(r, stack, "embeddings/multiply_by_sqrt_depth", 1);
    if (fabs(value - root) < 1e-5 * root)
        return root;
    return value == 1 ? root : value;
}

static dt_status read_sizes(const reader *r, int64_t heads, dt_model_config *c, dt_error *err)
{
    int64_t rows, cols;
    DT_PASS(need_matrix(r, "decoder", "embeddings/weight", &c->vocab_size, &c->hidden_size, err));
    DT_PASS(need_matrix(r, "decoder", "layer_0/ffn/linear_0/weight", &c->ffn_hidden_size, &cols, err));
    DT_PASS(need_matrix(r, "decoder", "layer_0/self_attention/linear_1/weight", &rows, &cols, err));
    c->num_layers = c->decoder_num_layers = count_layers(r, "decoder");
    c->num_attention_heads = heads ? heads : (int64_t)scalar(r, "decoder", "num_heads", 0);
    if (c->num_attention_heads < 1 || cols % c->num_attention_heads)
        return dt_fail(err, DT_FORMAT,
                       "variable \"decoder/num_heads\" is %" PRId64 ", expected a divisor of %" PRId64,
                       c->num_attention_heads, cols);
    c->kv_channels = cols / c->num_attention_heads;
    c->num_query_groups = (int64_t)scalar(r, "decoder", "layer_0/self_attention/num_heads_kv", -1);
    if (scalar(r, "decoder", "multi_query_attention", 0) != 0)
        c->num_query_groups = 1;
    return DT_OK;
}

static dt_status read_block(const reader *r, dt_model_config *c, dt_error *err)
{
    double activation = scalar(r, "decoder", "activation", 0);
    if (!(activation >= 0 && activation < COUNT(activations)))
        return dt_fail(err, DT_UNSUPPORTED, "variable \"decoder/activation\" is %g; 0 to %d are known",
                       activation, COUNT(activations) - 1);
    c->activation_func = activations[(int)activation];
    c->gated_linear_unit = tensor(r, "decoder", "layer_0/ffn/linear_0_noact/weight") != NULL;
    c->norm_placement = scalar(r, "decoder", "pre_norm", 1) != 0 ? DT_NORM_BEFORE : DT_NORM_AFTER;
    c->embedding_layernorm = tensor(r, "decoder", "layernorm_embedding/gamma") != NULL;
    c->normalization =
        tensor(r, "decoder", "layer_0/self_attention/layer_norm/beta") ? DT_NORM_LAYERNORM : DT_NORM_RMSNORM;
    c->add_bias_linear = tensor(r, "decoder", "layer_0/ffn/linear_1/bias") != NULL;
    c->attention_output_bias = tensor(r, "decoder", "layer_0/self_attention/linear_1/bias") != NULL;
    c->add_qkv_bias = tensor(r, "decoder", "layer_0/self_attention/linear_0/bias") != NULL;
    if (c->add_bias_linear && c->attention_output_bias && c->add_qkv_bias)
        c->attention_output_bias = c->add_qkv_bias = false; /* add_bias_linear says it all */
    else if (c->add_bias_linear) {
        c->add_bias_linear = false;
        c->mlp_bias = true;
    }
    c->softmax_scale = scalar(r, "decoder", "layer_0/self_attention/queries_scale", 0);
    c->embedding_multiplier = multiplier(r, "decoder", c->hidden_size);
    c->layernorm_epsilon = c->normalization == DT_NORM_RMSNORM ? 1e-6 : 1e-5;
    return DT_OK;
}

static dt_status read_head(const reader *r, dt_model_config *c, dt_error *err)
{
    const dt_stored_tensor *words = tensor(r, "decoder", "embeddings/weight");
    const dt_stored_tensor *head = tensor(r, "decoder", "projection/weight");
    bool tied = true, bias = tensor(r, "decoder", "projection/bias") != NULL;
    double scale = scalar(r, "decoder", "scale_outputs", 1), root = 1 / sqrt((double)c->hidden_size);
    if (head)
        DT_PASS(dt_stored_same(head, words, &tied, err));
    c->share_embeddings_and_output_weights = tied;
    c->no_output_layer_bias = tied && !bias;
    c->output_layer_bias = !tied && bias;
    c->scale_decoder_outputs = fabs(scale - root) < 1e-6 * root;
    if (!c->scale_decoder_outputs && scale != 1 && scale != 0)
        return dt_fail(err, DT_UNSUPPORTED, "variable \"decoder/scale_outputs\" is %g, expected 1 or %g",
                       scale, root);
    return DT_OK;
}

static dt_status read_encoder(const reader *r, int64_t heads, dt_model_config *c, dt_error *err)
{
    const char *name =
        tensor(r, "encoder", "embeddings_0/weight") ? "embeddings_0/weight" : "embeddings/weight";
    int64_t cols;
    bool same = true;
    DT_PASS(need_matrix(r, "encoder", name, &c->encoder_vocab_size, &cols, err));
    DT_PASS(
        need_matrix(r, "encoder", "layer_0/ffn/linear_0/weight", &c->encoder_ffn_hidden_size, &cols, err));
    DT_PASS(
        dt_stored_same(tensor(r, "encoder", name), tensor(r, "decoder", "embeddings/weight"), &same, err));
    if (same)
        c->encoder_vocab_size = -1;
    if (tensor(r, "encoder", "embeddings_1/weight"))
        return dt_fail(err, DT_UNSUPPORTED,
                       "\"encoder/embeddings_1/weight\": source factors are not computed");
    c->encoder_num_layers = count_layers(r, "encoder");
    c->encoder_num_attention_heads =
        heads ? heads : (int64_t)scalar(r, "encoder", "num_heads", (double)c->num_attention_heads);
    if (scalar(r, "encoder", "pre_norm", 1) != scalar(r, "decoder", "pre_norm", 1) ||
        scalar(r, "encoder", "activation", 0) != scalar(r, "decoder", "activation", 0) ||
        multiplier(r, "encoder", c->hidden_size) != c->embedding_multiplier)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "\"encoder/pre_norm\", \"activation\" or \"scale_embeddings\" differ from the decoder's, which "
            "drivetrain does not compute");
    return DT_OK;
}

static dt_status identify(const dt_ct2_file *file, int *spec, dt_model_config *c, dt_error *err)
{
    int i = 0;
    while (i < COUNT(specs) && strcmp(specs[i].name, file->spec) != 0)
        i++;
    if (i == COUNT(specs))
        return dt_fail(err, DT_UNSUPPORTED,
                       "the spec is \"%s\"; TransformerSpec and TransformerDecoderSpec are read", file->spec);
    dt_config_init(c);
    snprintf(c->model_type, sizeof c->model_type, "%s", specs[i].model_type);
    snprintf(c->family, sizeof c->family, "megatron_%s", specs[i].model_type);
    snprintf(c->written_by, sizeof c->written_by, "CTranslate2");
    *spec = i;
    return DT_OK;
}

dt_status dt_ct2_identify(const dt_ct2_file *file, dt_model_config *c, dt_error *err)
{
    int spec;
    return identify(file, &spec, c, err);
}

dt_status dt_ct2_configure(const dt_stored_set *set, const dt_ct2_file *file, dt_model_config *c,
                           dt_error *err)
{
    reader r = {set, file};
    int i;
    DT_PASS(identify(file, &i, c, err));
    bool two = strcmp(specs[i].model_type, "t5") == 0;
    DT_PASS(check_scalars(&r, err));
    DT_PASS(read_sizes(&r, specs[i].heads, c, err));
    DT_PASS(read_block(&r, c, err));
    DT_PASS(read_positions(&r, "decoder", c, err));
    DT_PASS(read_head(&r, c, err));
    if (two)
        DT_PASS(read_encoder(&r, specs[i].heads, c, err));
    if (scalar(&r, "decoder", "start_from_zero_embedding", 0) != 0) {
        c->padded_vocab_size = c->vocab_size + 1; /* a row that the file has not: zeros */
        c->decoder_start_token_id = c->vocab_size;
    }
    return DT_OK;
}
