/*
 * write.c (ctranslate2) - writes a model as a CTranslate2 folder: model.bin, streamed variable by variable in the order of
 * their names. What they mean is spec.c's, texts are vocabulary.c's.
 *
 * int8 is the makers' own: rows times 127 over their largest magnitude, rounded to nearest. Tensors that hold the same by
 * the model's making (tied tables, T5's one bias table) are aliases.
 */
#include "formats/ctranslate2/write.h"

#include "base/fail.h"
#include "base/output.h"
#include "base/say.h"
#include "base/text.h"
#include "models/build.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES "formats/ctranslate2/names.def"
#include "formats/hf/expand_names.h"

enum { PATH_BYTES = 4096, VERSION = 6, SEQ2SEQ_REVISION = 7, DECODER_REVISION = 8 };

typedef struct job {
    const dt_checkpoint *from;
    const dt_export_options *options;
    dt_model_config config; /* as it will be read again */
    dt_arena *arena;
    dt_export_plan plan;
    dt_ct2_list list;
    dt_output *output;
    dt_export_run run;
} job;

/* ---- the list of variables ---- */

void dt_ct2_add(dt_ct2_list *list, const dt_ct2_variable *variable)
{
    if (list->count == list->capacity) {
        int capacity = list->capacity ? 2 * list->capacity : 256;
        dt_ct2_variable *more = DT_NEW_ARRAY(list->arena, dt_ct2_variable, capacity);
        if (!more) {
            list->failed = true;
            return;
        }
        if (list->count)
            memcpy(more, list->variable, (size_t)list->count * sizeof *more);
        list->variable = more;
        list->capacity = capacity;
    }
    list->variable[list->count] = *variable;
    list->variable[list->count].name = dt_arena_text(list->arena, variable->name);
    list->failed |= !list->variable[list->count].name;
    list->count += !list->failed;
}

void dt_ct2_add_alias(dt_ct2_list *list, const char *alias, const char *of)
{
    dt_ct2_add(list,
               &(dt_ct2_variable){.name = alias, .alias = dt_arena_text(list->arena, of), .external = -1});
}

/* Weights of products and tables of words have scales in CTranslate2; norms, biases and positions have none. */
static bool can_have_scales(const char *name, const dt_shape *shape)
{
    return shape->rank == 2 && dt_ends_with(name, "/weight");
}

static dt_dtype plain_type(dt_dtype stored)
{
    return stored == DT_BF16 || stored == DT_F16 ? stored : DT_F32;
}

static void list_tensor(job *j, int external)
{
    const dt_external *e = dt_mapping_external_at(j->plan.mapping, external);
    dt_ct2_variable v = {.name = e->name, .external = external};
    bool integers = j->options->cast && j->options->dtype == DT_I8;
    v.type = plain_type(
        integers ? dt_mapping_stored_type(j->from->mapping, dt_mapping_find(j->from->mapping, e->canonical))
                 : j->plan.dtype[external]);
    v.scaled = integers && can_have_scales(e->name, &e->shape);
    if (!v.scaled) {
        dt_ct2_add(&j->list, &v);
        return;
    }
    v.type = DT_I8;
    v.scale = DT_NEW_ARRAY(j->arena, float, e->shape.dim[0]);
    j->list.failed |= !v.scale;
    dt_ct2_add(&j->list, &v);
    const char *name = dt_arena_printf(j->arena, "%s_scale", e->name);
    if (name)
        dt_ct2_add(
            &j->list,
            &(dt_ct2_variable){
                .name = name, .type = DT_F32, .external = -1, .scale = v.scale, .rows = e->shape.dim[0]});
    j->list.failed |= !name;
}

static bool has(const job *j, const char *name)
{
    return dt_mapping_find_external(j->plan.mapping, name) >= 0;
}

static void list_bias_aliases(job *j, const char *stack, int64_t layers)
{
    char first[128], name[128];
    snprintf(first, sizeof first, "%s/layer_0/self_attention/relative_attention_bias", stack);
    for (int64_t i = 1; i < layers; i++) {
        snprintf(name, sizeof name, "%s/layer_%" PRId64 "/self_attention/relative_attention_bias", stack, i);
        if (!has(j, name))
            dt_ct2_add_alias(&j->list, name, first);
    }
}

/* In f32 whatever the weights are: rounding them would move every position. */
static void list_waves(job *j)
{
    static const char name[] = "decoder/position_encodings/encodings";
    dt_ct2_add(&j->list, &(dt_ct2_variable){.name = name, .type = DT_F32, .external = -1, .waves = true});
    if (dt_ct2_two_sided(&j->config))
        dt_ct2_add_alias(&j->list, "encoder/position_encodings/encodings", name);
}

