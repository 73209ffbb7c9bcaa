/*
 * trtllm_test.c - every case of fixtures/trtllm, exported, is what Megatron's exporter makes, byte by byte; where that is
 * wrong, the table below says what we write instead, and nothing else may differ.
 */
#include "unit.h"

#include "base/output.h"
#include "base/text.h"
#include "formats/safetensors/safetensors.h"

#include <drivetrain/export.h>

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What differs, on purpose. */
static const struct {
    const char *cases, *part, *reason;
} differences[] = {
    {"llama-tied gemma", "layernorm.weight",
     "a zero-centred RMSNorm is stored plus 1; Megatron does so for LayerNorm alone"},
    {"llama-tied gemma", "ln_f.weight", "the same"},
    {"mixtral", "router.weight", "TensorRT-LLM's router is f32"},
    {"gpt-vocab", "lm_head.weight", "all ranks' heads have equal rows, zeros at the end"},
    {"gpt-vocab", "vocab_embedding.weight", "the embedding has the rows that \"vocab_size\" says"},
    {"llama-qkvbias", "dense.bias", "zeros: the class's one bias covers both, or asks for neither"},
    {"llama-qkvbias", "attn_bias", "without it the biases of q, k and v are not loaded"},
    {"gemma", "use_parallel_embedding", "true where the weights are cut"},
};

static bool on_purpose(const char *name, const char *key)
{
    for (size_t i = 0; i < sizeof differences / sizeof differences[0]; i++)
        if (dt_target_takes(differences[i].cases, name) && dt_ends_with(key, differences[i].part))
            return true;
    return false;
}

static int compared;

static void compare_rank(const char *name, const char *want, const char *have)
{
    dt_stored_set *a = NULL, *b = NULL;
    dt_error err = {0};
    assert_ok(dt_stored_set_create(&a, &err), err);
    assert_ok(dt_stored_set_create(&b, &err), err);
    assert_ok(dt_safetensors_read(a, want, &err), err);
    assert_ok(dt_safetensors_read(b, have, &err), err);
    for (size_t i = 0; i < dt_stored_set_count(a); i++) {
        const dt_stored_tensor *x = dt_stored_set_at(a, i), *y = dt_stored_set_find(b, x->name);
        assert_non_null(y);
        if (on_purpose(name, x->name))
            continue;
        assert_int_equal(x->dtype, y->dtype);
        assert_true(dt_shape_equal(&x->shape, &y->shape));
        assert_memory_equal(x->box[0].data, y->box[0].data, dt_stored_bytes(x));
        compared++;
    }
    for (size_t i = 0; i < dt_stored_set_count(b); i++) {
        const char *key = dt_stored_set_at(b, i)->name;
        assert_true(dt_stored_set_find(a, key) || on_purpose(name, key));
    }
    dt_stored_set_destroy(a);
    dt_stored_set_destroy(b);
}

static void compare_config(const char *name, const char *want, const char *have)
{
    const char *key;
    json_t *a = json_load_file(want, 0, NULL), *b = json_load_file(have, 0, NULL), *value;
    assert_true(a && b && json_object_size(a) == json_object_size(b));
    json_object_foreach(a, key, value)
    {
        json_t *mine = json_object_get(b, key);
        bool equal = json_is_number(value) && json_is_number(mine)
                         ? json_number_value(value) == json_number_value(mine)
                         : json_equal(value, mine);
        if (!equal && !on_purpose(name, key))
            fail_msg("%s: \"%s\" differs", have, key);
    }
    json_decref(a);
    json_decref(b);
}

/* A case's folder; of a stacked variant one whose state is the stacked one. */
static void find_source(char *source, size_t bytes, const char *root, const char *name, const char *variant,
                        const char *output)
{
    char from[2048], to[2048];
    snprintf(source, bytes, "%s/%s", root, name);
    if (!strstr(variant, "stacked"))
        return;
    snprintf(source, bytes, "%s.stacked", output);
    assert_int_equal(mkdir(source, 0700), 0);
    snprintf(from, sizeof from, "%s/%s/state-stacked.safetensors", root, name);
    snprintf(to, sizeof to, "%s/state.safetensors", source);
    assert_int_equal(symlink(from, to), 0);
    snprintf(from, sizeof from, "%s/%s/config.json", root, name);
    snprintf(to, sizeof to, "%s/config.json", source);
    assert_int_equal(symlink(from, to), 0);
}

