/*
 * loading_test.c - what loading a model costs: weights used where they lie, a tied table once in memory and once on disk.
 */
#include "models.h"

#include "inference/model.h"

/* Bytes of all tensors; *tables of them are the vocabulary's: the embedding, and a head that is not tied to it. */
static uint64_t stored_bytes(const dt_checkpoint *c, int *tables)
{
    dt_checkpoint_tensor t;
    uint64_t all = 0;
    *tables = 0;
    for (int i = 0; dt_checkpoint_tensor_at(c, i, &t); i++) {
        all += t.bytes;
        *tables += t.canonical && (strcmp(t.canonical, "embedding.word_embeddings.weight") == 0 ||
                                   strcmp(t.canonical, "output_layer.weight") == 0);
    }
    return all;
}

static void answer_a_token(dt_model *model)
{
    dt_error err = {0};
    dt_generation *g;
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    o.max_tokens = 2;
    assert_ok(dt_generate(&g, model, 1, &(dt_prompt){.tokens = (int32_t[]){3, 4, 5}, .count = 3}, &o, &err),
              err);
    dt_generation_destroy(g);
}

/* The reference backend reads rows: of what lies in the file as such rows, nothing is copied. */
static void loading__copies_no_weight_that_is_read_as_it_is_stored(void **state)
{
    int tables;
    need(fixture("hf/gpt2"));
    need(fixture("hf/gpt2/model.safetensors"));
    dt_model *model = open_model(fixture("hf/gpt2"), "reference", "f32", 1);
    answer_a_token(model);
    uint64_t all = stored_bytes(dt_model_checkpoint(model), &tables);
    size_t copied = dt_model_weight_bytes(model);
    assert_true(copied <
                all); /* GPT-2 stores its products transposed: these are made anew, and nothing else */
    assert_int_equal(tables, 1);
    dt_model_close(model);
}

/* A tied table is packed at most once, for the head; the embedding reads the file's own rows. */
static void loading__keeps_a_tied_table_once(void **state)
{
    int tables;
    need(fixture("hf/gpt2/model.safetensors"));
    dt_model *model = open_model(fixture("hf/gpt2"), "cpu", "f32", 1);
    uint64_t all = stored_bytes(dt_model_checkpoint(model), &tables);
    answer_a_token(model);
    size_t first = dt_model_weight_bytes(model);
    answer_a_token(model);
    assert_int_equal(dt_model_weight_bytes(model), first); /* nothing is packed twice */
    /* panels round rows up to whole tiles: 64 rows of each product at most */
    const dt_model_config *c = dt_model_get_config(model);
    size_t slack = (size_t)(4 * c->num_layers + 1) * 64 * 4 * (size_t)c->ffn_hidden_size;
    if (first > all + slack)
        fail_msg("%zu bytes packed of a file of %llu", first, (unsigned long long)all);
    dt_model_close(model);
}

static void loading__writes_a_tied_table_once(void **state)
{
    static const char *const formats[] = {"hf", "megatron-state"};
    need(fixture("hf/gpt2/model.safetensors"));
    dt_error err = {0};
    dt_checkpoint *from, *back;
    assert_ok(dt_checkpoint_open(&from, fixture("hf/gpt2"), NULL, &err), err);
    int before, after;
    stored_bytes(from, &before);
    for (size_t i = 0; i < 2; i++) {
        const char *path = in_folder(*state, formats[i]);
        dt_export_options o = {.format = formats[i]};
        assert_ok(dt_checkpoint_export(from, path, &o, NULL, &err), err);
        assert_ok(dt_checkpoint_open(&back, path, NULL, &err), err);
        stored_bytes(back, &after);
        dt_checkpoint_close(back);
        assert_int_equal(before, 1);
        assert_int_equal(after, 1);
    }
    dt_checkpoint_close(from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading__copies_no_weight_that_is_read_as_it_is_stored),
        cmocka_unit_test(loading__keeps_a_tied_table_once),
        cmocka_unit_test_setup_teardown(loading__writes_a_tied_table_once, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
