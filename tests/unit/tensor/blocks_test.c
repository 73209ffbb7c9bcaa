/*
 * blocks_test.c - block types against ggml: the floats that its bytes mean, and the bytes it makes of floats
 * (fixtures/gguf/quants.safetensors, where the other side is ggml itself and the makers' Python package).
 */
#include "unit.h"

#include "base/json.h"
#include "base/map.h"
#include "tensor/blocks.h"
#include "tensor/convert.h"

#include <math.h>

static const dt_dtype ALL[] = {DT_Q8_0,  DT_Q4_0,  DT_Q4_1,  DT_Q5_0, DT_Q5_1,   DT_Q2_K,
                               DT_Q3_K,  DT_Q4_K,  DT_Q5_K,  DT_Q6_K, DT_IQ4_NL, DT_IQ4_XS,
                               DT_TQ1_0, DT_TQ2_0, DT_MXFP4, DT_NVFP4};
enum { TYPES = sizeof ALL / sizeof *ALL };

/* The fixture: a safetensors file, read with no more than JSON. */
typedef struct fixture {
    dt_map map;
    json_t *header;
    size_t data;
} fixture;

static int open_fixture(void **state)
{
    static fixture f;
    char path[4096];
    const char *folder = getenv("DT_FIXTURES");
    snprintf(path, sizeof path, "%s/gguf/quants.safetensors", folder ? folder : "");
    *state = NULL;
    if (dt_map_open(&f.map, path, NULL) != DT_OK)
        return 0;
    uint64_t bytes = 0;
    for (int i = 7; i >= 0; i--)
        bytes = bytes << 8 | f.map.data[i];
    if (dt_json_parse(&f.header, (const char *)f.map.data + 8, (size_t)bytes, "the header", NULL) != DT_OK)
        return -1;
    f.data = 8 + (size_t)bytes;
    *state = &f;
    return 0;
}

static int close_fixture(void **state)
{
    fixture *f = *state;
    if (f) {
        json_decref(f->header);
        dt_map_close(&f->map);
    }
    return 0;
}

/* NULL when the fixture has no such tensor. */
static const void *tensor(const fixture *f, const char *type, const char *what, size_t *bytes)
{
    char name[64];
    int n = 0;
    for (; type[n]; n++) /* the fixture spells types in capitals */
        name[n] = (char)(type[n] >= 'a' && type[n] <= 'z' ? type[n] - 32 : type[n]);
    snprintf(name + n, sizeof name - (size_t)n, ".%s", what);
    const json_t *places = json_object_get(json_object_get(f->header, name), "data_offsets");
    if (!places)
        return NULL;
    size_t begin = (size_t)json_integer_value(json_array_get(places, 0));
    *bytes = (size_t)json_integer_value(json_array_get(places, 1)) - begin;
    return f->map.data + f->data + begin;
}

static void assert_reads(const fixture *f, dt_dtype type, const char *stored, const char *expected,
                         int *checked)
{
    size_t bytes, floats;
    const uint8_t *in = tensor(f, dt_dtype_name(type), stored, &bytes);
    const uint8_t *want = tensor(f, dt_dtype_name(type), expected, &floats);
    if (!in || !want)
        return;
    float *out = malloc(floats + 4);
    dt_error err = {0};
    assert_non_null(out);
    assert_ok(dt_convert(DT_F32, out, type, in, (int64_t)(floats / 4), &err), err);
    for (size_t i = 0; i < floats / 4; i++) {
        float w;
        memcpy(&w, want + 4 * i, 4);
        if (memcmp(&w, &out[i], 4) != 0 && !(w == 0 && out[i] == 0))
            fail_msg("%s %s: element %zu is %.9g, expected %.9g", dt_dtype_name(type), stored, i,
                     (double)out[i], (double)w);
    }
    free(out);
    (*checked)++;
}

static void blocks__mean_the_floats_that_ggml_reads(void **state)
{
    const fixture *f = *state;
    int checked = 0;
    if (!f)
        skip();
    for (int i = 0; i < TYPES; i++) {
        int before = checked;
        assert_reads(f, ALL[i], "raw", "dequantized", &checked);
        assert_reads(f, ALL[i], "quantized", "quantized.dequantized", &checked);
        assert_reads(f, ALL[i], "ggml", "ggml.dequantized", &checked);
        if (checked == before)
            fail_msg("the fixture has no %s", dt_dtype_name(ALL[i]));
    }
    assert_reads(f, DT_F16, "raw", "dequantized", &checked);
    assert_reads(f, DT_BF16, "raw", "dequantized", &checked);
}

