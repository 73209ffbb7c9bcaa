/*
 * model.c (onnx) - which graphs a model becomes, what goes in and out of them, and how parameters lie for their ops.
 *
 * Names are those of Hugging Face's Optimum. A decoder is one graph with a cache that may be empty. An encoder-decoder is
 * an encoder, a decoder for the first step (it stores what the layers read of the encoder), and one for later steps;
 * the three share one data file. So do the three of a language model that sees: eyes, table of words, decoder of rows.
 */
#include "formats/onnx/model.h"

#include <string.h>

#define DT_ONNX_TURNED "logits_per_text" /* logits of pictures and texts, seen from the texts */

static bool is_encoder(const dt_model_config *c)
{
    return c->encoder_only;
}

static bool has_eyes(const dt_model_config *c)
{
    return c->vision != NULL;
}

static const dt_onnx_file decoder_files[] = {
    {"model.onnx",
     DT_BUILD_STEP,
     {.result = {{"out.logits", "logits"}},
      .cached = true,
      .presents = true,
      .numbered = true,
      .own_mask = "attention_mask",
      .own_length = "sequence_length"}},
};
static const dt_onnx_file encoder_files[] = {
    {"model.onnx",
     DT_BUILD_EMBED,
     {.result = {{"out.hidden", "last_hidden_state"}},
      .own_mask = "attention_mask",
      .own_length = "sequence_length"}},
};
static const dt_onnx_file bert_files[] = {
    {"model.onnx",
     DT_BUILD_FULL,
     {.result = {{"out.logits", "logits"},
                 {"out.hidden", "last_hidden_state"},
                 {"out.pooled", "pooler_output"},
                 {"out.binary_logits", "seq_relationship_logits"}},
      .own_mask = "attention_mask",
      .own_length = "sequence_length"}},
};
static const dt_onnx_file tower_files[] = {
    {"model.onnx",
     DT_BUILD_FULL,
     {.result = {{"out.logits", "logits"},
                 {"out.hidden", "last_hidden_state"},
                 {"out.pooled", "pooler_output"},
                 {"out.image_features", "image_embeds"}},
      .wordless = true,
      .own_length = "sequence_length"}},
};
static const dt_onnx_file projector_files[] = {
    {"model.onnx",
     DT_BUILD_FULL,
     {.result = {{"out.projected", "hidden_states"}}, .wordless = true, .own_length = "sequence_length"}},
};
static const dt_onnx_file text_tower_files[] = {
    {"model.onnx",
     DT_BUILD_FULL,
     {.result = {{"out.hidden", "last_hidden_state"},
                 {"out.pooled", "pooler_output"},
                 {"out.text_features", "text_embeds"}},
      .own_length = "sequence_length"}},
};
static const dt_onnx_file dual_files[] = {
    {"model.onnx",
     DT_BUILD_FULL,
     {.result = {{"out.logits", "logits_per_image"},
                 {"out.logits", DT_ONNX_TURNED},
                 {"out.text_features", "text_embeds"},
                 {"out.image_features", "image_embeds"}},
      .own_batch = "text_batch_size",
      .own_length = "sequence_length"}},
};
static const dt_onnx_file both_files[] = {
    {"encoder_model.onnx",
     DT_BUILD_EMBED,
     {.result = {{"out.hidden", "last_hidden_state"}},
      .own_mask = "attention_mask",
      .own_length = "encoder_sequence_length"}},
    {"decoder_model.onnx",
     DT_BUILD_FULL,
     {.result = {{"out.logits", "logits"}},
      .cut = {"out.encoder.hidden", "encoder_hidden_states"},
      .cut_length = "encoder_sequence_length",
      .presents = true,
      .cross = true,
      .own_length = "decoder_sequence_length"}},
    {"decoder_with_past_model.onnx",
     DT_BUILD_STEP,
     {.result = {{"out.logits", "logits"}},
      .cached = true,
      .presents = true,
      .cross = true,
      .own_length = "decoder_sequence_length"}},
};
/* Whoever runs it puts image_features in the places of the image tokens' rows of inputs_embeds. */
static const dt_onnx_file seeing_files[] = {
    {"vision_encoder.onnx",
     DT_BUILD_FULL,
     {.result = {{"out.projected", "image_features"}},
      .wordless = true,
      .own_length = "image_sequence_length"}},
    {"embed_tokens.onnx",
     DT_BUILD_STEP,
     {.result = {{"out.embedding", "inputs_embeds"}}, .own_length = "sequence_length"}},
    {"decoder_model_merged.onnx",
     DT_BUILD_STEP,
     {.result = {{"out.logits", "logits"}},
      .cut = {"out.embedding", "inputs_embeds"},
      .cut_length = "sequence_length",
      .wordless = true,
      .cached = true,
      .presents = true,
      .numbered = true,
      .own_mask = "attention_mask",
      .own_length = "sequence_length"}},
};

