/*
 * compare.h - the distance between two points, as docs/recording.md defines it.
 */
#ifndef DT_VERIFY_COMPARE_H
#define DT_VERIFY_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct dt_distance {
    double max_difference; /* max |a - b| where b is finite */
    double max_reference;  /* max |b| */
    int64_t compared;
    bool finite;           /* no a is NaN or infinite */
    bool reference_finite; /* no b is */
} dt_distance;

#define DT_DISTANCE_START ((dt_distance){.finite = true, .reference_finite = true})

/* Add n pairs to the distance. */
void dt_distance_add(dt_distance *distance, const float *a, const float *b, int64_t n);

/* max |a-b| / (max |b| + 1e-6) */
double dt_distance_relative(const dt_distance *distance);
/* of a gradient: max |a-b| / max(max |b|, 1e-4 G), G the largest gradient of the file */
double dt_distance_gradient(const dt_distance *distance, double largest);

#endif
