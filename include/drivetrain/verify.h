/**
 * verify.h - proof: replay a recording of a reference implementation and say how far drivetrain is from it.
 *
 * A recording is a safetensors file with inputs and outputs of a model (docs/recording.md). Every point it holds
 * is computed and compared in execution order, gradients included, and texts are generated again. What the
 * recording has and drivetrain cannot produce is listed as unchecked, and then the verdict is "no".
 *
 *     dt_verify_report *r;
 *     if (dt_verify(&r, "t5-small", "recording.safetensors", NULL, &err)) ...
 *     printf("%s\n", r->pass ? "yes" : r->first_divergence);
 *     dt_verify_report_destroy(r);
 */
#ifndef DRIVETRAIN_VERIFY_H
#define DRIVETRAIN_VERIFY_H

#include <drivetrain/inference.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dt_verify_options {
    double tolerance;      /**< 0 = 5e-6 (f32); reduced types: twice the recording's own distance from f32 */
    double grad_tolerance; /**< 0 = 2e-5 */
    bool allow_unchecked;  /**< unchecked points do not spoil the verdict */
    bool tensors_only;     /**< two models: compare what they hold, and compute nothing */
    bool numbers_only; /**< two models: compute, and do not compare what they hold (an engine cannot say) */
    dt_model_options model; /**< dtype NULL = the recording's */
} dt_verify_options;

/** max |a-b|, and that over max |b| + 1e-6 (a gradient: over max(max |b|, 1e-4 G), G the largest of the file). */
typedef struct dt_verify_point {
    const char *name;
    int rank;
    int64_t dim[5];
    double max_abs, max_rel, tolerance;
    bool pass;
    const char *remark; /**< why a point needs a word ("the reference overflowed here"), or NULL */
} dt_verify_point;

typedef struct dt_verify_text {
    bool present, match;
    int64_t rows, first_difference; /**< row, -1 when all match */
    const char *remark;             /**< why nothing could be generated, or NULL */
} dt_verify_text;

typedef struct dt_verify_report {
    bool pass;
    double tolerance, grad_tolerance;
    const char *against;          /**< the recording's or the other model's path */
    const char *source;           /**< what made it ("transformers 5.23.0, torch 2.12.1") */
    const char *dtype;            /**< what was computed in */
    const char *first_divergence; /**< the first failing point, or NULL */
    const char *remark;           /**< what was not compared at all ("numbers: …"), or NULL */
    const dt_verify_point *points;
    int point_count;
    dt_verify_text greedy, beam4;
    const char *const *unchecked;
    int unchecked_count;
    const struct dt_verify_node {
        const char *op, *point, *kernel; /**< point NULL when the result has no name */
        bool fell_back;                  /**< no kernel of the backend: computed by `reference` */
    } * nodes;
    int node_count;
} dt_verify_report;

dt_status dt_verify(dt_verify_report **out, const char *model, const char *recording,
                    const dt_verify_options *options, dt_error *err);

/**
 * Two models, whatever their formats, layouts and types; `other` plays the recording's part. First every tensor, by
 * canonical name ("tensor NAME"; padding rows of the vocabulary do not count): of one type they must be equal, of two
 * types as near as the coarser one is. Then the numbers on fixed prompts, where the model can be computed.
 */
dt_status dt_verify_models(dt_verify_report **out, const char *model, const char *other,
                           const dt_verify_options *options, dt_error *err);

/** What a quantised model may lose. */
typedef struct dt_agreement_bounds {
    double kl; /**< mean KL divergence from the source, nats a token */
    double
        top1; /**< share of positions whose likeliest token the source holds less than half as likely as its own */
} dt_agreement_bounds;

/**
 * A quantised model against its source: points agree.kl, agree.top1 and agree.perplexity, on the tokens of a text file,
 * or (`text` NULL) on rows that the source writes, sampled with a fixed seed. `model` says what is computed in (f32).
 */
dt_status dt_verify_agreement(dt_verify_report **out, const char *artefact, const char *source,
                              const char *text, const dt_agreement_bounds *bounds,
                              const dt_model_options *model, dt_error *err);
void dt_verify_report_destroy(dt_verify_report *report); /**< NULL is fine */

typedef struct dt_trace_options {
    bool gradients;
    unsigned frozen;        /**< dt_config_part bits that have no gradients: nothing is computed for theirs */
    dt_model_options model; /**< dtype NULL = f32 */
} dt_trace_options;

/** Run a recording's inputs and write every point under its name, as a recording. `points` receives their number. */
dt_status dt_trace(const char *model, const char *inputs, const char *out, const dt_trace_options *options,
                   int *points, dt_error *err);

#ifdef __cplusplus
}
#endif
#endif
