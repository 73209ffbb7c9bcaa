/*
 * part_test.c - one part of a model with eyes: its tensors are the whole's, under the names that it has alone, and whatever
 * takes a checkpoint takes it.
 */
#include "folders.h"

#include <drivetrain/export.h>
#include <drivetrain/image.h>

static const struct {
    const char *part, *prefix, *type;
} parts[] = {{"tower", "vision_model.", "clip_vit"},
             {"projector", "vision_projection.", "projector"},
             {"language", "language_model.", "gpt"}};

static const char *const models[] = {"megatron/llava_clip", "megatron/llava_siglip", "hf/llava",
                                     "hf/llava-next"};

enum { MODELS = sizeof models / sizeof models[0] };

static dt_checkpoint *open_part(const char *path, const char *part)
{
    dt_checkpoint *c = NULL;
    dt_error err = {0};
    assert_ok(dt_checkpoint_open(&c, path, &(dt_open_options){.part = part}, &err), err);
    return c;
}

/* A tensor of the part is the whole's of that name below the prefix. */
static void assert_same(const dt_checkpoint *part, const dt_checkpoint *whole, const char *name,
                        const char *prefix)
{
    char full[512];
    int rank;
    int64_t dim[5];
    dt_error err = {0};
    snprintf(full, sizeof full, "%s%s", prefix, name);
    assert_ok(dt_checkpoint_shape(part, name, &rank, dim, NULL, &err), err);
    size_t bytes = sizeof(float) * (size_t)(dim[0] * (rank == 2 ? dim[1] : 1));
    float *x = malloc(bytes), *y = malloc(bytes);
    assert_true(x && y);
    assert_ok(dt_checkpoint_read(part, name, 0, dim[0], DT_F32, x, &err), err);
    assert_ok(dt_checkpoint_read(whole, full, 0, dim[0], DT_F32, y, &err), err);
    assert_memory_equal(x, y, bytes);
    free(x);
    free(y);
}

static void part__tensors_are_the_wholes_without_the_prefix(void **state)
{
    char path[4096];
    (void)state;
    for (size_t m = 0; m < MODELS; m++) {
        if (!model_folder(path, models[m]))
            skip();
        dt_checkpoint *whole = open_part(path, NULL);
        int64_t parameters =
            dt_checkpoint_config(whole)->image_newline ? dt_checkpoint_config(whole)->hidden_size : 0;
        for (size_t p = 0; p < 3; p++) {
            dt_checkpoint *part = open_part(path, parts[p].part);
            dt_checkpoint_tensor t;
            int own = 0;
            assert_string_equal(dt_checkpoint_config(part)->model_type, parts[p].type);
            assert_null(dt_checkpoint_config(part)->vision);
            for (int i = 0; dt_checkpoint_tensor_at(part, i, &t); i++) {
                if (t.canonical)
                    assert_same(part, whole, t.canonical, parts[p].prefix), own++;
                else
                    assert_string_equal(t.rule, "another part's");
            }
            assert_true(own > 0);
            parameters += dt_checkpoint_describe(part).parameters;
            dt_checkpoint_close(part);
        }
        assert_int_equal(parameters, dt_checkpoint_describe(whole).parameters);
        dt_checkpoint_close(whole);
    }
}

/* Written alone it is the same model, and a part of itself. */
static void part__written_alone_computes_the_same(void **state)
{
    char path[4096], out[4096];
    for (size_t i = 0; i < 3 * MODELS; i++) {
        dt_error err = {0};
        dt_verify_report *report = NULL;
        const char *part = parts[i % 3].part;
        if (!model_folder(path, models[i / 3]))
            skip();
        dt_checkpoint *c = open_part(path, part);
        dt_export_options to = {.format = "megatron-state", .replace = true};
        snprintf(out, sizeof out, "%s/%s", (const char *)*state, part);
        assert_ok(dt_checkpoint_export(c, out, &to, NULL, &err), err);
        dt_checkpoint_close(c);
        dt_verify_options o = {.tolerance = 1e-30, .model = {.dtype = "f32", .open = {.part = part}}};
        assert_ok(dt_verify_models(&report, out, path, &o, &err), err);
        assert_true(report->pass && report->point_count > 1);
        dt_verify_report_destroy(report);
    }
}

static void part__what_is_not_there_is_refused(void **state)
{
    static const struct {
        const char *model, *part, *message;
    } row[] = {{"hf/llama", "tower", "has no part \"tower\", being one part alone"},
               {"hf/llama", "towel", "there are tower, projector and language"},
               {"megatron/radio", "language", "has no part \"language\""},
               {"megatron/radio", "projector", "has no part \"projector\""}};
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        dt_checkpoint *c = NULL;
        dt_error err = {0};
        assert_fails(dt_checkpoint_open(&c, require_model(row[i].model),
                                        &(dt_open_options){.part = row[i].part}, &err),
                     DT_UNSUPPORTED, err, row[i].message);
        assert_null(c);
    }
    dt_checkpoint_close(open_part(require_model("hf/llama"), "language"));
    dt_checkpoint_close(open_part(require_model("megatron/radio"), "tower"));
}

