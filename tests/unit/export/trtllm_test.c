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

static void compare_variant(const char *root, const char *name, const char *variant, const char *output)
{
    char source[2048], want[4096], have[4096];
    dt_export_request r = {.target = "trtllm", .type = "bf16", .unproved = true, .write = {.replace = true}};
    dt_checkpoint *c = NULL;
    dt_exported done;
    dt_error err = {0};
    if (strstr(variant, "stacked"))
        return; /* its state has another name; stacked layers are megatron-state's */
    assert_int_equal(sscanf(variant, "tp%d_pp%d", &r.write.tensor_parallel, &r.write.pipeline_parallel), 2);
    r.type = strstr(variant, "-fp8")   ? "fp8"
             : strstr(variant, "-f16") ? "f16"
             : strstr(variant, "-f32") ? "f32"
                                       : "bf16";
    r.write.parallel_embedding = strstr(variant, "-pe") != NULL;
    r.write.fp8_kv_cache = strstr(variant, "-kv8") != NULL;
    snprintf(source, sizeof source, "%s/%s", root, name);
    assert_ok(dt_checkpoint_open(&c, source, NULL, &err), err);
    assert_ok(dt_export(&done, c, output, &r, &err), err);
    dt_exported_release(&done);
    dt_checkpoint_close(c);
    for (int i = 0; i < r.write.tensor_parallel * r.write.pipeline_parallel; i++) {
        snprintf(want, sizeof want, "%s/expected/%s/rank%d.safetensors", source, variant, i);
        snprintf(have, sizeof have, "%s/rank%d.safetensors", output, i);
        compare_rank(name, want, have);
    }
    snprintf(want, sizeof want, "%s/expected/%s/config.json", source, variant);
    snprintf(have, sizeof have, "%s/config.json", output);
    compare_config(name, want, have);
}

static void trtllm__every_case_is_megatrons_but_where_that_is_wrong(void **state)
{
    (void)state;
    char root[1024], output[64], path[2048];
    const char *fixtures = getenv("DT_FIXTURES");
    snprintf(root, sizeof root, "%s/trtllm", fixtures ? fixtures : "");
    DIR *cases = fixtures ? opendir(root) : NULL;
    if (!cases)
        skip();
    snprintf(output, sizeof output, "/tmp/trtllm_test.XXXXXX");
    assert_non_null(mkdtemp(output));
    for (struct dirent *one; (one = readdir(cases));) {
        snprintf(path, sizeof path, "%s/%s/expected", root, one->d_name);
        DIR *variants = one->d_name[0] != '.' ? opendir(path) : NULL;
        for (struct dirent *v; variants && (v = readdir(variants));)
            if (v->d_name[0] != '.')
                compare_variant(root, one->d_name, v->d_name, output);
        if (variants)
            closedir(variants);
    }
    closedir(cases);
    dt_error err = {0};
    assert_ok(dt_remove_tree(output, &err), err);
    assert_true(compared > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trtllm__every_case_is_megatrons_but_where_that_is_wrong)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
