/*
 * embed.c (cli) - `drivetrain embed`: texts or pictures in, vectors out.
 */
#include "cli/common.h"
#include "cli/prompts.h"

#include "formats/safetensors/safetensors.h"

#include <drivetrain/embed.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const option_spec options[] = {
    PROMPT_OPTIONS,
    PICTURE_OPTIONS,
    {"pooling", 0, OPTION_TEXT, "HOW",
     "mean, cls, pooler (BERT's, a tower's), projection (CLIP's), or none: every state [the model's own]"},
    {"normalize", 0, OPTION_SWITCH, NULL, "each vector to length 1 [as modules.json says, else off]"},
    {"truncate", 0, OPTION_FLAG, NULL, "cut texts that are longer than the model's positions"},
    {"batch-size", 0, OPTION_INT, "N", "tokens or patches in a step [2048]; changes no bit of the result"},
    {"output", 'o', OPTION_TEXT, "PATH",
     "write safetensors: pooled [N, H], or hidden [T, H] and lengths [N]"},
    DTYPE_OPTION,
    {"tokenizer", 0, OPTION_TEXT, "PATH", "tokenizer, where the model's folder lacks one"},
    MODEL_OPTIONS,
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

static bool embed_options_of(const command_line *line, dt_embed_options *o)
{
    const char *wanted = text_of(line, "pooling"), *name;
    const option_value *normalize = option_of(line, "normalize");
    int kind = 0;
    o->truncate = flag(line, "truncate");
    o->max_batch = int_of(line, "batch-size", 0);
    if (normalize->given)
        o->normalize = normalize->on;
    if (o->max_batch < 0)
        return usage_error(line, "--batch-size %lld: expected 1 or more", (long long)o->max_batch), false;
    while (wanted && (name = dt_pooling_name((dt_pooling)kind)) && strcmp(name, wanted) != 0)
        kind++;
    if (wanted && !name)
        return usage_error(line, "--pooling \"%s\": expected mean, cls, pooler, projection or none", wanted),
               false;
    if (wanted)
        o->pooling = (dt_pooling)kind;
    return true;
}

/* What the files beside the model say, where the line does not. */
static void use_defaults(const command_line *line, const dt_embed_options *beside, dt_embed_options *o)
{
    o->pooling = beside->pooling;
    if (!option_of(line, "normalize")->given)
        o->normalize = beside->normalize;
}

/* ---- outputs ---- */

/* What is shown: a vector or matrix each, made by one call or by several. */
typedef struct vector_row {
    dt_embedded values;
    const char *image; /* of a picture's file, else NULL */
    int64_t tile;      /* of that picture, or -1 where it is one */
} vector_row;

typedef struct vector_list {
    vector_row *row;
    size_t count;
    int64_t width;
    dt_embeddings **owner;
    size_t owners;
} vector_list;

/* Take over e, of `count` rows; the rows' names are the caller's to fill in. */
static dt_status add_vectors(vector_list *v, dt_embeddings *e, size_t count, dt_error *err)
{
    vector_row *row = realloc(v->row, (v->count + count + 1) * sizeof *row);
    v->row = row ? row : v->row;
    dt_embeddings **owner = row ? realloc(v->owner, (v->owners + 1) * sizeof *owner) : NULL;
    if (!owner) {
        dt_embeddings_destroy(e);
        return dt_fail_memory(err, count * sizeof *row, "vectors");
    }
    v->owner = owner;
    v->owner[v->owners++] = e;
    v->width = dt_embeddings_width(e);
    for (size_t i = 0; i < count; i++)
        v->row[v->count++] = (vector_row){.values = dt_embeddings_at(e, i), .tile = -1};
    return DT_OK;
}

static void free_vectors(vector_list *v)
{
    for (size_t i = 0; i < v->owners; i++)
        dt_embeddings_destroy(v->owner[i]);
    free(v->owner);
    free(v->row);
}

static json_t *vector_json(const float *values, int64_t width)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < width; i++)
        json_array_append_new(list, json_real((double)values[i]));
    return list;
}

static json_t *row_json(const vector_list *v, const vector_row *row, bool pooled)
{
    json_t *value = pooled ? vector_json(row->values.values, v->width) : json_array();
    for (int64_t r = 0; !pooled && r < row->values.rows; r++)
        json_array_append_new(value, vector_json(row->values.values + r * v->width, v->width));
    json_t *json = json_object();
    if (row->image)
        json_object_set_new(json, "image", json_string(row->image));
    if (row->tile >= 0)
        json_object_set_new(json, "tile", json_integer(row->tile));
    json_object_set_new(json, pooled ? "pooled" : "hidden", value);
    return json;
}

