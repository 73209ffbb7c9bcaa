/*
 * stored.h - tensors as they lie in somebody's files, whatever the files are.
 *
 * A container reader (safetensors, torch, distcp) fills a dt_stored_set with names, types, shapes and the boxes
 * of mapped bytes that tile each shape. It moves no data and knows no model. dt_stored_read then copies any part
 * of any tensor, in any type, into any strided memory.
 *
 *     dt_stored_set *set = NULL;
 *     const dt_stored_tensor *w = NULL;
 *     DT_GO(status, dt_stored_set_create(&set, err));
 *     DT_GO(status, dt_safetensors_read(set, "model.safetensors", err));
 *     DT_GO(status, dt_stored_set_get(set, "wte.weight", &w, err));
 *     DT_GO(status, dt_stored_read(w, NULL, DT_F32, out, NULL, err));
 */
#ifndef DT_FORMATS_STORED_H
#define DT_FORMATS_STORED_H

#include "base/arena.h"
#include "base/map.h"
#include "tensor/shape.h"

#include <drivetrain/dtype.h>

/* One piece of a tensor: a strided view of mapped bytes, placed at `offset` in the tensor. */
typedef struct dt_stored_box {
    int64_t offset[DT_MAX_RANK];
    dt_shape shape;              /* same rank as the tensor */
    int64_t stride[DT_MAX_RANK]; /* elements, never negative; 0 repeats */
    const uint8_t *data;         /* element 0 of the box; may be unaligned; NULL when the box is empty */
    const dt_map *map;           /* the mapped file (or memory) that `data` lies in */
    const char *file;            /* its path, for messages */
    uint64_t file_offset;        /* data - map->data */
} dt_stored_box;

/*
 * Boxes are sorted by offset, lie inside `shape`, cover every element once, and every byte they can reach lies
 * inside their map: dt_stored_set_add has checked it.
 */
typedef struct dt_stored_tensor {
    const char *name;
    dt_dtype dtype;
    dt_shape shape; /* global */
    int box_count;  /* 0 only for a tensor without elements, or an unsupported one */
    const dt_stored_box *box;
    const float *divisor; /* integers: a value is the stored one over its row's divisor; NULL: as stored */
    int64_t divisors;     /* one for each row, or one */
    const float
        *factor; /* 8-bit floats: a value is the stored one times its block's factor; NULL: as stored */
    int64_t factor_rows, factor_cols; /* of a block; those at the edges may have fewer */
    bool swap_bytes;                  /* stored in the other byte order */
    const char
        *unsupported; /* NULL, or what drivetrain lacks ("type C64"); then only `name` means anything */
    int64_t longest;  /* no box is longer than this along axis 0 (so that a search may stop early) */
} dt_stored_tensor;

/* Bytes that are no tensor: a pickled object inside a checkpoint (Transformer Engine's _extra_state, …). */
typedef struct dt_stored_object {
    const char *name;
    const uint8_t *data; /* in the map, or decoded from it into the set's arena */
    size_t bytes;
    const dt_map *map; /* the file it came from */
} dt_stored_object;

/* A tensor part. */
typedef struct dt_stored_region {
    int64_t offset[DT_MAX_RANK];
    dt_shape shape;
} dt_stored_region;

/*
 * Copy `region` (NULL: all of it) to `out`, converted to `dtype`. out_stride holds elements per axis of the
 * region; NULL means dense row-major. Block types (q8_0) need an innermost stride of 1 and pieces that are whole
 * blocks. Safe from many threads at once.
 * Errors: DT_UNSUPPORTED no conversion, or the stored type is unknown; DT_INVALID the region is outside.
 */
dt_status dt_stored_read(const dt_stored_tensor *tensor, const dt_stored_region *region, dt_dtype dtype,
                         void *out, const int64_t *out_stride, dt_error *err);

/* Let the pages of a region (NULL: all) leave memory; what a streaming copy calls behind itself. */
void dt_stored_drop(const dt_stored_tensor *tensor, const dt_stored_region *region);
/* Start reading them, without waiting. */
void dt_stored_will_need(const dt_stored_tensor *tensor, const dt_stored_region *region);