static const struct {
    const char *model_type;
    bool (*is)(const dt_model_config *config); /* NULL: all of that type */
    const dt_onnx_file *file;
    int count;
} kinds[] = {
    {"gpt", NULL, decoder_files, 1},
    {"bert", NULL, bert_files, 1},
    {"clip_vit", NULL, tower_files, 1},
    {"radio", NULL, tower_files, 1},
    {"projector", NULL, projector_files, 1},
    {"t5", is_encoder, encoder_files, 1},
    {"t5", NULL, both_files, 3},
    {"clip", has_eyes, dual_files, 1},
    {"clip", NULL, text_tower_files, 1},
    {"llava", NULL, seeing_files, 3},
};

const char *dt_onnx_file_name(int index)
{
    static const char *const names[] = {"model.onnx",
                                        "encoder_model.onnx",
                                        "decoder_model.onnx",
                                        "decoder_with_past_model.onnx",
                                        "vision_encoder.onnx",
                                        "embed_tokens.onnx",
                                        "decoder_model_merged.onnx"};
    return index >= 0 && index < (int)(sizeof names / sizeof names[0]) ? names[index] : NULL;
}

dt_status dt_onnx_files(const dt_model_config *c, const dt_onnx_file **out, int *count, dt_error *err)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].model_type, c->model_type) == 0 && (!kinds[i].is || kinds[i].is(c))) {
            *out = kinds[i].file;
            *count = kinds[i].count;
            return DT_OK;
        }
    return dt_fail(err, DT_UNSUPPORTED, "models of type \"%s\" (%s) have no ONNX graphs yet", c->model_type,
                   c->family);
}

/* ---- how parameters lie ---- */

static dt_onnx_layout layout_for(const dt_op *op, int input)
{
    return input == 1 && op->kind == DT_OP_linear          ? DT_ONNX_TRANSPOSED
           : input == 1 && op->kind == DT_OP_expert_linear ? DT_ONNX_EXPERTS
                                                           : DT_ONNX_AS_IS;
}

typedef struct lying {
    dt_onnx_layout layout;
    int64_t experts;
    bool read;
} lying;

/* Of each tensor: the layout that all ops agree on which read it. */
static void find_layouts(const dt_graph *g, lying *of)
{
    for (int i = 0; i < g->op_count; i++)
        for (int k = 0; k < g->op[i]->input_count; k++) {
            const dt_tensor *t = g->op[i]->input[k];
            if (!t || t->kind != DT_TENSOR_PARAM)
                continue;
            dt_onnx_layout wanted = layout_for(g->op[i], k);
            lying *l = &of[t->id];
            l->layout = !l->read || l->layout == wanted ? wanted : DT_ONNX_AS_IS;
            l->experts = wanted == DT_ONNX_EXPERTS ? g->op[i]->attr.experts.count : 1;
            l->read = true;
        }
}

static dt_status map_parameter(dt_mapping *m, const lying *l, dt_error *err)
{
    const dt_canonical *c = dt_mapping_next(m, err);
    if (!c)
        return DT_FORMAT;
    bool turned = l->layout != DT_ONNX_AS_IS;
    int64_t planes = l->layout == DT_ONNX_EXPERTS ? l->experts : 1, rows = c->rows / planes;
    dt_shape shape = dt_shape_of(c->spec->rank, c->spec->dim);
    int external, axes = shape.rank;
    if (turned)
        shape = planes > 1 || l->layout == DT_ONNX_EXPERTS
                    ? dt_shape_of(3, (int64_t[]){planes, c->cols, rows})
                    : dt_shape_of(2, (int64_t[]){c->cols, rows});
    if (turned)
        axes = 2;
    DT_PASS(dt_mapping_add_external(m, c->spec->name, &shape, axes, &external, err));
    for (int64_t e = 0; e < planes; e++)
        DT_PASS(dt_mapping_add_piece(m,
                                     &(dt_piece){.external = external,
                                                 .plane = e,
                                                 .to_row = e * rows,
                                                 .rows = rows,
                                                 .cols = c->cols,
                                                 .transposed = turned},
                                     err));
    return DT_OK;
}

static const dt_build_options smallest = {.spec = NULL,
                                          .logits = true,
                                          .tokens = 1,
                                          .source_tokens = 1,
                                          .sequences = 1,
                                          .output_rows = 1,
                                          .images = 1,
                                          .patches = 1,
                                          .vision_tokens = 1,
                                          .features = 1,
                                          .image_rows = 1,
                                          .kv_blocks = 1,
                                          .sequence_blocks = 1,
                                          .memory_blocks = 1,
                                          .memory_sequence_blocks = 1,
                                          .kv_dtype = DT_F32};

static dt_status build(dt_graph **out, const dt_model_config *c, dt_build_mode mode, dt_error *err)
{
    dt_build_options options = smallest;
    options.mode = mode;
    options.spec = dt_layer_spec_local();
    if (mode == DT_BUILD_STEP)
        options.image_rows = 0; /* words and pictures are rows by then */
    *out = dt_graph_create(err);
    return *out ? dt_model_build(*out, c, &options, err) : DT_NO_MEMORY;
}

