/*
 * trtllm_oddities_test.c - what Megatron's exporter does wrong without a word (fixtures/trtllm/oddities.json), and what is
 * written instead. An oddity that this file does not know fails.
 */
#include "unit.h"

#include "base/json.h"
#include "base/text.h"
#include "formats/safetensors/safetensors.h"
#include "tensor/convert.h"

#include <drivetrain/export.h>

#include <math.h>
#include <string.h>

enum { PATH = 1024 };

static json_t *oddities(void)
{
    const char *root = getenv("DT_FIXTURES");
    char path[PATH];
    dt_error err = {0};
    json_t *json = NULL;
    snprintf(path, sizeof path, "%s/trtllm/oddities.json", root ? root : "");
    if (dt_json_load(&json, path, 1 << 20, &err) != DT_OK)
        skip();
    return json;
}

/* A case of the fixtures written for so many ranks; *config is its config.json. */
static void write_case(const char *name, int ranks, bool parallel_embedding, const char *output,
                       json_t **config)
{
    char source[PATH], path[PATH];
    dt_export_request r = {.target = "trtllm", .type = "bf16", .unproved = true, .write = {.replace = true}};
    dt_checkpoint *c = NULL;
    dt_exported done;
    dt_error err = {0};
    snprintf(source, sizeof source, "%s/trtllm/%s", getenv("DT_FIXTURES"), name);
    r.write.tensor_parallel = ranks;
    r.write.parallel_embedding = parallel_embedding;
    assert_ok(dt_checkpoint_open(&c, source, NULL, &err), err);
    assert_ok(dt_export(&done, c, output, &r, &err), err);
    dt_exported_release(&done);
    dt_checkpoint_close(c);
    snprintf(path, sizeof path, "%s/config.json", output);
    assert_ok(dt_json_load(config, path, 1 << 20, &err), err);
}

/* Rows of a rank's tensor; and no name ends in ".bin". */
static int64_t rows_of(const char *output, int rank, const char *name)
{
    char path[PATH];
    dt_stored_set *set = NULL;
    dt_error err = {0};
    snprintf(path, sizeof path, "%s/rank%d.safetensors", output, rank);
    assert_ok(dt_stored_set_create(&set, &err), err);
    assert_ok(dt_safetensors_read(set, path, &err), err);
    for (size_t i = 0; i < dt_stored_set_count(set); i++)
        assert_false(dt_ends_with(dt_stored_set_at(set, i)->name, ".bin"));
    const dt_stored_tensor *t = dt_stored_set_find(set, name);
    assert_non_null(t);
    int64_t rows = t->shape.dim[0];
    dt_stored_set_destroy(set);
    return rows;
}

static void oddities__each_is_known(void **state)
{
    (void)state;
    static const char *const known[] = {
        "tp12_rank0_extra_names",         /* names with ".bin": none is written (below, for 4 ranks) */
        "tp12_rank1_extra_names",         /* the same */
        "multi_query_mode_with_0_groups", /* one group is one group: falcon and starcoder, trtllm_test.c */
        "gemma_parallel_embedding",       /* below */
        "vocab61_tp4",                    /* below */
        "gpt_with_swiglu",                /* a gate has a class that loads it: trtllm_refusals_test.c */
        "torch_float_to_e4m3",            /* below */
    };
    json_t *json = oddities();
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value)
    {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            found = found || strcmp(known[i], key) == 0;
        if (!found)
            fail_msg("the oddity \"%s\" is not known here", key);
    }
    json_decref(json);
}

static void oddities__all_ranks_have_equal_rows_of_the_vocabulary(void **state)
{
    json_t *json = oddities(), *config = NULL;
    const char *output = in_folder(*state, "vocab");
    write_case("gpt-vocab", 4, false, output, &config);
    int64_t vocabulary = json_integer_value(json_object_get(config, "vocab_size"));
    assert_int_equal(vocabulary, 64);
    for (int rank = 0; rank < 4; rank++) {
        assert_int_equal(rows_of(output, rank, "lm_head.weight"), vocabulary / 4);
        assert_int_equal(rows_of(output, rank, "transformer.vocab_embedding.weight"), vocabulary);
    }
    json_decref(config);
    json_decref(json);
}

static void oddities__a_cut_embedding_is_told(void **state)
{
    json_t *json = oddities(), *config = NULL;
    const char *output = in_folder(*state, "gemma");
    write_case("gemma", 2, true, output, &config);
    assert_true(json_is_true(json_object_get(config, "use_parallel_embedding")));
    assert_int_equal(rows_of(output, 0, "transformer.vocab_embedding.weight"), 32);
    json_decref(config);
    json_decref(json);
}

/* torch turns what is beyond 464 into NaN; we keep the largest number there is, 448. */
static void oddities__e4m3_saturates(void **state)
{
    (void)state;
    json_t *json = oddities(), *table = json_object_get(json, "torch_float_to_e4m3");
    for (size_t i = 0; i < json_array_size(table); i++) {
        const json_t *x = json_array_get(json_array_get(table, i), 0);
        int bits = (int)json_integer_value(json_array_get(json_array_get(table, i), 1));
        bool is_nan = json_is_string(x) && strcmp(json_string_value(x), "nan") == 0;
        float value = is_nan ? NAN : json_is_string(x) ? INFINITY : (float)json_number_value(x);
        bool beyond = !is_nan && fabsf(value) > 464;
        assert_int_equal(dt_f32_to_f8e4m3(value), beyond ? bits - 1 : bits);
    }
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oddities__each_is_known),
        cmocka_unit_test_setup_teardown(oddities__all_ranks_have_equal_rows_of_the_vocabulary, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(oddities__a_cut_embedding_is_told, make_folder, remove_folder),
        cmocka_unit_test(oddities__e4m3_saturates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
