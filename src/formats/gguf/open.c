/*
 * open.c (gguf) - opens a GGUF file, or the first of several, as a checkpoint: its tensors into the stored set, its
 * metadata as JSON for a family to read.
 *
 * f32 values come as the shortest decimal that means the same f32, so that an epsilon of 1e-5 is that again.
 */
#include "base/json.h"
#include "base/say.h"
#include "base/text.h"
#include "formats/gguf/family.h"
#include "formats/gguf/gguf_model.h"
#include "formats/gguf/mmproj.h"
#include "formats/open.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SPLIT_LIMIT = 9999, PATH_BYTES = 4096 };

static const struct {
    int id;
    dt_dtype dtype;
} types[] = {
    {0, DT_F32},     {1, DT_F16},     {2, DT_Q4_0},   {3, DT_Q4_1},   {6, DT_Q5_0},   {7, DT_Q5_1},
    {8, DT_Q8_0},    {10, DT_Q2_K},   {11, DT_Q3_K},  {12, DT_Q4_K},  {13, DT_Q5_K},  {14, DT_Q6_K},
    {20, DT_IQ4_NL}, {23, DT_IQ4_XS}, {24, DT_I8},    {25, DT_I16},   {26, DT_I32},   {27, DT_I64},
    {28, DT_F64},    {30, DT_BF16},   {34, DT_TQ1_0}, {35, DT_TQ2_0}, {39, DT_MXFP4}, {40, DT_NVFP4},
};
enum { TYPES = sizeof types / sizeof types[0] };

int dt_gguf_type_id(dt_dtype dtype)
{
    for (int i = 0; i < TYPES; i++)
        if (types[i].dtype == dtype)
            return types[i].id;
    return -1;
}

static bool type_of(int id, dt_dtype *out)
{
    for (int i = 0; i < TYPES; i++)
        if (types[i].id == id) {
            *out = types[i].dtype;
            return true;
        }
    return false;
}

bool dt_gguf_model_detect(const char *path)
{
    return dt_gguf_detect(path);
}

/* ---- tensors ---- */

static dt_status add_tensor(dt_checkpoint *c, const dt_gguf *g, const dt_gguf_tensor *t, dt_error *err)
{
    char lacks[96];
    int64_t dim[DT_GGUF_RANK] = {0}, step = 1;
    dt_stored_tensor tensor = {.name = t->name, .box_count = 1};
    dt_stored_box box = {.map = dt_gguf_map(g), .file_offset = t->offset};
    if (!type_of(t->type, &tensor.dtype)) {
        snprintf(lacks, sizeof lacks, "%s (its values stand only in tables of the maker's source)",
                 t->type_name);
        tensor.unsupported = lacks;
        return dt_stored_set_add(c->set, &tensor, err);
    }
    for (int i = 0; i < t->rank; i++)
        dim[i] = t->dim[t->rank - 1 - i];
    tensor.shape = box.shape = dt_shape_of(t->rank, dim);
    for (int i = t->rank - 1; i >= 0; i--) {
        box.stride[i] = step;
        step *= dim[i];
    }
    tensor.box = &box;
    return dt_stored_set_add(c->set, &tensor, err);
}

static dt_status add_file(dt_checkpoint *c, const char *path, dt_gguf **out, dt_error *err)
{
    const dt_map *map = NULL;
    DT_PASS(dt_stored_set_map(c->set, path, &map, err));
    DT_PASS(dt_gguf_open_map(out, map, err));
    for (size_t i = 0; i < dt_gguf_tensor_count(*out); i++)
        DT_TRY(add_tensor(c, *out, dt_gguf_tensor_at(*out, i), err), err, "while reading %s", path);
    return DT_OK;
}

/* NAME-00001-of-00003.gguf: the other files lie beside it. */
static dt_status add_splits(dt_checkpoint *c, const dt_gguf *first, dt_error *err)
{
    int64_t count = 1, number = 0;
    char path[PATH_BYTES], end[32];
    DT_PASS(dt_gguf_int(first, "split.count", &count, err));
    DT_PASS(dt_gguf_int(first, "split.no", &number, err));
    if (count <= 1)
        return DT_OK;
    if (count > SPLIT_LIMIT || number != 0)
        return dt_fail(err, DT_FORMAT,
                       "\"split.no\" is %" PRId64 " of %" PRId64 "; open the first of the files", number,
                       count);
    snprintf(end, sizeof end, "-%05d-of-%05d.gguf", 1, (int)count);
    if (!dt_ends_with(c->path, end) || strlen(c->path) >= PATH_BYTES)
        return dt_fail(err, DT_FORMAT,
                       "\"split.count\" is %" PRId64 ", but the file's name does not end in %s", count, end);
    for (int i = 2; i <= count; i++) {
        dt_gguf *g = NULL;
        int64_t no = -1;
        snprintf(path, sizeof path, "%.*s-%05d-of-%05d.gguf", (int)(strlen(c->path) - strlen(end)), c->path,
                 i, (int)count);
        dt_status status = add_file(c, path, &g, err);
        if (status == DT_OK)
            status = dt_gguf_int(g, "split.no", &no, err);
        if (status == DT_OK && no != i - 1)
            status = dt_fail(err, DT_FORMAT, "%s: \"split.no\" is %" PRId64 ", expected %d", path, no, i - 1);
        dt_gguf_close(g);
        DT_PASS(status);
    }
    return DT_OK;
}

