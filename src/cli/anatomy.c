/*
 * anatomy.c - what a model is made of, in words for people, within 80 columns; `inspect` prints it.
 *
 * A line is a heading and some facts; a fact that is what most models have (nothing scaled, nothing capped) is not told.
 */
#include "base/fail.h"
#include "cli/common.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { INDENT = 13, COLUMNS = 80 };

/* Where the next fact goes; 0: the line has none yet. */
typedef struct facts {
    int column;
} facts;

static void heading(facts *f, const char *title)
{
    printf("%-*s", INDENT, title);
    f->column = 0;
}

static void DT_PRINTF(2, 3) fact(facts *f, const char *format, ...)
{
    char text[COLUMNS];
    va_list args;
    va_start(args, format);
    int bytes = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bool first = f->column == 0, fits = f->column + 2 + bytes <= COLUMNS;
    printf("%s%s", first ? "" : fits ? ", " : ",\n             ", text);
    f->column = (first || !fits ? INDENT : f->column + 2) + bytes;
}

/* ---- which layers ---- */

typedef bool layer_test(const dt_model_config *c, int64_t layer);

static bool has_window(const dt_model_config *c, int64_t layer)
{
    return dt_config_layer_window(c, layer) >= 0;
}

/* "all", "none", "0-4, 6" or, where that is long, "20 of 24": into text. */
static const char *layers_with(const dt_model_config *c, layer_test *test, char text[48])
{
    int64_t count = 0, at = 0;
    text[0] = '\0';
    for (int64_t i = 0; i < c->num_layers; i++)
        count += test(c, i);
    if (count == 0 || count == c->num_layers)
        return strcpy(text, count ? "all layers" : "no layer");
    at = snprintf(text, 48, count == 1 ? "layer " : "layers ");
    for (int64_t i = 0, end; i < c->num_layers; i = end + 1) {
        for (end = i; test(c, i) && end + 1 < c->num_layers && test(c, end + 1);)
            end++;
        if (!test(c, i))
            continue;
        at += snprintf(text + at, (size_t)(48 - at), end > i ? "%s%lld-%lld" : "%s%lld",
                       text[at - 1] != ' ' ? " " : "", (long long)i, (long long)end);
        if (at >= 40) { /* no room for another stretch */
            snprintf(text, 48, "%lld of %lld layers", (long long)count, (long long)c->num_layers);
            return text;
        }
    }
    return text;
}

/* ---- lines ---- */

static void tell_layers(const dt_model_config *c)
{
    facts f;
    heading(&f, "layers");
    if (strcmp(c->model_type, "t5") == 0) {
        fact(&f, "%lld encoder", (long long)c->encoder_num_layers);
        fact(&f, "%lld decoder", c->encoder_only ? 0LL : (long long)c->decoder_num_layers);
    } else {
        fact(&f, "%lld", (long long)c->num_layers);
    }
    if (c->shape_count)
        fact(&f, "of different shapes");
    if (c->parallel_residual)
        fact(&f, "attention and MLP side by side%s", c->parallel_shared_norm ? " below one norm" : "");
    printf("\n");
}

static void tell_experts(const dt_model_config *c)
{
    char layers[48];
    facts f;
    if (!c->num_moe_experts)
        return;
    heading(&f, "experts");
    fact(&f, "%lld of width %lld", (long long)c->num_moe_experts, (long long)c->moe_ffn_hidden_size);
    fact(&f, "%lld a token", (long long)c->moe_router_topk);
    fact(&f, "in %s", layers_with(c, dt_config_layer_is_moe, layers));
    fact(&f, "weights by %s %s the choice", dt_router_score_name(c->moe_router_score_function),
         c->moe_router_pre_softmax ? "before" : "after");
    if (c->moe_router_enable_expert_bias)
        fact(&f, "a bias decides");
    if (c->moe_router_topk_scaling_factor != 0)
        fact(&f, "times %g", c->moe_router_topk_scaling_factor);
    if (c->moe_shared_expert_intermediate_size)
        fact(&f, "one for all of width %lld%s", (long long)c->moe_shared_expert_intermediate_size,
             c->moe_shared_expert_gate ? ", gated" : "");
    printf("\n");
}

static void tell_width(const dt_model_config *c)
{
    facts f;
    heading(&f, "width");
    fact(&f, "%lld", (long long)c->hidden_size);
    fact(&f, "feed-forward %lld%s %s", (long long)c->ffn_hidden_size, c->gated_linear_unit ? " gated" : "",
         dt_activation_name(c->activation_func));
    if (c->encoder_ffn_hidden_size > 0)
        fact(&f, "the encoder's %lld", (long long)c->encoder_ffn_hidden_size);
    if (c->activation_func_clamp_value != 0)
        fact(&f, "bounded by %g", c->activation_func_clamp_value);
    if (c->glu_linear_offset != 0)
        fact(&f, "linear half plus %g", c->glu_linear_offset);
    printf("\n");
}

