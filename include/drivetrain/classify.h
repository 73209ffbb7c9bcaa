/**
 * classify.h - pictures to scores of classes, by a vision tower with a classifier behind it.
 *
 *     dt_model *m;
 *     dt_model_open(&m, "vit_mnist.pt", NULL, &err);
 *     int64_t classes = dt_model_get_config(m)->num_classes;
 *     float logits[10];                                    // classes of them
 *     dt_planes in = {.pixels = planes, .height = 28, .width = 28};
 *     dt_classify(m, 1, &in, NULL, logits, 10, &err);
 */
#ifndef DRIVETRAIN_CLASSIFY_H
#define DRIVETRAIN_CLASSIFY_H

#include <drivetrain/inference.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef dt_planes dt_classify_input;

typedef struct dt_classify_options {
    int64_t
        max_batch; /**< most rows (patches and class tokens) in a step, one larger picture excepted; 0 = 2048 */
} dt_classify_options;
#define DT_CLASSIFY_OPTIONS_DEFAULT                                                                          \
    {                                                                                                        \
        .max_batch = 0                                                                                       \
    }

/**
 * Classify pictures. They are packed raggedly, as many to a step as max_batch allows; a picture has the same bits
 * alone and in any company, with any number of threads.
 *
 * Shapes   logits [count, num_classes], row-major; `elements` must equal count * num_classes
 * Memory   logits is the caller's; the inputs are only read during the call; options may be NULL
 * Threads  calls on one model take turns
 * Errors   DT_UNSUPPORTED  the model is no tower, or has no classifier
 *          DT_INVALID      `elements`, or a picture without pixels
 *          DT_MISMATCH     a picture of a size that the tower has no positions for: names it and both sizes
 */
dt_status dt_classify(dt_model *model, size_t count, const dt_classify_input *inputs,
                      const dt_classify_options *options, float *logits, size_t elements, dt_error *err);

/** What config.json beside a model says of its classes: id2label and problem_type. */
typedef struct dt_classes dt_classes;

/** Without such a file, classes have no names and exclude one another. Errors: DT_FORMAT names the file. */
dt_status dt_classes_of(dt_classes **out, const dt_model *model, dt_error *err);
void dt_classes_close(dt_classes *classes); /**< NULL is fine */

const char *dt_classes_name(const dt_classes *classes, int64_t index); /**< "tabby", or NULL; borrowed */
bool dt_classes_exclude(const dt_classes *classes); /**< false: a picture may be of several classes */

/** Of one picture's logits: their softmax, summed in f64, or of each its sigmoid where classes exclude nothing. */
void dt_classes_probabilities(const dt_classes *classes, const float *logits, int64_t count,
                              float *probabilities);

#ifdef __cplusplus
}
#endif
#endif
