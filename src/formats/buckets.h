/*
 * buckets.h - T5's tables of relative positions for a runtime that knows one largest distance only.
 *
 * llama.cpp computes T5's buckets with 128 for the largest distance, whatever the model's. A model of another distance is
 * told a larger number of buckets instead: so many that each distance below our last bucket's has one of its own, where
 * our row for that distance is repeated; all buckets beyond repeat our last row. The number is one for both stacks.
 */
#ifndef DT_FORMATS_BUCKETS_H
#define DT_FORMATS_BUCKETS_H

#include <drivetrain/config.h>

/* Has the model another distance? Otherwise its tables stay as they are. */
bool dt_repeats_buckets(const dt_model_config *config);
/* Rows of such a table; 0: no number of buckets tells all distances apart. */
int64_t dt_repeated_buckets(const dt_model_config *config);
/* Which of the model's rows stands in a row of that table, of the encoder (both directions) or of the decoder. */
int64_t dt_repeated_bucket(const dt_model_config *config, int64_t row, bool bidirectional);

#endif