/* Aliases come behind the variables; each sort is by name. */
static int by_place(const void *a, const void *b)
{
    const dt_ct2_variable *x = a, *y = b;
    if (!x->alias != !y->alias)
        return x->alias ? 1 : -1;
    return strcmp(x->name, y->name);
}

static dt_status list_variables(job *j, dt_error *err)
{
    const dt_model_config *c = &j->config;
    for (int i = 0; i < dt_mapping_external_count(j->plan.mapping); i++)
        list_tensor(j, i);
    if (c->position_embedding_type == DT_POSITION_SINUSOIDAL)
        list_waves(j);
    if (!has(j, "decoder/projection/weight"))
        dt_ct2_add_alias(&j->list, "decoder/projection/weight", "decoder/embeddings/weight");
    if (dt_ct2_two_sided(c) && !has(j, "encoder/embeddings_0/weight"))
        dt_ct2_add_alias(&j->list, "encoder/embeddings_0/weight", "decoder/embeddings/weight");
    if (c->position_embedding_type == DT_POSITION_RELATIVE) {
        list_bias_aliases(j, "encoder", c->encoder_num_layers);
        list_bias_aliases(j, "decoder", c->decoder_num_layers);
    }
    if (j->list.failed)
        return dt_fail_memory(err, (size_t)j->list.count * sizeof *j->list.variable, "variables");
    qsort(j->list.variable, (size_t)j->list.count, sizeof *j->list.variable, by_place);
    return DT_OK;
}

/* ---- variables ---- */

static dt_status put_number(job *j, uint32_t value, int bytes, dt_error *err)
{
    uint8_t little[4];
    for (int i = 0; i < 4; i++)
        little[i] = (uint8_t)(value >> (8 * i));
    return dt_output_write(j->output, little, (size_t)bytes, err);
}

static dt_status put_text(job *j, const char *text, dt_error *err)
{
    size_t bytes = strlen(text) + 1;
    DT_PASS(put_number(j, (uint32_t)bytes, 2, err));
    return dt_output_write(j->output, text, bytes, err);
}

static int type_number(dt_dtype type)
{
    static const dt_dtype types[] = {DT_F32, DT_I8, DT_I16, DT_I32, DT_F16, DT_BF16};
    int i = 0;
    while (types[i] != type)
        i++; /* spec.c and plain_type make no others */
    return i;
}

static dt_shape shape_of(const job *j, const dt_ct2_variable *v)
{
    if (v->waves)
        return dt_shape_of(2, (int64_t[]){j->config.max_sequence_length, j->config.hidden_size});
    if (v->external >= 0)
        return dt_mapping_external_at(j->plan.mapping, v->external)->shape;
    return v->rows ? dt_shape_of(1, &v->rows) : (dt_shape){0};
}

static dt_status put_head(job *j, const dt_ct2_variable *v, dt_error *err)
{
    dt_shape shape = shape_of(j, v);
    size_t bytes;
    if (!dt_shape_bytes(&shape, v->type, &bytes) || bytes > UINT32_MAX)
        return dt_fail(err, DT_UNSUPPORTED,
                       "variable \"%s\" is longer than the 4 GiB that model.bin can tell", v->name);
    DT_PASS(put_text(j, v->name, err));
    DT_PASS(put_number(j, (uint32_t)shape.rank, 1, err));
    for (int i = 0; i < shape.rank; i++)
        DT_PASS(put_number(j, (uint32_t)shape.dim[i], 4, err));
    DT_PASS(put_number(j, (uint32_t)type_number(v->type), 1, err));
    return put_number(j, (uint32_t)bytes, 4, err);
}

static dt_status put_scalar(job *j, const dt_ct2_variable *v, dt_error *err)
{
    float real = (float)v->value;
    uint32_t bits;
    memcpy(&bits, &real, sizeof bits);
    return put_number(j, v->type == DT_F32 ? bits : (uint32_t)(int32_t)v->value,
                      (int)dt_dtype_block_bytes(v->type), err);
}

static dt_status put_waves(job *j, dt_error *err)
{
    int64_t H = j->config.hidden_size;
    float *row = DT_NEW_ARRAY(j->arena, float, H);
    if (!row)
        return dt_fail_memory(err, (size_t)H * sizeof *row, "a row of sinusoids");
    for (int64_t p = 0; p < j->config.max_sequence_length; p++) {
        dt_ct2_wave(&j->config, p, row);
        DT_PASS(dt_output_write(j->output, row, (size_t)H * sizeof *row, err));
    }
    return DT_OK;
}

/* Where pieces of a tensor go; for integers, which row comes next. */
typedef struct sink {
    job *job;
    float *scale;
    int64_t cols, *row;
} sink;