static void blocks__are_the_bytes_that_ggml_writes(void **state)
{
    const fixture *f = *state;
    if (!f)
        skip();
    size_t bytes, source_bytes = 0;
    const float *source = tensor(f, "source", "f32", &source_bytes);
    if (!source) { /* its name is in small letters */
        const json_t *places = json_object_get(json_object_get(f->header, "source.f32"), "data_offsets");
        assert_non_null(places);
        source = (const void *)(f->map.data + f->data + json_integer_value(json_array_get(places, 0)));
        source_bytes = (size_t)(json_integer_value(json_array_get(places, 1)) -
                                json_integer_value(json_array_get(places, 0)));
    }
    int64_t n = (int64_t)(source_bytes / 4);
    for (int i = 0; i < TYPES; i++) {
        const dt_block_type *type = dt_block_type_of(ALL[i]);
        const uint8_t *want = tensor(f, dt_dtype_name(ALL[i]), "ggml", &bytes);
        if (!type->write || !want)
            continue;
        uint8_t *out = calloc(1, bytes);
        dt_error err = {0};
        assert_non_null(out);
        assert_ok(dt_convert(ALL[i], out, DT_F32, source, n, &err), err);
        for (size_t k = 0; k < bytes; k++)
            if (out[k] != want[k])
                fail_msg("%s: byte %zu (%zu of block %zu) is %d, ggml's is %d", dt_dtype_name(ALL[i]), k,
                         k % (size_t)dt_dtype_block_bytes(ALL[i]), k / (size_t)dt_dtype_block_bytes(ALL[i]),
                         out[k], want[k]);
        free(out);
    }
}

/* By how much a type may miss a value: a part of the largest magnitude in its block. */
static void blocks__come_back_within_half_a_step(void **state)
{
    static const struct {
        dt_dtype type;
        double part;
    } row[] = {{DT_Q8_0, 0.5 / 127}, {DT_Q4_0, 1.0 / 8},  {DT_Q4_1, 0.5 / 7},
               {DT_Q5_0, 1.0 / 16},  {DT_Q5_1, 0.5 / 15}, {DT_Q4_K, 0.5 / 5},
               {DT_Q5_K, 0.5 / 10},  {DT_Q6_K, 0.5 / 14}, {DT_MXFP4, 0.5 / 1.5}};
    float in[512], out[512];
    uint8_t stored[1024];
    for (int i = 0; i < 512; i++)
        in[i] = sinf((float)(i * i)) * (i < 256 ? 3e-2f : 700.0f);
    for (size_t r = 0; r < sizeof row / sizeof *row; r++) {
        dt_error err = {0};
        assert_ok(dt_convert(row[r].type, stored, DT_F32, in, 512, &err), err);
        assert_ok(dt_convert(DT_F32, out, row[r].type, stored, 512, &err), err);
        for (int i = 0; i < 512; i++) {
            double largest = i < 256 ? 3e-2 : 700.0;
            if (fabs((double)(in[i] - out[i])) > largest * row[r].part * 1.15) /* the scale is rounded too */
                fail_msg("%s: element %d is %g, was %g", dt_dtype_name(row[r].type), i, (double)out[i],
                         (double)in[i]);
        }
    }
}

static void blocks__odd_values_are_never_silent(void **state)
{
    static const float odd[] = {INFINITY, -INFINITY, NAN};
    for (int i = 0; i < TYPES; i++)
        for (int k = 0; k < 3; k++) {
            const dt_block_type *type = dt_block_type_of(ALL[i]);
            float in[256], out[256];
            uint8_t stored[512] = {0};
            if (!type->write || ALL[i] == DT_MXFP4)
                continue;
            for (int j = 0; j < 256; j++)
                in[j] = (float)j;
            in[77] = odd[k];
            type->write(in, stored, 256 / dt_dtype_block_elements(ALL[i]));
            type->read(stored, out, 256 / dt_dtype_block_elements(ALL[i]));
            assert_true(isnan(out[77]));
        }
}

/* Zeros, constants and the smallest numbers make no NaN. */
static void blocks__plain_blocks_stay_plain(void **state)
{
    static const float value[] = {0, 1, -1, 1e-38f, -1e-40f, 1e-45f, 60000};
    for (int i = 0; i < TYPES; i++)
        for (size_t k = 0; k < sizeof value / sizeof *value; k++) {
            const dt_block_type *type = dt_block_type_of(ALL[i]);
            float in[256], out[256];
            uint8_t stored[512] = {0};
            if (!type->write)
                continue;
            for (int j = 0; j < 256; j++)
                in[j] = value[k];
            type->write(in, stored, 256 / dt_dtype_block_elements(ALL[i]));
            type->read(stored, out, 256 / dt_dtype_block_elements(ALL[i]));
            double allowed =
                fabs((double)value[k]) *
                    (ALL[i] == DT_MXFP4 ? 0.25 /* 6 is its largest number, and 8 would be next */ : 0.01) +
                1e-7;
            for (int j = 0; j < 256; j++)
                if (!(fabs((double)(out[j] - value[k])) <= allowed))
                    fail_msg("%s: %g reads back as %g", dt_dtype_name(ALL[i]), (double)value[k],
                             (double)out[j]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks__mean_the_floats_that_ggml_reads, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(blocks__are_the_bytes_that_ggml_writes, open_fixture, close_fixture),
        cmocka_unit_test(blocks__come_back_within_half_a_step),
        cmocka_unit_test(blocks__odd_values_are_never_silent),
        cmocka_unit_test(blocks__plain_blocks_stay_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
