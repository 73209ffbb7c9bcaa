/*
 * quantize.c (trtllm) - a rank's file: which weights are quantised, their scales, and the bytes.
 *
 * fp8   <linear>.weight e4m3 = weight * scale; <linear>.weights_scaling_factor [1] and .activation_scaling_factor [1] f32,
 *       which TensorRT-LLM multiplies with. quant_algo FP8.
 * int8  weights stay in 16 bits and quant_algo is W8A16: TensorRT-LLM's loader quantises them itself, by row, to an order
 *       of bytes that depends on the GPU. Bytes in any other order it would take for its own.
 * int4  <linear>.weight int8 [out / 2, in], two rows a byte, the even one in the low half, two's complement;
 *       <linear>.weights_scaling_factor [out, in / group]; <linear>.prequant_scaling_factor [in], ones. quant_algo
 *       W4A16_AWQ: the layout of ModelOpt's checkpoints, which the loader brings into its GPU's order.
 */
#include "formats/trtllm/quantize.h"
#include "base/output.h"
#include "base/text.h"
#include "formats/safetensors/safetensors.h"
#include "tensor/convert.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096, RUN = 1024 };

static const float fp8_largest = 448;

typedef enum method { NONE, FP8, INT8, INT4 } method;

/* Of one of the source's weights. */
typedef struct weight_scale {
    bool known;
    float forward, inverse, input; /* forward: what the weight is multiplied by */
} weight_scale;

struct dt_trtllm_scales {
    const dt_checkpoint *from;
    method method;
    bool kv_cache;
    int64_t group;
    dt_stored_set *given; /* or NULL */
    weight_scale *weight; /* of each canonical tensor of the source */
};

/* ---- which weights ---- */

static bool is_linear(const char *name)
{
    static const char *const ends[] = {".qkv.weight", ".dense.weight", ".fc.weight", ".gate.weight",
                                       ".proj.weight"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (dt_ends_with(name, ends[i]))
            return true;
    return false;
}

/* Columns of every rank's linear weights fall into groups of so many? */
static bool groups_fit(const dt_model_config *c, int T, int64_t group)
{
    dt_model_config encoder = dt_config_of_encoder(c);
    int64_t attention = c->num_attention_heads * c->kv_channels;
    bool fits = c->hidden_size % group == 0 && attention / T % group == 0 &&
                c->ffn_hidden_size / T % group == 0 && encoder.ffn_hidden_size / T % group == 0;
    for (int64_t i = 0; i < c->num_layers && fits; i++)
        fits = dt_config_layer_shape(c, i).ffn_hidden_size / T % group == 0;
    return fits;
}

static dt_status choose_method(dt_trtllm_scales *s, const dt_model_config *c, dt_trtllm_plan *plan,
                               const dt_export_options *o, dt_error *err)
{
    static const struct {
        const char *word, *algorithm;
        method method;
    } methods[] = {{"fp8", "FP8", FP8}, {"int8", "W8A16", INT8}, {"int4", "W4A16_AWQ", INT4}};
    for (int i = 0; o->quantize && i < 3; i++)
        if (strcmp(methods[i].word, o->quantize) == 0) {
            s->method = methods[i].method;
            plan->quant_algo = methods[i].algorithm;
        }
    if (o->quantize && !s->method)
        return dt_fail(err, DT_UNSUPPORTED, "no way to quantise \"%s\"; there are fp8, int8, int4",
                       o->quantize);
    if ((s->method == FP8 || s->method == INT4) && c->num_moe_experts)
        return dt_fail(err, DT_UNSUPPORTED, "%s of experts is not written; --dtype int8, bf16 and f16 are",
                       o->quantize);
    for (int64_t i = 0; i < c->num_layers && s->method; i++)
        if (dt_config_layer_shape(c, i).attention == DT_BRANCH_LINEAR ||
            dt_config_layer_shape(c, i).mlp == DT_BRANCH_LINEAR)
            return dt_fail(err, DT_UNSUPPORTED,
                           "layers replaced by a linear one are written in bf16, f16 or f32");
    if (s->method != INT4)
        return DT_OK;
    s->group = groups_fit(c, plan->tensor, 128) ? 128 : groups_fit(c, plan->tensor, 64) ? 64 : 0;
    plan->group = s->group;
    if (!s->group)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "int4 has a scale for each 64 or 128 columns, which those of a rank's weights do not fall into; "
            "fewer --tp, or --dtype int8 or fp8");
    return DT_OK;
}

