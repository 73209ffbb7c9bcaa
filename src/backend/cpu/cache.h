/*
 * cache.h - keys and values into the blocks that attention reads: kv_store, and attention's own appending.
 *
 * Layout    a block holds DT_KV_BLOCK positions of all groups, group after group: keys as 4 panels of 16 positions,
 *           [4][D][16], values [64][D], in the state's type (f32, bf16, f16).
 * Numbers   narrowing rounds to nearest, ties to even. Work: threads share the rows.
 */
#ifndef DT_CPU_CACHE_H
#define DT_CPU_CACHE_H

#include "backend/cpu/product.h"
#include "backend/cpu/rows.h"

static INLINE size_t element_bytes(const dt_dtype type)
{
    return type == DT_F32 ? sizeof(float) : sizeof(uint16_t);
}

static INLINE vf load_as(const dt_dtype type, const void *p, int64_t i)
{
    return type == DT_F32    ? v_load((const float *)p + i)
           : type == DT_BF16 ? v_load_bf16((const uint16_t *)p + i)
                             : v_load_f16((const uint16_t *)p + i);
}

static INLINE vf load_as_n(const dt_dtype type, const void *p, int64_t i, int64_t n)
{
    return type == DT_F32    ? v_load_n((const float *)p + i, n)
           : type == DT_BF16 ? v_load_bf16_n((const uint16_t *)p + i, n)
                             : v_load_f16_n((const uint16_t *)p + i, n);
}

static INLINE void store_as_n(const dt_dtype type, void *p, int64_t i, vf x, int64_t n)
{
    if (type == DT_F32)
        v_store_n((float *)p + i, x, n);
    else if (type == DT_BF16)
        v_store_bf16_n((uint16_t *)p + i, x, n);
    else
        v_store_f16_n((uint16_t *)p + i, x, n);
}

/* One position's key of one group into its block: every element goes to a vector of its own. */
static void put_key(dt_dtype type, void *block, int64_t D, int64_t slot, const float *key)
{
    int64_t at = slot / 16 * D * 16 + slot % 16;
    for (int64_t d = 0; d < D; d += 16) {
        int64_t n = least(16, D - d);
        float wide[16];
        uint16_t narrow[16];
        store_as_n(type, type == DT_F32 ? (void *)wide : narrow, 0, v_load_n(key + d, n), 16);
        for (int64_t i = 0; i < n; i++)
            if (type == DT_F32)
                ((float *)block)[at + (d + i) * 16] = wide[i];
            else
                ((uint16_t *)block)[at + (d + i) * 16] = narrow[i];
    }
}

static void put_value(dt_dtype type, void *block, int64_t D, int64_t slot, const float *value)
{
    for (int64_t d = 0; d < D; d += 16)
        store_as_n(type, block, slot * D + d, v_load_n(value + d, least(16, D - d)), least(16, D - d));
}

/* Rows of k and v to be appended to a cache, as attention and kv_store both have them. */
typedef struct append_call {
    const dt_data *k, *v, *cu, *past, *table, *k_cache, *v_cache;
    int64_t groups, D;
} append_call;

static void append_row(const append_call *c, int64_t row, int64_t block, int64_t slot)
{
    dt_dtype type = c->k_cache->dtype;
    for (int64_t g = 0; g < c->groups; g++) {
        size_t at = (size_t)((block * c->groups + g) * DT_KV_BLOCK * c->D) * element_bytes(type);
        put_key(type, (char *)c->k_cache->data + at, c->D, slot, row_of(c->k, row) + g * c->D);
        put_value(type, (char *)c->v_cache->data + at, c->D, slot, row_of(c->v, row) + g * c->D);
    }
}

static void append(const append_call *c, int thread, int threads)
{
    const int32_t *cu = c->cu->data, *past = c->past->data;
    int64_t begin, end;
    dt_share(c->k->dim[0], 1, thread, threads, &begin, &end);
    for (int64_t b = 0; b < c->past->dim[0]; b++) {
        const int32_t *blocks = (const int32_t *)c->table->data + b * c->table->dim[1];
        int64_t first = cu[b] > begin ? cu[b] : begin, last = least(cu[b + 1], end);
        for (int64_t t = first; t < last; t++) {
            int64_t position = past[b] + t - cu[b];
            append_row(c, t, blocks[position / DT_KV_BLOCK], position % DT_KV_BLOCK);
        }
    }
}

static void kv_store(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *in = call->input;
    append_call c = {&in[DT_KV_STORE_K],
                     &in[DT_KV_STORE_V],
                     &in[DT_KV_STORE_CU_SEQLENS],
                     &in[DT_KV_STORE_PAST],
                     &in[DT_KV_STORE_BLOCK_TABLE],
                     &in[DT_KV_STORE_K_CACHE],
                     &in[DT_KV_STORE_V_CACHE],
                     call->op->attr.kv_store.groups,
                     call->op->attr.kv_store.head_dim};
    append(&c, thread, threads);
}

#endif
