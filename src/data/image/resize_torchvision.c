/*
 * resize_torchvision.c - the weights of torchvision's resize of u8 tensors on a CPU: f64, then 16-bit integers with as
 * many bits below the point as the largest weight leaves; and nearest-exact.
 *
 * Source  torch 2.12, aten/src/ATen/native/cpu/UpSampleKernel.cpp and UpSampleKernelAVXAntialias.h. Without antialias a
 *         filter is not stretched, the cubic has a = -0.75, and what falls outside counts for the pixel at the edge.
 */
#include "data/image/resize.h"

#include <math.h>
#include <stdlib.h>

/* Rows of f64 weights to rows of integers; the precision is one for all. */
static void round_weights(dt_taps *t, const double *weight)
{
    double largest = 0.0;
    size_t count = (size_t)t->outputs * (size_t)t->reach;
    for (size_t i = 0; i < count; i++)
        largest = weight[i] > largest ? weight[i] : largest;
    for (t->bits = 0; t->bits < 22; t->bits++)
        if ((int)(0.5 + largest * (1 << (t->bits + 1))) >= 1 << 15)
            break;
    for (size_t i = 0; i < count; i++)
        t->weight[i] =
            (int16_t)(weight[i] < 0 ? -0.5 + weight[i] * (1 << t->bits) : 0.5 + weight[i] * (1 << t->bits));
}

/* ---- with antialias ---- */

static void smooth_weights(dt_taps *t, int place, double *out, const dt_filter *f, double scale, int size,
                           int i)
{
    double support = scale >= 1.0 ? f->support * scale : f->support,
           inverse = scale >= 1.0 ? 1.0 / scale : 1.0;
    double center = scale * (i + 0.5), total = 0.0;
    int first = (int)(center - support + 0.5), end = (int)(center + support + 0.5);
    first = first < 0 ? 0 : first;
    end = end > size ? size : end;
    int length = end - first > t->reach ? t->reach : end - first;
    t->first[place] = first;
    t->length[place] = length;
    for (int k = 0; k < length; k++)
        total += out[k] = f->at((k + first - center + 0.5) * inverse);
    for (int k = 0; k < length && total != 0.0; k++)
        out[k] /= total;
}

/* ---- without ---- */

static double sharp_cubic(double x)
{
    const double a = -0.75;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0)
        return ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
    return 0.0;
}

static const dt_filter sharp_cubic_filter = {sharp_cubic, 2.0};

static void sharp_weights(dt_taps *t, int place, double *out, const dt_filter *f, double scale, int size,
                          int i)
{
    bool cubic = f == &sharp_cubic_filter;
    double position = scale * (i + 0.5) - 0.5;
    position = !cubic && position < 0 ? 0 : position;
    int index = (int)floor(position), half = (int)f->support;
    index = index > size - 1 ? size - 1 : index;
    double rest = position - index;
    rest = rest < 0 ? 0 : (rest > 1 ? 1 : rest);
    int begin = index - half + 1, end = index + half + 1;
    int first = begin < 0 ? 0 : begin, length = (end > size ? size : end) - first;
    t->first[place] = first;
    t->length[place] = length;
    for (int k = 0; k < 2 * half; k++) {
        int at = begin + k - first;
        at = at < 0 ? 0 : (at > length - 1 ? length - 1 : at);
        out[at] += f->at(k + 1 - half - rest);
    }
}

dt_status dt_taps_torchvision(dt_taps *taps, const dt_axis *axis, dt_image_filter filter, bool antialias,
                              dt_error *err)
{
    const dt_filter *f = dt_filter_of(filter);
    bool sharp = !antialias && filter != DT_IMAGE_LANCZOS; /* torchvision's lanczos always has it */
    double scale = (double)axis->size / axis->full, stretch = scale >= 1.0 && !sharp ? scale : 1.0;
    if (sharp && filter == DT_IMAGE_BICUBIC)
        f = &sharp_cubic_filter;
    /* the precision follows from all of the axis, so that a window has the whole picture's bits */
    const dt_axis whole = {axis->size, axis->full, 0, axis->full};
    DT_PASS(
        dt_taps_new(taps, whole.outputs, sharp ? f->support * 2 : ceil(f->support * stretch) * 2 + 1, err));
    size_t reach = (size_t)taps->reach;
    double *weight = calloc((size_t)whole.outputs * reach, sizeof *weight);
    if (!weight) {
        dt_taps_free(taps);
        return dt_fail_memory(err, (size_t)whole.outputs * reach * sizeof *weight, "the weights of a resize");
    }
    for (int i = 0; i < whole.outputs; i++)
        (sharp ? sharp_weights : smooth_weights)(taps, i, weight + (size_t)i * reach, f, scale, axis->size,
                                                 i);
    round_weights(taps, weight);
    free(weight);
    taps->outputs = axis->outputs; /* and the window's rows to the front */
    for (int i = 0; i < axis->outputs; i++) {
        taps->first[i] = taps->first[axis->begin + i];
        taps->length[i] = taps->length[axis->begin + i];
        for (size_t k = 0; k < reach; k++)
            taps->weight[(size_t)i * reach + k] = taps->weight[(size_t)(axis->begin + i) * reach + k];
    }
    return DT_OK;
}

void dt_nearest_torchvision(int *index, const dt_axis *axis)
{
    float scale = (float)axis->size / (float)axis->full;
    for (int i = 0; i < axis->outputs; i++) {
        float position = floorf(((float)(axis->begin + i) + 0.5f) * scale);
        index[i] = position < (float)axis->size ? (int)position : axis->size - 1;
    }
}
