/*
 * distcp.h - the torch_dist container: `.metadata` (a pickle that lists everything), `*.distcp` (small torch files
 * one after another) and, before megatron-core 0.19, `common.pt`.
 *
 * Each key of .metadata becomes one stored tensor of global shape, tiled by the boxes that the ranks wrote, or one
 * stored object (`…/shard_0_4`, `common_state/shard_0_1`). Which key is which weight is for the readers above.
 */
#ifndef DT_FORMATS_DISTCP_H
#define DT_FORMATS_DISTCP_H

#include "formats/stored.h"
#include "formats/torch/torch.h"

#include <stdbool.h>

/* Does the folder hold a .metadata file? */
bool dt_distcp_is(const char *folder);

/*
 * Add a folder's tensors and objects. *common receives what is not sharded (args, iteration, param_groups): the
 * value of common.pt or of the object "common_state", NULL when there is neither; it lives as long as the set.
 */
dt_status dt_distcp_read(dt_stored_set *set, const char *folder, const dt_value **common, dt_error *err);

/* The value in a stored object: an item is a torch file of a list of one. Allocated in the set's arena. */
dt_status dt_distcp_object(dt_stored_set *set, const dt_stored_object *object, const dt_value **value,
                           dt_error *err);

#endif
