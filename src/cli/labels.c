/*
 * labels.c - `drivetrain run` on a classifier: the likeliest classes of each picture; on two towers, the texts that fit it best.
 */
#include "cli/labels.h"

#include "cli/pictures.h"
#include "cli/prompts.h"

#include <drivetrain/classify.h>
#include <drivetrain/embed.h>

#include <stdlib.h>
#include <string.h>

enum { DEFAULT_BEST = 5 };

/* One call: what is asked, and where answers go. */
typedef struct labelling {
    const command_line *line;
    dt_model *model;
    dt_classes *classes;  /* of a classifier, or NULL: */
    prompt_list texts;    /* what to choose among, */
    dt_embeddings *meant; /* and its features */
    int64_t class_count, best;
    bool named;      /* each picture's labels follow its name */
    json_t *results; /* NULL: printed */
} labelling;

typedef struct verdict {
    int64_t class;
    float probability, logit;
} verdict;

static int by_probability(const void *a, const void *b)
{
    const verdict *x = a, *y = b;
    if (x->probability != y->probability)
        return x->probability < y->probability ? 1 : -1;
    return x->class < y->class ? -1 : x->class > y->class;
}

static const char *name_of(const labelling *l, int64_t class)
{
    return l->classes ? dt_classes_name(l->classes, class) : l->texts.prompt[class].text;
}

static json_t *label_json(const labelling *l, const verdict *found)
{
    return json_pack("{s:I, s:s?, s:f, s:f}", "class", (json_int_t)found->class, "label",
                     name_of(l, found->class), "probability", (double)found->probability, "logit",
                     (double)found->logit);
}

static void show(const labelling *l, const char *file, int64_t tile, const verdict *found)
{
    json_t *list = l->results || flag(l->line, "jsonl") ? json_array() : NULL;
    if (!list && l->named)
        printf(tile < 0 ? "%s\n" : "%s, tile %lld\n", file, (long long)tile);
    for (int64_t i = 0; i < l->best; i++) {
        const char *name = name_of(l, found[i].class);
        if (list)
            json_array_append_new(list, label_json(l, &found[i]));
        else
            printf("%.6f %6lld%s%s\n", (double)found[i].probability, (long long)found[i].class,
                   name ? "  " : "", name ? name : "");
    }
    if (!list)
        return;
    json_t *row = json_pack("{s:s, s:o}", "image", file, "labels", list);
    if (tile >= 0)
        json_object_set_new(row, "tile", json_integer(tile));
    if (l->results) {
        json_array_append_new(l->results, row);
        return;
    }
    json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fputc('\n', stdout);
    json_decref(row);
}

/* ---- looking ---- */

/* How well each label fits each plane: logits [planes, labels]. */
static dt_status judge(const labelling *l, const picture_batch *b, float *logits, dt_error *err)
{
    size_t elements = b->plane_count * (size_t)l->class_count;
    dt_embeddings *seen;
    if (l->classes)
        return dt_classify(l->model, b->plane_count, b->planes, NULL, logits, elements, err);
    const dt_embed_options o = {.pooling = DT_POOLING_PROJECTION};
    DT_PASS(dt_embed_pictures(&seen, l->model, b->plane_count, b->planes, &o, err));
    dt_status status = dt_similarities(l->model, seen, l->meant, logits, elements, err);
    dt_embeddings_destroy(seen);
    return status;
}

static void share_out(const labelling *l, const float *logits, float *probability)
{
    if (l->classes)
        dt_classes_probabilities(l->classes, logits, l->class_count, probability);
    else
        dt_similarity_probabilities(l->model, logits, l->class_count, probability);
}

/* Labels of a batch's pictures; `probability` and `label` have room for one's classes, `logits` for all planes'. */
static dt_status label_batch(const labelling *l, const picture_batch *b, char *const *file, float *logits,
                             float *probability, verdict *found, dt_error *err)
{
    size_t plane = 0, n = (size_t)l->class_count;
    DT_PASS(judge(l, b, logits, err));
    for (size_t i = 0; i < b->count; i++)
        for (int64_t t = 0; t < b->picture[i].tiles; t++, plane++) {
            const float *own = logits + plane * n;
            share_out(l, own, probability);
            for (size_t k = 0; k < n; k++)
                found[k] = (verdict){(int64_t)k, probability[k], own[k]};
            qsort(found, n, sizeof *found, by_probability);
            show(l, file[i], b->picture[i].tiles > 1 ? t : -1, found);
        }
    return DT_OK;
}

static dt_status label_some(const labelling *l, const picture_reader *reader, const picture_files *files,
                            size_t first, size_t count, dt_error *err)
{
    picture_batch batch = {0};
    float *numbers = NULL;
    verdict *found = NULL;
    size_t n = (size_t)l->class_count;
    dt_status status = read_pictures(reader, files, first, count, &batch, err);
    if (status == DT_OK) {
        numbers = calloc(n, (batch.plane_count + 1) * sizeof *numbers);
        found = calloc(n, sizeof *found);
        status = numbers && found
                     ? label_batch(l, &batch, files->name + first, numbers + n, numbers, found, err)
                     : dt_fail_memory(err, n * batch.plane_count * sizeof *numbers, "logits");
    }
    free(numbers);
    free(found);
    free_pictures(&batch);
    return status;
}