static dt_status put_bytes(void *user, const void *data, size_t bytes, dt_error *err)
{
    const sink *s = user;
    return dt_output_write(s->job->output, data, bytes, err);
}

/* One row to integers over its own memory: each byte goes where a float before it was. */
static float quantize_row(float *row, int64_t cols)
{
    float largest = 0;
    int8_t *out = (int8_t *)row;
    for (int64_t i = 0; i < cols; i++)
        largest = fmaxf(largest, fabsf(row[i]));
    if (largest == 0)
        largest = 127;
    float least = 127.0f / 3.40282347e38f; /* or the scale would be infinite */
    float scale = 127.0f / fmaxf(largest, least);
    for (int64_t i = 0; i < cols; i++) {
        float value;
        memcpy(&value, (char *)row + 4 * i, sizeof value);
        out[i] = (int8_t)rintf(value * scale);
    }
    return scale;
}

static dt_status put_integers(void *user, const void *data, size_t bytes, dt_error *err)
{
    const sink *s = user;
    float *row = (float *)data; /* the queue's own buffer, which nobody reads again */
    for (size_t n = bytes / sizeof(float) / (size_t)s->cols; n > 0; n--, row += s->cols) {
        for (int64_t i = 0; i < s->cols; i++)
            if (!isfinite(row[i]))
                return dt_fail(err, DT_UNSUPPORTED, "row %" PRId64 " has a value that is no finite number",
                               *s->row);
        s->scale[(*s->row)++] = quantize_row(row, s->cols);
        DT_PASS(dt_output_write(s->job->output, row, (size_t)s->cols, err));
    }
    return DT_OK;
}

static dt_status put_tensor(job *j, const dt_ct2_variable *v, dt_error *err)
{
    int64_t row = 0;
    sink s = {.job = j, .scale = (float *)v->scale, .row = &row};
    dt_export_part part = {.external = v->external};
    dt_external_rows(dt_mapping_external_at(j->plan.mapping, v->external), &part.rows, &s.cols);
    DT_PASS(dt_export_stream(&j->run, j->plan.mapping, v->scaled ? DT_F32 : v->type, &part,
                             v->scaled ? put_integers : put_bytes, &s, sizeof s, err));
    return dt_export_run_wait(&j->run, err); /* what follows it is written here */
}

static dt_status put_variable(job *j, const dt_ct2_variable *v, dt_error *err)
{
    DT_PASS(put_head(j, v, err));
    if (v->external >= 0)
        return put_tensor(j, v, err);
    if (v->waves)
        return put_waves(j, err);
    return v->rows ? dt_output_write(j->output, v->scale, (size_t)v->rows * sizeof *v->scale, err)
                   : put_scalar(j, v, err);
}

static dt_status put_variables(job *j, dt_error *err)
{
    bool two = dt_ct2_two_sided(&j->config);
    int count = 0;
    while (count < j->list.count && !j->list.variable[count].alias)
        count++;
    DT_PASS(put_number(j, VERSION, 4, err));
    DT_PASS(put_text(j, two ? "TransformerSpec" : "TransformerDecoderSpec", err));
    DT_PASS(put_number(j, two ? SEQ2SEQ_REVISION : DECODER_REVISION, 4, err));
    DT_PASS(put_number(j, (uint32_t)count, 4, err));
    for (int i = 0; i < count; i++)
        DT_TRY(put_variable(j, &j->list.variable[i], err), err, "while writing variable \"%s\"",
               j->list.variable[i].name);
    DT_PASS(put_number(j, (uint32_t)(j->list.count - count), 4, err));
    for (int i = count; i < j->list.count; i++) {
        DT_PASS(put_text(j, j->list.variable[i].name, err));
        DT_PASS(put_text(j, j->list.variable[i].alias, err));
    }
    return DT_OK;
}

static dt_status write_model(job *j, const char *folder, dt_export_result *result, dt_error *err)
{
    char path[PATH_BYTES];
    dt_status status;
    if (snprintf(path, sizeof path, "%s/model.bin", folder) >= PATH_BYTES)
        return dt_fail(err, DT_INVALID, "the path %s is too long", folder);
    j->run = (dt_export_run){.from = j->from, .options = j->options, .total = 0};
    for (int i = 0; i < j->list.count; i++)
        if (j->list.variable[i].external >= 0) {
            dt_shape shape = shape_of(j, &j->list.variable[i]);
            size_t bytes = 0;
            dt_shape_bytes(&shape, j->list.variable[i].scaled ? DT_F32 : j->list.variable[i].type, &bytes);
            j->run.total += bytes;
        }
    DT_PASS(dt_output_open(&j->output, path, true, err));
    status = put_variables(j, err);
    dt_export_run_end(&j->run);
    if (status != DT_OK) {
        dt_output_discard(j->output);
        return status;
    }
    result->bytes += dt_output_position(j->output);
    return dt_output_commit(j->output, err);
}

