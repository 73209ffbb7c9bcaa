/*
 * rope_table.h - the rotary frequencies of a sequence, where they follow from its length.
 */
#ifndef DT_BACKEND_ROPE_TABLE_H
#define DT_BACKEND_ROPE_TABLE_H

#include "graph/ir.h"

/* Frequencies in one table of the op's inv_freq, which has `count` numbers. */
int64_t dt_rope_pairs(const dt_rope_spec *spec, int64_t count);

/* Those of a sequence of this length: a table of inv_freq, or made in room [pairs]. */
const float *dt_rope_table(const dt_rope_spec *spec, const float *inv_freq, int64_t pairs, int64_t length,
                           float *room);

#endif