/* ---- metadata as JSON ---- */

static json_t *shortest(double value)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtof(text, NULL) == (float)value)
            break;
    }
    return json_real(strtod(text, NULL));
}

/* NULL: strings that are no UTF-8, and numbers that JSON lacks, are left out, and so absent. */
static json_t *scalar(const dt_gguf_value *v)
{
    int64_t whole;
    double real;
    if (v->type == DT_GGUF_STRING)
        return json_stringn((const char *)v->data + 8, v->bytes - 8);
    if (v->type == DT_GGUF_BOOL)
        return json_boolean(v->data[0]);
    if (dt_gguf_int_at(v, 0, &whole))
        return json_integer(whole);
    if (!dt_gguf_real_at(v, 0, &real) || !isfinite(real))
        return NULL;
    return v->type == DT_GGUF_F32 ? shortest(real) : json_real(real);
}

/* One number a layer: read when all are equal. */
static dt_status per_layer(const dt_gguf_value *v, json_t **out, dt_error *err)
{
    int64_t first, other;
    *out = NULL;
    if (!v->count || !dt_gguf_int_at(v, 0, &first))
        return DT_OK;
    for (size_t i = 1; i < v->count; i++)
        if (!dt_gguf_int_at(v, i, &other) || other != first)
            return dt_fail(err, DT_UNSUPPORTED, "key \"%s\" differs from layer to layer", v->key);
    *out = json_integer(first);
    return DT_OK;
}

static dt_status add_keys(const dt_gguf *g, const char *architecture, json_t *json, dt_error *err)
{
    const dt_gguf_value *v;
    size_t skip = strlen(architecture);
    for (size_t i = 0; (v = dt_gguf_value_at(g, i)); i++) {
        bool own = strncmp(v->key, architecture, skip) == 0 && v->key[skip] == '.';
        json_t *value = NULL;
        if (!own && !dt_starts_with(v->key, "drivetrain.") &&
            strcmp(v->key, "tokenizer.ggml.token_type_count") != 0)
            continue;
        if (!v->is_array)
            value = scalar(v);
        else
            DT_PASS(per_layer(v, &value, err));
        if (value && json_object_set_new(json, own ? v->key + skip + 1 : v->key, value))
            return dt_fail_memory(err, 64, "metadata");
    }
    return DT_OK;
}

static dt_status add_token(const dt_gguf *g, const char *key, const char *name, json_t *json, dt_error *err)
{
    int64_t id = -1;
    DT_PASS(dt_gguf_int(g, key, &id, err));
    if (id < 0 || id > INT32_MAX)
        return DT_OK;
    return json_object_set_new(json, name, json_integer(id)) ? dt_fail_memory(err, 64, "metadata") : DT_OK;
}

/* Ends of text and of a turn: both end an answer. */
static dt_status add_tokens(const dt_gguf *g, json_t *json, dt_error *err)
{
    int64_t eos = -1, eot = -1;
    DT_PASS(add_token(g, "tokenizer.ggml.bos_token_id", "bos_token_id", json, err));
    DT_PASS(add_token(g, "tokenizer.ggml.padding_token_id", "pad_token_id", json, err));
    DT_PASS(dt_gguf_int(g, "tokenizer.ggml.eos_token_id", &eos, err));
    DT_PASS(dt_gguf_int(g, "tokenizer.ggml.eot_token_id", &eot, err));
    json_t *list = json_array();
    if (eos >= 0 && eos <= INT32_MAX)
        json_array_append_new(list, json_integer(eos));
    if (eot >= 0 && eot <= INT32_MAX && eot != eos)
        json_array_append_new(list, json_integer(eot));
    return json_object_set_new(json, "eos_token_id", list) ? dt_fail_memory(err, 64, "metadata") : DT_OK;
}