static void show_json(const vector_list *v, bool pooled)
{
    json_t *results = json_array();
    for (size_t i = 0; i < v->count; i++)
        json_array_append_new(results, row_json(v, &v->row[i], pooled));
    print_json(json_pack("{s:o}", "results", results));
}

/* A vector a line; with every token's, an empty line between texts. */
static void show_lines(const vector_list *v, bool pooled)
{
    for (size_t i = 0; i < v->count; i++) {
        dt_embedded row = v->row[i].values;
        for (int64_t k = 0; k < row.rows * v->width; k++)
            printf("%.9g%c", (double)row.values[k], (k + 1) % v->width ? ' ' : '\n');
        if (!pooled && i + 1 < v->count)
            printf("\n");
    }
}

static dt_status write_values(dt_safetensors_writer *writer, const vector_list *v, bool pooled, dt_error *err)
{
    for (size_t i = 0; i < v->count; i++) {
        dt_embedded row = v->row[i].values;
        int32_t length = (int32_t)row.rows;
        size_t bytes = (size_t)(row.rows * v->width) * sizeof *row.values;
        DT_PASS(dt_safetensors_write(writer, 0, row.values, bytes, err));
        if (!pooled)
            DT_PASS(dt_safetensors_write(writer, 1, &length, sizeof length, err));
    }
    return DT_OK;
}

static dt_status write_file(const vector_list *v, bool pooled, const char *path, dt_error *err)
{
    dt_safetensors_writer *writer;
    int64_t rows = 0;
    for (size_t i = 0; i < v->count; i++)
        rows += v->row[i].values.rows;
    const dt_safetensors_entry entry[] = {
        {pooled ? "pooled" : "hidden", DT_F32, {.rank = 2, .dim = {rows, v->width}}},
        {"lengths", DT_I32, {.rank = 1, .dim = {(int64_t)v->count}}},
    };
    DT_PASS(dt_safetensors_create(&writer, path, true, entry, pooled ? 1 : 2, NULL, 0, err));
    dt_status status = write_values(writer, v, pooled, err);
    if (status == DT_OK)
        return dt_safetensors_commit(writer, err);
    dt_safetensors_discard(writer);
    return status;
}

static dt_status show(const command_line *line, const vector_list *v, bool pooled, dt_error *err)
{
    const char *path = text_of(line, "output");
    if (path)
        DT_PASS(write_file(v, pooled, path, err));
    if (path && flag(line, "json"))
        print_json(json_pack("{s:s, s:I, s:I}", "path", path, "count", (json_int_t)v->count, "width",
                             (json_int_t)v->width));
    else if (flag(line, "json"))
        show_json(v, pooled);
    else if (!path)
        show_lines(v, pooled);
    return DT_OK;
}

/* ---- the command ---- */

static dt_status embed_prompts(dt_model *model, const dt_tokenizer *tokenizer, const prompt_list *prompts,
                               const dt_embed_options *o, vector_list *out, dt_error *err)
{
    dt_embeddings *e = NULL;
    dt_embed_input *input = NULL;
    int32_t **encoded = NULL;
    dt_status status = encode_prompts(prompts, tokenizer, &input, &encoded, err);
    if (status == DT_OK)
        status = dt_embed(&e, model, prompts->count, input, o, err);
    if (status == DT_OK)
        status = add_vectors(out, e, prompts->count, err);
    free_encoded(prompts, input, encoded);
    return status;
}

static dt_status embed_texts(const command_line *line, dt_model *model, const dt_embed_options *o,
                             vector_list *out, dt_error *err)
{
    dt_tokenizer *tokenizer = NULL;
    prompt_list prompts = {0};
    dt_status status = collect_prompts(line, &prompts, err);
    if (status == DT_OK)
        status = open_tokenizer(line, line->positional[0], prompts_are_text(line), &tokenizer, err);
    if (status == DT_OK)
        status = embed_prompts(model, tokenizer, &prompts, o, out, err);
    dt_tokenizer_close(tokenizer);
    free_prompts(&prompts);
    return status;
}

/* Some pictures' vectors, a tile's each where a picture is cut into some. */
static dt_status embed_batch(dt_model *model, const picture_batch *b, char *const *name,
                             const dt_embed_options *o, vector_list *out, dt_error *err)
{
    dt_embeddings *e;
    size_t row = out->count;
    DT_PASS(dt_embed_pictures(&e, model, b->plane_count, b->planes, o, err));
    DT_PASS(add_vectors(out, e, b->plane_count, err));
    for (size_t i = 0; i < b->count; i++)
        for (int64_t t = 0; t < b->picture[i].tiles; t++, row++) {
            out->row[row].image = name[i];
            out->row[row].tile = b->picture[i].tiles > 1 ? t : -1;
        }
    return DT_OK;
}

