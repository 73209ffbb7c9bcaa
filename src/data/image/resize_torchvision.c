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
#include <string.h>

/* Bits below the point that the largest weight of an axis leaves in 15. */
static int precision_of(double largest)
{
    int bits = 0;
    while (bits < 22 && (int)(0.5 + largest * (1 << (bits + 1))) < 1 << 15)
        bits++;
    return bits;
}

static int32_t fixed(double weight, int bits)
{
    return (int16_t)(weight < 0 ? -0.5 + weight * (1 << bits) : 0.5 + weight * (1 << bits));
}

/* What the weights of one output follow from. */
typedef struct rule {
    const dt_filter *filter;
    double scale;
    int size, reach;
    bool sharp;
} rule;

/* The inputs of one output. */
typedef struct span {
    int first, length;
} span;

/* ---- with antialias ---- */

static span smooth_weights(const rule *r, int i, double *out)
{
    double stretch = r->scale >= 1.0 ? r->scale : 1.0, inverse = r->scale >= 1.0 ? 1.0 / r->scale : 1.0;
    double support = r->filter->support * stretch, center = r->scale * (i + 0.5), total = 0.0;
    int first = (int)(center - support + 0.5), end = (int)(center + support + 0.5);
    first = first < 0 ? 0 : first;
    end = end > r->size ? r->size : end;
    int length = end - first > r->reach ? r->reach : end - first;
    for (int k = 0; k < length; k++)
        total += out[k] = r->filter->at((k + first - center + 0.5) * inverse);
    for (int k = 0; k < length && total != 0.0; k++)
        out[k] /= total;
    return (span){first, length};
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

static span sharp_weights(const rule *r, int i, double *out)
{
    double position = r->scale * (i + 0.5) - 0.5;
    position = r->filter != &sharp_cubic_filter && position < 0 ? 0 : position;
    int index = (int)floor(position), half = (int)r->filter->support;
    index = index > r->size - 1 ? r->size - 1 : index;
    double rest = position - index;
    rest = rest < 0 ? 0 : (rest > 1 ? 1 : rest);
    int begin = index - half + 1, end = index + half + 1;
    int first = begin < 0 ? 0 : begin, length = (end > r->size ? r->size : end) - first;
    memset(out, 0, sizeof *out * (size_t)r->reach);
    for (int k = 0; k < 2 * half; k++) {
        int at = begin + k - first;
        at = at < 0 ? 0 : (at > length - 1 ? length - 1 : at);
        out[at] += r->filter->at(k + 1 - half - rest);
    }
    return (span){first, length};
}

/* ---- both ---- */

static span weights_of(const rule *r, int i, double *out)
{
    return r->sharp ? sharp_weights(r, i, out) : smooth_weights(r, i, out);
}

/* The precision follows from all of the axis, so that a window has the whole picture's bits. */
static double largest_weight(const rule *r, int outputs, double *out)
{
    double largest = 0.0;
    for (int i = 0; i < outputs; i++) {
        span s = weights_of(r, i, out);
        for (int k = 0; k < s.length; k++)
            largest = out[k] > largest ? out[k] : largest;
    }
    return largest;
}

static void fill_taps(dt_taps *t, const rule *r, const dt_axis *axis, double *row)
{
    t->bits = precision_of(largest_weight(r, axis->full, row));
    for (int i = 0; i < axis->outputs; i++) {
        span s = weights_of(r, axis->begin + i, row);
        t->first[i] = s.first;
        t->length[i] = s.length;
        for (int k = 0; k < s.length; k++)
            t->weight[(size_t)i * (size_t)t->reach + (size_t)k] = fixed(row[k], t->bits);
    }
}

dt_status dt_taps_torchvision(dt_taps *taps, const dt_axis *axis, dt_image_filter filter, bool antialias,
                              dt_error *err)
{
    rule r = {.filter = dt_filter_of(filter), .scale = (double)axis->size / axis->full, .size = axis->size};
    r.sharp = !antialias && filter != DT_IMAGE_LANCZOS; /* torchvision's lanczos always has it */
    if (r.sharp && filter == DT_IMAGE_BICUBIC)
        r.filter = &sharp_cubic_filter;
    double stretch = r.scale >= 1.0 ? r.scale : 1.0;
    double reach = r.sharp ? r.filter->support * 2 : ceil(r.filter->support * stretch) * 2 + 1;
    DT_PASS(dt_taps_new(taps, axis->outputs, reach, err));
    r.reach = taps->reach;
    double *row = calloc((size_t)r.reach, sizeof *row);
    if (!row) {
        dt_taps_free(taps);
        return dt_fail_memory(err, (size_t)r.reach * sizeof *row, "the weights of a resize");
    }
    fill_taps(taps, &r, axis, row);
    free(row);
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
