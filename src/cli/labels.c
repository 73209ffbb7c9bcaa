/*
 * labels.c - `drivetrain run` on a classifier: the likeliest classes of each picture.
 */
#include "cli/labels.h"

#include "cli/pictures.h"

#include <drivetrain/classify.h>

#include <stdlib.h>

enum { DEFAULT_BEST = 5 };

/* One call: what is asked, and where answers go. */
typedef struct labelling {
    const command_line *line;
    dt_model *model;
    dt_classes *classes;
    int64_t class_count, best;
    bool named;      /* each picture's labels follow its name */
    json_t *results; /* NULL: printed */
} labelling;

typedef struct label {
    int64_t class;
    float probability, logit;
} label;

static int by_probability(const void *a, const void *b)
{
    const label *x = a, *y = b;
    if (x->probability != y->probability)
        return x->probability < y->probability ? 1 : -1;
    return x->class < y->class ? -1 : x->class > y->class;
}

static json_t *label_json(const labelling *l, const label *found)
{
    return json_pack("{s:I, s:s?, s:f, s:f}", "class", (json_int_t)found->class, "label",
                     dt_classes_name(l->classes, found->class), "probability", (double)found->probability,
                     "logit", (double)found->logit);
}

static void show(const labelling *l, const char *file, int64_t tile, const label *found)
{
    json_t *list = l->results || flag(l->line, "jsonl") ? json_array() : NULL;
    if (!list && l->named)
        printf(tile < 0 ? "%s\n" : "%s, tile %lld\n", file, (long long)tile);
    for (int64_t i = 0; i < l->best; i++) {
        const char *name = dt_classes_name(l->classes, found[i].class);
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

/* Labels of a batch's pictures; `probability` and `label` have room for one's classes, `logits` for all planes'. */
static dt_status label_batch(const labelling *l, const picture_batch *b, char *const *file, float *logits,
                             float *probability, label *found, dt_error *err)
{
    size_t plane = 0, n = (size_t)l->class_count;
    DT_PASS(dt_classify(l->model, b->plane_count, b->planes, NULL, logits, b->plane_count * n, err));
    for (size_t i = 0; i < b->count; i++)
        for (int64_t t = 0; t < b->picture[i].tiles; t++, plane++) {
            const float *own = logits + plane * n;
            dt_classes_probabilities(l->classes, own, l->class_count, probability);
            for (size_t k = 0; k < n; k++)
                found[k] = (label){(int64_t)k, probability[k], own[k]};
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
    label *found = NULL;
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
    DT_PASS(open_reader(l->line, l->line->positional[0], dt_model_get_config(l->model), &reader, err));
    dt_status status = DT_OK;
    for (size_t first = 0; status == DT_OK && first < files->count && !interrupted();
         first += PICTURES_AT_ONCE) {
        size_t left = files->count - first;
        status = label_some(l, &reader, files, first, left < PICTURES_AT_ONCE ? left : PICTURES_AT_ONCE, err);
    }
    close_reader(&reader);
    return status;
}

dt_exit label_pictures(const command_line *line, dt_model *model)
{
    dt_error err = {0};
    picture_files files = {0};
    const dt_model_config *config = dt_model_get_config(model);
    labelling l = {.line = line, .model = model, .class_count = config->num_classes};
    l.best = int_of(line, "top-k", DEFAULT_BEST);
    l.best = l.best < 1 ? DEFAULT_BEST : l.best < l.class_count ? l.best : l.class_count;
    if (config->num_classes < 1) {
        dt_fail(&err, DT_UNSUPPORTED, "this %s has no classes to put pictures into", config->family);
        dt_error_try(&err, "drivetrain embed MODEL --image FILE for its vectors");
        return report_failure(&err);
    }
    catch_interrupt();
    dt_status status = list_pictures(line, true, &files, &err);
    l.named = files.count > 1;
    l.results = flag(line, "json") ? json_array() : NULL;
    if (status == DT_OK)
        status = dt_classes_of(&l.classes, model, &err);
    if (status == DT_OK)
        status = label_all(&l, &files, &err);
    if (status == DT_OK && l.results)
        print_json(json_pack("{s:O}", "results", l.results));
    json_decref(l.results);
    dt_classes_close(l.classes);
    free_picture_list(&files);
    if (status != DT_OK)
        return report_failure(&err);
    return interrupted() ? DT_EXIT_FAILED : DT_EXIT_DONE;
}