static void tell_attention(const dt_model_config *c)
{
    facts f;
    heading(&f, "attention");
    fact(&f, "%lld heads of %lld", (long long)c->num_attention_heads, (long long)c->kv_channels);
    if (c->num_query_groups != c->num_attention_heads)
        fact(&f, "%lld query groups", (long long)c->num_query_groups);
    if (c->encoder_num_attention_heads > 0)
        fact(&f, "the encoder's %lld", (long long)c->encoder_num_attention_heads);
    fact(&f, "scores times %.4g", c->softmax_scale);
    if (c->attention_soft_cap != 0)
        fact(&f, "capped softly at %g", c->attention_soft_cap);
    if (c->qk_layernorm)
        fact(&f, "q and k normed %s", c->qk_layernorm_whole ? "over all heads" : "by head");
    if (c->softmax_type == DT_SOFTMAX_LEARNABLE)
        fact(&f, "a sink a head");
    if (c->softmax_type == DT_SOFTMAX_OFF_BY_ONE)
        fact(&f, "a sink of 0");
    printf("\n");
}

/* A window counts the query's own key, as most papers do. */
static void tell_windows(const dt_model_config *c)
{
    char layers[48];
    facts f;
    if (c->window_left < 0)
        return;
    heading(&f, "window");
    fact(&f, "%lld tokens", (long long)c->window_left + 1);
    fact(&f, "in %s", layers_with(c, has_window, layers));
    printf("\n");
}

static void tell_rope(const dt_model_config *c, facts *f)
{
    fact(f, "base %g", c->rotary_base);
    if (c->window_rotary_base != 0)
        fact(f, "%g in windowed layers", c->window_rotary_base);
    if (c->rotary_percent != 1)
        fact(f, "%g of each head", c->rotary_percent);
    if (c->rotary_interleaved)
        fact(f, "interleaved");
    if (c->rope_scaling_type != DT_ROPE_PLAIN)
        fact(f, "scaled %s by %g", dt_rope_scaling_name(c->rope_scaling_type), c->rope_scaling_factor);
    if (c->rope_scaling_type > DT_ROPE_LINEAR && c->rope_scaling_type != DT_ROPE_DYNAMIC)
        fact(f, "from %lld", (long long)c->rope_original_max_position);
}

static void tell_positions(const dt_model_config *c)
{
    facts f;
    heading(&f, "positions");
    fact(&f, "%s", dt_position_embedding_name(c->position_embedding_type));
    if (c->max_sequence_length > 0)
        fact(&f, "at most %lld", (long long)c->max_sequence_length);
    if (c->position_embedding_type == DT_POSITION_ROPE)
        tell_rope(c, &f);
    if (c->position_embedding_type == DT_POSITION_RELATIVE)
        fact(&f, "%lld buckets up to %lld%s", (long long)c->relative_attention_num_buckets,
             (long long)c->relative_attention_max_distance,
             c->relative_bias_per_layer ? " in each layer" : "");
    if (c->position_offset)
        fact(&f, "from row %lld", (long long)c->position_offset);
    printf("\n");
}

static void tell_norms(const dt_model_config *c)
{
    static const char *const where[] = {[DT_NORM_BEFORE] = "before each branch",
                                        [DT_NORM_AFTER] = "after each sum",
                                        [DT_NORM_BRANCH] = "after each branch",
                                        [DT_NORM_BOTH] = "before and after each branch"};
    facts f;
    heading(&f, "norm");
    fact(&f, "%s", dt_normalization_name(c->normalization));
    fact(&f, "epsilon %g", c->layernorm_epsilon);
    fact(&f, "%s", where[c->norm_placement]);
    if (c->layernorm_zero_centered_gamma)
        fact(&f, "weights about 0");
    if (c->embedding_layernorm)
        fact(&f, "embeddings too");
    printf("\n");
}

static void tell_biases(const dt_model_config *c)
{
    facts f;
    heading(&f, "biases");
    if (c->add_bias_linear)
        fact(&f, "every linear layer");
    else if (!c->add_qkv_bias && !c->attention_output_bias && !c->mlp_bias)
        fact(&f, "none");
    if (!c->add_bias_linear && c->add_qkv_bias)
        fact(&f, "q, k and v");
    if (!c->add_bias_linear && c->attention_output_bias)
        fact(&f, "attention's output");
    if (!c->add_bias_linear && c->mlp_bias)
        fact(&f, "feed-forward");
    if (dt_config_has_output_bias(c))
        fact(&f, "the head");
    printf("\n");
}

