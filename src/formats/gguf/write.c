/*
 * write.c (gguf) - writes a model as one GGUF file, tensor by tensor: which type each has, the header, the data. One with eyes
 * is two files (mmproj.c).
 *
 * Types are llama.cpp's convention: vectors, and tables of positions and routers, in f32; the rest as asked for, where
 * rows are whole blocks, else in the next best type. The head of a quantised model is q6_K, or q8_0.
 */
#include "base/output.h"
#include "base/say.h"
#include "base/text.h"
#include "formats/gguf/family.h"
#include "formats/gguf/gguf_model.h"
#include "formats/gguf/mmproj.h"
#include "formats/open.h"
#include "models/build.h"
#include "tensor/blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 32, VERSION = 3, PATH_BYTES = 4096 };

/* ---- the header's parts ---- */

void dt_gguf_put_number(dt_text *t, uint64_t value, int bytes)
{
    char little[8];
    for (int i = 0; i < 8; i++)
        little[i] = (char)(value >> (8 * i));
    dt_text_append(t, little, (size_t)bytes);
}

void dt_gguf_put_text(dt_text *t, const char *data, size_t bytes)
{
    dt_gguf_put_number(t, bytes, 8);
    dt_text_append(t, data, bytes);
}

static void put_key(dt_gguf_keys *k, const char *key, dt_gguf_type type)
{
    dt_gguf_put_text(&k->text, key, strlen(key));
    dt_gguf_put_number(&k->text, type, 4);
    k->count++;
}

void dt_gguf_key_u32(dt_gguf_keys *k, const char *key, uint32_t value)
{
    put_key(k, key, DT_GGUF_U32);
    dt_gguf_put_number(&k->text, value, 4);
}

void dt_gguf_key_f32(dt_gguf_keys *k, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(k, key, DT_GGUF_F32);
    dt_gguf_put_number(&k->text, bits, 4);
}

void dt_gguf_key_bool(dt_gguf_keys *k, const char *key, bool value)
{
    put_key(k, key, DT_GGUF_BOOL);
    dt_gguf_put_number(&k->text, value, 1);
}

void dt_gguf_key_string(dt_gguf_keys *k, const char *key, const char *value)
{
    put_key(k, key, DT_GGUF_STRING);
    dt_gguf_put_text(&k->text, value, strlen(value));
}

void dt_gguf_key_array(dt_gguf_keys *k, const char *key, dt_gguf_type type, uint64_t count)
{
    put_key(k, key, DT_GGUF_ARRAY);
    dt_gguf_put_number(&k->text, type, 4);
    dt_gguf_put_number(&k->text, count, 8);
}

/* ---- types ---- */

static bool stays_f32(const char *name, const dt_shape *shape)
{
    static const char *const tables[] = {"position_embd.weight", "ffn_gate_inp.weight", "token_types.weight"};
    bool table = shape->rank < 2 || !dt_ends_with(name, ".weight");
    for (int i = 0; i < 3; i++)
        table |= dt_ends_with(name, tables[i]);
    return table;
}

/* What llama.cpp takes where rows are no whole blocks. */
static dt_dtype fallback(dt_dtype type, int64_t cols)
{
    dt_dtype next = type == DT_Q4_K   ? DT_Q5_0
                    : type == DT_Q5_K ? DT_Q5_1
                    : type == DT_Q6_K ? DT_Q8_0
                                      : DT_F16;
    if (cols % dt_dtype_block_elements(type) == 0)
        return type;
    return cols % dt_dtype_block_elements(next) == 0 ? next : DT_F16;
}

static dt_dtype head_type(dt_dtype type, int64_t cols)
{
    dt_dtype wanted = type == DT_Q8_0 || cols % 256 ? DT_Q8_0 : DT_Q6_K;
    return fallback(wanted, cols);
}

static dt_dtype choose_type(const char *name, const dt_shape *shape, dt_dtype type, bool tied)
{
    int64_t cols = shape->dim[shape->rank - 1];
    bool quantised = dt_block_type_of(type) != NULL;
    bool head = strcmp(name, "output.weight") == 0 || (tied && strcmp(name, "token_embd.weight") == 0);
    if (stays_f32(name, shape))
        return DT_F32;
    if (dt_ends_with(name, "patch_embd.weight")) /* a convolution's */
        return type == DT_F16 ? DT_F16 : DT_F32;
    if (dt_ends_with(name, "attn_rel_b.weight"))
        return quantised ? DT_F32 : type;
    if (!quantised)
        return type;
    return head ? head_type(type, cols) : fallback(type, cols);
}

