/*
 * gguf_build.h - writes small GGUF files byte by byte, so that tests can lie in any field.
 */
#ifndef DT_UNIT_BASE_GGUF_BUILD_H
#define DT_UNIT_BASE_GGUF_BUILD_H

#include "base/gguf.h"
#include "base/text.h"

#include <string.h>

static inline void gg_number(dt_text *t, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        dt_text_append(t, &(char){(char)(i < 8 ? value >> (8 * i) : 0)}, 1);
}

static inline void gg_text(dt_text *t, const char *text)
{
    gg_number(t, strlen(text), 8);
    dt_text_put(t, text);
}

static inline void gg_header(dt_text *t, uint32_t version, uint64_t tensors, uint64_t keys)
{
    dt_text_put(t, "GGUF");
    gg_number(t, version, 4);
    gg_number(t, tensors, 8);
    gg_number(t, keys, 8);
}

static inline void gg_key(dt_text *t, const char *key, uint32_t type)
{
    gg_text(t, key);
    gg_number(t, type, 4);
}

static inline void gg_u32(dt_text *t, const char *key, uint32_t value)
{
    gg_key(t, key, DT_GGUF_U32);
    gg_number(t, value, 4);
}

static inline void gg_string(dt_text *t, const char *key, const char *value)
{
    gg_key(t, key, DT_GGUF_STRING);
    gg_text(t, value);
}

static inline void gg_array(dt_text *t, const char *key, uint32_t type, uint64_t count)
{
    gg_key(t, key, DT_GGUF_ARRAY);
    gg_number(t, type, 4);
    gg_number(t, count, 8);
}

/* dims innermost first, as in the file */
static inline void gg_tensor(dt_text *t, const char *name, uint32_t rank, const uint64_t *dim, uint32_t type,
                             uint64_t offset)
{
    gg_text(t, name);
    gg_number(t, rank, 4);
    for (uint32_t i = 0; i < rank; i++)
        gg_number(t, dim[i], 8);
    gg_number(t, type, 4);
    gg_number(t, offset, 8);
}

static inline void gg_pad(dt_text *t, size_t alignment)
{
    while (t->bytes % alignment)
        gg_number(t, 0, 1);
}

static inline dt_status gg_open(dt_gguf **out, const dt_text *t, dt_error *err)
{
    static dt_map map;
    map = (dt_map){.data = (const uint8_t *)t->data, .size = t->bytes, .path = "file"};
    return dt_gguf_open_map(out, &map, err);
}

#endif
