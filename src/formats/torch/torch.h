/*
 * torch.h - files that torch.save wrote (.pt, .pth, .bin): the value tree, and its tensors as stored boxes.
 *
 * Read: the zip format, and the one before torch 1.6 (several pickles in a row, then raw storages). The tar format
 * of torch 0.1 is refused. Nothing is copied: tensors are views of the map.
 *
 *     DT_GO(status, dt_torch_open(&file, set, "model_optim_rng.pt", err));
 *     DT_GO(status, dt_torch_flatten(file, dt_value_get(dt_torch_root(file), "model"), "", set, err));
 */
#ifndef DT_FORMATS_TORCH_H
#define DT_FORMATS_TORCH_H

#include "formats/stored.h"
#include "formats/torch/pickle.h"

typedef struct dt_torch_file dt_torch_file;

/* Everything is allocated in the set's arena and dies with the set. */
dt_status dt_torch_open(dt_torch_file **out, dt_stored_set *set, const char *path, dt_error *err);

/* The same for a range of a map, in any arena: items of .distcp files, pickles inside tensors' bytes. */
dt_status dt_torch_open_range(dt_torch_file **out, dt_arena *arena, const dt_map *map, uint64_t offset,
                              size_t bytes, dt_error *err);

const dt_value *dt_torch_root(const dt_torch_file *file);

/*
 * The tensor that a leaf (dt_value_is_tensor) stands for: one box, in *box, which tensor->box points to. `name` is
 * borrowed. A type or rank that drivetrain lacks sets tensor->unsupported (allocated in the file's arena).
 */
dt_status dt_torch_tensor(const dt_torch_file *file, const dt_value *leaf, const char *name,
                          dt_stored_tensor *tensor, dt_stored_box *box, dt_error *err);

/*
 * Add every tensor below `from` to the set: names are the keys of nested dicts (texts or integers) and the indices
 * of lists joined by dots, after `prefix`. Other leaves are passed over. io.BytesIO objects (Transformer Engine's
 * _extra_state) are added as stored objects.
 */
dt_status dt_torch_flatten(const dt_torch_file *file, const dt_value *from, const char *prefix,
                           dt_stored_set *set, dt_error *err);

/* Open and flatten: what a plain state_dict (pytorch_model.bin) needs. */
dt_status dt_torch_read(dt_stored_set *set, const char *path, const char *prefix, dt_error *err);

/* Tell the set of every entry's checksum (zip; the older format has none), as dt_torch_open does. */
dt_status dt_torch_add_sums(const dt_torch_file *file, dt_stored_set *set, dt_error *err);

#endif
