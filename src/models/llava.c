/*
 * llava.c - a language model that sees: a tower's rows, projected, stand among its words.
 *
 * Papers  Liu et al. 2023, arXiv:2304.08485 (LLaVA); 2024 (LLaVA-NeXT); Chen et al. 2023, arXiv:2312.14238 (InternVL)
 * Peers   megatron core/models/multimodal/llava_model.py · transformers models/{llava,llava_next}
 *
 *   patches → tower → rows chosen, (four side by side) [F, W] → projector [F, H] → (newlines) → image rows [R, H]
 *   tokens [T] → embed → a picture's rows in the places that merged_rows says → the layers of gpt.c → head
 *
 * Unlike GPT:  rows of pictures are seen causally, as words are, and counted: positions are places in the merged sequence.
 *              A tower may give the rows between its layers, of several of them side by side, instead of what it returns.
 *              Which rows these are, and where they stand, are indices from the host (features.h), so that pictures of
 *              many tiles, several of them, and texts without one share a batch.
 * In a STEP graph the image rows are an input: ENCODE computed them, once for a picture.
 */
#include "models/features.h"
#include "models/projector.h"
#include "models/tower.h"
#include "graph/ir.h"

#include <stdio.h>

dt_status dt_build_llava(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                         dt_error *err);

typedef struct llava {
    dt_graph *g;
    const dt_model_config *c;
    const dt_build_options *o;
} llava;

static dt_tensor *index_input(const llava *m, const char *name, const char *axis, int64_t capacity)
{
    dt_dim rows = {dt_graph_axis(m->g, axis, capacity), 0};
    return dt_graph_input(m->g, name, DT_I32, 1, &rows);
}

/* ---- what of the tower is projected ---- */

/* How many layers of the tower are needed; all of them where they are to be listed, or seen. */
static int64_t deepest(const llava *m)
{
    int64_t depth = 0;
    for (int i = 0; i < m->c->feature_layers; i++)
        if (dt_config_feature_depth(m->c, i) > depth)
            depth = dt_config_feature_depth(m->c, i);
    return depth;
}

static bool built_whole(const llava *m)
{
    return m->c->feature_layers == 0 || m->o->mode == DT_BUILD_FULL;
}

static dt_tensor *beside(const llava *m, dt_tensor *x, dt_tensor *y)
{
    return x ? dt_join_groups(m->g, 1, 2, (dt_tensor *[]){x, y}) : y;
}

/* The tower's rows, of the layers that are asked for: [T, hidden_size · layers] */
static dt_tensor *tower_rows(const llava *m)
{
    dt_tower tower = built_whole(m) ? dt_tower_build(m->g, m->c->vision, m->o, "vision_model.", "out.vision.")
                                    : dt_tower_build_part(m->g, m->c->vision, m->o, "vision_model.",
                                                          "out.vision.", deepest(m));
    dt_tensor *x = NULL;
    if (tower.hidden)
        dt_point(m->g, tower.hidden, "out.vision");
    if (m->c->feature_layers == 0 || !tower.stream)
        return tower.hidden;
    for (int i = 0; i < m->c->feature_layers; i++)
        x = beside(m, x, tower.stream[dt_config_feature_depth(m->c, i)]);
    return x;
}

/* Without class tokens, or four rows in place of one: [F, input_size] */
static dt_tensor *features(const llava *m)
{
    bool drops = m->c->drop_class_token && m->c->vision->class_token_len > 0;
    int parts = m->c->pixel_shuffle ? DT_FEATURE_PARTS : drops ? 1 : 0;
    dt_tensor *rows = tower_rows(m), *part[DT_FEATURE_PARTS];
    for (int i = 0; i < parts; i++) {
        char name[32];
        snprintf(name, sizeof name, "feature_rows_%d", i);
        part[i] = dt_take_rows(m->g, rows, index_input(m, name, "features", m->o->features));
    }
    dt_tensor *x = parts == 0 ? rows : parts == 1 ? part[0] : dt_join_groups(m->g, 1, parts, part);
    return dt_point(m->g, x, "out.image_features");
}

/* Pictures as rows that stand among words: [R, H] */
static dt_tensor *image_rows(const llava *m)
{
    dt_tensor *x = dt_projector_build(m->g, m->c->projection, m->o, "vision_projection.", features(m));
    dt_point(m->g, x, "out.projected");
    if (m->c->image_newline) {
        dt_tensor *newline = dt_nn_weight(m->g, "", "x_image_newline", 1, m->c->hidden_size, DT_SPLIT_NONE);
        x = dt_merge_rows(m->g, newline, x, index_input(m, "image_order", "image_rows", m->o->image_rows));
    }
    return x;
}

/* ---- among words ---- */

static dt_tensor *given_rows(const llava *m)
{
    dt_dim dim[] = {{dt_graph_axis(m->g, "image_rows", m->o->image_rows), 0}, {NULL, m->c->hidden_size}};
    return dt_graph_input(m->g, "image_rows", DT_F32, 2, dim);
}

/* words [T, H] with pictures in their places */
static dt_tensor *merge(const llava *m, dt_tensor *words, dt_tensor *pictures)
{
    if (!pictures)
        return words;
    return dt_merge_rows(m->g, words, pictures, index_input(m, "merged_rows", "tokens", m->o->tokens));
}

static void language(const llava *m, dt_tensor *pictures)
{
    bool step = m->o->mode == DT_BUILD_STEP;
    dt_stack stack = dt_model_stack(m->g, m->c, m->o, "language_model.decoder", "out.", m->c->num_layers);
    stack.prefix = "language_model.";
    stack.causal = true;
    dt_tensor *tokens = dt_model_rows(&stack, m->o, "", "tokens", m->o->tokens);
    dt_tensor *x = merge(m, dt_stack_words(&stack, tokens), pictures);
    x = dt_stack_build(&stack, dt_point(m->g, x, "out.embedding")); /* [T, H] */
    dt_model_head(m->g, m->c, m->o, stack.prefix, x, "output_layer", step);
}

dt_status dt_build_llava(dt_graph *g, const dt_model_config *c, const dt_build_options *o, dt_error *err)
{
    llava m = {g, c, o};
    (void)err;
    switch (o->mode) {
    case DT_BUILD_EMBED:
        dt_tower_build(g, c->vision, o, "vision_model.", "out.");
        break;
    case DT_BUILD_ENCODE:
        dt_point(g, image_rows(&m), "out.image_rows");
        break;
    case DT_BUILD_STEP:
        language(&m, o->image_rows > 0 ? given_rows(&m) : NULL);
        break;
    case DT_BUILD_FULL:
        language(&m, o->images > 0 ? image_rows(&m) : NULL);
        break;
    }
    return DT_OK;
}
