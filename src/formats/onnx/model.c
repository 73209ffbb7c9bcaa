/*
 * model.c (onnx) - which graphs a model becomes, what goes in and out of them, and how parameters lie for their ops.
 *
 * Names are those of Hugging Face's Optimum. A decoder is one graph with a cache that may be empty. An encoder-decoder is
 * an encoder, a decoder for the first step (it stores what the layers read of the encoder), and one for later steps;
 * the three share one data file.
 */
#include "formats/onnx/model.h"

#include <string.h>

static const dt_onnx_file decoder_files[] = {
    {"model.onnx",
     DT_BUILD_STEP,
     {.cached = true,
      .presents = true,
      .numbered = true,
      .own_mask = "attention_mask",
      .own_length = "sequence_length"}},
};
static const dt_onnx_file encoder_files[] = {
    {"model.onnx", DT_BUILD_EMBED, {.own_mask = "attention_mask", .own_length = "sequence_length"}},
};
static const dt_onnx_file bert_files[] = {
    {"model.onnx", DT_BUILD_FULL, {.own_mask = "attention_mask", .own_length = "sequence_length"}},
};
static const dt_onnx_file tower_files[] = {
    {"model.onnx", DT_BUILD_FULL, {.source = DT_ONNX_PIXELS, .own_length = "sequence_length"}},
};
static const dt_onnx_file projector_files[] = {
    {"model.onnx", DT_BUILD_FULL, {.source = DT_ONNX_FEATURES, .own_length = "sequence_length"}},
};
static const dt_onnx_file both_files[] = {
    {"encoder_model.onnx",
     DT_BUILD_EMBED,
     {.own_mask = "attention_mask", .own_length = "encoder_sequence_length"}},
    {"decoder_model.onnx",
     DT_BUILD_FULL,
     {.cut = "out.encoder.hidden", .presents = true, .cross = true, .own_length = "decoder_sequence_length"}},
    {"decoder_with_past_model.onnx",
     DT_BUILD_STEP,
     {.cached = true, .presents = true, .cross = true, .own_length = "decoder_sequence_length"}},
};

/* What comes out, where the graph has it. */
static const struct {
    const char *point, *name;
    bool encoder; /* of a decoder, it stays inside */
} result[] = {
    {"out.logits", "logits", false},
    {"out.hidden", "last_hidden_state", true},
    {"out.pooled", "pooler_output", true},
    {"out.binary_logits", "seq_relationship_logits", true},
    {"out.image_features", "image_embeds", true},
    {"out.projected", "hidden_states", true},
};

enum { RESULTS = sizeof result / sizeof result[0] };

const char *dt_onnx_file_name(int index)
{
    static const char *const names[] = {"model.onnx", "encoder_model.onnx", "decoder_model.onnx",
                                        "decoder_with_past_model.onnx"};
    return index >= 0 && index < (int)(sizeof names / sizeof names[0]) ? names[index] : NULL;
}

dt_status dt_onnx_files(const dt_model_config *c, const dt_onnx_file **out, int *count, dt_error *err)
{
    bool t5 = strcmp(c->model_type, "t5") == 0;
    *count = 1;
    if (strcmp(c->model_type, "gpt") == 0)
        *out = decoder_files;
    else if (strcmp(c->model_type, "bert") == 0)
        *out = bert_files;
    else if (dt_config_is_tower(c))
        *out = tower_files;
    else if (strcmp(c->model_type, "projector") == 0)
        *out = projector_files;
    else if (t5 && c->encoder_only)
        *out = encoder_files;
    else if (t5) {
        *out = both_files;
        *count = DT_ONNX_GRAPHS;
    } else
        return dt_fail(err, DT_UNSUPPORTED, "models of type \"%s\" (%s) have no ONNX graphs yet",
                       c->model_type, c->family);
    return DT_OK;
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

/* One row a sequence or picture, instead of one a token or patch. */
static bool is_flat(const dt_tensor *t)
{
    const dt_axis *axis = t->dim[0].axis;
    return axis && (strcmp(axis->name, "sequences") == 0 || strcmp(axis->name, "images") == 0);
}

static void put_results(dt_lowering *l)
{
    for (int i = 0; i < RESULTS; i++) {
        const dt_tensor *t = dt_graph_find(l->graph, result[i].point);
        const char *value = t ? l->value[t->id] : NULL;
        dt_onnx_dim dim[3] = {{"batch_size", 0}, {l->frame->own_length, 0}};
        if (!value)
            continue;
        bool flat = is_flat(t);
        dim[flat ? 1 : 2] = (dt_onnx_dim){NULL, t->dim[1].n};
        dt_onnx_output(l->o, value, result[i].name, dt_onnx_type_of(l->o->type), flat ? 2 : 3, dim);
    }
}

/* What no op reads is kept all the same: DINOv2's mask token is part of the model. */
static void keep_unread(dt_onnx_model *m)
{
    lying *of = DT_NEW_ARRAY(m->onnx.arena, lying, m->graph->tensor_count);
    m->onnx.failed |= !of;
    if (of)
        find_layouts(m->graph, of);
    for (int i = 0; of && i < m->graph->tensor_count; i++)
        m->used[i] |= m->graph->tensor[i]->kind == DT_TENSOR_PARAM && !of[i].read;
}

static dt_status lower(dt_onnx_model *m, const dt_model_config *c, const dt_mapping *mapping, dt_error *err)
{
    dt_arena *arena = m->onnx.arena;
    int count = m->graph->tensor_count, points = 0;
    const char *point[RESULTS];
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
    bool decoder =
        dt_config_reads(c) && strcmp(c->model_type, "bert") != 0 && m->file->mode != DT_BUILD_EMBED;
    for (int i = 0; i < RESULTS; i++)
        if (!decoder || !result[i].encoder)
            point[points++] = result[i].point;
    DT_PASS(dt_lower_graph(&l, point, points));
    put_results(&l);
    if (dt_config_is_tower(c))
        keep_unread(m);
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