static dt_status embed_files(const command_line *line, dt_model *model, const picture_files *files,
                             const dt_embed_options *o, vector_list *out, dt_error *err)
{
    picture_reader reader;
    if (files->count == 0)
        return no_pictures(line, dt_model_get_config(model), err);
    DT_PASS(open_reader(line, line->positional[0], tower_of(dt_model_get_config(model)), &reader, err));
    dt_status status = DT_OK;
    for (size_t first = 0; status == DT_OK && first < files->count; first += PICTURES_AT_ONCE) {
        picture_batch batch;
        size_t left = files->count - first;
        status = read_pictures(&reader, files, first, left < PICTURES_AT_ONCE ? left : PICTURES_AT_ONCE,
                               &batch, err);
        if (status == DT_OK)
            status = embed_batch(model, &batch, files->name + first, o, out, err);
        free_pictures(&batch);
    }
    close_reader(&reader);
    return status;
}

/* Of a model with both kinds of input the line says which is meant. */
static dt_status embed(const command_line *line, dt_model *model, const dt_embed_options *o, dt_error *err)
{
    vector_list vectors = {0};
    picture_files files = {0};
    const dt_model_config *config = dt_model_get_config(model);
    const dt_model_config *tower = tower_of(config);
    bool alone = tower == config, looks = alone || has_pictures(line);
    dt_status status = DT_OK;
    if (looks && !tower)
        status = dt_fail(err, DT_UNSUPPORTED, "this %s sees no pictures: it embeds text", config->family);
    else if (looks && !alone && gives_prompts(line))
        status = dt_fail(err, DT_INVALID, "a text and a picture: vectors are made of one kind at a time");
    else if (looks)
        status = list_pictures(line, alone, &files, err);
    if (status == DT_OK)
        status = looks ? embed_files(line, model, &files, o, &vectors, err)
                       : embed_texts(line, model, o, &vectors, err);
    if (status == DT_OK)
        status = show(line, &vectors, o->pooling != DT_POOLING_NONE, err);
    free_vectors(&vectors);
    free_picture_list(&files);
    return status;
}

static dt_exit run(const command_line *line)
{
    dt_error err = {0};
    dt_model_options o;
    dt_embed_options how = DT_EMBED_OPTIONS_DEFAULT, beside;
    dt_model *model = NULL;
    if (!model_options_of(line, &o) || !embed_options_of(line, &how))
        return DT_EXIT_USAGE;
    bool plain = text_of(line, "pooling"); /* who says it, asks for nothing else */
    bool done = dt_model_open(&model, line->positional[0], &o, &err) == DT_OK &&
                (plain || dt_embed_options_of(model, &beside, &err) == DT_OK);
    if (done && !plain)
        use_defaults(line, &beside, &how);
    done = done && embed(line, model, &how, &err) == DT_OK;
    dt_model_close(model);
    return done ? DT_EXIT_DONE : report_failure(&err);
}

static const char *const positional[] = {"MODEL", "directory or file; its format is found from its content",
                                         "TEXT", "what to embed; - or nothing: stdin", NULL};
static const char *const examples[] = {"embed all-MiniLM-L6-v2/ \"a quiet road\" --normalize --json",
                                       "embed t5-small/ --batch sentences.txt -o vectors.safetensors",
                                       "embed bert-base-uncased/ \"a quiet road\" --pooling none",
                                       "embed clip-vit/ --image cat.jpg --image dog.png --normalize",
                                       "embed clip-vit/ \"a photo of a cat\"",
                                       NULL};

const command_spec command_embed = {
    .name = "embed",
    .summary =
        "texts or pictures to vectors: what an encoder or a vision tower makes of them (T5, BERT, CLIP)",
    .usage = "MODEL [TEXT] [options]",
    .about =
        "modules.json of sentence-transformers is obeyed (pooling, normalizing) unless --pooling is given.\n"
        "A vision tower gives what it projects, else what it pools, else the mean over its patches; its\n"
        "--batch FILE names a picture a line.",
    .positional_min = 1,
    .positional_max = 2,
    .positional = positional,
    .options = options,
    .examples = examples,
    .fact = "A vector has the same bits alone and in any batch, with any number of threads.",
    .run = run,
};
