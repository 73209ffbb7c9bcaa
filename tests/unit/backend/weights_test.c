/*
 * weights_test.c - parameters in forms: mapped where they can be, packed once where not, and what is said when
 * neither works.
 */
#include "backend/op_rig.h"

#include "tensor/convert.h"

typedef struct bench {
    dt_pool *pool;
    dt_weights *weights;
    rig_arrays arrays;
    dt_error err;
} bench;

static void open_bench(bench *b, const rig_array *array, int count, bool mapped, int threads)
{
    *b = (bench){.arrays = {.array = array, .count = count, .mapped = mapped}};
    dt_weight_source source = rig_source(&b->arrays);
    assert_ok(dt_pool_create(&b->pool, threads, &b->err), b->err);
    assert_ok(dt_weights_create(&b->weights, &source, b->pool, &b->err), b->err);
}

static void close_bench(bench *b)
{
    dt_weights_destroy(b->weights);
    dt_pool_destroy(b->pool);
}

static void weights__mapped_rows_are_used_where_they_lie(void **state)
{
    float *w = rig_numbers(6, 1);
    rig_array array = {"w", {2, {2, 3}}, DT_F32, w};
    const dt_weight *weight;
    bench b;
    open_bench(&b, &array, 1, true, 1);
    assert_ok(dt_weights_get(b.weights, "w", dt_form_rows(DT_F32), &weight, &b.err), b.err);
    assert_ptr_equal(weight->data, w);
    assert_int_equal(weight->rows, 2);
    assert_int_equal(weight->cols, 3);
    assert_int_equal(weight->bytes, 0);
    assert_int_equal(dt_weights_bytes(b.weights), 0);
    assert_int_equal(b.arrays.reads + b.arrays.drops, 0);
    close_bench(&b), free(w);
}

static void weights__misaligned_bytes_are_copied(void **state)
{
    char bytes[6 * 4 + 4];
    float *w = rig_numbers(6, 1);
    char *odd = bytes + ((uintptr_t)bytes % 4 == 0);
    memcpy(odd, w, 6 * 4);
    rig_array array = {"w", {2, {2, 3}}, DT_F32, odd};
    const dt_weight *weight;
    bench b;
    open_bench(&b, &array, 1, true, 1);
    assert_ok(dt_weights_get(b.weights, "w", dt_form_rows(DT_F32), &weight, &b.err), b.err);
    assert_int_equal((uintptr_t)weight->data % 64, 0);
    assert_same_bits(weight->data, w, 6);
    close_bench(&b), free(w);
}

static void weights__each_form_is_made_once_and_counted(void **state)
{
    float *w = rig_numbers(64, 2);
    rig_array array = {"w", {2, {2, 32}}, DT_F32, w};
    const dt_weight *first, *again, *quantised;
    bench b;
    open_bench(&b, &array, 1, false, 1);
    assert_ok(dt_weights_get(b.weights, "w", dt_form_rows(DT_BF16), &first, &b.err), b.err);
    assert_ok(dt_weights_get(b.weights, "w", dt_form_rows(DT_BF16), &again, &b.err), b.err);
    assert_ok(dt_weights_get(b.weights, "w", dt_form_rows(DT_Q8_0), &quantised, &b.err), b.err);
    assert_ptr_equal(first, again);
    assert_int_equal(b.arrays.drops, 2); /* the source's pages are let go after each packing */
    assert_int_equal(first->bytes, 128);
    assert_int_equal(quantised->bytes, 2 * 34);
    assert_int_equal(dt_weights_bytes(b.weights), 128 + 2 * 34);
    for (int i = 0; i < 64; i++)
        assert_int_equal(((const uint16_t *)first->data)[i], dt_f32_to_bf16(w[i]));
    close_bench(&b), free(w);
}

/* A form that sees which rows it is handed: it stores them reversed, four at a time. */
static size_t reversed_bytes(const dt_weight_form *form, int64_t rows, int64_t cols)
{
    return (size_t)(rows * cols) * sizeof(float);
}

