/*
 * scales.c - weights of 8-bit floats with static scales beside them: found by name, checked, and handed to the stored
 * tensor, whose values are then its bytes times their scale.
 *
 * Peers  transformers integrations/{fbgemm_fp8,finegrained_fp8}.py · compressed-tensors (float-quantized) · ModelOpt (FP8)
 *
 * One scale a tensor, one a row, or one a block of rows and columns, told apart by the scale's shape. Scales of
 * activations are left alone: products here are in f32 or bf16, whose range needs none.
 */
#include "base/text.h"
#include "formats/open.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 512, BLOCK = 128 };

/* A scale's name in place of "weight". fine-grained fp8 says "inv" of what weights are multiplied by. */
static const char *const weight_scales[] = {"weight_scale", "weight_scale_inv"};
static const char *const activation_scales[] = {"input_scale", "output_scale", "activation_scale", "k_scale",
                                                "v_scale"};

#define COUNT(list) ((int)(sizeof(list) / sizeof *(list)))

static bool is_fp8(const dt_stored_tensor *t)
{
    return !t->unsupported && (t->dtype == DT_F8E4M3 || t->dtype == DT_F8E5M2);
}

/* "x.weight" → "x.SCALE". */
static const dt_stored_tensor *beside(const dt_stored_set *set, const char *weight, const char *scale)
{
    char name[NAME_BYTES];
    int stem = (int)(strlen(weight) - strlen("weight"));
    return snprintf(name, sizeof name, "%.*s%s", stem, weight, scale) < NAME_BYTES
               ? dt_stored_set_find(set, name)
               : NULL;
}

static const dt_stored_tensor *scale_of(const dt_stored_set *set, const dt_stored_tensor *weight)
{
    const dt_stored_tensor *s = NULL;
    for (int i = 0; i < COUNT(weight_scales) && !s; i++)
        s = beside(set, weight->name, weight_scales[i]);
    return s;
}

/* How many rows and columns share a scale; false: the shapes do not go together. */
static bool blocks_of(const dt_shape *weight, const dt_shape *scale, int64_t *rows, int64_t *cols)
{
    int64_t R = weight->dim[0], C = weight->dim[1], n;
    *rows = R;
    *cols = C;
    if (dt_shape_elements(scale, &n) && n == 1)
        return true;
    *rows = 1;
    if ((scale->rank == 1 || (scale->rank == 2 && scale->dim[1] == 1)) && scale->dim[0] == R)
        return true;
    *rows = *cols = BLOCK;
    return scale->rank == 2 && scale->dim[0] == (R + BLOCK - 1) / BLOCK &&
           scale->dim[1] == (C + BLOCK - 1) / BLOCK;
}

static dt_status read_factors(const dt_stored_tensor *scale, dt_arena *arena, float **out, dt_error *err)
{
    int64_t n = 0;
    if (scale->unsupported || !dt_shape_elements(&scale->shape, &n))
        return dt_fail(err, DT_FORMAT, "tensor \"%s\" is no scale", scale->name);
    float *factor = DT_NEW_ARRAY(arena, float, n + 1);
    if (!factor)
        return dt_fail_memory(err, (size_t)n * sizeof *factor, scale->name);
    DT_PASS(dt_stored_read(scale, NULL, DT_F32, factor, NULL, err));
    for (int64_t i = 0; i < n; i++)
        if (!(factor[i] > 0) || isinf(factor[i]))
            return dt_fail(err, DT_FORMAT, "tensor \"%s\" holds %g: a scale is above 0", scale->name,
                           (double)factor[i]);
    *out = factor;
    return DT_OK;
}

static dt_status apply(dt_checkpoint *c, size_t index, dt_error *err)
{
    const dt_stored_tensor *t = dt_stored_set_at(c->set, index), *scale;
    int64_t rows, cols;
    float *factor;
    if (!is_fp8(t) || t->divisor || !dt_ends_with(t->name, "weight") || !(scale = scale_of(c->set, t)))
        return DT_OK;
    if (t->shape.rank != 2 || !dt_stored_dense(t))
        return dt_fail(err, DT_UNSUPPORTED,
                       "tensor \"%s\" %s has a scale (\"%s\"), and is no dense matrix of 8-bit floats",
                       t->name, dt_shape_print(&t->shape).text, scale->name);
    if (!blocks_of(&t->shape, &scale->shape, &rows, &cols))
        return dt_fail(err, DT_MISMATCH,
                       "tensor \"%s\" is %s: expected one scale, one a row of \"%s\" %s, or one a block of "
                       "%d x %d",
                       scale->name, dt_shape_print(&scale->shape).text, t->name,
                       dt_shape_print(&t->shape).text, BLOCK, BLOCK);
    DT_PASS(read_factors(scale, c->arena, &factor, err));
    dt_stored_set_multiply(c->set, index, factor, rows, cols);
    return DT_OK;
}

dt_status dt_open_scales(dt_checkpoint *c, dt_error *err)
{
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++)
        DT_PASS(apply(c, i, err));
    return DT_OK;
}

/* Is `name` "x." and one of `scales`, beside an 8-bit "x.weight" (or, of keys and values, in a model that has any)? */
static bool belongs(const dt_stored_set *set, const char *name, const char *const *scales, int count)
{
    const char *last = strrchr(name, '.');
    char weight[NAME_BYTES];
    for (int i = 0; last && i < count; i++)
        if (strcmp(last + 1, scales[i]) == 0 &&
            snprintf(weight, sizeof weight, "%.*s.weight", (int)(last - name), name) < NAME_BYTES) {
            const dt_stored_tensor *w = dt_stored_set_find(set, weight);
            return w && is_fp8(w);
        }
    return false;
}

const char *dt_open_scale_rule(const dt_stored_set *set, const char *name)
{
    if (belongs(set, name, weight_scales, COUNT(weight_scales)))
        return "scale of an 8-bit weight";
    return belongs(set, name, activation_scales, COUNT(activation_scales))
               ? "scale of activations, which are not rounded to 8 bits"
               : NULL;
}
