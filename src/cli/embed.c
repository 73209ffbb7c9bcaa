/*
 * embed.c (cli) - `drivetrain embed`: texts in, vectors out.
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
    {"pooling", 0, OPTION_TEXT, "HOW",
     "mean, cls, pooler (BERT's), or none: every token's state [as modules.json says, else mean]"},
    {"normalize", 0, OPTION_SWITCH, NULL, "each vector to length 1 [as modules.json says, else off]"},
    {"truncate", 0, OPTION_FLAG, NULL, "cut texts that are longer than the model's positions"},
    {"batch-size", 0, OPTION_INT, "N", "tokens in a step [2048]; changes no bit of the result"},
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
        return usage_error(line, "--pooling \"%s\": expected mean, cls, pooler or none", wanted), false;
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

/* ---- inputs ---- */

static dt_status encode(const prompt_list *prompts, const dt_tokenizer *tokenizer, dt_embed_input *input,
                        int32_t **encoded, dt_error *err)
{
    for (size_t i = 0; i < prompts->count; i++) {
        const dt_text_prompt *p = &prompts->prompt[i];
        input[i] = (dt_embed_input){.tokens = p->tokens, .count = p->count};
        if (p->tokens)
            continue;
        DT_TRY(
            dt_tokenizer_encode(tokenizer, p->text, strlen(p->text), NULL, &encoded[i], &input[i].count, err),
            err, "while encoding text %zu", i);
        input[i].tokens = encoded[i];
    }
    return DT_OK;
}

/* ---- outputs ---- */

static json_t *vector_json(const float *values, int64_t width)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < width; i++)
        json_array_append_new(list, json_real((double)values[i]));
    return list;
}

static void show_json(const dt_embeddings *e, size_t count, bool pooled)
{
    json_t *results = json_array();
    int64_t width = dt_embeddings_width(e);
    for (size_t i = 0; i < count; i++) {
        dt_embedded row = dt_embeddings_at(e, i);
        json_t *value = pooled ? vector_json(row.values, width) : json_array();
        for (int64_t r = 0; !pooled && r < row.rows; r++)
            json_array_append_new(value, vector_json(row.values + r * width, width));
        json_array_append_new(results, json_pack("{s:o}", pooled ? "pooled" : "hidden", value));
    }
    print_json(json_pack("{s:o}", "results", results));
}

/* A vector a line; with every token's, an empty line between texts. */
static void show_lines(const dt_embeddings *e, size_t count, bool pooled)
{
    int64_t width = dt_embeddings_width(e);
    for (size_t i = 0; i < count; i++) {
        dt_embedded row = dt_embeddings_at(e, i);
        for (int64_t k = 0; k < row.rows * width; k++)
            printf("%.9g%c", (double)row.values[k], (k + 1) % width ? ' ' : '\n');
        if (!pooled && i + 1 < count)
            printf("\n");
    }
}

static dt_status write_values(dt_safetensors_writer *writer, const dt_embeddings *e, size_t count,
                              bool pooled, dt_error *err)
{
    for (size_t i = 0; i < count; i++) {
        dt_embedded row = dt_embeddings_at(e, i);
        int32_t length = (int32_t)row.rows;
        size_t bytes = (size_t)(row.rows * dt_embeddings_width(e)) * sizeof *row.values;
        DT_PASS(dt_safetensors_write(writer, 0, row.values, bytes, err));
        if (!pooled)
            DT_PASS(dt_safetensors_write(writer, 1, &length, sizeof length, err));
    }
    return DT_OK;
}

static dt_status write_file(const dt_embeddings *e, size_t count, bool pooled, const char *path,
                            dt_error *err)
{
    dt_safetensors_writer *writer;
    int64_t rows = 0;
    for (size_t i = 0; i < count; i++)
        rows += dt_embeddings_at(e, i).rows;
    const dt_safetensors_entry entry[] = {
        {pooled ? "pooled" : "hidden", DT_F32, {.rank = 2, .dim = {rows, dt_embeddings_width(e)}}},
        {"lengths", DT_I32, {.rank = 1, .dim = {(int64_t)count}}},
    };
    DT_PASS(dt_safetensors_create(&writer, path, true, entry, pooled ? 1 : 2, NULL, 0, err));
    dt_status status = write_values(writer, e, count, pooled, err);
    if (status == DT_OK)
        return dt_safetensors_commit(writer, err);
    dt_safetensors_discard(writer);
    return status;
}