static void tell_vocabulary(const dt_model_config *c)
{
    facts f;
    heading(&f, "vocabulary");
    fact(&f, "%lld", (long long)c->vocab_size);
    if (c->padded_vocab_size != c->vocab_size)
        fact(&f, "padded to %lld", (long long)c->padded_vocab_size);
    if (c->encoder_vocab_size > 0)
        fact(&f, "the encoder's %lld", (long long)c->encoder_vocab_size);
    fact(&f, "head %s", c->share_embeddings_and_output_weights ? "tied to the embedding" : "of its own");
    if (c->embedding_multiplier != 0)
        fact(&f, "embeddings times %.6g", c->embedding_multiplier);
    if (c->final_logit_softcapping != 0)
        fact(&f, "logits capped softly at %g", c->final_logit_softcapping);
    printf("\n");
}

static const char *pooling_text(dt_vision_pooling kind)
{
    static const char *const text[] = {[DT_POOL_NONE] = "nothing pooled",
                                       [DT_POOL_CLASS] = "class token pooled",
                                       [DT_POOL_CLASS_NORM] = "class token normed and pooled",
                                       [DT_POOL_ATTENTION] = "pooled by attention"};
    return text[kind];
}

/* What a tower sees, and what it makes of a picture. */
static void tell_pictures(const dt_model_config *c)
{
    dt_patch_grid grid = dt_config_patches(c), table = dt_config_position_grid(c);
    facts f;
    heading(&f, "pictures");
    fact(&f, "%lld x %lld", (long long)c->img_w, (long long)c->img_h);
    fact(&f, "%lld x %lld patches of %lld", (long long)grid.columns, (long long)grid.rows,
         (long long)c->patch_dim);
    if (c->class_token_len)
        fact(&f, "%lld class token%s", (long long)c->class_token_len, c->class_token_len > 1 ? "s" : "");
    printf("\n");
    heading(&f, "positions");
    fact(&f, "%lld x %lld", (long long)table.columns, (long long)table.rows);
    if (c->position_resize == DT_RESIZE_NONE)
        fact(&f, "for no other size");
    else
        fact(&f, "%s for other sizes", dt_position_resize_name(c->position_resize));
    printf("\n");
    heading(&f, "result");
    fact(&f, "%s", pooling_text(c->vision_pooling));
    if (c->projection_dim)
        fact(&f, "projected to %lld", (long long)c->projection_dim);
    if (c->num_classes)
        fact(&f, "%lld classes", (long long)c->num_classes);
    printf("\n");
}

/* What of its tower a language model sees, and where. */
static void tell_seeing(const dt_model_config *c)
{
    facts f;
    if (!c->vision || !c->projection)
        return;
    heading(&f, "pictures");
    fact(&f, "token %lld", (long long)c->image_token_index);
    fact(&f, "%lld rows a tile", (long long)dt_config_feature_rows(c));
    if (c->drop_class_token)
        fact(&f, "without class tokens");
    if (c->pixel_shuffle)
        fact(&f, "each of 2 x 2 patches");
    for (int i = 0; i < c->feature_layers; i++)
        fact(&f, i ? "%lld" : "from layer %lld", (long long)dt_config_feature_depth(c, i));
    if (c->image_newline)
        fact(&f, "one more behind each line");
    printf("\n");
}

static void tell_projector(const dt_model_config *c)
{
    facts f;
    heading(&f, "width");
    fact(&f, "%lld to %lld", (long long)c->input_size, (long long)c->hidden_size);
    if (c->projector_type == DT_PROJECTOR_AFFINE)
        fact(&f, "one layer");
    else
        fact(&f, "two layers, %lld%s %s between", (long long)c->ffn_hidden_size,
             c->gated_linear_unit ? " gated" : "", dt_activation_name(c->activation_func));
    fact(&f, "%s", c->add_bias_linear ? "with biases" : "no biases");
    printf("\n");
}

static void print_tower(const dt_model_config *c)
{
    tell_layers(c);
    tell_width(c);
    tell_attention(c);
    tell_pictures(c);
    tell_norms(c);
    tell_biases(c);
    print_beyond_megatron(c);
}

void print_anatomy(const dt_model_config *c)
{
    if (dt_config_is_tower(c)) {
        print_tower(c);
        return;
    }
    if (!dt_config_reads(c)) {
        tell_projector(c);
        return;
    }
    tell_layers(c);
    tell_experts(c);
    tell_width(c);
    tell_attention(c);
    tell_windows(c);
    tell_positions(c);
    tell_norms(c);
    tell_biases(c);
    tell_vocabulary(c);
    tell_seeing(c);
    dt_model_config own = *c; /* what its parts have beyond is told of them */
    own.vision = own.projection = NULL;
    print_beyond_megatron(&own);
}
