/*
 * gguf_parts.h - what the files of the GGUF reader share: the parsed header, and numbers out of it.
 */
#ifndef DT_BASE_GGUF_PARTS_H
#define DT_BASE_GGUF_PARTS_H

#include "base/arena.h"
#include "base/gguf.h"

typedef struct dt_gguf_index {
    uint32_t *slot; /* item number + 1; 0 is free; at most half full */
    size_t slots;   /* a power of two */
} dt_gguf_index;

struct dt_gguf {
    dt_arena *arena; /* this struct, lists, names, texts */
    dt_map own;      /* the file, when it was opened here */
    const dt_map *map;
    dt_gguf_value *value;
    size_t value_count;
    dt_gguf_index keys;
    dt_gguf_tensor *tensor;
    size_t tensor_count;
    size_t alignment;
};

/* Bytes of a number of this type; 0 for strings. */
size_t dt_gguf_size(dt_gguf_type type);

/* A little-endian number of up to 8 bytes. */
static inline uint64_t dt_gguf_load(const uint8_t *data, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = bytes; i-- > 0;)
        value = value << 8 | data[i];
    return value;
}

#endif