/* llama.cpp's pair of files is the model, whichever family its words are of. */
static void part__a_pair_of_gguf_files_is_the_model(void **state)
{
    char path[4096], out[4096], eyes[4096];
    dt_error err = {0};
    dt_exported done;
    if (!model_folder(path, "hf/llava"))
        skip();
    snprintf(out, sizeof out, "%s/eyes.gguf", (const char *)*state);
    snprintf(eyes, sizeof eyes, "%s/mmproj-eyes.gguf", (const char *)*state);
    dt_checkpoint *c = open_part(path, NULL);
    assert_ok(dt_export(&done, c, out, &(dt_export_request){.target = "gguf"}, &err), err);
    assert_true(done.proof->pass && done.written.files == 2);
    dt_exported_release(&done);
    dt_checkpoint *back = open_part(out, NULL);
    assert_null(dt_config_difference(dt_checkpoint_config(c), dt_checkpoint_config(back)));
    dt_checkpoint_close(back);
    dt_checkpoint_close(c);
    dt_image_processor *processor = NULL; /* how its pictures are made goes along, and comes back as a file */
    assert_ok(dt_image_processor_open(&processor, out, NULL, &err), err);
    assert_non_null(strstr(dt_image_processor_class(processor), "CLIP"));
    dt_image_processor_close(processor);
    c = open_part(out, "tower");
    snprintf(path, sizeof path, "%s/tower", (const char *)*state);
    assert_ok(dt_checkpoint_export(c, path, &(dt_export_options){.format = "hf"}, NULL, &err), err);
    assert_ok(dt_image_processor_open(&processor, path, NULL, &err), err);
    dt_image_processor_close(processor);
    dt_checkpoint_close(c);
    assert_fails(dt_checkpoint_open(&c, eyes, NULL, &err), DT_UNSUPPORTED, err,
                 "holds the eyes of a model alone");
    assert_int_equal(remove(eyes), 0); /* without them it is the language model */
    c = open_part(out, NULL);
    assert_null(dt_checkpoint_config(c)->vision);
    assert_string_equal(dt_checkpoint_config(c)->family, "llama");
    dt_checkpoint_close(c);
}

/* Before anything is written; by what each runtime takes instead. */
static void part__runtimes_of_words_refuse_eyes(void **state)
{
    static const struct {
        const char *part, *target, *message, *next;
    } row[] = {{"tower", "gguf", "llama.cpp reads a tower and its projector together", "--to onnx"},
               {"projector", "gguf", "llama.cpp reads a tower and its projector together", "--to onnx"},
               {"tower", "trtllm", "TensorRT-LLM takes a tower as an ONNX graph", "--to onnx"},
               {"tower", "ctranslate2", "CTranslate2 computes words alone", "--to onnx"},
               {NULL, "ctranslate2", "CTranslate2 computes words alone", "--part language"},
               {NULL, "gguf", "\"pixel_shuffle\" is in the way", "--part language"}};
    char path[4096], out[4096];
    if (!model_folder(path, "megatron/llava_clip"))
        skip();
    snprintf(out, sizeof out, "%s/never", (const char *)*state);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        dt_error err = {0};
        dt_exported done;
        dt_checkpoint *c = open_part(path, row[i].part);
        dt_export_request request = {.target = row[i].target, .open.part = row[i].part};
        assert_fails(dt_export(&done, c, out, &request, &err), DT_UNSUPPORTED, err, row[i].message);
        assert_non_null(strstr(err.hint, row[i].next));
        assert_false(dt_is_folder(out) || dt_is_file(out));
        dt_checkpoint_close(c);
    }
}

/* TensorRT-LLM's checkpoint is the language model's, and says where the rest goes. */
static void part__trtllm_takes_the_words_of_a_model_with_eyes(void **state)
{
    char path[4096], out[4096];
    dt_error err = {0};
    dt_exported done;
    if (!model_folder(path, "megatron/llava_clip"))
        skip();
    snprintf(out, sizeof out, "%s/trtllm", (const char *)*state);
    dt_checkpoint *c = open_part(path, NULL);
    assert_ok(dt_export(&done, c, out, &(dt_export_request){.target = "trtllm"}, &err), err);
    assert_true(done.proof->pass);
    assert_non_null(strstr(done.note, "--to onnx"));
    dt_exported_release(&done);
    dt_checkpoint_close(c);
    c = open_part(out, NULL);
    assert_string_equal(dt_checkpoint_config(c)->model_type, "gpt");
    dt_checkpoint_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(part__tensors_are_the_wholes_without_the_prefix),
        cmocka_unit_test_setup_teardown(part__written_alone_computes_the_same, make_folder, remove_folder),
        cmocka_unit_test(part__what_is_not_there_is_refused),
        cmocka_unit_test_setup_teardown(part__a_pair_of_gguf_files_is_the_model, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(part__runtimes_of_words_refuse_eyes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(part__trtllm_takes_the_words_of_a_model_with_eyes, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
