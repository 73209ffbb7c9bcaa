/* scales_test.c - weights of 8-bit floats count times their scales: whole, by rows, by blocks; what is no scale is refused. */
#include "folders.h"

#include "formats/safetensors/safetensors.h"
#include "formats/stored.h"
#include "tensor/convert.h"

#include <math.h>

enum { ROWS = 130, COLS = 260 };

static const char tower[] = "tests/golden/vision/tower-fp8";

/* A value is the byte's times its block's factor, in any part, order and type. */
static void scales__a_value_is_its_byte_times_its_factor(void **state)
{
    static uint8_t bytes[ROWS * COLS];
    static const float factor[] = {0.5f, 3, 0.01f, 7, 11, 0.125f};
    static float part[ROWS * COLS];
    dt_error err = {0};
    dt_stored_set *set;
    const dt_map *map;
    for (int i = 0; i < ROWS * COLS; i++)
        bytes[i] = (uint8_t)(i % 251 % 0x7F);
    assert_ok(dt_stored_set_create(&set, &err), err);
    assert_ok(dt_stored_set_memory(set, "bytes", bytes, sizeof bytes, &map, &err), err);
    dt_stored_box box = {.shape = {2, {ROWS, COLS}}, .stride = {COLS, 1}, .map = map};
    dt_stored_tensor t = {
        .name = "x.weight", .dtype = DT_F8E4M3, .shape = box.shape, .box_count = 1, .box = &box};
    assert_ok(dt_stored_set_add(set, &t, &err), err);
    dt_stored_set_multiply(set, 0, factor, 128, 128); /* 2 x 3 blocks */
    const dt_stored_tensor *s = dt_stored_set_at(set, 0);
    assert_int_equal(dt_stored_type(s), DT_F32);
    dt_stored_region region = {.offset = {100, 120}, .shape = {2, {30, 140}}};
    const int64_t across[] = {1, 30}; /* transposed */
    assert_ok(dt_stored_read(s, &region, DT_F32, part, across, &err), err);
    for (int i = 0; i < 30; i++)
        for (int j = 0; j < 140; j++) {
            int row = 100 + i, col = 120 + j;
            assert_true(part[j * 30 + i] ==
                        dt_f8e4m3_to_f32(bytes[row * COLS + col]) * factor[row / 128 * 3 + col / 128]);
        }
    static uint8_t same[ROWS * COLS];
    assert_ok(dt_stored_read(s, NULL, DT_F8E4M3, same, NULL, &err), err); /* as its own type: the bytes */
    assert_memory_equal(same, bytes, sizeof bytes);
    dt_stored_set_destroy(set);
}

/* Each row's scale, through the names of a model and its joined q, k and v. */
static void scales__a_models_weights_are_scaled_by_row(void **state)
{
    dt_error err = {0};
    dt_checkpoint *c = open_model(tower, NULL);
    dt_stored_set *set;
    int64_t elements;
    float *whole = read_all(c, "decoder.layers.1.mlp.linear_fc1.weight", &elements), scale[64];
    static uint8_t bytes[64 * 32];
    assert_int_equal(elements, 64 * 32);
    assert_ok(dt_stored_set_create(&set, &err), err);
    assert_ok(dt_safetensors_read(set, "tests/golden/vision/tower-fp8/model.safetensors", &err), err);
    const char *name = "vision_model.encoder.layers.1.mlp.fc1.weight";
    const dt_stored_tensor *w = dt_stored_set_find(set, name);
    const dt_stored_tensor *s = dt_stored_set_find(set, "vision_model.encoder.layers.1.mlp.fc1.weight_scale");
    if (!w) /* version 5 leaves the prefix out */
        w = dt_stored_set_find(set, name + strlen("vision_model."));
    if (!s)
        s = dt_stored_set_find(set, "encoder.layers.1.mlp.fc1.weight_scale");
    assert_true(w && s);
    assert_ok(dt_stored_read(w, NULL, DT_F8E4M3, bytes, NULL, &err), err);
    assert_ok(dt_stored_read(s, NULL, DT_F32, scale, NULL, &err), err);
    for (int i = 0; i < 64 * 32; i++)
        assert_true(whole[i] == dt_f8e4m3_to_f32(bytes[i]) * scale[i / 32]);
    assert_true(scale[0] != scale[1]); /* or the test proves less than it says */
    assert_int_equal(dt_checkpoint_describe(c).skipped_count, 12);
    free(whole);
    dt_stored_set_destroy(set);
    dt_checkpoint_close(c);
}