/* What the tensors tell: their names, the vocabulary's size. */
static dt_status add_tensors(const dt_checkpoint *c, json_t *json, dt_error *err)
{
    int failed = 0;
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++)
        failed |= dt_gguf_put_tensor(json, dt_stored_set_at(c->set, i)->name);
    const dt_stored_tensor *table = dt_stored_set_find(c->set, "token_embd.weight");
    if (!table || table->unsupported || table->shape.rank != 2)
        return dt_fail(err, DT_FORMAT, "no tensor \"token_embd.weight\" of two dimensions%s%s",
                       table && table->unsupported ? " in a type that can be read: " : "",
                       table && table->unsupported ? table->unsupported : "");
    failed |= json_object_set_new(json, "vocab_size", json_integer(table->shape.dim[0]));
    return failed ? dt_fail_memory(err, 64, "metadata") : DT_OK;
}

/* ---- the whole ---- */

static void note_facts(dt_checkpoint *c, const dt_hf_family *family)
{
    for (int i = 0; i < family->key_count; i++)
        if (family->key[i].kind == DT_HF_INT)
            dt_open_fact(c, family->key[i].key, *(int64_t *)((char *)&c->config + family->key[i].offset));
}

/* A table must be the one that the configuration makes; Llama 3's numbers are not in the files of others. */
static dt_status check_table(const dt_stored_tensor *s, const dt_model_config *c, const dt_gguf_table *table,
                             int64_t count, dt_error *err)
{
    if (s->unsupported || s->shape.rank != 1 || s->shape.dim[0] != count)
        return dt_fail(err, DT_MISMATCH, "\"%s\" is no vector of %" PRId64 " factors", table->name, count);
    float *have = malloc(sizeof *have * 2 * (size_t)count + 1), *want = have ? have + count : NULL;
    if (!have)
        return dt_fail_memory(err, (size_t)count * 8, "rotary factors");
    dt_status status = dt_stored_read(s, NULL, DT_F32, have, NULL, err);
    table->fill(c, want);
    for (int64_t i = 0; status == DT_OK && i < count; i++)
        if (!(fabsf(have[i] - want[i]) <= 1e-4f * want[i]))
            status =
                dt_fail(err, DT_UNSUPPORTED, "\"%s\": factor %" PRId64 " is %g, the scaling by %g gives %g",
                        table->name, i, (double)have[i], c->rope_scaling_factor, (double)want[i]);
    free(have);
    return status;
}

static dt_status check_tables(const dt_checkpoint *c, dt_error *err)
{
    int64_t count;
    const dt_gguf_table *table;
    for (int i = 0; (table = dt_gguf_table_at(&c->config, i, &count)); i++) {
        const dt_stored_tensor *s = dt_stored_set_find(c->set, table->name);
        if (s)
            DT_PASS(check_table(s, &c->config, table, count, err));
    }
    return DT_OK;
}

/* Factors of longrope as a list for the family to read. */
static dt_status add_factors(const dt_checkpoint *c, const char *tensor, const char *key, json_t *json,
                             dt_error *err)
{
    float factor[DT_MAX_ROPE_FACTORS];
    const dt_stored_tensor *s = dt_stored_set_find(c->set, tensor);
    json_t *list = json_array();
    dt_status status = list ? DT_OK : dt_fail_memory(err, 64, "metadata");
    if (status == DT_OK && s && !s->unsupported && s->shape.rank == 1 &&
        s->shape.dim[0] <= DT_MAX_ROPE_FACTORS) {
        status = dt_stored_read(s, NULL, DT_F32, factor, NULL, err);
        for (int64_t i = 0; status == DT_OK && i < s->shape.dim[0]; i++)
            json_array_append_new(list, shortest((double)factor[i]));
    }
    if (json_object_set_new(json, key, list) && status == DT_OK)
        status = dt_fail_memory(err, 64, "metadata");
    return status;
}

/* The published factors are 8 (3.1) and 32 (3.2): the last entry of the table is the factor. */
static dt_status guess_factor(const dt_checkpoint *c, json_t *json, dt_error *err)
{
    const dt_stored_tensor *s = dt_stored_set_find(c->set, "rope_freqs.weight");
    float last;
    if (!s || s->unsupported || s->shape.rank != 1 || s->shape.dim[0] < 1 ||
        json_object_get(json, "drivetrain.rope.factor"))
        return DT_OK;
    dt_stored_region region = {.offset = {s->shape.dim[0] - 1}, .shape = {.rank = 1, .dim = {1}}};
    DT_PASS(dt_stored_read(s, &region, DT_F32, &last, NULL, err));
    if (!isfinite(last))
        return DT_OK;
    return json_object_set_new(json, "drivetrain.rope.factor", shortest((double)last))
               ? dt_fail_memory(err, 64, "metadata")
               : DT_OK;
}

