/*
 * compare.c - distances. A place where the reference is not finite (plain f16 overflows) cannot be compared, but
 * ours must be finite there.
 */
#include "verify/compare.h"

#include <math.h>

void dt_distance_add(dt_distance *d, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(a[i]))
            d->finite = false;
        if (!isfinite(b[i])) {
            d->reference_finite = false;
            continue;
        }
        double difference = fabs((double)a[i] - (double)b[i]), reference = fabs((double)b[i]);
        if (difference > d->max_difference)
            d->max_difference = difference;
        if (reference > d->max_reference)
            d->max_reference = reference;
        d->compared++;
    }
}

double dt_distance_relative(const dt_distance *d)
{
    return d->max_difference / (d->max_reference + 1e-6);
}

/*
 * A gradient that is zero but for rounding on both sides (a key's bias: softmax does not see it) has no digits of its
 * own; an f32 unit of the largest gradient is what such sums are left with.
 */
static bool is_noise(const dt_distance *d, double largest)
{
    return d->max_reference <= 0x1p-23 * largest && d->max_difference <= 0x1p-22 * largest;
}

double dt_distance_gradient(const dt_distance *d, double largest)
{
    double scale = is_noise(d, largest) ? largest : fmax(d->max_reference, 1e-4 * largest);
    return scale > 0 ? d->max_difference / scale : d->max_difference > 0 ? INFINITY : 0;
}