/* `kind` is "expected", or "on_device": there Megatron cuts the embedding whether asked or not. */
static void compare_variant(const char *root, const char *name, const char *kind, const char *variant,
                            const char *output)
{
    char source[1024], want[4096], have[4096];
    dt_export_request r = {.target = "trtllm", .type = "bf16", .unproved = true, .write = {.replace = true}};
    dt_checkpoint *c = NULL;
    dt_exported done;
    dt_error err = {0};
    assert_int_equal(sscanf(variant, "tp%d_pp%d", &r.write.tensor_parallel, &r.write.pipeline_parallel), 2);
    r.type = strstr(variant, "-fp8")   ? "fp8"
             : strstr(variant, "-f16") ? "f16"
             : strstr(variant, "-f32") ? "f32"
                                       : "bf16";
    r.write.parallel_embedding = strstr(variant, "-pe") || strcmp(kind, "on_device") == 0;
    r.write.fp8_kv_cache = strstr(variant, "-kv8") != NULL;
    find_source(source, sizeof source, root, name, variant, output);
    assert_ok(dt_checkpoint_open(&c, source, NULL, &err), err);
    assert_ok(dt_export(&done, c, output, &r, &err), err);
    dt_exported_release(&done);
    dt_checkpoint_close(c);
    if (strstr(source, ".stacked"))
        assert_ok(dt_remove_tree(source, &err), err);
    for (int i = 0; i < r.write.tensor_parallel * r.write.pipeline_parallel; i++) {
        snprintf(want, sizeof want, "%s/%s/%s/%s/rank%d.safetensors", root, name, kind, variant, i);
        snprintf(have, sizeof have, "%s/rank%d.safetensors", output, i);
        compare_rank(name, want, have);
    }
    snprintf(want, sizeof want, "%s/%s/%s/%s/config.json", root, name, kind, variant);
    snprintf(have, sizeof have, "%s/config.json", output);
    compare_config(name, want, have);
}

static int compare_variants(const char *root, const char *name, const char *kind, const char *output)
{
    char path[2048];
    int count = 0;
    snprintf(path, sizeof path, "%s/%s/%s", root, name, kind);
    DIR *variants = name[0] != '.' ? opendir(path) : NULL;
    for (struct dirent *v; variants && (v = readdir(variants));)
        if (v->d_name[0] != '.') {
            compare_variant(root, name, kind, v->d_name, output);
            count++;
        }
    if (variants)
        closedir(variants);
    return count;
}

static int compare_cases(void **state, const char *kind)
{
    char root[1024], output[1024];
    const char *fixtures = getenv("DT_FIXTURES");
    int count = 0;
    snprintf(root, sizeof root, "%s/trtllm", fixtures ? fixtures : "");
    snprintf(output, sizeof output, "%s/%s", (char *)*state, kind);
    DIR *cases = fixtures ? opendir(root) : NULL;
    if (!cases)
        skip();
    for (struct dirent *one; (one = readdir(cases));)
        count += compare_variants(root, one->d_name, kind, output);
    closedir(cases);
    return count;
}

static void trtllm__every_case_is_megatrons_but_where_that_is_wrong(void **state)
{
    compared = 0;
    assert_true(compare_cases(state, "expected") > 50);
    assert_true(compared > 1000);
}

/* What Megatron's ranks make together, each of its own part, we make of the whole. */
static void trtllm__ranks_that_convert_together_make_the_same(void **state)
{
    compared = 0;
    assert_true(compare_cases(state, "on_device") >= 8);
    assert_true(compared > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(trtllm__every_case_is_megatrons_but_where_that_is_wrong, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(trtllm__ranks_that_convert_together_make_the_same, make_folder,
                                        remove_folder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
