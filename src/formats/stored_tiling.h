/*
 * stored_tiling.h - do boxes cover a shape exactly once? Private to the container readers.
 */
#ifndef DT_FORMATS_STORED_TILING_H
#define DT_FORMATS_STORED_TILING_H

#include "formats/stored.h"

/* Every byte that the box can reach lies inside its map. */
dt_status dt_stored_check_box(const dt_stored_tensor *tensor, const dt_stored_box *box, dt_error *err);

/* Sorts box[0..count) by offset, then checks that each lies in `shape`, none overlap and none is missing. */
dt_status dt_stored_check_tiling(const char *name, const dt_shape *shape, dt_stored_box *box, size_t count,
                                 dt_error *err);

#endif
