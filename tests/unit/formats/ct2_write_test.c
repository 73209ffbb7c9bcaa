/*
 * ct2_write_test.c - models written for CTranslate2: read back they are what they were, bit for bit; int8 is what
 * CTranslate2's own converter makes of the same model; what CTranslate2 cannot compute is refused by name.
 *
 * That CTranslate2 itself runs them is tools/interop's business.
 */
#include "unit.h"

#include "formats/ctranslate2/ctranslate2.h"
#include "formats/open.h"
#include "formats/safetensors/safetensors.h"

#include <drivetrain/verify.h>

static const char *find(char path[4096], const char *name)
{
    static const char *const place[] = {"DT_FIXTURES", "DT_GOLDEN"};
    for (size_t i = 0; i < 2; i++) {
        const char *folder = getenv(place[i]);
        snprintf(path, 4096, "%s/%s", folder ? folder : "?", name);
        if (access(path, R_OK) == 0)
            return path;
    }
    return NULL;
}

static void export_to(const char *from, const char *to, const char *format, bool integers)
{
    dt_checkpoint *c = NULL;
    dt_error err = {0};
    dt_export_options o = {.format = format, .cast = integers, .dtype = DT_I8, .replace = true};
    assert_ok(dt_checkpoint_open(&c, from, NULL, &err), err);
    assert_ok(dt_checkpoint_export(c, to, &o, NULL, &err), err);
    dt_checkpoint_close(c);
}

static void assert_same(const char *a, const char *b, bool compute)
{
    dt_verify_report *r = NULL;
    dt_error err = {0};
    dt_verify_options o = {.tolerance = 1e-12, .tensors_only = !compute, .model.threads = 1};
    assert_ok(dt_verify_models(&r, a, b, &o, &err), err);
    if (!r->pass)
        fail_msg("%s is not %s: %s", a, b,
                 r->first_divergence ? r->first_divergence : "something is unchecked");
    assert_true(r->point_count > 10);
    dt_verify_report_destroy(r);
}

static const char *const carried[] = {"hf/gpt2",         "hf/llama",        "hf/llama-gqa",
                                      "hf/llama-linear", "hf/llama-medium", "hf/t5-v1.0",
                                      "hf/t5-v1.1",      "hf/mt5",          "hf/umt5",
                                      "hf/byt5",         "hf/bart",         "hf/mbart",
                                      "hf/m2m100",       "hf/marian",       "hf/pegasus",
                                      "hf/gpt-neox",     "hf/gpt-bigcode",  "hf/gpt-bigcode-mha",
                                      "hf/starcoder2",   "hf/falcon-7b",    "hf/falcon-40b",
                                      "hf/falcon-rw",    "hf/gemma",        "hf/mistral",
                                      "hf/qwen2",        "hf/qwen3",        "hf/phi3"};

static void ct2_write__a_model_comes_back_as_it_went(void **state)
{
    int found = 0;
    for (size_t i = 0; i < sizeof carried / sizeof carried[0]; i++) {
        char path[4096];
        const char *model = find(path, carried[i]), *written = in_folder(*state, "ct2"),
                   *back = in_folder(*state, "hf");
        if (!model)
            continue;
        export_to(model, written, "ctranslate2", false);
        assert_same(written, model, false);
        export_to(written, back, "hf", false);
        assert_same(back, model, i % 4 == 0);
        found++;
    }
    assert_true(found > 5);
}

/* CTranslate2's converter made the fixture; what was corrected there by hand is a scale of 1, which we leave out. */
static void ct2_write__int8_is_what_the_makers_converter_writes(void **state)
{
    char path[4096], their_path[4096];
    const char *model = find(path, "trained/t5-g2p"), *theirs = find(their_path, "trained/t5-g2p-ct2");
    const char *ours = in_folder(*state, "ct2");
    dt_stored_set *set[2];
    dt_ct2_file file[2];
    dt_error err = {0};
    if (!model || !theirs)
        skip();
    export_to(model, ours, "ctranslate2", true);
    const char *place[] = {in_folder(ours, "model.bin"), in_folder(theirs, "model.bin")};
    for (int i = 0; i < 2; i++) {
        assert_ok(dt_stored_set_create(&set[i], &err), err);
        assert_ok(dt_ct2_read(set[i], place[i], &file[i], &err), err);
    }
    assert_int_equal(dt_stored_set_count(set[0]), dt_stored_set_count(set[1]));
    for (size_t i = 0; i < dt_stored_set_count(set[0]); i++) {
        const dt_stored_tensor *a = dt_stored_set_at(set[0], i), *b = dt_stored_set_at(set[1], i);
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->dtype, b->dtype);
        assert_int_equal(dt_stored_bytes(a), dt_stored_bytes(b));
        assert_memory_equal(a->box->data, b->box->data, dt_stored_bytes(a));
    }
    assert_true(json_number_value(json_object_get(file[1].scalars, "decoder/scale_outputs")) == 1);
    json_object_del(file[1].scalars, "decoder/scale_outputs");
    assert_true(json_equal(file[0].scalars, file[1].scalars));
    for (int i = 0; i < 2; i++) {
        json_decref(file[i].scalars);
        dt_stored_set_destroy(set[i]);
    }
}