static dt_status label_all(const labelling *l, const picture_files *files, dt_error *err)
{
    picture_reader reader;
    if (files->count == 0)
        return no_pictures(l->line, dt_model_get_config(l->model), err);
    DT_PASS(
        open_reader(l->line, l->line->positional[0], tower_of(dt_model_get_config(l->model)), &reader, err));
    dt_status status = DT_OK;
    for (size_t first = 0; status == DT_OK && first < files->count && !interrupted();
         first += PICTURES_AT_ONCE) {
        size_t left = files->count - first;
        status = label_some(l, &reader, files, first, left < PICTURES_AT_ONCE ? left : PICTURES_AT_ONCE, err);
    }
    close_reader(&reader);
    return status;
}

/* ---- what to choose among ---- */

/* "a cat,a dog": texts between commas, without spaces around them. */
static dt_status split_labels(const char *labels, prompt_list *out, dt_error *err)
{
    for (const char *at = labels;; at++) {
        const char *end = strchrnul(at, ',');
        size_t bytes = (size_t)(end - at);
        while (bytes && *at == ' ')
            at++, bytes--;
        while (bytes && at[bytes - 1] == ' ')
            bytes--;
        if (bytes == 0)
            return dt_fail(err, DT_INVALID, "--labels \"%.60s\": a label is empty", labels);
        DT_PASS(add_prompt(out, at, bytes, err));
        at = end;
        if (!*end)
            return DT_OK;
    }
}

static dt_status embed_labels(labelling *l, dt_error *err)
{
    dt_tokenizer *tokenizer = NULL;
    dt_embed_input *input = NULL;
    int32_t **encoded = NULL;
    const dt_embed_options o = {.pooling = DT_POOLING_PROJECTION};
    dt_status status =
        open_tokenizer(l->line, l->line->positional[0], prompts_are_text(l->line), &tokenizer, err);
    if (status == DT_OK)
        status = encode_prompts(&l->texts, tokenizer, &input, &encoded, err);
    if (status == DT_OK)
        status = dt_embed(&l->meant, l->model, l->texts.count, input, &o, err);
    free_encoded(&l->texts, input, encoded);
    dt_tokenizer_close(tokenizer);
    return status;
}

/* Texts of --labels, or one a line of --batch. */
static dt_status collect_labels(labelling *l, dt_error *err)
{
    const char *labels = text_of(l->line, "labels");
    if (!labels && !text_of(l->line, "batch") && !text_of(l->line, "batch-tokens")) {
        dt_fail(err, DT_INVALID, "this %s compares pictures with texts, and none is given",
                dt_model_get_config(l->model)->family);
        dt_error_try(err, "--labels \"a cat,a dog\"; drivetrain embed MODEL --image FILE for vectors");
        return DT_INVALID;
    }
    DT_PASS(labels ? split_labels(labels, &l->texts, err) : collect_prompts(l->line, &l->texts, err));
    l->class_count = (int64_t)l->texts.count;
    return embed_labels(l, err);
}

static dt_status collect_classes(labelling *l, dt_error *err)
{
    const dt_model_config *config = dt_model_get_config(l->model);
    l->class_count = config->num_classes;
    if (config->num_classes >= 1 && !text_of(l->line, "labels"))
        return dt_classes_of(&l->classes, l->model, err);
    dt_fail(err, DT_UNSUPPORTED,
            config->num_classes >= 1 ? "this %s has classes of its own, and reads no labels"
                                     : "this %s has no classes to put pictures into",
            config->family);
    if (config->num_classes < 1)
        dt_error_try(err, "drivetrain embed MODEL --image FILE for its vectors");
    return DT_UNSUPPORTED;
}

bool labels_pictures(const dt_model_config *config)
{
    return dt_config_is_tower(config) || dt_config_compares(config);
}

/* ---- the whole ---- */

static dt_status label(labelling *l, dt_error *err)
{
    picture_files files = {0};
    bool tower = dt_config_is_tower(dt_model_get_config(l->model));
    dt_status status = tower ? collect_classes(l, err) : DT_OK;
    if (status == DT_OK)
        status = list_pictures(l->line, tower, &files, err);
    if (status == DT_OK && files.count && !tower)
        status = collect_labels(l, err);
    l->best = int_of(l->line, "top-k", DEFAULT_BEST);
    l->best = l->best < 1 ? DEFAULT_BEST : l->best;
    l->best = l->best < l->class_count ? l->best : l->class_count;
    l->named = files.count > 1;
    if (status == DT_OK)
        status = label_all(l, &files, err);
    free_picture_list(&files);
    return status;
}

dt_exit label_pictures(const command_line *line, dt_model *model)
{
    dt_error err = {0};
    labelling l = {.line = line, .model = model, .results = flag(line, "json") ? json_array() : NULL};
    catch_interrupt();
    dt_status status = label(&l, &err);
    if (status == DT_OK && l.results)
        print_json(json_pack("{s:O}", "results", l.results));
    json_decref(l.results);
    dt_classes_close(l.classes);
    dt_embeddings_destroy(l.meant);
    free_prompts(&l.texts);
    if (status != DT_OK)
        return report_failure(&err);
    return interrupted() ? DT_EXIT_FAILED : DT_EXIT_DONE;
}