/* ---- the whole ---- */

static dt_status row_is_zero(const dt_checkpoint *from, const char *name, int64_t row, bool *zero,
                             dt_error *err)
{
    int index = dt_mapping_find(from->mapping, name);
    if (index < 0)
        return DT_OK;
    int64_t cols = dt_mapping_at(from->mapping, index)->cols;
    float *values = malloc((size_t)cols * sizeof *values + 1);
    if (!values)
        return dt_fail_memory(err, (size_t)cols * sizeof *values, name);
    dt_status status = dt_checkpoint_read(from, name, row, 1, DT_F32, values, err);
    for (int64_t i = 0; status == DT_OK && i < cols; i++)
        *zero = *zero && values[i] == 0;
    free(values);
    return status;
}

/*
 * Marian's decoder starts with a padding token, the last of the vocabulary, all of whose weights are zero, and which is
 * never to be generated. CTranslate2 has no such row, but a word for it; rows that are not zero stay.
 */
static dt_status drop_padding_row(job *j, dt_error *err)
{
    static const char *const names_of[] = {"embedding.word_embeddings.weight", "lm_head.output_layer.bias",
                                           "lm_head.output_layer.weight", "output_layer.weight"};
    dt_model_config *c = &j->config;
    int64_t last = c->vocab_size - 1;
    bool zero = dt_ct2_two_sided(c) && c->pad_token_id == last && c->decoder_start_token_id == last &&
                c->encoder_vocab_size <= 0 && last > 0;
    for (size_t i = 0; zero && i < sizeof names_of / sizeof names_of[0]; i++)
        DT_PASS(row_is_zero(j->from, names_of[i], last, &zero, err));
    if (zero)
        c->vocab_size = last;
    return DT_OK;
}

static dt_status make_plan(job *j, dt_error *err)
{
    const dt_param_spec *spec = NULL;
    int count = 0;
    dt_export_options types = *j->options;
    types.cast = types.cast && types.dtype != DT_I8;
    DT_PASS(dt_ct2_describe(&j->list, &j->config, err)); /* says what is in the way before a name does */
    DT_PASS(dt_model_parameters(&j->config, j->arena, &spec, &count, err));
    DT_PASS(dt_mapping_create(&j->plan.mapping, j->arena, spec, count, err));
    DT_PASS(dt_names_map(j->plan.mapping, &names, &j->config, err));
    DT_PASS(dt_export_types(j->from, j->plan.mapping, &types, j->arena, &j->plan.dtype, err));
    return list_variables(j, err);
}

static dt_status write_folder(job *j, const char *path, dt_export_result *result, dt_error *err)
{
    dt_output_folder *folder = NULL;
    DT_PASS(dt_output_folder_create(&folder, path, j->options->replace, err));
    const char *into = dt_output_folder_path(folder);
    dt_status status = write_model(j, into, result, err);
    if (status == DT_OK)
        status = dt_ct2_write_texts(j->from, &j->config, into, result, err);
    if (status == DT_OK)
        return dt_output_folder_commit(folder, err);
    dt_output_folder_discard(folder);
    return status;
}

dt_status dt_ct2_write(const dt_checkpoint *from, const char *path, const dt_export_options *o,
                       dt_export_result *result, dt_error *err)
{
    job j = {.from = from, .options = o, .config = from->config, .arena = dt_arena_create()};
    dt_status status = j.arena ? DT_OK : dt_fail_memory(err, 4096, "an export");
    j.list.arena = j.arena;
    j.config.padded_vocab_size = j.config.vocab_size;
    if (j.config.position_embedding_type == DT_POSITION_SINUSOIDAL && j.config.max_sequence_length < 1)
        j.config.max_sequence_length = 1024;
    DT_GO(status, status);
    DT_GO(status, drop_padding_row(&j, err));
    DT_GO(status, make_plan(&j, err));
    if (dt_config_layer_window(&j.config, 0) >= 0)
        dt_say(from->log, DT_LOG_WARNING,
               "CTranslate2's sliding window is exact until %" PRId64
               " tokens are there; behind that it answers otherwise",
               dt_config_layer_window(&j.config, 0) + 1);
    DT_GO(status, write_folder(&j, path, result, err));
    for (int i = 0; i < j.list.count; i++)
        result->tensors += j.list.variable[i].external >= 0;
    result->files++;
done:
    dt_arena_destroy(j.arena);
    return status;
}