static dt_status choose_types(const dt_checkpoint *from, const dt_export_options *o, const dt_model_config *c,
                              dt_arena *arena, dt_export_plan *plan, dt_error *err)
{
    int count = dt_mapping_external_count(plan->mapping);
    dt_dtype *type = DT_NEW_ARRAY(arena, dt_dtype, count + 1);
    const dt_dtype *stored = NULL;
    if (!type)
        return dt_fail_memory(err, sizeof *type * (size_t)count, "the tensors' types");
    DT_PASS(dt_export_types(from, plan->mapping, o, arena, &stored, err));
    for (int i = 0; i < count; i++) {
        const dt_external *e = dt_mapping_external_at(plan->mapping, i);
        dt_shape shape = dt_external_file_shape(e);
        bool as_stored = !o->cast && dt_block_type_of(stored[i]);
        type[i] = as_stored && !stays_f32(e->name, &shape)
                      ? fallback(stored[i], shape.dim[shape.rank - 1])
                      : choose_type(e->name, &shape, stored[i], c->share_embeddings_and_output_weights);
        if (dt_gguf_type_id(type[i]) < 0)
            type[i] = DT_F32; /* f8: every one of its values is an f32 */
    }
    plan->dtype = type;
    return DT_OK;
}

/* ---- metadata ---- */

static void put_json(dt_gguf_keys *k, const char *key, const json_t *value)
{
    if (json_is_integer(value))
        dt_gguf_key_u32(k, key, (uint32_t)json_integer_value(value));
    else if (json_is_real(value))
        dt_gguf_key_f32(k, key, (float)json_real_value(value));
    else if (json_is_boolean(value))
        dt_gguf_key_bool(k, key, json_is_true(value));
    else if (json_is_string(value))
        dt_gguf_key_string(k, key, json_string_value(value));
}

static dt_status put_config(dt_gguf_keys *k, const dt_gguf_family *family, const dt_model_config *c,
                            dt_error *err)
{
    static const char *const ours[] = {"model_type", "architectures", "tie_word_embeddings", "tensors"};
    const char *name;
    json_t *json = json_object(), *value;
    dt_status status =
        json ? dt_hf_write_config(family->model, c, json, err) : dt_fail_memory(err, 64, "metadata");
    json_object_foreach(json, name, value)
    {
        char key[256];
        bool skipped = false;
        for (int i = 0; i < 4; i++)
            skipped |= strcmp(name, ours[i]) == 0;
        bool whole = dt_starts_with(name, "drivetrain.") || dt_starts_with(name, "tokenizer.");
        snprintf(key, sizeof key, "%s%s%s", whole ? "" : family->architecture, whole ? "" : ".", name);
        if (!skipped && status == DT_OK)
            put_json(k, key, value);
    }
    json_decref(json);
    return status;
}

