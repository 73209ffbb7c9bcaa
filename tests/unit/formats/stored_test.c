/* stored_test.c - a tensor is the same whatever boxes it lies in; boxes that lie are refused by name. */
#include "formats/build.h"

#include "base/rng.h"
#include "tensor/convert.h"

/* A file of floats 0, 1, 2, …, so that a value says where it was read. */
enum { FLOATS = 4096 };

static float *counting(void)
{
    static float value[FLOATS];
    for (int i = 0; i < FLOATS; i++)
        value[i] = (float)i;
    return value;
}

static dt_stored_box box_at(const dt_map *map, uint64_t element, int rank, const int64_t *offset,
                            const int64_t *dim)
{
    dt_stored_box box = {.map = map, .file_offset = 4 * element, .shape = dt_shape_of(rank, dim)};
    int64_t step = 1;
    for (int axis = rank - 1; axis >= 0; axis--) {
        box.offset[axis] = offset[axis];
        box.stride[axis] = step;
        step *= dim[axis];
    }
    return box;
}

static dt_status add(dt_stored_set *set, const char *name, int rank, const int64_t *dim, dt_stored_box *box,
                     int count, dt_error *err)
{
    dt_stored_tensor tensor = {
        .name = name, .dtype = DT_F32, .shape = dt_shape_of(rank, dim), .box = box, .box_count = count};
    return dt_stored_set_add(set, &tensor, err);
}

#define I64(...) ((int64_t[]){__VA_ARGS__})

static void stored__boxes_must_tile_the_shape(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    const dt_map *map = in_memory(set, "floats", counting(), 4 * FLOATS);
    dt_stored_box two[2] = {box_at(map, 0, 2, I64(0, 0), I64(2, 3)), box_at(map, 6, 2, I64(1, 0), I64(2, 3))};
    assert_fails(add(set, "w", 2, I64(3, 3), two, 2, &err), DT_FORMAT, err,
                 "the box [2, 3] at [0, 0] (floats) overlaps the box [2, 3] at [1, 0]");
    two[1] = box_at(map, 6, 2, I64(2, 0), I64(1, 2));
    assert_fails(add(set, "w", 2, I64(3, 3), two, 2, &err), DT_FORMAT, err, "its boxes hold 8 of 9 elements");
    two[1] = box_at(map, 6, 2, I64(2, 0), I64(2, 3));
    assert_fails(add(set, "w", 2, I64(3, 3), two, 2, &err), DT_FORMAT, err,
                 "[2, 3] at [2, 0] lies outside the shape [3, 3]");
    two[1] = box_at(map, 6, 2, I64(2, 0), I64(1, 3));
    assert_ok(add(set, "w", 2, I64(3, 3), two, 2, &err), err);
    assert_fails(add(set, "w", 2, I64(3, 3), two, 2, &err), DT_FORMAT, err, "\"w\" occurs twice");
    assert_ok(add(set, "nothing", 2, I64(0, 3), NULL, 0, &err), err);
    assert_fails(add(set, "hole", 1, I64(3), NULL, 0, &err), DT_FORMAT, err, "hold 0 of 3 elements");
    dt_stored_set_destroy(set);
}

static void stored__boxes_must_lie_in_their_file(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    const dt_map *map = in_memory(set, "floats", counting(), 4 * FLOATS);
    dt_stored_box box = box_at(map, FLOATS - 3, 1, I64(0), I64(4));
    assert_fails(add(set, "w", 1, I64(4), &box, 1, &err), DT_FORMAT, err,
                 "lie outside the file (16384 bytes)");
    box = box_at(map, 0, 1, I64(0), I64(4));
    box.stride[0] = INT64_MAX / 2;
    assert_fails(add(set, "w", 1, I64(4), &box, 1, &err), DT_FORMAT, err, "impossible strides");
    box.stride[0] = -1;
    assert_fails(add(set, "w", 1, I64(4), &box, 1, &err), DT_FORMAT, err, "impossible strides");
    box = box_at(map, 0, 1, I64(0), I64(1 << 25));
    box.stride[0] = 0;
    assert_fails(add(set, "w", 1, I64(1 << 25), &box, 1, &err), DT_LIMIT, err,
                 "repeats the same 1 of the file");
    box = box_at(map, UINT64_MAX / 4, 1, I64(0), I64(4));
    assert_fails(add(set, "w", 1, I64(4), &box, 1, &err), DT_FORMAT, err, "lie outside the file");
    box = box_at(map, 0, 2, I64(0, 0), I64(2, 2));
    assert_fails(add(set, "w", 1, I64(4), &box, 1, &err), DT_FORMAT, err, "lies outside the shape");
    dt_stored_set_destroy(set);
}

