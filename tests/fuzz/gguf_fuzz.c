/* gguf_fuzz.c - any bytes as a GGUF file: an error, or values, a vocabulary and tensors that lie inside it. */
#include "base/gguf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Touch the first and last byte of all that the reader vouches for. */
static unsigned touch(const dt_gguf *g, const dt_map *map)
{
    unsigned sum = 0;
    const dt_gguf_value *v;
    for (size_t i = 0; (v = dt_gguf_value_at(g, i)); i++) {
        int64_t whole;
        double real;
        sum += dt_gguf_int_at(v, v->count - 1, &whole) + dt_gguf_real_at(v, v->count - 1, &real);
        sum += v->bytes ? v->data[0] + v->data[v->bytes - 1] : 0;
    }
    for (size_t i = 0; i < dt_gguf_tensor_count(g); i++) {
        const dt_gguf_tensor *t = dt_gguf_tensor_at(g, i);
        sum += map->data[t->offset] + map->data[t->offset + t->bytes - 1];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_map map = {.data = data, .size = bytes, .path = "input"};
    dt_error err = {0};
    dt_gguf *g = NULL;
    dt_gguf_vocabulary v;
    volatile unsigned sink = 0;
    if (dt_gguf_open_map(&g, &map, &err) != DT_OK)
        return 0;
    sink += touch(g, &map);
    if (dt_gguf_vocabulary_of(g, &v, &err) == DT_OK)
        for (size_t i = 0; i < v.token_count; i++)
            sink += v.token[i].bytes ? (unsigned char)v.token[i].data[v.token[i].bytes - 1] : 0;
    (void)sink;
    dt_gguf_close(g);
    return 0;
}