dt_status dt_trtllm_scales_create(dt_trtllm_scales **out, const dt_checkpoint *from, const dt_model_config *c,
                                  dt_trtllm_plan *plan, const dt_export_options *o, dt_arena *arena,
                                  dt_error *err)
{
    char path[PATH_BYTES];
    dt_trtllm_scales *s = DT_NEW(arena, dt_trtllm_scales);
    if (!s || !(s->weight = DT_NEW_ARRAY(arena, weight_scale, dt_mapping_count(from->mapping) + 1)))
        return dt_fail_memory(err, sizeof *s->weight, "scales");
    *out = s;
    s->from = from;
    s->kv_cache = plan->kv_cache != NULL;
    DT_PASS(choose_method(s, c, plan, o, err));
    if (s->method != FP8 ||
        snprintf(path, sizeof path, "%s/fp8_scales.safetensors", from->path) >= PATH_BYTES ||
        !dt_is_file(path))
        return DT_OK;
    DT_PASS(dt_stored_set_create(&s->given, err));
    return dt_safetensors_read(s->given, path, err);
}

void dt_trtllm_scales_destroy(dt_trtllm_scales *s)
{
    if (s)
        dt_stored_set_destroy(s->given);
}

/* ---- fp8 scales ---- */

static dt_status given_scale(const dt_trtllm_scales *s, const char *module, const char *kind, int element,
                             float *out, dt_error *err)
{
    char name[DT_TRTLLM_NAME];
    const dt_stored_tensor *t;
    snprintf(name, sizeof name, "%s.%s", module, kind);
    DT_PASS(dt_stored_set_get(s->given, name, &t, err));
    dt_stored_region one = {.offset = {element}, .shape = {.rank = 1, .dim = {1}}};
    DT_PASS(dt_stored_read(t, &one, DT_F32, out, NULL, err));
    if (!(*out > 0) || !isfinite(*out))
        return dt_fail(err, DT_FORMAT, "fp8_scales.safetensors: \"%s\" holds %g", name, (double)*out);
    return DT_OK;
}

/* The largest magnitude of a canonical tensor, a few rows at a time. */
static dt_status largest_of(const dt_checkpoint *from, int index, float *out, dt_error *err)
{
    const dt_canonical *c = dt_mapping_at(from->mapping, index);
    int64_t rows = (1 << 20) / (c->cols + 1) + 1;
    float *data = malloc(sizeof *data * (size_t)(rows * c->cols));
    dt_status status =
        data ? DT_OK : dt_fail_memory(err, sizeof *data * (size_t)(rows * c->cols), "a weight");
    *out = 0;
    for (int64_t row = 0; status == DT_OK && row < c->rows; row += rows) {
        int64_t n = c->rows - row < rows ? c->rows - row : rows;
        dt_block block = {row, 0, n, c->cols};
        dt_window window = {DT_F32, data, c->cols, 1};
        status = dt_mapping_read(from->mapping, index, &block, &window, err);
        for (int64_t i = 0; status == DT_OK && i < n * c->cols; i++)
            *out = fmaxf(*out, fabsf(data[i]));
    }
    dt_mapping_drop(from->mapping, index);
    free(data);
    return status;
}

static dt_status scale_of(dt_trtllm_scales *s, const char *canonical, weight_scale *out, dt_error *err)
{
    char module[DT_TRTLLM_NAME];
    int index;
    DT_PASS(dt_mapping_get(s->from->mapping, canonical, &index, err));
    weight_scale *w = &s->weight[index];
    if (!w->known && s->given) {
        snprintf(module, sizeof module, "%.*s", (int)(strlen(canonical) - strlen(".weight")), canonical);
        DT_PASS(given_scale(s, module, "scale_fwd", 1, &w->forward, err));
        DT_PASS(given_scale(s, module, "scale_inv_fwd", 1, &w->inverse, err));
        DT_PASS(given_scale(s, module, "scale_inv_fwd", 0, &w->input, err));
    } else if (!w->known) {
        float largest;
        DT_PASS(largest_of(s->from, index, &largest, err));
        w->inverse = largest > 0 ? largest / fp8_largest : 1;
        w->forward = largest > 0 ? fp8_largest / largest : 1;
        w->input = 1;
    }
    w->known = true;
    *out = *w;
    return DT_OK;
}

