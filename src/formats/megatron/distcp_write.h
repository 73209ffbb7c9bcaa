/*
 * distcp_write.h - writes the torch_dist container: `__RANK_0.distcp` files, then `.metadata` and `metadata.json`.
 *
 * The complete list of tensors, boxes and objects comes first; then the boxes' bytes, in pieces of any size. The
 * folder is the caller's (make it inside a dt_output_folder, so that all of it appears at once); common.pt, where
 * one is wanted, is an ordinary torch file (torch_write.h) beside these.
 *
 *     DT_GO(status, dt_distcp_create(&w, folder, tensor, count, object, object_count, err));
 *     for (size_t i = 0; i < dt_distcp_box_count(w); i++) {          sequential in every file
 *         dt_distcp_place at = dt_distcp_order(w, i);
 *         DT_GO(status, dt_distcp_write(w, at.tensor, at.box, data, bytes, err));
 *     }
 *     return dt_distcp_commit(w, err);
 */
#ifndef DT_FORMATS_DISTCP_WRITE_H
#define DT_FORMATS_DISTCP_WRITE_H

#include "formats/torch/torch_write.h"

/* The part of a tensor that one rank holds. */
typedef struct dt_distcp_box {
    int64_t offset[DT_MAX_RANK];
    dt_shape shape;
    int rank; /* the file __RANK_0.distcp */
} dt_distcp_box;

/* A tensor of global shape under its key; the boxes tile it. */
typedef struct dt_distcp_tensor {
    const char *key;
    dt_dtype dtype;
    dt_shape shape;
    const dt_distcp_box *box;
    size_t box_count;
} dt_distcp_tensor;

/*
 * A sharded object: "rng_state/shard_0_1". Its value is a list of one, as megatron-core saves it, all tensors put by
 * dt_torch_put_copy. One value may serve several objects; it is borrowed until commit.
 */
typedef struct dt_distcp_item {
    const char *key;
    int rank;
    dt_torch_writer *value;
} dt_distcp_item;

typedef struct dt_distcp_writer dt_distcp_writer;
typedef struct dt_distcp_place {
    size_t tensor, box; /* indices into the lists given */
} dt_distcp_place;

/*
 * Start. The lists are copied, the objects' values are not. `folder` exists.
 * Errors: DT_INVALID a key twice or empty, a negative rank; DT_FORMAT boxes that overlap, leave a hole or lie
 * outside; DT_UNSUPPORTED a type that torch lacks.
 */
dt_status dt_distcp_create(dt_distcp_writer **out, const char *folder, const dt_distcp_tensor *tensor,
                           size_t count, const dt_distcp_item *object, size_t object_count, dt_error *err);

/* All boxes, and which comes at `place`: writing in this order is sequential, with one file open at a time. */
size_t dt_distcp_box_count(const dt_distcp_writer *w);
dt_distcp_place dt_distcp_order(const dt_distcp_writer *w, size_t place);

/* Append bytes, row-major, to a box: boxes in any order. A file is closed when its last box is complete. */
dt_status dt_distcp_write(dt_distcp_writer *w, size_t tensor, size_t box, const void *data, size_t bytes,
                          dt_error *err);

/* Finish, .metadata last. Destroys the writer, also on failure. DT_INVALID names a tensor that lacks bytes. */
dt_status dt_distcp_commit(dt_distcp_writer *w, dt_error *err);
void dt_distcp_discard(dt_distcp_writer *w); /* what is complete stays in the folder; NULL is fine */

#endif