/* A copy of the Marian fixture whose padding row is all zeros, as published ones have it. */
static void make_padded_marian(const char *from, const char *to)
{
    static const char *const tensors[] = {"model.shared.weight", "final_logits_bias"};
    char file[4200];
    dt_stored_set *set = NULL;
    dt_error err = {0};
    export_to(from, to, "hf", false);
    snprintf(file, sizeof file, "%s/model.safetensors", to);
    assert_ok(dt_stored_set_create(&set, &err), err);
    assert_ok(dt_safetensors_read(set, file, &err), err);
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        const dt_stored_tensor *t = dt_stored_set_find(set, tensors[i]);
        assert_non_null(t);
        int64_t vocab = i ? t->shape.dim[1] : t->shape.dim[0], width = i ? 1 : t->shape.dim[1];
        size_t element = dt_stored_bytes(t) / (size_t)(vocab * width);
        FILE *out = fopen(file, "r+b");
        assert_non_null(out);
        fseek(out, (long)(t->box->file_offset + (uint64_t)((vocab - 1) * width) * element), SEEK_SET);
        for (int64_t k = 0; k < width * (int64_t)element; k++)
            fputc(0, out);
        fclose(out);
    }
    dt_stored_set_destroy(set);
}

static void ct2_write__marians_padding_becomes_a_zero_embedding(void **state)
{
    char path[4096];
    const char *model = find(path, "hf/marian"), *padded = in_folder(*state, "marian"),
               *written = in_folder(*state, "ct2");
    dt_checkpoint *a = NULL, *b = NULL;
    dt_error err = {0};
    if (!model)
        skip();
    make_padded_marian(model, padded);
    export_to(padded, written, "ctranslate2", false);
    assert_ok(dt_checkpoint_open(&a, padded, NULL, &err), err);
    assert_ok(dt_checkpoint_open(&b, written, NULL, &err), err);
    assert_int_equal(dt_checkpoint_config(b)->vocab_size, dt_checkpoint_config(a)->vocab_size - 1);
    assert_int_equal(dt_checkpoint_config(b)->decoder_start_token_id, dt_checkpoint_config(b)->vocab_size);
    dt_checkpoint_close(b);
    dt_checkpoint_close(a);
    assert_same(written, padded, true);
}

static void ct2_write__what_it_cannot_compute_is_named(void **state)
{
    static const struct {
        const char *model, *key;
    } bad[] = {{"hf/qwen2-moe", "\"num_moe_experts\""},
               {"hf/t5-encoder", "\"x_encoder_only\""},
               {"hf/nemotron", "\"activation_func\""},
               {"hf/llama-yarn", "\"x_rope_scaling_type\""},
               {"hf/olmo2", "\"x_norm_placement\""}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char path[4096];
        dt_checkpoint *c = NULL;
        dt_error err = {0};
        const char *out = in_folder(*state, "no");
        if (!find(path, bad[i].model))
            continue;
        assert_ok(dt_checkpoint_open(&c, path, NULL, &err), err);
        assert_fails(dt_checkpoint_export(c, out, &(dt_export_options){.format = "ctranslate2"}, NULL, &err),
                     DT_UNSUPPORTED, err, bad[i].key);
        assert_int_not_equal(access(out, F_OK), 0);
        dt_checkpoint_close(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ct2_write__a_model_comes_back_as_it_went, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(ct2_write__int8_is_what_the_makers_converter_writes, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(ct2_write__marians_padding_becomes_a_zero_embedding, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(ct2_write__what_it_cannot_compute_is_named, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
