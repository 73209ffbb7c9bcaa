/*
 * classify.c - pictures to logits: what a tower's classifier gives of each, and what the classes are called.
 *
 * Who stands in which step is look.c's.
 */
#include "base/checked.h"
#include "base/json.h"
#include "base/output.h"
#include "inference/look.h"

#include <drivetrain/classify.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES = 1 << 26 };

static dt_status check(const dt_model_config *c, size_t count, size_t elements, dt_error *err)
{
    size_t expected;
    if (!dt_config_is_tower(c) || c->num_classes < 1)
        return dt_fail(err, DT_UNSUPPORTED, "this %s has no classes to put pictures into", c->family);
    if (!dt_mul_size(count, (size_t)c->num_classes, &expected) || expected != elements)
        return dt_fail(err, DT_INVALID, "room for %zu logits, but %zu pictures have %" PRId64 " each",
                       elements, count, c->num_classes);
    return DT_OK;
}

typedef struct answers {
    float *logits;
    size_t classes;
} answers;

static dt_status take(void *user, size_t first, const dt_pictures *packed, const float *values, dt_error *err)
{
    const answers *a = user;
    (void)err;
    memcpy(a->logits + first * a->classes, values, (size_t)packed->images * a->classes * sizeof(float));
    return DT_OK;
}

dt_status dt_classify(dt_model *model, size_t count, const dt_classify_input *inputs,
                      const dt_classify_options *options, float *logits, size_t elements, dt_error *err)
{
    DT_PASS(check(model->config, count, elements, err));
    answers a = {logits, (size_t)model->config->num_classes};
    const dt_look look = {.model = model,
                          .picture = inputs,
                          .count = count,
                          .max_batch = options ? options->max_batch : 0,
                          .point = "out.logits",
                          .take = take,
                          .user = &a};
    dt_model_enter(model);
    dt_status status = dt_look_at(&look, err);
    dt_model_leave(model);
    return status;
}

/* ---- what classes are called ---- */

struct dt_classes {
    json_t *names; /* id2label, or NULL */
    bool several;
};

static dt_status read_config(dt_classes *c, const char *folder, dt_error *err)
{
    char path[4096];
    json_t *json = NULL;
    const char *problem = NULL;
    snprintf(path, sizeof path, "%s/config.json", folder);
    if (!dt_is_file(path))
        return DT_OK;
    DT_PASS(dt_json_load(&json, path, CONFIG_BYTES, err));
    json_t *names = json_object_get(json, "id2label");
    c->names = json_is_object(names) ? json_incref(names) : NULL;
    dt_status status = dt_json_string(json, "problem_type", &problem, err);
    c->several = problem && strcmp(problem, "multi_label_classification") == 0;
    json_decref(json);
    DT_TRY(status, err, "while reading %s", path);
    return DT_OK;
}

dt_status dt_classes_of(dt_classes **out, const dt_model *model, dt_error *err)
{
    const char *folder = dt_checkpoint_describe(model->checkpoint).path;
    dt_classes *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c)
        return dt_fail_memory(err, sizeof *c, "classes");
    dt_status status = folder ? read_config(c, folder, err) : DT_OK;
    if (status == DT_OK)
        *out = c;
    else
        dt_classes_close(c);
    return status;
}

void dt_classes_close(dt_classes *classes)
{
    if (!classes)
        return;
    json_decref(classes->names);
    free(classes);
}

const char *dt_classes_name(const dt_classes *classes, int64_t index)
{
    char key[32];
    snprintf(key, sizeof key, "%" PRId64, index);
    return json_string_value(json_object_get(classes->names, key));
}

bool dt_classes_exclude(const dt_classes *classes)
{
    return !classes->several;
}

void dt_classes_probabilities(const dt_classes *classes, const float *logits, int64_t count,
                              float *probabilities)
{
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < count; i++)
        most = (double)logits[i] > most ? (double)logits[i] : most;
    for (int64_t i = 0; i < count; i++)
        sum += exp((double)logits[i] - most);
    for (int64_t i = 0; i < count; i++)
        probabilities[i] = (float)(classes->several ? 1 / (1 + exp(-(double)logits[i]))
                                                    : exp((double)logits[i] - most) / sum);
}