/* mmproj-NAME.gguf beside NAME.gguf: the model's eyes. Others' files of that kind are passed over. */
static dt_status add_eyes(dt_checkpoint *c, dt_error *err)
{
    char path[PATH_BYTES];
    dt_gguf *g = NULL;
    bool whole = false;
    if (!dt_gguf_eyes_path(path, sizeof path, c->path) || !dt_gguf_detect(path))
        return DT_OK;
    DT_PASS(dt_gguf_open(&g, path, err));
    dt_status status = dt_gguf_read_eyes(c, g, &whole, err);
    dt_gguf_close(g);
    g = NULL;
    if (status == DT_OK && whole)
        status = add_file(c, path, &g, err);
    dt_gguf_close(g);
    DT_TRY(status, err, "while reading %s", path);
    if (!whole)
        dt_say(c->log, DT_LOG_INFO, "%s was not written by drivetrain: the model is opened without eyes",
               path);
    return DT_OK;
}

static dt_status open_with(dt_checkpoint *c, const dt_gguf *g, const char *architecture, json_t *json,
                           dt_error *err)
{
    const dt_gguf_family *family = NULL;
    DT_PASS(add_keys(g, architecture, json, err));
    DT_PASS(add_tensors(c, json, err));
    DT_PASS(add_tokens(g, json, err));
    DT_PASS(guess_factor(c, json, err));
    DT_PASS(add_factors(c, "rope_factors_short.weight", "rope_factors_short", json, err));
    DT_PASS(add_factors(c, "rope_factors_long.weight", "rope_factors_long", json, err));
    DT_PASS(dt_gguf_family_of(architecture, json, &family, err));
    const dt_stored_tensor *head = dt_stored_set_find(c->set, "output.weight");
    bool same = true;
    if (head)
        DT_PASS(dt_stored_same(head, dt_stored_set_find(c->set, "token_embd.weight"), &same, err));
    dt_hf_evidence evidence = {.head = !same, .decoder = dt_gguf_has(json, "dec.blk.0.attn_q.weight")};
    DT_PASS(dt_hf_read_config(family->model, json, NULL, &evidence, &c->config, NULL, err));
    note_facts(c, family->model);
    dt_name_table with_eyes;
    const dt_name_table *names = family->model->names;
    DT_PASS(add_eyes(c, err));
    if (c->config.vision) {
        DT_PASS(dt_gguf_eyes_names(&with_eyes, c->arena, &c->config, names, err));
        names = &with_eyes;
    }
    DT_PASS(dt_open_parameters(c, err));
    DT_PASS(check_tables(c, err));
    DT_PASS(dt_names_map(c->mapping, names, &c->config, err));
    return dt_open_bind_names(c, names, "", NULL, err);
}

dt_status dt_gguf_model_open(dt_checkpoint *c, const dt_open_options *options, dt_error *err)
{
    dt_gguf *g = NULL;
    const char *architecture = NULL, *slash = strrchr(c->path, '/');
    json_t *json = NULL;
    dt_status status = DT_OK;
    if (options->config)
        return dt_fail(err, DT_UNSUPPORTED,
                       "a GGUF file has its configuration inside; --config does not apply");
    c->config_file = c->path;
    c->root = slash ? dt_arena_text_n(c->arena, c->path, (size_t)(slash - c->path) + 1) : "";
    if (!c->root || !(json = json_object()))
        return dt_fail_memory(err, PATH_BYTES, "a GGUF file");
    DT_GO(status, add_file(c, c->path, &g, err));
    DT_GO(status, add_splits(c, g, err));
    DT_GO(status, dt_gguf_string(g, "general.architecture", &architecture, err));
    if (!architecture)
        status = dt_fail(err, DT_FORMAT, "%s has no \"general.architecture\"", c->path);
    else if (strcmp(architecture, DT_GGUF_EYES) == 0) {
        status = dt_fail(err, DT_UNSUPPORTED, "%s holds the eyes of a model alone", c->path);
        dt_error_try(err, "the language model's file beside it");
    } else if (dt_stored_set_count(c->set) == 0)
        status = dt_fail(err, DT_FORMAT, "%s holds no tensors: it is a vocabulary alone", c->path);
    else
        status = open_with(c, g, architecture, json, err);
done:
    json_decref(json);
    dt_gguf_close(g);
    return status;
}