/* Of an external tensor: where several canonical ones lie in it, the one that saturates none. */
static dt_status scale_of_external(dt_trtllm_scales *s, const dt_mapping *m, int external, weight_scale *out,
                                   dt_error *err)
{
    *out = (weight_scale){.forward = INFINITY};
    for (int i = 0; i < dt_mapping_count(m); i++) {
        const dt_canonical *c = dt_mapping_at(m, i);
        weight_scale w;
        if (!c->count || dt_mapping_piece_at(m, c->first)->external > external ||
            dt_mapping_piece_at(m, c->first + c->count - 1)->external < external)
            continue;
        DT_PASS(scale_of(s, c->spec->name, &w, err));
        if (w.forward < out->forward)
            *out = w;
    }
    return DT_OK;
}

/* ---- entries ---- */

typedef struct listing {
    dt_trtllm_file *file;
    dt_arena *arena;
    dt_dtype dtype;
} listing;

/* NAME with its last word replaced. */
static const char *beside(dt_arena *arena, const char *name, const char *word, int words)
{
    const char *end = name + strlen(name);
    while (words-- > 0)
        for (end--; *end != '.' && end > name; end--)
            ;
    return dt_arena_printf(arena, "%.*s.%s", (int)(end - name), name, word);
}

static void add_constant(listing *l, const char *name, dt_dtype dtype, int64_t count, float value)
{
    l->file->entry[l->file->count++] = (dt_trtllm_entry){.name = name,
                                                         .external = -1,
                                                         .form = DT_FORM_CONSTANT,
                                                         .dtype = dtype,
                                                         .shape = {.rank = 1, .dim = {count}},
                                                         .scale = value};
}

static dt_status add_fp8(listing *l, dt_trtllm_scales *s, dt_trtllm_entry *e, dt_error *err)
{
    weight_scale w;
    DT_PASS(scale_of_external(s, l->file->mapping, e->external, &w, err));
    e->form = DT_FORM_FP8;
    e->dtype = DT_F8E4M3;
    e->scale = w.forward;
    add_constant(l, beside(l->arena, e->name, "weights_scaling_factor", 1), DT_F32, 1, w.inverse);
    add_constant(l, beside(l->arena, e->name, "activation_scaling_factor", 1), DT_F32, 1, w.input);
    return DT_OK;
}

static dt_status add_int4(listing *l, const dt_trtllm_scales *s, dt_trtllm_entry *e, dt_error *err)
{
    int64_t rows = e->shape.dim[0], cols = e->shape.dim[1];
    if (rows % 2 || cols % s->group)
        return dt_fail(err, DT_UNSUPPORTED,
                       "\"%s\" %s cannot be int4: rows go in pairs, columns in groups of %lld", e->name,
                       dt_shape_print(&e->shape).text, (long long)s->group);
    dt_trtllm_entry scales = *e;
    e->form = DT_FORM_INT4;
    e->dtype = DT_I8;
    e->group = scales.group = s->group;
    e->shape.dim[0] = rows / 2;
    scales.form = DT_FORM_INT4_SCALES;
    scales.name = beside(l->arena, e->name, "weights_scaling_factor", 1);
    scales.shape.dim[1] = cols / s->group;
    l->file->entry[l->file->count++] = scales;
    add_constant(l, beside(l->arena, e->name, "prequant_scaling_factor", 1), l->dtype, cols, 1);
    return DT_OK;
}

dt_status dt_trtllm_list_entries(dt_trtllm_file *file, dt_trtllm_scales *s, dt_dtype dtype, dt_arena *arena,
                                 dt_error *err)
{
    int count = dt_mapping_external_count(file->mapping);
    listing l = {file, arena, dtype};
    file->entry = DT_NEW_ARRAY(arena, dt_trtllm_entry, 4 * count + 1);
    if (!file->entry)
        return dt_fail_memory(err, sizeof *file->entry * 4 * (size_t)count, "a file's tensors");
    for (int i = 0; i < count; i++) {
        const dt_external *x = dt_mapping_external_at(file->mapping, i);
        dt_trtllm_entry *e = &file->entry[file->count++];
        *e = (dt_trtllm_entry){
            .name = x->name, .external = i, .dtype = dtype, .base = dtype, .shape = x->shape};
        if (dt_ends_with(x->name, ".router.weight"))
            e->dtype = DT_F32;
        if (s->method == FP8 && is_linear(x->name))
            DT_PASS(add_fp8(&l, s, e, err));
        if (s->method == INT4 && is_linear(x->name))
            DT_PASS(add_int4(&l, s, e, err));
        if (s->kv_cache && dt_ends_with(x->name, "attention.qkv.weight"))
            add_constant(&l, beside(arena, x->name, "kv_cache_scaling_factor", 2), DT_F32, 1, 1);
    }
    for (int i = 0; i < file->count; i++)
        if (!file->entry[i].name)
            return dt_fail_memory(err, 64, "a tensor's name");
    return DT_OK;
}

