/*
 * bucket.h - T5's rule from a relative position to a row of its bias table.
 */
#ifndef DT_BACKEND_BUCKET_H
#define DT_BACKEND_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

/* `relative` = key position - query position; the result is in [0, buckets). buckets >= 2, or >= 4 when bidirectional. */
int64_t dt_relative_bucket(int64_t relative, int64_t buckets, int64_t max_distance, bool bidirectional);

#endif