/* llama.cpp's number for what most of the file is in. */
static int file_type(dt_dtype type)
{
    static const struct {
        dt_dtype dtype;
        int number;
    } row[] = {{DT_F16, 1},   {DT_Q4_0, 2},  {DT_Q4_1, 3},  {DT_Q8_0, 7},  {DT_Q5_0, 8},  {DT_Q5_1, 9},
               {DT_Q4_K, 14}, {DT_Q5_K, 16}, {DT_Q6_K, 18}, {DT_BF16, 32}, {DT_MXFP4, 38}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        if (row[i].dtype == type)
            return row[i].number;
    return 0;
}

/* The type of most bytes. */
static dt_dtype main_type(const dt_export_plan *plan)
{
    uint64_t bytes[DT_DTYPE_COUNT] = {0};
    int most = DT_F32;
    for (int i = 0; i < plan->entry_count; i++)
        bytes[plan->dtype[i]] += dt_export_bytes(plan->mapping, plan->dtype, i);
    for (int i = 0; i < DT_DTYPE_COUNT; i++)
        if (bytes[i] > bytes[most])
            most = i;
    return (dt_dtype)most;
}

static dt_status put_metadata(dt_gguf_keys *k, const dt_checkpoint *from, const dt_gguf_family *family,
                              const dt_model_config *c, const dt_export_plan *plan, dt_error *err)
{
    dt_dtype type = main_type(plan);
    dt_gguf_key_string(k, "general.architecture", family->architecture);
    dt_gguf_key_string(k, "general.type", "model");
    dt_gguf_key_u32(k, "general.file_type", (uint32_t)file_type(type));
    if (dt_block_type_of(type))
        dt_gguf_key_u32(k, "general.quantization_version", 2);
    DT_PASS(put_config(k, family, c, err));
    if (strcmp(c->model_type, "bert") == 0)
        DT_PASS(dt_gguf_put_pooling(k, from->path, err));
    DT_PASS(dt_gguf_put_tokenizer(k, from->path, c, from->log, err));
    return k->text.failed ? dt_fail_memory(err, k->text.bytes, "metadata") : DT_OK;
}

/* ---- the list of tensors ---- */

static uint64_t padded(uint64_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void put_info(dt_text *t, const char *name, const dt_shape *shape, dt_dtype type, uint64_t offset)
{
    dt_gguf_put_text(t, name, strlen(name));
    dt_gguf_put_number(t, (uint64_t)shape->rank, 4);
    for (int i = shape->rank - 1; i >= 0; i--)
        dt_gguf_put_number(t, (uint64_t)shape->dim[i], 8);
    dt_gguf_put_number(t, (uint64_t)dt_gguf_type_id(type), 4);
    dt_gguf_put_number(t, offset, 8);
}

/* Rotary tables come first, so that the model's tensors are the last to be streamed. */
static dt_status make_header(dt_text *out, const dt_gguf_keys *k, const dt_model_config *c,
                             const dt_export_plan *plan, dt_error *err)
{
    uint64_t offset = 0;
    int64_t count;
    int tables = 0;
    const dt_gguf_table *table;
    while (dt_gguf_table_at(c, tables, &count))
        tables++;
    dt_text_put(out, "GGUF");
    dt_gguf_put_number(out, VERSION, 4);
    dt_gguf_put_number(out, (uint64_t)(plan->entry_count + tables), 8);
    dt_gguf_put_number(out, k->count, 8);
    dt_text_append(out, k->text.data, k->text.bytes);
    for (int i = 0; (table = dt_gguf_table_at(c, i, &count)); i++) {
        dt_shape shape = dt_shape_of(1, &count);
        put_info(out, table->name, &shape, DT_F32, offset);
        offset += padded((uint64_t)count * sizeof(float));
    }
    for (int i = 0; i < plan->entry_count; i++) {
        dt_shape shape = dt_external_file_shape(dt_mapping_external_at(plan->mapping, i));
        put_info(out, plan->entry[i].name, &shape, plan->dtype[i], offset);
        offset += padded(dt_export_bytes(plan->mapping, plan->dtype, i));
    }
    while (out->bytes % ALIGNMENT && !out->failed)
        dt_gguf_put_number(out, 0, 1);
    return out->failed ? dt_fail_memory(err, out->bytes, "a header") : DT_OK;
}

/* ---- the data ---- */

static dt_status pad(dt_output *output, dt_error *err)
{
    static const char zeros[ALIGNMENT];
    size_t over = (size_t)(dt_output_position(output) % ALIGNMENT);
    return over ? dt_output_write(output, zeros, ALIGNMENT - over, err) : DT_OK;
}

typedef struct tensor_sink {
    dt_output *output;
    uint64_t start; /* of the tensor in the file */
} tensor_sink;

/* Pieces come in order; before a tensor's first one the padding of the last is due. */
static dt_status put_bytes(void *user, const void *data, size_t bytes, dt_error *err)
{
    const tensor_sink *sink = user;
    if (dt_output_position(sink->output) < sink->start)
        DT_PASS(pad(sink->output, err));
    return dt_output_write(sink->output, data, bytes, err);
}

static dt_status write_tables(dt_output *output, const dt_model_config *c, dt_error *err)
{
    int64_t count;
    const dt_gguf_table *table;
    for (int i = 0; (table = dt_gguf_table_at(c, i, &count)); i++) {
        float *values = malloc(sizeof *values * (size_t)(count + 1));
        if (!values)
            return dt_fail_memory(err, sizeof *values * (size_t)count, "a rotary table");
        table->fill(c, values);
        dt_status status = dt_output_write(output, values, sizeof *values * (size_t)count, err);
        free(values);
        DT_PASS(status);
        DT_PASS(pad(output, err));
    }
    return DT_OK;
}

static dt_status write_tensors(dt_export_run *run, dt_output *output, const dt_export_plan *plan,
                               dt_error *err)
{
    dt_status status = DT_OK;
    tensor_sink sink = {output, dt_output_position(output)};
    for (int i = 0; status == DT_OK && i < plan->entry_count; i++) {
        dt_export_part part = {.external = i};
        int64_t cols;
        dt_external_rows(dt_mapping_external_at(plan->mapping, i), &part.rows, &cols);
        status =
            dt_export_stream(run, plan->mapping, plan->dtype[i], &part, put_bytes, &sink, sizeof sink, err);
        if (status != DT_OK)
            dt_error_while(err, "while writing tensor \"%s\"", plan->entry[i].name);
        sink.start += padded(dt_export_bytes(plan->mapping, plan->dtype, i));
    }
    dt_status written = dt_export_run_wait(run, status == DT_OK ? err : NULL);
    return status == DT_OK ? written : status;
}

static dt_status write_file(const dt_checkpoint *from, const char *path, const dt_text *header,
                            const dt_model_config *c, const dt_export_plan *plan, const dt_export_options *o,
                            dt_export_result *result, dt_error *err)
{
    dt_output *output = NULL;
    dt_export_run run = {.from = from, .options = o, .total = dt_export_total(plan)};
    dt_status status = DT_OK;
    DT_PASS(dt_output_open(&output, path, o->replace, err));
    DT_GO(status, dt_output_write(output, header->data, header->bytes, err));
    DT_GO(status, write_tables(output, c, err));
    DT_GO(status, write_tensors(&run, output, plan, err));
    DT_GO(status, pad(output, err));
    result->bytes += dt_output_position(output);
    status = dt_output_commit(output, err);
    output = NULL;
done:
    dt_export_run_end(&run);
    dt_output_discard(output);
    return status;
}

/* ---- the whole ---- */

static dt_status map_words(dt_mapping **out, const dt_hf_family *family, const dt_model_config *c,
                           dt_arena *arena, dt_error *err)
{
    const dt_param_spec *spec = NULL;
    int count = 0;
    DT_PASS(dt_model_parameters(c, arena, &spec, &count, err));
    DT_PASS(dt_mapping_create(out, arena, spec, count, err));
    return dt_names_map(*out, family->names, c, err);
}

/* Types and entries of a plan that has its mapping. */
static dt_status make_plan(const dt_checkpoint *from, const dt_model_config *c, const dt_export_options *o,
                           dt_arena *arena, dt_export_plan *plan, dt_error *err)
{
    DT_PASS(choose_types(from, o, c, arena, plan, err));
    plan->entry_count = dt_mapping_external_count(plan->mapping);
    dt_export_entry *entry = DT_NEW_ARRAY(arena, dt_export_entry, plan->entry_count + 1);
    if (!entry)
        return dt_fail_memory(err, sizeof *entry * (size_t)plan->entry_count, "the tensors to write");
    for (int i = 0; i < plan->entry_count; i++)
        entry[i] = (dt_export_entry){.name = dt_mapping_external_at(plan->mapping, i)->name, .external = i};
    plan->entry = entry;
    return DT_OK;
}

/* Where llama.cpp does less than the file says. */
static void tell_limits(const dt_log *log, const dt_gguf_family *family, const dt_model_config *c)
{
    bool yarn = c->rope_scaling_type == DT_ROPE_YARN && strcmp(family->architecture, "gpt-oss") != 0;
    bool windows =
        dt_starts_with(family->architecture, "gemma") || strcmp(family->architecture, "gpt-oss") == 0;
    if (!windows && dt_gguf_context(c) < c->max_sequence_length)
        dt_say(log, DT_LOG_WARNING,
               "llama.cpp has no window for \"%s\": it is told a context of %lld, up to which there is no "
               "difference",
               family->architecture, (long long)dt_gguf_context(c));
    if (yarn && (c->rope_beta_fast != 32 || c->rope_beta_slow != 1))
        dt_say(
            log, DT_LOG_WARNING,
            "llama.cpp heeds yarn's ramp from its command line only: --yarn-beta-fast %g --yarn-beta-slow %g",
            c->rope_beta_fast, c->rope_beta_slow);
    if (c->rope_scaling_type == DT_ROPE_YARN && c->rope_no_truncate)
        dt_say(log, DT_LOG_WARNING, "llama.cpp rounds the ends of yarn's ramp; this model does not");
}

/* The file whose tensors and metadata are known. */
static dt_status write_planned(const dt_checkpoint *from, const char *path, const dt_gguf_keys *keys,
                               const dt_model_config *config, const dt_export_plan *plan,
                               const dt_export_options *o, dt_export_result *result, dt_error *err)
{
    dt_text header = {0};
    dt_status status = make_header(&header, keys, config, plan, err);
    if (status == DT_OK)
        status = write_file(from, path, &header, config, plan, o, result, err);
    dt_text_free(&header);
    if (status != DT_OK)
        return status;
    result->tensors += plan->entry_count;
    result->files++;
    return DT_OK;
}

/* The file of what reads. */
static dt_status write_words(const dt_checkpoint *from, const char *path, const dt_export_options *o,
                             dt_export_result *result, dt_error *err)
{
    dt_export_plan plan = {0};
    dt_model_config config = from->config;
    const dt_gguf_family *family = NULL;
    dt_gguf_keys keys = {0};
    DT_PASS(dt_gguf_family_for(&config, &family, err));
    dt_arena *arena = dt_arena_create();
    dt_status status = arena ? DT_OK : dt_fail_memory(err, 4096, "an export");
    DT_GO(status, status);
    tell_limits(from->log, family, &config);
    config.padded_vocab_size = config.vocab_size; /* as many rows as the tokenizer has tokens */
    DT_GO(status, map_words(&plan.mapping, family->model, &config, arena, err));
    DT_GO(status, make_plan(from, &config, o, arena, &plan, err));
    DT_GO(status, put_metadata(&keys, from, family, &config, &plan, err));
    DT_GO(status, write_planned(from, path, &keys, &config, &plan, o, result, err));
done:
    dt_text_free(&keys.text);
    dt_arena_destroy(arena);
    return status;
}

/* The file of what sees. */
static dt_status write_eyes(const dt_checkpoint *from, const char *path, const dt_export_options *o,
                            dt_export_result *result, dt_error *err)
{
    dt_export_plan plan = {0};
    dt_gguf_keys keys = {0};
    const dt_model_config *tower = from->config.vision;
    dt_arena *arena = dt_arena_create();
    dt_status status = arena ? DT_OK : dt_fail_memory(err, 4096, "an export");
    DT_GO(status, status);
    DT_GO(status, dt_gguf_map_eyes(&plan.mapping, arena, &from->config, err));
    DT_GO(status, make_plan(from, tower, o, arena, &plan, err));
    DT_GO(status, dt_gguf_put_eyes(&keys, from, file_type(main_type(&plan)), err));
    DT_GO(status, write_planned(from, path, &keys, tower, &plan, o, result, err));
done:
    dt_text_free(&keys.text);
    dt_arena_destroy(arena);
    return status;
}

/* Eyes first: a model that is found under its name has them. */
static dt_status write_pair(const dt_checkpoint *from, const char *path, const dt_export_options *o,
                            dt_export_result *result, dt_error *err)
{
    char eyes[PATH_BYTES];
    dt_checkpoint words = *from;
    const dt_gguf_family *family = NULL;
    DT_PASS(dt_gguf_check_eyes(&from->config, err));
    DT_PASS(dt_open_part(&words, "language", err));
    DT_PASS(dt_gguf_family_for(&words.config, &family, err));
    if (!dt_gguf_eyes_path(eyes, sizeof eyes, path))
        return dt_fail(err, DT_INVALID, "the path %s is too long", path);
    DT_TRY(write_eyes(from, eyes, o, result, err), err, "while writing %s", eyes);
    dt_status status = write_words(&words, path, o, result, err);
    if (status != DT_OK)
        unlink(eyes);
    return status;
}

dt_status dt_gguf_model_write(const dt_checkpoint *from, const char *path, const dt_export_options *o,
                              dt_export_result *result, dt_error *err)
{
    return from->config.vision ? write_pair(from, path, o, result, err)
                               : write_words(from, path, o, result, err);
}
