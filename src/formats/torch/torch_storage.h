/*
 * torch_storage.h - what torch_file.c (where bytes lie) and torch_tensor.c (what tensors mean) share.
 */
#ifndef DT_FORMATS_TORCH_STORAGE_H
#define DT_FORMATS_TORCH_STORAGE_H

#include "formats/torch/torch.h"
#include "formats/torch/zip.h"

typedef struct dt_torch_storage {
    const char *key;
    uint64_t offset, bytes; /* in the map */
    int element_bytes;      /* the older format only: 0 until a tensor says it */
    size_t order;           /* the older format only: place in the file */
} dt_torch_storage;

struct dt_torch_file {
    dt_arena *arena;
    const dt_map *map;
    uint64_t offset; /* of the file in the map */
    dt_pickle pickle;
    bool big_endian, legacy;
    dt_zip zip;
    const char *top;           /* "archive/" */
    dt_torch_storage *storage; /* the older format only: sorted by key */
    size_t storage_count;
};

bool dt_torch_find_storage(const dt_torch_file *file, const char *key, dt_torch_storage *out);

/* A persistent id's parts: ("storage", class, key, location, elements[, (view key, offset, elements)]). */
typedef struct dt_torch_storage_id {
    const dt_pickle_global *type;
    const char *key;
    int64_t elements;                   /* of the whole storage */
    int64_t view_offset, view_elements; /* what the tensor sees of it; 0, elements without a view */
} dt_torch_storage_id;

dt_status dt_torch_storage_id_read(dt_torch_storage_id *out, const dt_torch_file *file,
                                   const dt_value *persistent, dt_error *err);

/* Bytes of an element as the storage counts them; for types that drivetrain lacks too. */
int dt_torch_element_bytes(const dt_pickle_global *type);

#endif