/* Bytes of the tensor when dense in its stored type; 0 for an unsupported one. */
size_t dt_stored_bytes(const dt_stored_tensor *tensor);

/* The tensor's bytes when they are one dense row-major run in native order, aligned for the type; else NULL. */
const void *dt_stored_dense(const dt_stored_tensor *tensor);

/* A set of tensors with what they stand on: an arena and the mapped files. Filled by one thread, read by many. */
typedef struct dt_stored_set dt_stored_set;

dt_status dt_stored_set_create(dt_stored_set **out, dt_error *err);
void dt_stored_set_destroy(dt_stored_set *set); /* unmaps; every tensor, name and box dies. NULL is fine */
dt_arena *dt_stored_set_arena(dt_stored_set *set);

/* Map a file once, however often it is asked for; borrowed from the set. */
dt_status dt_stored_set_map(dt_stored_set *set, const char *path, const dt_map **out, dt_error *err);
/* The same for bytes in memory, which the caller keeps alive: tests and fuzzing. */
dt_status dt_stored_set_memory(dt_stored_set *set, const char *name, const void *data, size_t bytes,
                               const dt_map **out, dt_error *err);

/*
 * Add a copy of *tensor (name and boxes too). The boxes are sorted; `data` and `file` of each follow from its map
 * and file_offset; `longest` is computed.
 * Errors: DT_FORMAT names the tensor and the boxes that overlap, leave a hole, or leave their file; a name that
 * exists; a name that is empty, not UTF-8 or has control characters.
 */
dt_status dt_stored_set_add(dt_stored_set *set, const dt_stored_tensor *tensor, dt_error *err);
dt_status dt_stored_set_add_object(dt_stored_set *set, const dt_stored_object *object, dt_error *err);

/* Text that came with the file (safetensors "__metadata__"). The first value given for a key stays. */
dt_status dt_stored_set_note(dt_stored_set *set, const char *key, const char *value, dt_error *err);
const char *dt_stored_set_noted(const dt_stored_set *set, const char *key); /* NULL when absent */

/* A run of bytes beside which its archive keeps a CRC-32; `inspect --check` compares them. */
typedef struct dt_stored_sum {
    const char *name; /* the archive's entry */
    const dt_map *map;
    uint64_t offset;
    size_t bytes;
    uint32_t crc;
} dt_stored_sum;

dt_status dt_stored_set_add_sum(dt_stored_set *set, const dt_stored_sum *sum,
                                dt_error *err);                    /* copies the name */
bool dt_stored_sum_holds(const dt_stored_sum *sum, uint32_t *crc); /* *crc: what the bytes have */
const dt_stored_sum *dt_stored_set_sum_at(const dt_stored_set *set, size_t index); /* NULL past the end */

/* Values of tensor `index`, dense and of rank 2, are its integers over these: one for each row, or one. Kept, not copied. */
void dt_stored_set_divide(dt_stored_set *set, size_t index, const float *divisor, int64_t divisors);

/* Values of tensor `index`, dense and of rank 2, are its 8-bit floats times these, one for each block of rows x cols. Kept. */
void dt_stored_set_multiply(dt_stored_set *set, size_t index, const float *factor, int64_t rows,
                            int64_t cols);

/* The type a tensor's values have when read: what is divided or multiplied is an f32. */
dt_dtype dt_stored_type(const dt_stored_tensor *tensor);

size_t dt_stored_set_count(const dt_stored_set *set);
const dt_stored_tensor *dt_stored_set_at(const dt_stored_set *set, size_t index); /* in the order added */
const dt_stored_tensor *dt_stored_set_find(const dt_stored_set *set, const char *name); /* NULL when absent */
/* The same with a story: DT_NOT_FOUND names the nearest name there is. */
dt_status dt_stored_set_get(const dt_stored_set *set, const char *name, const dt_stored_tensor **out,
                            dt_error *err);

size_t dt_stored_set_object_count(const dt_stored_set *set);
const dt_stored_object *dt_stored_set_object_at(const dt_stored_set *set, size_t index);
const dt_stored_object *dt_stored_set_find_object(const dt_stored_set *set, const char *name);

#endif
