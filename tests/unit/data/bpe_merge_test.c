/* bpe_merge_test.c - the plain merge loop, the one for few symbols and the one with a heap are the same function. */
#include "unit.h"

#include "base/rng.h"
#include "data/tokenizer/bpe.h"

enum { LETTERS = 4, TOKENS = 40, LONGEST = 60 };

static uint32_t draw(uint64_t *index, uint32_t below)
{
    static const dt_rng rng = {.seed = 7};
    return (uint32_t)(dt_rng_uniform(&rng, (*index)++) * below);
}

/* Random pairs over few letters; token i is spelled by its two halves, ranks are random and often equal. */
static void random_pairs(dt_bpe *bpe, dt_arena *arena, uint64_t *index)
{
    assert_true(dt_bpe_pairs_create(bpe, arena, TOKENS));
    for (int32_t to = LETTERS; to < TOKENS; to++)
        dt_bpe_pair_put(bpe, (int32_t)draw(index, (uint32_t)to), (int32_t)draw(index, (uint32_t)to),
                        draw(index, 30), to);
}

static void random_symbols(dt_symbol *symbol, int32_t count, uint64_t *index)
{
    for (int32_t i = 0; i < count; i++)
        symbol[i] = (dt_symbol){(int32_t)draw(index, LETTERS + 1) - 1, i - 1, i + 1 < count ? i + 1 : -1,
                                (uint32_t)i, 1};
}

static void bpe_merge__all_three_ways_agree(void **state)
{
    uint64_t index = 0;
    int64_t merged = 0;
    dt_symbol plain[LONGEST], heaped[LONGEST], few[LONGEST];
    for (int round = 0; round < 3000; round++) {
        dt_arena *arena = dt_arena_create();
        dt_bpe *bpe = DT_NEW(arena, dt_bpe);
        dt_work work = {.arena = arena};
        int32_t count = 1 + (int32_t)draw(&index, LONGEST);
        random_pairs(bpe, arena, &index);
        random_symbols(plain, count, &index);
        memcpy(heaped, plain, sizeof plain);
        dt_bpe_merge_by_search(bpe, &work, plain);
        if (count <= DT_BPE_FEW) {
            memcpy(few, heaped, sizeof few);
            dt_bpe_merge_few(bpe, &work, few, count);
            for (int32_t i = 0; i >= 0; i = plain[i].next)
                assert_memory_equal(&plain[i], &few[i], sizeof few[i]);
        }
        assert_int_equal(dt_bpe_merge_by_heap(bpe, &work, heaped, count, NULL, NULL), DT_OK);
        for (int32_t i = 0; i >= 0; i = plain[i].next) {
            assert_int_equal(plain[i].id, heaped[i].id);
            assert_int_equal(plain[i].next, heaped[i].next);
            merged += plain[i].bytes > 1;
        }
        dt_arena_destroy(arena);
    }
    assert_true(merged > 1000); /* or nothing was compared */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bpe_merge__all_three_ways_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