/* ---- bytes ---- */

/* What is quantised is made in f32 first. */
static dt_dtype stream_type(const dt_trtllm_entry *e)
{
    return e->form == DT_FORM_PLAIN ? e->dtype : DT_F32;
}

uint64_t dt_trtllm_stream_bytes(const dt_trtllm_file *file)
{
    uint64_t total = 0;
    for (int i = 0; i < file->count; i++) {
        const dt_trtllm_entry *e = &file->entry[i];
        int64_t rows, cols;
        if (e->external < 0)
            continue;
        dt_external_rows(dt_mapping_external_at(file->mapping, e->external), &rows, &cols);
        total += (uint64_t)(rows * cols * dt_dtype_block_bytes(stream_type(e)));
    }
    return total;
}

/* Where a tensor's bytes go; int4 keeps a row that waits for its other half. */
typedef struct sink {
    dt_safetensors_writer *writer;
    size_t index;
    const dt_trtllm_entry *entry;
    float *waiting; /* a row */
    bool *waits;
    int64_t cols;
    dt_dtype dtype; /* of int4's scales */
} sink;

static dt_status put_plain(void *user, const void *data, size_t bytes, dt_error *err)
{
    const sink *s = user;
    return dt_safetensors_write(s->writer, s->index, data, bytes, err);
}

static dt_status put_fp8(void *user, const void *data, size_t bytes, dt_error *err)
{
    const sink *s = user;
    const float *value = data;
    uint8_t out[RUN];
    size_t count = bytes / sizeof *value;
    for (size_t done = 0; done < count; done += RUN) {
        size_t n = count - done < RUN ? count - done : RUN;
        for (size_t i = 0; i < n; i++)
            out[i] = dt_f32_to_f8e4m3(value[done + i] * s->entry->scale);
        DT_PASS(dt_safetensors_write(s->writer, s->index, out, n, err));
    }
    return DT_OK;
}

/* A group's scale as it is stored: its largest magnitude over 7. */
static dt_status group_scale(const float *value, int64_t group, dt_dtype dtype, float *scale,
                             uint8_t stored[4], dt_error *err)
{
    float largest = 0;
    for (int64_t i = 0; i < group; i++)
        largest = fmaxf(largest, fabsf(value[i]));
    float exact = largest > 0 ? largest / 7 : 1;
    DT_PASS(dt_convert(dtype, stored, DT_F32, &exact, 1, err));
    return dt_convert(DT_F32, scale, dtype, stored, 1, err);
}

static dt_status put_int4_scales(void *user, const void *data, size_t bytes, dt_error *err)
{
    const sink *s = user;
    const float *value = data;
    int64_t group = s->entry->group, count = (int64_t)(bytes / sizeof *value);
    size_t width = (size_t)dt_dtype_block_bytes(s->dtype);
    for (int64_t i = 0; i < count; i += group) {
        float scale;
        uint8_t stored[4];
        DT_PASS(group_scale(value + i, group, s->dtype, &scale, stored, err));
        DT_PASS(dt_safetensors_write(s->writer, s->index, stored, width, err));
    }
    return DT_OK;
}

static int nibble(float value, float scale)
{
    float q = rintf(value / scale);
    return (int)(q < -8 ? -8 : q > 7 ? 7 : q) & 15;
}

/* Two rows of floats as one of bytes. */
static dt_status put_pair(const sink *s, const float *even, const float *odd, dt_error *err)
{
    uint8_t out[128], stored[4];
    for (int64_t at = 0; at < s->cols; at += s->entry->group) {
        float low, high;
        DT_PASS(group_scale(even + at, s->entry->group, s->dtype, &low, stored, err));
        DT_PASS(group_scale(odd + at, s->entry->group, s->dtype, &high, stored, err));
        for (int64_t i = 0; i < s->entry->group; i++)
            out[i] = (uint8_t)(nibble(even[at + i], low) | nibble(odd[at + i], high) << 4);
        DT_PASS(dt_safetensors_write(s->writer, s->index, out, (size_t)s->entry->group, err));
    }
    return DT_OK;
}