dt_status dt_onnx_map(const dt_model_config *c, dt_mapping *m, dt_error *err)
{
    dt_graph *g = NULL;
    dt_status status = build(&g, c, DT_BUILD_FULL, err);
    lying *of = status == DT_OK ? DT_NEW_ARRAY(g->arena, lying, g->tensor_count) : NULL;
    if (status == DT_OK && !of)
        status = dt_fail_memory(err, sizeof *of * (size_t)g->tensor_count, "the layout of parameters");
    if (status == DT_OK)
        find_layouts(g, of);
    for (int i = 0; status == DT_OK && i < dt_mapping_count(m); i++) {
        const dt_tensor *t = dt_graph_find(g, dt_mapping_at(m, i)->spec->name);
        status = t ? map_parameter(m, &of[t->id], err)
                   : dt_fail(err, DT_UNSUPPORTED, "no graph has the parameter \"%s\"",
                             dt_mapping_at(m, i)->spec->name);
    }
    dt_graph_destroy(g);
    return status == DT_OK ? dt_mapping_finish(m, err) : status;
}

/* ---- lowering ---- */

static dt_onnx_layout layout_in(const dt_mapping *m, const dt_tensor *t)
{
    int index = t->kind == DT_TENSOR_PARAM ? dt_mapping_find(m, t->name) : -1;
    const dt_canonical *c = index < 0 ? NULL : dt_mapping_at(m, index);
    const dt_piece *p = c ? dt_mapping_piece_at(m, c->first) : NULL;
    if (!p || !p->transposed)
        return DT_ONNX_AS_IS;
    return dt_mapping_external_at(m, p->external)->shape.rank == 3 ? DT_ONNX_EXPERTS : DT_ONNX_TRANSPOSED;
}

static void put_result(dt_lowering *l, const dt_onnx_result *r)
{
    dt_onnx *o = l->o;
    const dt_tensor *t = dt_graph_find(l->graph, r->point);
    const char *value = t ? l->value[t->id] : NULL, *texts = l->frame->own_batch;
    bool flat = t && dt_lower_is_flat(t), turned = strcmp(r->name, DT_ONNX_TURNED) == 0;
    if (!value)
        return;
    dt_onnx_dim rows = {texts && !dt_lower_sees(t) ? texts : "batch_size", 0},
                columns = {t->dim[1].axis ? texts : NULL, t->dim[1].n};
    if (turned)
        dt_onnx_output(o, DT_ONNX_TRANSPOSE(o, value, 1, 0), r->name, dt_onnx_type_of(o->type), 2,
                       (dt_onnx_dim[]){columns, rows});
    else if (flat)
        dt_onnx_output(o, value, r->name, dt_onnx_type_of(o->type), 2, (dt_onnx_dim[]){rows, columns});
    else
        dt_onnx_output(o, value, r->name, dt_onnx_type_of(o->type), 3,
                       (dt_onnx_dim[]){rows, {l->frame->own_length, 0}, columns});
}

static dt_status lower(dt_onnx_model *m, const dt_model_config *c, const dt_mapping *mapping, dt_error *err)
{
    dt_arena *arena = m->onnx.arena;
    int count = m->graph->tensor_count;
    dt_onnx_layout *layout = DT_NEW_ARRAY(arena, dt_onnx_layout, count);
    dt_lowering l = {.o = &m->onnx,
                     .graph = m->graph,
                     .config = c,
                     .frame = &m->file->frame,
                     .layout = layout,
                     .value = DT_NEW_ARRAY(arena, const char *, count),
                     .used = m->used = DT_NEW_ARRAY(arena, bool, count),
                     .err = err};
    if (!layout || !l.value || !l.used)
        return dt_fail_memory(err, sizeof *layout * (size_t)count, "an ONNX graph");
    for (int i = 0; i < count; i++)
        layout[i] = layout_in(mapping, m->graph->tensor[i]);
    DT_PASS(dt_lower_graph(&l));
    for (int i = 0; i < DT_ONNX_RESULTS && m->file->frame.result[i].point; i++)
        put_result(&l, &m->file->frame.result[i]);
    return dt_onnx_failed(l.o) ? dt_fail_memory(err, l.o->nodes.bytes, "an ONNX graph") : DT_OK;
}

dt_status dt_onnx_lower(dt_onnx_model *out, const dt_onnx_file *file, const dt_model_config *c,
                        const dt_mapping *mapping, dt_arena *arena, int opset, dt_dtype type, dt_error *err)
{
    *out = (dt_onnx_model){.file = file, .onnx = {.arena = arena, .opset = opset, .type = type}};
    DT_PASS(build(&out->graph, c, file->mode, err));
    DT_TRY(lower(out, c, mapping, err), err, "while lowering the graph of %s", file->name);
    return DT_OK;
}

void dt_onnx_model_release(dt_onnx_model *m)
{
    dt_graph_destroy(m->graph);
    dt_onnx_release(&m->onnx);
    *m = (dt_onnx_model){0};
}
