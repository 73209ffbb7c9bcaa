/* towers_test.c - pictures of different sizes in one batch: each has the bits that it has alone. */
#include "../inference/models.h"

#include "verify/replay.h"

#include <math.h>

enum { PICTURES = 4, CHANNELS = 3 };

static const int64_t size[PICTURES][2] = {{32, 32}, {24, 8}, {4, 4}, {16, 40}};

static float *pixels_of(dt_arena *arena, int picture)
{
    int64_t n = CHANNELS * size[picture][0] * size[picture][1];
    float *x = DT_NEW_ARRAY(arena, float, n);
    for (int64_t i = 0; i < n; i++)
        x[i] = sinf((float)(i * (picture + 2)));
    return x;
}

/* Pictures [first, first + count) in one batch. */
static dt_replay *see(dt_model *model, dt_arena *arena, int first, int count)
{
    dt_error err = {0};
    dt_picture picture[PICTURES];
    dt_replay_inputs in = {0};
    dt_replay *r;
    for (int i = 0; i < count; i++)
        picture[i] = (dt_picture){pixels_of(arena, first + i), size[first + i][0], size[first + i][1]};
    assert_ok(dt_pictures_pack(&in.pictures, arena, dt_model_get_config(model), count, picture, &err), err);
    in.vision = (dt_row_batch){.batch = count,
                               .total = in.pictures.rows,
                               .length = in.pictures.rows,
                               .cu_seqlens = in.pictures.cu_seqlens};
    assert_ok(dt_replay_run(&r, model, &in, &err), err);
    return r;
}

static void check(const char *backend, int threads)
{
    const char *path = fixture("megatron/radio");
    need(path);
    dt_model *model = open_model(path, backend, "f32", threads);
    dt_arena *arena = dt_arena_create();
    dt_replay *all = see(model, arena, 0, PICTURES);
    dt_replay_value together, alone;
    assert_true(dt_replay_find(all, "out.hidden", &together));
    for (int i = 0; i < PICTURES; i++) {
        dt_replay *one = see(model, arena, i, 1);
        assert_true(dt_replay_find(one, "out.hidden", &alone));
        assert_int_equal(alone.rows->total, together.rows->cu_seqlens[i + 1] - together.rows->cu_seqlens[i]);
        assert_memory_equal(together.data + together.rows->cu_seqlens[i] * together.stride, alone.data,
                            sizeof(float) * (size_t)(alone.rows->total * alone.stride));
        dt_replay_destroy(one);
    }
    dt_replay_destroy(all);
    dt_arena_destroy(arena);
    dt_model_close(model);
}

static void towers__a_picture_has_the_same_bits_in_any_company(void **state)
{
    check("cpu", 1);
    check("cpu", 3);
    check("reference", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(towers__a_picture_has_the_same_bits_in_any_company),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