static dt_status put_int4(void *user, const void *data, size_t bytes, dt_error *err)
{
    const sink *s = user;
    const float *row = data, *end = row + bytes / sizeof *row;
    for (; row < end; row += s->cols) {
        if (*s->waits)
            DT_PASS(put_pair(s, s->waiting, row, err));
        else
            memcpy(s->waiting, row, sizeof *row * (size_t)s->cols);
        *s->waits = !*s->waits;
    }
    return DT_OK;
}

static dt_status put_constant(dt_safetensors_writer *writer, size_t index, const dt_trtllm_entry *e,
                              dt_error *err)
{
    uint8_t one[8];
    DT_PASS(dt_convert(e->dtype, one, DT_F32, &e->scale, 1, err));
    for (int64_t i = 0; i < e->shape.dim[0]; i++)
        DT_PASS(dt_safetensors_write(writer, index, one, (size_t)dt_dtype_block_bytes(e->dtype), err));
    return DT_OK;
}

static dt_status put_entry(dt_export_run *run, const dt_trtllm_file *file, const dt_trtllm_entry *e,
                           dt_safetensors_writer *writer, size_t index, dt_error *err)
{
    static const dt_export_sink sinks[] = {[DT_FORM_PLAIN] = put_plain,
                                           [DT_FORM_FP8] = put_fp8,
                                           [DT_FORM_INT4] = put_int4,
                                           [DT_FORM_INT4_SCALES] = put_int4_scales};
    dt_export_part part = {.external = e->external};
    bool waits = false;
    sink s = {.writer = writer, .index = index, .entry = e, .waits = &waits, .dtype = e->base};
    if (e->form == DT_FORM_CONSTANT) {
        DT_PASS(dt_export_run_wait(run, err)); /* one writes at a time */
        return put_constant(writer, index, e, err);
    }
    dt_external_rows(dt_mapping_external_at(file->mapping, e->external), &part.rows, &s.cols);
    if (e->form != DT_FORM_INT4)
        return dt_export_stream(run, file->mapping, stream_type(e), &part, sinks[e->form], &s, sizeof s, err);
    if (!(s.waiting = malloc(sizeof(float) * (size_t)s.cols)))
        return dt_fail_memory(err, sizeof(float) * (size_t)s.cols, "a row");
    dt_status status =
        dt_export_stream(run, file->mapping, stream_type(e), &part, sinks[e->form], &s, sizeof s, err);
    dt_status written = dt_export_run_wait(run, status == DT_OK ? err : NULL); /* the row is ours */
    free(s.waiting);
    return status == DT_OK ? written : status;
}

static dt_status put_all(dt_export_run *run, const dt_trtllm_file *file, dt_safetensors_writer *writer,
                         dt_error *err)
{
    dt_status status = DT_OK;
    for (int i = 0; status == DT_OK && i < file->count; i++) {
        size_t index = dt_safetensors_order(writer, (size_t)i);
        status = put_entry(run, file, &file->entry[index], writer, index, err);
    }
    dt_status written = dt_export_run_wait(run, status == DT_OK ? err : NULL);
    return status == DT_OK ? written : status;
}

dt_status dt_trtllm_write_file(dt_export_run *run, const dt_trtllm_file *file, const char *root,
                               const char *const notes[4], dt_export_result *result, dt_error *err)
{
    char path[PATH_BYTES];
    dt_safetensors_writer *writer = NULL;
    dt_safetensors_entry *list = calloc((size_t)file->count + 1, sizeof *list);
    dt_status status =
        list ? DT_OK : dt_fail_memory(err, sizeof *list * (size_t)file->count, "a file's tensors");
    for (int i = 0; list && i < file->count; i++)
        list[i] = (dt_safetensors_entry){file->entry[i].name, file->entry[i].dtype, file->entry[i].shape};
    if (status == DT_OK && snprintf(path, sizeof path, "%s/%s", root, file->name) >= PATH_BYTES)
        status = dt_fail(err, DT_INVALID, "the path %s is too long", root);
    if (status == DT_OK)
        status = dt_safetensors_create(&writer, path, true, list, (size_t)file->count, notes, 2, err);
    free(list);
    if (status == DT_OK)
        status = put_all(run, file, writer, err);
    if (status != DT_OK) {
        dt_safetensors_discard(writer);
        return status;
    }
    result->bytes += dt_safetensors_file_bytes(writer);
    result->tensors += file->count;
    result->files++;
    return dt_safetensors_commit(writer, err);
}