static void stored__names_must_be_printable(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    const char *bad[] = {"", "a\nb", "\x1b[2J", "\xff", "\xc0\xaf", "\xed\xa0\x80", "a\xc2\x9b", "\xe2\x82"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(add(set, bad[i], 1, I64(0), NULL, 0, &err), DT_FORMAT, err, "has control characters");
    assert_ok(add(set, "größe.世界.😀", 1, I64(0), NULL, 0, &err), err);
    dt_stored_set_destroy(set);
}

static void stored__a_missing_name_suggests_the_nearest(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    const dt_stored_tensor *found = NULL;
    assert_fails(dt_stored_set_get(set, "x", &found, &err), DT_NOT_FOUND, err, "no tensor \"x\" among 0");
    for (int i = 0; i < 1000; i++) {
        char name[64];
        snprintf(name, sizeof name, "decoder.layers.%d.mlp.weight", i);
        assert_ok(add(set, name, 1, I64(0), NULL, 0, &err), err);
    }
    assert_int_equal(dt_stored_set_count(set), 1000);
    for (int i = 0; i < 1000; i++) {
        char name[64];
        snprintf(name, sizeof name, "decoder.layers.%d.mlp.weight", i);
        assert_ptr_equal(dt_stored_set_find(set, name), dt_stored_set_at(set, (size_t)i));
    }
    assert_fails(dt_stored_set_get(set, "decoder.layers.7.mlp.wieght", &found, &err), DT_NOT_FOUND, err,
                 "the nearest of 1000 is \"decoder.layers.7");
    dt_stored_set_destroy(set);
}

static void stored__notes_and_objects_are_kept(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    assert_ok(dt_stored_set_note(set, "format", "pt", &err), err);
    assert_ok(dt_stored_set_note(set, "format", "tf", &err), err);
    assert_string_equal(dt_stored_set_noted(set, "format"), "pt");
    assert_null(dt_stored_set_noted(set, "other"));
    dt_stored_object object = {.name = "x._extra_state", .data = (const uint8_t *)"abc", .bytes = 3};
    assert_ok(dt_stored_set_add_object(set, &object, &err), err);
    assert_fails(dt_stored_set_add_object(set, &object, &err), DT_FORMAT, err, "occurs twice");
    assert_int_equal(dt_stored_set_object_count(set), 1);
    assert_int_equal(dt_stored_set_find_object(set, "x._extra_state")->bytes, 3);
    dt_stored_set_destroy(set);
}

/* ---- reading, against the obvious loop ---- */

typedef struct dice {
    dt_rng rng;
    uint64_t next;
} dice;

static int64_t roll(dice *d, int64_t below)
{
    return (int64_t)(dt_rng_uniform(&d->rng, d->next++) * (double)below);
}

/* Cut [from, from + dim) along random axes into boxes placed one after another in the file, padded strides included. */
static int cut(dice *d, const dt_map *map, dt_stored_box *box, int count, uint64_t *place, int rank,
               const int64_t *from, const int64_t *dim)
{
    int axis = rank ? (int)roll(d, rank) : 0;
    if (rank && count < 12 && dim[axis] > 1 && roll(d, 3)) {
        int64_t at = 1 + roll(d, dim[axis] - 1), right[DT_MAX_RANK], left_dim[DT_MAX_RANK],
                right_dim[DT_MAX_RANK];
        memcpy(right, from, sizeof right);
        memcpy(left_dim, dim, sizeof left_dim);
        memcpy(right_dim, dim, sizeof right_dim);
        right[axis] += at;
        left_dim[axis] = at;
        right_dim[axis] -= at;
        count = cut(d, map, box, count, place, rank, from, left_dim);
        return cut(d, map, box, count, place, rank, right, right_dim);
    }
    dt_stored_box *b = &box[count];
    *b = box_at(map, *place, rank, from, dim);
    int order[DT_MAX_RANK] = {0, 1, 2, 3, 4};
    for (int i = rank - 1; i > 0; i--) {
        int j = (int)roll(d, i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    int64_t step = 1 + (roll(d, 4) == 0);
    for (int i = rank - 1; i >= 0; i--) {
        b->stride[order[i]] = step;
        step = step * dim[order[i]] + roll(d, 2);
    }
    *place += (uint64_t)step;
    return count + 1;
}

static float expected_at(const dt_stored_tensor *t, const int64_t *index)
{
    for (int i = 0; i < t->box_count; i++) {
        const dt_stored_box *b = &t->box[i];
        int64_t at = (int64_t)b->file_offset / 4;
        bool inside = true;
        for (int axis = 0; axis < t->shape.rank; axis++) {
            int64_t local = index[axis] - b->offset[axis];
            inside &= local >= 0 && local < b->shape.dim[axis];
            at += local * b->stride[axis];
        }
        if (inside)
            return (float)at;
    }
    fail_msg("no box holds the element");
    return 0;
}

static void check_region(dice *d, const dt_stored_tensor *t)
{
    static double out[65536];
    dt_error err = {0};
    dt_stored_region region = {.shape = t->shape};
    int64_t stride[DT_MAX_RANK] = {0}, step = 1, index[DT_MAX_RANK], elements;
    for (int axis = 0; axis < t->shape.rank; axis++) {
        region.offset[axis] = roll(d, t->shape.dim[axis]);
        region.shape.dim[axis] = 1 + roll(d, t->shape.dim[axis] - region.offset[axis]);
    }
    bool reversed = roll(d, 2);
    for (int i = 0; i < t->shape.rank; i++) {
        int axis = reversed ? i : t->shape.rank - 1 - i;
        stride[axis] = step;
        step = step * region.shape.dim[axis] + roll(d, 2);
    }
    assert_true(step <= 65536);
    dt_dtype type = roll(d, 2) ? DT_F32 : DT_F64;
    assert_ok(dt_stored_read(t, &region, type, out, stride, &err), err);
    assert_true(dt_shape_elements(&region.shape, &elements));
    for (int64_t n = 0; n < elements; n++) {
        int64_t rest = n, at = 0;
        for (int axis = t->shape.rank - 1; axis >= 0; axis--) {
            int64_t local = rest % region.shape.dim[axis];
            rest /= region.shape.dim[axis];
            index[axis] = region.offset[axis] + local;
            at += local * stride[axis];
        }
        double found = type == DT_F32 ? ((float *)out)[at] : out[at];
        assert_true((float)found == expected_at(t, index));
    }
}

static void stored__any_part_of_any_tiling_reads_right(void **state)
{
    dt_error err = {0};
    dice d = {.rng = {.seed = 5}};
    static float file[1 << 17];
    for (int i = 0; i < 1 << 17; i++)
        file[i] = (float)i;
    for (int round = 0; round < 400; round++) {
        dt_stored_set *set = new_set();
        dt_stored_box box[64];
        int rank = (int)roll(&d, 6);
        static const int64_t LARGEST[6] = {1, 3000, 90, 16, 8, 5};
        int64_t dim[DT_MAX_RANK] = {0}, from[DT_MAX_RANK] = {0};
        uint64_t place = 0;
        for (int axis = 0; axis < rank; axis++)
            dim[axis] = 1 + roll(&d, LARGEST[rank]);
        const dt_map *map = in_memory(set, "floats", file, sizeof file);
        int count = cut(&d, map, box, 0, &place, rank, from, dim);
        assert_ok(add(set, "w", rank, dim, box, count, &err), err);
        for (int i = 0; i < 5; i++)
            check_region(&d, dt_stored_set_at(set, 0));
        dt_stored_drop(dt_stored_set_at(set, 0), NULL);
        dt_stored_set_destroy(set);
    }
}

static void stored__parts_outside_are_refused(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    float out[8];
    const dt_map *map = in_memory(set, "floats", counting(), 4 * FLOATS);
    dt_stored_box box = box_at(map, 0, 1, I64(0), I64(4));
    assert_ok(add(set, "w", 1, I64(4), &box, 1, &err), err);
    const dt_stored_tensor *w = dt_stored_set_at(set, 0);
    const dt_stored_region bad[] = {{{2}, {1, {3}}}, {{-1}, {1, {2}}},   {{0}, {1, {-1}}},
                                    {{5}, {1, {0}}}, {{0}, {2, {1, 1}}}, {{1}, {1, {INT64_MAX}}}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(dt_stored_read(w, &bad[i], DT_F32, out, NULL, &err), DT_INVALID, err,
                     "lies outside tensor \"w\"");
    assert_fails(dt_stored_read(w, NULL, DT_I32, out, NULL, &err), DT_UNSUPPORTED, err,
                 "f32, which has no conversion to i32");
    dt_stored_set_destroy(set);
}

static void stored__other_byte_order_and_odd_addresses_read_right(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    uint8_t bytes[4 * 5 + 1];
    float out[5];
    for (int i = 0; i < 5; i++) {
        float value = (float)i * 1.5f;
        uint8_t native[4];
        memcpy(native, &value, 4);
        for (int b = 0; b < 4; b++)
            bytes[1 + 4 * i + b] = native[3 - b];
    }
    const dt_map *map = in_memory(set, "swapped", bytes, sizeof bytes);
    dt_stored_box box = {.map = map, .file_offset = 1, .shape = {1, {5}}, .stride = {1}};
    dt_stored_tensor t = {
        .name = "w", .dtype = DT_F32, .shape = {1, {5}}, .box_count = 1, .box = &box, .swap_bytes = true};
    assert_ok(dt_stored_set_add(set, &t, &err), err);
    assert_ok(dt_stored_read(dt_stored_set_at(set, 0), NULL, DT_F32, out, NULL, &err), err);
    for (int i = 0; i < 5; i++)
        assert_true(out[i] == (float)i * 1.5f);
    assert_null(dt_stored_dense(dt_stored_set_at(set, 0)));
    dt_stored_set_destroy(set);
}

static void stored__reads_into_quantised_rows(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    const dt_map *map = in_memory(set, "floats", counting(), 4 * FLOATS);
    dt_stored_box two[2] = {box_at(map, 0, 2, I64(0, 0), I64(3, 64)),
                            box_at(map, 192, 2, I64(0, 64), I64(3, 32))};
    assert_ok(add(set, "w", 2, I64(3, 96), two, 2, &err), err);
    float dense[3 * 96];
    uint8_t whole[9 * 34], parts[9 * 34];
    assert_ok(dt_stored_read(dt_stored_set_at(set, 0), NULL, DT_F32, dense, NULL, &err), err);
    assert_ok(dt_convert(DT_Q8_0, whole, DT_F32, dense, 3 * 96, &err), err);
    assert_ok(dt_stored_read(dt_stored_set_at(set, 0), NULL, DT_Q8_0, parts, NULL, &err), err);
    assert_memory_equal(whole, parts, sizeof whole);
    dt_stored_region cut_block = {.offset = {0, 16}, .shape = {2, {3, 64}}};
    assert_fails(dt_stored_read(dt_stored_set_at(set, 0), &cut_block, DT_Q8_0, parts, NULL, &err),
                 DT_UNSUPPORTED, err, "not whole rows of q8_0 blocks");
    dt_stored_set_destroy(set);
}

/* Many boxes: an expert stack as ranks write it is checked in well under quadratic time. */
static void stored__a_stack_of_many_boxes_is_checked_quickly(void **state)
{
    enum { LAYERS = 48, EXPERTS = 128, PARTS = 8 };
    dt_error err = {0};
    dt_stored_set *set = new_set();
    const dt_map *map = in_memory(set, "floats", counting(), 4 * FLOATS);
    dt_stored_box *box = malloc(sizeof *box * LAYERS * EXPERTS * PARTS);
    int n = 0;
    for (int p = 0; p < PARTS; p++) {
        for (int e = 0; e < EXPERTS; e++) {
            for (int l = 0; l < LAYERS; l++)
                box[n++] = box_at(map, (uint64_t)(l * 64 + p), 3, I64(l, e, p), I64(1, 1, 1));
        }
    }
    assert_ok(add(set, "w", 3, I64(LAYERS, EXPERTS, PARTS), box, n, &err), err);
    float out[PARTS];
    dt_stored_region row = {.offset = {40, 100, 0}, .shape = {3, {1, 1, PARTS}}};
    assert_ok(dt_stored_read(dt_stored_set_at(set, 0), &row, DT_F32, out, NULL, &err), err);
    for (int p = 0; p < PARTS; p++)
        assert_true(out[p] == (float)(40 * 64 + p));
    box[5].offset[1] = 1;
    assert_fails(add(set, "v", 3, I64(LAYERS, EXPERTS, PARTS), box, n, &err), DT_FORMAT, err, "overlaps");
    free(box);
    dt_stored_set_destroy(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored__boxes_must_tile_the_shape),
        cmocka_unit_test(stored__boxes_must_lie_in_their_file),
        cmocka_unit_test(stored__names_must_be_printable),
        cmocka_unit_test(stored__a_missing_name_suggests_the_nearest),
        cmocka_unit_test(stored__notes_and_objects_are_kept),
        cmocka_unit_test(stored__any_part_of_any_tiling_reads_right),
        cmocka_unit_test(stored__parts_outside_are_refused),
        cmocka_unit_test(stored__other_byte_order_and_odd_addresses_read_right),
        cmocka_unit_test(stored__reads_into_quantised_rows),
        cmocka_unit_test(stored__a_stack_of_many_boxes_is_checked_quickly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