static dt_status show(const command_line *line, const dt_embeddings *e, size_t count, bool pooled,
                      dt_error *err)
{
    const char *path = text_of(line, "output");
    if (path)
        DT_PASS(write_file(e, count, pooled, path, err));
    if (path && flag(line, "json"))
        print_json(json_pack("{s:s, s:I, s:I}", "path", path, "count", (json_int_t)count, "width",
                             (json_int_t)dt_embeddings_width(e)));
    else if (flag(line, "json"))
        show_json(e, count, pooled);
    else if (!path)
        show_lines(e, count, pooled);
    return DT_OK;
}

/* ---- the command ---- */

static dt_status embed(const command_line *line, dt_model *model, const dt_tokenizer *tokenizer,
                       const prompt_list *prompts, const dt_embed_options *o, dt_error *err)
{
    dt_embeddings *e = NULL;
    dt_embed_input *input = calloc(prompts->count + 1, sizeof *input);
    int32_t **encoded = calloc(prompts->count + 1, sizeof *encoded);
    dt_status status = input && encoded ? DT_OK : dt_fail_memory(err, prompts->count, "texts");
    if (status == DT_OK)
        status = encode(prompts, tokenizer, input, encoded, err);
    if (status == DT_OK)
        status = dt_embed(&e, model, prompts->count, input, o, err);
    if (status == DT_OK)
        status = show(line, e, prompts->count, o->pooling != DT_POOLING_NONE, err);
    dt_embeddings_destroy(e);
    for (size_t i = 0; encoded && i < prompts->count; i++)
        dt_free(encoded[i]);
    free(encoded);
    free(input);
    return status;
}

static dt_exit run(const command_line *line)
{
    dt_error err = {0};
    dt_model_options o;
    dt_embed_options how = DT_EMBED_OPTIONS_DEFAULT, beside;
    dt_model *model = NULL;
    dt_tokenizer *tokenizer = NULL;
    prompt_list prompts = {0};
    const char *path = line->positional[0];
    if (!model_options_of(line, &o) || !embed_options_of(line, &how))
        return DT_EXIT_USAGE;
    bool plain = text_of(line, "pooling"); /* who says it, asks for nothing else */
    bool done = collect_prompts(line, &prompts, &err) == DT_OK &&
                open_tokenizer(line, path, prompts_are_text(line), &tokenizer, &err) == DT_OK &&
                dt_model_open(&model, path, &o, &err) == DT_OK &&
                (plain || dt_embed_options_of(model, &beside, &err) == DT_OK);
    if (done && !plain)
        use_defaults(line, &beside, &how);
    done = done && embed(line, model, tokenizer, &prompts, &how, &err) == DT_OK;
    dt_model_close(model);
    dt_tokenizer_close(tokenizer);
    free_prompts(&prompts);
    return done ? DT_EXIT_DONE : report_failure(&err);
}

static const char *const positional[] = {"MODEL", "directory or file; its format is found from its content",
                                         "TEXT", "what to embed; - or nothing: stdin", NULL};
static const char *const examples[] = {"embed all-MiniLM-L6-v2/ \"a quiet road\" --normalize --json",
                                       "embed t5-small/ --batch sentences.txt -o vectors.safetensors",
                                       "embed bert-base-uncased/ \"a quiet road\" --pooling none", NULL};

const command_spec command_embed = {
    .name = "embed",
    .summary = "texts to vectors: what an encoder makes of them (T5, BERT)",
    .usage = "MODEL [TEXT] [options]",
    .about =
        "modules.json of sentence-transformers is obeyed (pooling, normalizing) unless --pooling is given.",
    .positional_min = 1,
    .positional_max = 2,
    .positional = positional,
    .options = options,
    .examples = examples,
    .fact = "A vector has the same bits alone and in any batch, with any number of threads.",
    .run = run,
};
