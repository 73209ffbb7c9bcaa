/*
 * resize_pillow.c - the weights of Pillow's resize: f64, then 22 bits below the point; and its nearest neighbour.
 *
 * Source  Pillow 13, src/libImaging/Resample.c and Geometry.c. A filter is stretched by the scale when a picture shrinks.
 */
#include "data/image/resize.h"

#include <math.h>

enum { BITS = 32 - 8 - 2 };

/* ---- filters ---- */

static double box(double x)
{
    return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
}

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double hamming(double x)
{
    x = fabs(x);
    if (x == 0.0)
        return 1.0;
    if (x >= 1.0)
        return 0.0;
    x = x * M_PI;
    return sin(x) / x * (0.54f + 0.46f * cos(x)); /* its constants are floats */
}

/* Keys' cubic with a = -0.5. */
static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static double sinc(double x)
{
    if (x == 0.0)
        return 1.0;
    x = x * M_PI;
    return sin(x) / x;
}

static double lanczos(double x)
{
    return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
}

static const dt_filter filters[] = {
    [DT_IMAGE_LANCZOS] = {lanczos, 3.0}, [DT_IMAGE_BILINEAR] = {bilinear, 1.0},
    [DT_IMAGE_BICUBIC] = {bicubic, 2.0}, [DT_IMAGE_BOX] = {box, 0.5},
    [DT_IMAGE_HAMMING] = {hamming, 1.0},
};

const dt_filter *dt_filter_of(dt_image_filter filter)
{
    size_t i = (size_t)filter;
    return i < sizeof filters / sizeof *filters && filters[i].at ? &filters[i] : NULL;
}

/* ---- weights ---- */

static int32_t fixed(double weight)
{
    return (int32_t)(weight < 0 ? -0.5 + weight * (1 << BITS) : 0.5 + weight * (1 << BITS));
}

/* Output i of the whole axis; the weights are summed and divided before they are rounded, so that they add up to 1. */
static void weights_of(dt_taps *t, int place, const dt_filter *f, double scale, double stretch, int size,
                       int i)
{
    double center = (i + 0.5) * scale, support = f->support * stretch, inverse = 1.0 / stretch, total = 0.0;
    int32_t *out = t->weight + (size_t)place * (size_t)t->reach;
    int first = (int)(center - support + 0.5), end = (int)(center + support + 0.5);
    first = first < 0 ? 0 : first;
    end = end > size ? size : end;
    t->first[place] = first;
    t->length[place] = end - first;
    for (int k = 0; k < end - first; k++)
        total += f->at((k + first - center + 0.5) * inverse);
    for (int k = 0; k < end - first; k++) {
        double weight = f->at((k + first - center + 0.5) * inverse);
        out[k] = fixed(total != 0.0 ? weight / total : weight);
    }
}

dt_status dt_taps_pillow(dt_taps *taps, const dt_axis *axis, dt_image_filter filter, dt_error *err)
{
    const dt_filter *f = dt_filter_of(filter);
    double scale = (double)axis->size / axis->full, stretch = scale < 1.0 ? 1.0 : scale;
    DT_PASS(dt_taps_new(taps, axis->outputs, ceil(f->support * stretch) * 2 + 1, err));
    taps->bits = BITS;
    for (int i = 0; i < axis->outputs; i++)
        weights_of(taps, i, f, scale, stretch, axis->size, axis->begin + i);
    return DT_OK;
}

/* ---- nearest ---- */

/* Positions are added up one by one, as Pillow does it, rounding and all. */
void dt_nearest_pillow(int *index, const dt_axis *axis)
{
    double scale = (double)axis->size / axis->full, position = scale * 0.5;
    for (int i = 0; i < axis->begin + axis->outputs; i++, position += scale)
        if (i >= axis->begin)
            index[i - axis->begin] = position < axis->size ? (int)position : -1;
}
