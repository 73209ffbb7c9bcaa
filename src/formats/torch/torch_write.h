/*
 * torch_write.h - writes files as torch.save does, as a stream: first the object with its tensors' types and
 * shapes, then the tensors' bytes in pieces of any size. Layout, byte for byte, as torch 2.15 (zip_write.h).
 *
 *     DT_GO(status, dt_torch_writer_create(&w, "model_optim_rng", err));
 *     dt_pickler *p = dt_torch_pickler(w);
 *     dt_pickle_open_dict(p);
 *     dt_pickle_put_text(p, "weight");
 *     size_t storage = dt_torch_put_tensor(w, DT_BF16, &shape);
 *     dt_pickle_close(p);
 *     DT_GO(status, dt_torch_begin_file(w, "model_optim_rng.pt", false, err));
 *     DT_GO(status, dt_torch_write(w, storage, data, bytes, err));     any number of pieces
 *     status = dt_torch_commit(w, err);
 *
 * A writer can also be placed in a larger file, several times even: that is what .distcp files are made of.
 */
#ifndef DT_FORMATS_TORCH_WRITE_H
#define DT_FORMATS_TORCH_WRITE_H

#include "base/output.h"
#include "formats/torch/pickle_write.h"
#include "tensor/shape.h"

typedef struct dt_torch_writer dt_torch_writer;

/* `top` is the folder of all entries; torch takes the file's name without ".pt", or "archive" without a file. */
dt_status dt_torch_writer_create(dt_torch_writer **out, const char *top, dt_error *err);
void dt_torch_writer_destroy(dt_torch_writer *w); /* discards an unfinished file; NULL is fine */

/* The object goes in here: exactly one value, finished by what begins the file. Borrowed. */
dt_pickler *dt_torch_pickler(dt_torch_writer *w);

/*
 * Put a dense tensor into the object. Faults (a type that torch lacks, an impossible shape) are kept in the
 * pickler. put_tensor gives it a storage of its own and returns the number that dt_torch_write takes; put_shared
 * shows elements [first, …) of an earlier one again (tied weights); put_copy has its data already.
 */
size_t dt_torch_put_tensor(dt_torch_writer *w, dt_dtype dtype, const dt_shape *shape);
void dt_torch_put_shared(dt_torch_writer *w, size_t storage, int64_t first, const dt_shape *shape);
void dt_torch_put_copy(dt_torch_writer *w, dt_dtype dtype, const dt_shape *shape, const void *data);
/* torch.bfloat16 and the like */
void dt_torch_put_dtype(dt_pickler *p, dt_dtype dtype);

/* Finish the object. *bytes: of the whole file. Asked again, it only tells. DT_INVALID: the object is none. */
dt_status dt_torch_measure(dt_torch_writer *w, uint64_t *bytes, dt_error *err);

/* Append bytes to a storage: storages in any order; in that of their numbers, the file is written front to back. */
dt_status dt_torch_write(dt_torch_writer *w, size_t storage, const void *data, size_t bytes, dt_error *err);

/* A file of its own, which appears when committed. Commit destroys the writer, also on failure. */
dt_status dt_torch_begin_file(dt_torch_writer *w, const char *path, bool replace, dt_error *err);
dt_status dt_torch_commit(dt_torch_writer *w, dt_error *err);

/* A place in a file that the caller owns. After end it may begin again elsewhere. */
dt_status dt_torch_begin(dt_torch_writer *w, dt_output *output, uint64_t base, dt_error *err);
dt_status dt_torch_end(dt_torch_writer *w, dt_error *err); /* DT_INVALID names a storage that lacks bytes */

#endif