/* The tower with one scale of another shape and value; `config` gets its quantization_config. */
static const char *edited(const char *folder, const dt_shape *shape, float value, const char *quantization)
{
    dt_error err = {0};
    dt_stored_set *set;
    dt_safetensors_entry entry[64];
    dt_safetensors_writer *writer;
    char text[1024];
    int64_t n;
    assert_ok(dt_stored_set_create(&set, &err), err);
    assert_ok(dt_safetensors_read(set, "tests/golden/vision/tower-fp8/model.safetensors", &err), err);
    size_t count = dt_stored_set_count(set);
    assert_true(count < 64);
    for (size_t i = 0; i < count; i++) {
        const dt_stored_tensor *t = dt_stored_set_at(set, i);
        bool chosen = strstr(t->name, "layers.0.mlp.fc2.weight_scale") != NULL;
        entry[i] = (dt_safetensors_entry){t->name, t->dtype, chosen ? *shape : t->shape};
    }
    assert_ok(dt_safetensors_create(&writer, in_folder(folder, "model.safetensors"), true, entry, count, NULL,
                                    0, &err),
              err);
    for (size_t i = 0; i < count; i++) {
        const dt_stored_tensor *t = dt_stored_set_at(set, i);
        static float data[1 << 14];
        bool chosen = strstr(t->name, "layers.0.mlp.fc2.weight_scale") != NULL;
        size_t bytes = dt_stored_bytes(t);
        assert_true(bytes <= sizeof data && dt_shape_elements(shape, &n));
        if (!chosen)
            assert_ok(dt_stored_read(t, NULL, t->dtype, data, NULL, &err), err);
        for (int64_t k = 0; chosen && k < n; k++)
            data[k] = value;
        assert_ok(dt_safetensors_write(writer, i, data, chosen ? (size_t)n * 4 : bytes, &err), err);
    }
    assert_ok(dt_safetensors_commit(writer, &err), err);
    dt_stored_set_destroy(set);
    int length =
        snprintf(text, sizeof text,
                 "{\"model_type\": \"clip_vision_model\", \"hidden_size\": 32, \"intermediate_size\": 64, "
                 "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"image_size\": 32, "
                 "\"patch_size\": 8, \"projection_dim\": 16, \"quantization_config\": %s}",
                 quantization);
    put_file(in_folder(folder, "config.json"), text, (size_t)length);
    return folder;
}

static void scales__every_shape_of_a_scale_is_read(void **state)
{
    static const char plain[] = "{\"quant_method\": \"modelopt\", \"quant_algo\": \"FP8\"}",
                      blocks[] = "{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}";
    const dt_shape shape[] = {{0}, {1, {1}}, {1, {32}}, {2, {32, 1}}, {2, {1, 1}}};
    float first = 0;
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        int64_t elements;
        dt_checkpoint *c = open_model(edited(*state, &shape[i], 0.5f, i == 4 ? blocks : plain), NULL);
        float *w = read_all(c, "decoder.layers.0.mlp.linear_fc2.weight", &elements);
        first = i == 0 ? w[7] : first;
        assert_true(w[7] != 0 && w[7] == first);
        free(w);
        dt_checkpoint_close(c);
    }
}

static void scales__what_is_no_scale_is_refused(void **state)
{
    static const char known[] = "{\"quant_method\": \"fbgemm_fp8\"}";
    static const struct {
        dt_shape shape;
        float value;
        const char *quantization, *words;
        dt_status status;
    } bad[] = {
        {{1, {31}}, 1, known, "is [31]: expected one scale, one a row of", DT_MISMATCH},
        {{2, {2, 2}}, 1, known, "is [2, 2]: expected", DT_MISMATCH},
        {{1, {1}}, 0, known, "a scale is above 0", DT_FORMAT},
        {{1, {1}}, -1, known, "a scale is above 0", DT_FORMAT},
        {{1, {1}}, 1, "{\"quant_method\": \"gptq\", \"bits\": 4}", "quantised by \"gptq\"", DT_UNSUPPORTED},
        {{1, {1}},
         1,
         "{\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\"}",
         "\"pack-quantized\"; drivetrain reads \"float-quantized\"",
         DT_UNSUPPORTED},
        {{1, {1}},
         1,
         "{\"quant_method\": \"fp8\", \"weight_block_size\": [64, 128]}",
         "blocks of 128 x 128",
         DT_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dt_error err = {0};
        dt_checkpoint *c = NULL;
        const char *path = edited(*state, &bad[i].shape, bad[i].value, bad[i].quantization);
        assert_fails(dt_checkpoint_open(&c, path, NULL, &err), bad[i].status, err, bad[i].words);
        assert_null(c);
    }
}

/* Writing what was 8-bit gives its bytes again, and what was not is off by half a step of e4m3 at most. */
static void scales__what_is_written_is_read_back(void **state)
{
    static const char *const format[] = {"hf", "megatron-state"}, *const source[] = {
                                                                      tower, "tests/golden/vision/tower"};
    for (int i = 0; i < 4; i++) {
        dt_error err = {0};
        dt_export_result result;
        dt_export_options o = {
            .format = format[i / 2], .cast = true, .dtype = DT_BF16, .quantize = "fp8", .replace = true};
        const char *out = in_folder(*state, "out");
        dt_checkpoint *from = open_model(source[i % 2], NULL);
        assert_ok(dt_checkpoint_export(from, out, &o, &result, &err), err);
        dt_checkpoint *back = open_model(out, NULL);
        for (int layer = 0; layer < 2; layer++) {
            char name[64];
            int64_t n;
            snprintf(name, sizeof name, "decoder.layers.%d.self_attention.linear_qkv.weight", layer);
            float *a = read_all(from, name, &n), *b = read_all(back, name, &n);
            for (int64_t row = 0; row < n / 32; row++) {
                float largest = 0;
                for (int k = 0; k < 32; k++)
                    largest = fabsf(a[row * 32 + k]) > largest ? fabsf(a[row * 32 + k]) : largest;
                for (int k = 0; k < 32; k++) {
                    float x = a[row * 32 + k],
                          most = i % 2 ? fabsf(x) / 16 + largest / 448 / 1024 : fabsf(x) * 2e-7f;
                    assert_true(fabsf(b[row * 32 + k] - x) <= most);
                }
            }
            free(a);
            free(b);
        }
        dt_checkpoint_close(back);
        dt_checkpoint_close(from);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales__a_value_is_its_byte_times_its_factor),
        cmocka_unit_test(scales__a_models_weights_are_scaled_by_row),
        cmocka_unit_test_setup_teardown(scales__every_shape_of_a_scale_is_read, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(scales__what_is_written_is_read_back, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(scales__what_is_no_scale_is_refused, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