static void reversed_pack(const dt_weight_form *form, void *packed, int64_t rows, int64_t cols, int64_t row,
                          int64_t count, dt_dtype from, const void *source)
{
    bool whole_grains = row % form->grain == 0 && (count % form->grain == 0 || row + count == rows);
    for (int64_t r = 0; r < count && whole_grains && from == DT_F32; r++)
        memcpy((float *)packed + (rows - 1 - row - r) * cols, (const float *)source + r * cols,
               (size_t)cols * sizeof(float));
}

static const dt_weight_form reversed = {.name = "reversed f32",
                                        .dtype = DT_F32,
                                        .bytes = reversed_bytes,
                                        .pack = reversed_pack,
                                        .from = DT_F32,
                                        .grain = 4};

/* 700 rows of 4 KB: more than a slab, so that rows come in pieces; every team must pack the same. */
static void weights__slabs_pack_what_one_piece_would(void **state)
{
    enum { ROWS = 701, COLS = 1000 };
    float *w = rig_numbers(ROWS * COLS, 3);
    rig_array array = {"w", {2, {ROWS, COLS}}, DT_F32, w};
    for (int threads = 1; threads <= 3; threads++) {
        const dt_weight *weight;
        bench b;
        open_bench(&b, &array, 1, true, threads);
        assert_ok(dt_weights_get(b.weights, "w", &reversed, &weight, &b.err), b.err);
        assert_true(b.arrays.reads >= 3);
        for (int r = 0; r < ROWS; r++)
            assert_same_bits((const float *)weight->data + (ROWS - 1 - r) * COLS, w + r * COLS, COLS);
        close_bench(&b);
    }
    free(w);
}

static void weights__failures_name_the_parameter(void **state)
{
    float w[6] = {0};
    int32_t ids[6] = {0};
    rig_array array[] = {
        {"odd", {2, {2, 3}}, DT_F32, w},
        {"empty", {2, {0, 3}}, DT_F32, w},
        {"decoder.ids", {2, {2, 3}}, DT_I32, ids},
    };
    const dt_weight *weight;
    bench b;
    open_bench(&b, array, 3, false, 2);
    assert_fails(dt_weights_get(b.weights, "absent", dt_form_rows(DT_F32), &weight, &b.err), DT_NOT_FOUND,
                 b.err, "no parameter \"absent\"");
    assert_fails(dt_weights_get(b.weights, "odd", dt_form_rows(DT_Q8_0), &weight, &b.err), DT_UNSUPPORTED,
                 b.err, "\"odd\", [2, 3], has no form \"rows q8_0\"");
    assert_fails(dt_weights_get(b.weights, "empty", dt_form_rows(DT_F32), &weight, &b.err), DT_FORMAT, b.err,
                 "\"empty\" has the shape [0, 3]");
    assert_fails(dt_weights_get(b.weights, "decoder.ids", dt_form_rows(DT_F32), &weight, &b.err),
                 DT_UNSUPPORTED, b.err, "while packing parameter \"decoder.ids\" as rows f32");
    assert_int_equal(dt_weights_bytes(b.weights), 0);
    assert_ok(dt_weights_get(b.weights, "odd", dt_form_rows(DT_F32), &weight, &b.err),
              b.err); /* still of use */
    close_bench(&b);
}

static void weights__rows_come_in_four_types(void **state)
{
    assert_string_equal(dt_form_rows(DT_Q8_0)->name, "rows q8_0");
    assert_int_equal(dt_form_rows(DT_F16)->bytes(dt_form_rows(DT_F16), 3, 5), 30);
    assert_null(dt_form_rows(DT_I32));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights__mapped_rows_are_used_where_they_lie),
        cmocka_unit_test(weights__misaligned_bytes_are_copied),
        cmocka_unit_test(weights__each_form_is_made_once_and_counted),
        cmocka_unit_test(weights__slabs_pack_what_one_piece_would),
        cmocka_unit_test(weights__failures_name_the_parameter),
        cmocka_unit_test(weights__rows_come_in_four_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
