/*
 * The paged cache: blocks are shared until somebody writes, and come back when nobody holds them.
 */
#include "unit.h"

#include "inference/context.h"

#include <drivetrain/graph.h>

enum { BLOCKS = 8, SLOT = 4 };

typedef struct cache {
    dt_arena *arena;
    dt_context *context;
    int32_t *data;
    dt_block_table table[3];
    int32_t block[3][BLOCKS];
} cache;

static int open_cache(void **state)
{
    static cache c;
    dt_error err = {0};
    memset(&c, 0, sizeof c);
    c.arena = dt_arena_create();
    void *data;
    assert_ok(dt_context_create(&c.context, c.arena, BLOCKS, 2, &err), err);
    assert_ok(dt_context_add(c.context, "decoder.layers.0.k_cache", SLOT, &data, &err), err);
    c.data = data;
    for (int i = 0; i < 3; i++)
        c.table[i].block = c.block[i];
    *state = &c;
    return 0;
}

static int close_cache(void **state)
{
    cache *c = *state;
    dt_context_destroy(c->context);
    dt_arena_destroy(c->arena);
    return 0;
}

static int32_t *at(cache *c, int table, int64_t position)
{
    return &c->data[c->block[table][position / DT_KV_BLOCK] * DT_KV_BLOCK + position % DT_KV_BLOCK];
}

/* Append `count` positions that hold `value`, `value` + 1, … */
static void append(cache *c, int table, int64_t count, int32_t value)
{
    dt_error err = {0};
    dt_block_table *t = &c->table[table];
    assert_ok(dt_context_extend(c->context, t, t->length + count, &err), err);
    for (int64_t i = 0; i < count; i++)
        *at(c, table, t->length + i) = value + (int32_t)i;
    t->length += count;
}

static void context__a_shared_block_is_copied_when_written(void **state)
{
    cache *c = *state;
    append(c, 0, DT_KV_BLOCK + 3, 0);
    dt_context_share(c->context, &c->table[0], &c->table[1]);
    assert_int_equal(dt_context_free_blocks(c->context), BLOCKS - 2);
    append(c, 1, 1, 1000);
    append(c, 0, 1, 2000);
    assert_int_equal(dt_context_free_blocks(c->context), BLOCKS - 3);
    assert_int_equal(c->block[0][0], c->block[1][0]); /* the full block stays common */
    assert_int_not_equal(c->block[0][1], c->block[1][1]);
    for (int64_t i = 0; i < DT_KV_BLOCK + 3; i++)
        for (int t = 0; t < 2; t++)
            assert_int_equal(*at(c, t, i), i);
    assert_int_equal(*at(c, 0, DT_KV_BLOCK + 3), 2000);
    assert_int_equal(*at(c, 1, DT_KV_BLOCK + 3), 1000);
}

static void context__a_full_last_block_needs_no_copy(void **state)
{
    cache *c = *state;
    append(c, 0, DT_KV_BLOCK, 0);
    dt_context_share(c->context, &c->table[0], &c->table[1]);
    append(c, 1, 1, 7);
    assert_int_equal(c->block[0][0], c->block[1][0]);
    assert_int_equal(dt_context_free_blocks(c->context), BLOCKS - 2);
}

static void context__blocks_come_back_when_nobody_holds_them(void **state)
{
    cache *c = *state;
    append(c, 0, 3 * DT_KV_BLOCK, 0);
    dt_context_share(c->context, &c->table[0], &c->table[1]);
    dt_context_clear(c->context, &c->table[0]);
    assert_int_equal(dt_context_free_blocks(c->context), BLOCKS - 3);
    dt_context_clear(c->context, &c->table[1]);
    assert_int_equal(dt_context_free_blocks(c->context), BLOCKS);
    assert_int_equal(dt_context_peak_bytes(c->context), 3 * DT_KV_BLOCK * SLOT);
    append(c, 2, BLOCKS * DT_KV_BLOCK, 5); /* every block can be had again */
}

static void context__a_used_up_pool_is_told(void **state)
{
    cache *c = *state;
    dt_error err = {0};
    append(c, 0, BLOCKS * DT_KV_BLOCK - 1, 0);
    dt_context_share(c->context, &c->table[0], &c->table[1]);
    assert_fails(dt_context_extend(c->context, &c->table[1], BLOCKS * DT_KV_BLOCK, &err), DT_LIMIT, err,
                 "8 blocks");
    assert_fails(dt_context_extend(c->context, &c->table[2], 1, &err), DT_LIMIT, err, "in use");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(context__a_shared_block_is_copied_when_written, open_cache,
                                        close_cache),
        cmocka_unit_test_setup_teardown(context__a_full_last_block_needs_no_copy, open_cache, close_cache),
        cmocka_unit_test_setup_teardown(context__blocks_come_back_when_nobody_holds_them, open_cache,
                                        close_cache),
        cmocka_unit_test_setup_teardown(context__a_used_up_pool_is_told, open_cache, close_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
