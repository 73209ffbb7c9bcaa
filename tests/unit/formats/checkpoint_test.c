/*
 * checkpoint_test.c - the makers' checkpoints open, give the same weights whatever their layout, and survive the way
 * through our formats bit by bit.
 */
#include "unit.h"

#include "formats/folders.h"
#include "formats/open.h"

#include <drivetrain/version.h>

#include <dirent.h>

static const char *const hf_models[] = {
    "hf/t5-v1.0",    "hf/t5-v1.1",      "hf/t5-v1.1-old-config",
    "hf/t5-encoder", "hf/t5-medium",    "hf/t5-overflow",
    "hf/mt5",        "hf/umt5",         "hf/byt5",
    "hf/gpt2",       "hf/gpt2-hub",     "hf/llama",
    "hf/llama-gqa",  "hf/llama-linear", "hf/llama-medium",
    "hf/mixtral",    "hf/bert",         "hf/bert-hub",
    "hf/roberta",    "hf/bert-encoder", "trained/t5-g2p",
};
static const char *const state_models[] = {
    "megatron/t5_learned",      "megatron/t5_relative", "megatron/t5_rope",
    "megatron/t5_untied",       "megatron/gpt_learned", "megatron/gpt_llama",
    "megatron/gpt_rope_scaled", "megatron/gpt_moe",     "megatron/bert",
};

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

/* The same tensors, types and bits; `to` F32 compares values that were stored in other types. */
static void assert_same_tensor(const dt_checkpoint *a, const dt_checkpoint *b, const char *name, bool rounded)
{
    int64_t dim[5], other[5];
    int rank, other_rank;
    dt_dtype type, other_type;
    dt_error err = {0};
    assert_ok(dt_checkpoint_shape(a, name, &rank, dim, &type, &err), err);
    assert_ok(dt_checkpoint_shape(b, name, &other_rank, other, &other_type, &err), err);
    assert_int_equal(rank, other_rank);
    int64_t rows = dim[0] < other[0] ? dim[0] : other[0],
            cols = rank == 2 ? dim[1] : 1; /* padding may differ */
    if (!rounded)
        assert_int_equal(type, other_type);
    size_t bytes = (size_t)(rows * cols * dt_dtype_block_bytes(type));
    char *x = malloc(bytes), *y = malloc(bytes);
    assert_ok(dt_checkpoint_read(a, name, 0, rows, type, x, &err), err);
    assert_ok(dt_checkpoint_read(b, name, 0, rows, type, y, &err), err);
    if (memcmp(x, y, bytes) != 0)
        fail_msg("%s differs between %s and %s", name, dt_checkpoint_describe(a).path,
                 dt_checkpoint_describe(b).path);
    free(x);
    free(y);
}

/* Every canonical tensor of `a`, in a's type. */
static void assert_same_weights(const dt_checkpoint *a, const dt_checkpoint *b, bool rounded)
{
    assert_int_equal(dt_mapping_count(a->mapping), dt_mapping_count(b->mapping));
    for (int i = 0; i < dt_mapping_count(a->mapping); i++)
        assert_same_tensor(a, b, dt_mapping_at(a->mapping, i)->spec->name, rounded);
}

/* Each layout folder of a model against the model's plain state. Returns how many there were. */
static int compare_layouts(const char *model, bool masters)
{
    char folder[4096];
    int count = 0;
    if (!model_folder(folder, model))
        return 0;
    dt_checkpoint *truth = open_model(folder, NULL);
    DIR *list = opendir(folder);
    for (struct dirent *e; (e = readdir(list));) {
        dt_open_options options = {.master_weights = masters};
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] == '.' || !dt_is_folder(path) ||
            (masters && !strstr(e->d_name, "dist_tp1_pp2_bf16")))
            continue;
        dt_checkpoint *c = open_model(path, &options);
        assert_same_weights(c, truth, !masters);
        dt_checkpoint_close(c);
        count++;
    }
    closedir(list);
    dt_checkpoint_close(truth);
    return count;
}

static void checkpoint__every_layout_of_megatron_gives_the_same_weights(void **state)
{
    int count = compare_layouts("megatron/checkpoints/gpt_llama", false) +
                compare_layouts("megatron/checkpoints/t5", false) +
                compare_layouts("megatron/checkpoints/gpt_moe", false);
    if (!count)
        skip();
    assert_true(count >= 8);
}

static void checkpoint__masters_are_the_unrounded_weights(void **state)
{
    if (!compare_layouts("megatron/checkpoints/gpt_llama", true))
        skip();
}

static void checkpoint__layouts_are_described(void **state)
{
    const char *path = require_model("megatron/checkpoints/gpt_llama/te_legacy_pp2_vpp2");
    dt_checkpoint *c = open_model(path, NULL);
    dt_checkpoint_about about = dt_checkpoint_describe(c);
    assert_string_equal(about.format, "megatron");
    assert_int_equal(about.tensor_parallel, 1);
    assert_int_equal(about.pipeline_parallel, 2);
    assert_int_equal(about.virtual_pipeline, 2);
    assert_int_equal(about.iteration, 10);
    assert_int_equal(dt_checkpoint_config(c)->vocab_size, 60);
    assert_int_equal(dt_checkpoint_config(c)->padded_vocab_size, 64);
    assert_int_equal(dt_checkpoint_config(c)->num_query_groups, 2);
    dt_checkpoint_close(c);
}

/* Each stored tensor is one we use, or says by which rule it is not. */
static void checkpoint__every_tensor_has_a_place_or_a_rule(void **state)
{
    int opened = 0;
    for (int i = 0; i < COUNT(hf_models) + COUNT(state_models); i++) {
        char path[4096];
        const char *name = i < COUNT(hf_models) ? hf_models[i] : state_models[i - COUNT(hf_models)];
        if (!model_folder(path, name))
            continue;
        dt_checkpoint *c = open_model(path, NULL);
        dt_checkpoint_tensor t;
        int skipped = 0, count = 0;
        for (; dt_checkpoint_tensor_at(c, count, &t); count++) {
            assert_true((t.canonical == NULL) != (t.rule == NULL));
            assert_non_null(t.file);
            skipped += t.rule != NULL;
        }
        assert_int_equal(count, dt_checkpoint_describe(c).tensor_count);
        assert_int_equal(skipped, dt_checkpoint_describe(c).skipped_count);
        dt_checkpoint_close(c);
        opened++;
    }
    if (!opened)
        skip();
}

static dt_status read_canonical(void *user, const char *name, int64_t row, int64_t rows, float *out,
                                dt_error *err)
{
    return dt_checkpoint_read(user, name, row, rows, DT_F32, out, err);
}

/* The maker's tensors made from ours are the maker's: the same road that gradients take. */
static void assert_externals_come_back(const char *path)
{
    dt_checkpoint *c = open_model(path, NULL);
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++) {
        const dt_stored_tensor *s = dt_stored_set_at(c->set, i);
        dt_error err = {0};
        int64_t elements = 1;
        if (c->fate[i].external < 0)
            continue;
        for (int a = 0; a < s->shape.rank; a++)
            elements *= s->shape.dim[a];
        float *want = malloc(sizeof *want * (size_t)elements),
              *made = malloc(sizeof *made * (size_t)elements);
        assert_ok(dt_stored_read(s, NULL, DT_F32, want, NULL, &err), err);
        assert_ok(dt_checkpoint_external(c, s->name, read_canonical, c, made, elements, &err), err);
        if (memcmp(want, made, sizeof *want * (size_t)elements) != 0)
            fail_msg("%s of %s came back otherwise", s->name, path);
        free(want);
        free(made);
    }
    dt_checkpoint_close(c);
}

static void checkpoint__makers_tensors_are_made_from_ours(void **state)
{
    static const char *const layouts[] = {"megatron/checkpoints/gpt_llama/legacy_tp2_pp2",
                                          "megatron/checkpoints/gpt_llama/te_dist_tp2_singleton",
                                          "megatron/checkpoints/t5/te_dist_tp2"};
    char path[4096];
    int tried = 0;
    for (int i = 0; i < COUNT(hf_models); i++)
        if (model_folder(path, hf_models[i]) && ++tried)
            assert_externals_come_back(path);
    for (int i = 0; i < COUNT(layouts); i++)
        if (model_folder(path, layouts[i]) && ++tried)
            assert_externals_come_back(path);
    if (!tried)
        skip();
}

static void export_to(const dt_checkpoint *c, const char *path, const char *format, bool local,
                      uint64_t shard)
{
    dt_export_options options = {.format = format, .local_names = local, .shard_bytes = shard};
    dt_error err = {0};
    assert_ok(dt_checkpoint_export(c, path, &options, NULL, &err), err);
}

/* Fields that a configuration keeps through a format; what only names the file is not compared. */
static void assert_same_config(const dt_model_config *a, const dt_model_config *b)
{
    assert_string_equal(a->model_type, b->model_type);
    assert_string_equal(a->family, b->family);
#define SAME(field, key)                                                                                     \
    if (a->field != b->field)                                                                                \
        fail_msg("%s changed", key);
#define INT(field, key, initial, extension)        SAME(field, key)
#define REAL(field, key, initial, extension)       SAME(field, key)
#define BOOL(field, key, initial, extension)       SAME(field, key)
#define ENUM(field, key, type, initial, extension) SAME(field, key)
#include <drivetrain/config.def>
    assert_int_equal(a->eos_count, b->eos_count);
    assert_memory_equal(a->eos_token_ids, b->eos_token_ids,
                        sizeof a->eos_token_ids[0] * (size_t)a->eos_count);
}

static void checkpoint__hugging_face_survives_megatron_state(void **state)
{
    int tried = 0;
    for (int i = 0; i < COUNT(hf_models); i++) {
        char path[4096], there[4096], back[4096];
        if (!model_folder(path, hf_models[i]))
            continue;
        snprintf(there, sizeof there, "%s/state-%d", (const char *)*state, i);
        snprintf(back, sizeof back, "%s/hf-%d", (const char *)*state, i);
        dt_checkpoint *original = open_model(path, NULL);
        export_to(original, there, "megatron-state", i & 1, 0);
        dt_checkpoint *middle = open_model(there, NULL);
        assert_same_weights(original, middle, false);
        assert_same_config(dt_checkpoint_config(original), dt_checkpoint_config(middle));
        export_to(middle, back, "hf", false, 50000); /* in shards */
        dt_checkpoint *final = open_model(back, NULL);
        assert_same_weights(original, final, false);
        assert_same_config(dt_checkpoint_config(original), dt_checkpoint_config(final));
        dt_checkpoint_close(original);
        dt_checkpoint_close(middle);
        dt_checkpoint_close(final);
        tried++;
    }
    if (!tried)
        skip();
}

static void checkpoint__megatron_state_survives_itself(void **state)
{
    int tried = 0;
    for (int i = 0; i < COUNT(state_models); i++) {
        char path[4096], there[4096];
        if (!model_folder(path, state_models[i]))
            continue;
        snprintf(there, sizeof there, "%s/state-%d", (const char *)*state, i);
        dt_checkpoint *a = open_model(path, NULL);
        export_to(a, there, "megatron-state", true, 0);
        dt_checkpoint *b = open_model(there, NULL);
        assert_same_weights(a, b, false);
        assert_same_config(dt_checkpoint_config(a), dt_checkpoint_config(b));
        assert_int_equal(dt_checkpoint_describe(a).tensor_count, dt_checkpoint_describe(b).tensor_count);
        dt_checkpoint_close(a);
        dt_checkpoint_close(b);
        tried++;
    }
    if (!tried)
        skip();
}

/* Padding rows fall away in Hugging Face's files; the real vocabulary stays. */
static void checkpoint__megatron_llama_becomes_hugging_face(void **state)
{
    const char *path = require_model("megatron/gpt_llama");
    dt_checkpoint *a = open_model(path, NULL);
    const char *out = in_folder(*state, "hf");
    export_to(a, out, "hf", false, 0);
    dt_checkpoint *b = open_model(out, NULL);
    assert_string_equal(dt_checkpoint_config(b)->family, "llama");
    assert_int_equal(dt_checkpoint_config(b)->padded_vocab_size, dt_checkpoint_config(a)->vocab_size);
    assert_same_weights(a, b, false);
    dt_checkpoint_close(a);
    dt_checkpoint_close(b);
}

/* Through both kinds of ranked checkpoint: the same configuration, tensors and types. */
static void checkpoint__ranked_layouts_survive(void **state)
{
    static const dt_export_options layouts[] = {
        {.format = "megatron"},
        {.format = "megatron", .tensor_parallel = 2, .local_names = true},
        {.format = "megatron-dist"},
        {.format = "megatron-dist", .tensor_parallel = 2, .vocab_divisible_by = 3},
    };
    for (int i = 0; i < COUNT(hf_models) + COUNT(state_models); i++) {
        char folder[4096], path[4096];
        dt_error err = {0};
        if (!model_folder(folder, i < COUNT(hf_models) ? hf_models[i] : state_models[i - COUNT(hf_models)]))
            continue;
        dt_checkpoint *c = open_model(folder, NULL);
        for (int k = 0; k < COUNT(layouts); k++) {
            dt_export_result result;
            if (c->config.num_attention_heads % 2 && layouts[k].tensor_parallel > 1)
                continue;
            snprintf(path, sizeof path, "%s/%d-%d", (const char *)*state, i, k);
            assert_ok(dt_checkpoint_export(c, path, &layouts[k], &result, &err), err);
            dt_checkpoint *back = open_model(path, NULL);
            assert_same_weights(c, back, false);
            assert_int_equal(back->config.vocab_size, c->config.vocab_size);
            assert_int_equal(back->config.padded_vocab_size % (layouts[k].tensor_parallel ? 2 : 1), 0);
            assert_int_equal(back->config.activation_func, c->config.activation_func);
            assert_int_equal(back->config.rope_scaling_type, c->config.rope_scaling_type);
            assert_true(back->config.rotary_base == c->config.rotary_base);
            assert_true(back->config.softmax_scale == c->config.softmax_scale);
            assert_string_equal(back->config.written_by, "drivetrain " DT_VERSION);
            dt_checkpoint_close(back);
        }
        dt_checkpoint_close(c);
    }
}

static void checkpoint__impossible_layouts_are_refused(void **state)
{
    static const struct {
        const char *model;
        dt_export_options options;
        dt_status status;
        const char *words;
    } cases[] = {
        {"megatron/gpt_llama",
         {.format = "megatron", .tensor_parallel = 5},
         DT_UNSUPPORTED,
         "cannot be shared by 5"},
        {"megatron/gpt_llama",
         {.format = "megatron", .pipeline_parallel = 7},
         DT_UNSUPPORTED,
         "dealt out evenly to 7"},
        {"megatron/gpt_llama",
         {.format = "megatron", .virtual_pipeline = 2},
         DT_INVALID,
         "more than one pipeline"},
        {"megatron/gpt_llama",
         {.format = "megatron-dist", .expert_parallel = 2},
         DT_UNSUPPORTED,
         "has no experts"},
        {"megatron/t5_rope",
         {.format = "megatron-dist", .pipeline_parallel = 2},
         DT_UNSUPPORTED,
         "no pipeline"},
        {"megatron/gpt_llama",
         {.format = "megatron", .tensor_parallel = 100},
         DT_INVALID,
         "expected 1 to 99"},
    };
    for (int i = 0; i < COUNT(cases); i++) {
        char folder[4096], path[4096];
        dt_export_result result;
        dt_error err = {0};
        if (!model_folder(folder, cases[i].model))
            continue;
        dt_checkpoint *c = open_model(folder, NULL);
        snprintf(path, sizeof path, "%s/refused", (const char *)*state);
        assert_fails(dt_checkpoint_export(c, path, &cases[i].options, &result, &err), cases[i].status, err,
                     cases[i].words);
        assert_false(dt_is_folder(path));
        dt_checkpoint_close(c);
    }
}

static void checkpoint__casting_rounds_once(void **state)
{
    const char *path = require_model("hf/llama-gqa");
    dt_checkpoint *a = open_model(path, NULL);
    const char *out = in_folder(*state, "bf16");
    dt_export_options options = {.format = "hf", .cast = true, .dtype = DT_BF16};
    dt_error err = {0};
    assert_ok(dt_checkpoint_export(a, out, &options, NULL, &err), err);
    dt_checkpoint *b = open_model(out, NULL);
    dt_dtype type;
    assert_ok(dt_checkpoint_shape(b, "output_layer.weight", NULL, NULL, &type, &err), err);
    assert_int_equal(type, DT_BF16);
    assert_same_weights(b, a, true); /* compared in b's type */
    dt_checkpoint_close(a);
    dt_checkpoint_close(b);
}

/* What is mapped directly is what reading gives; what is joined of parts is not mapped. */
static void checkpoint__direct_is_the_mapped_tensor(void **state)
{
    const char *path = require_model("hf/llama-gqa");
    dt_checkpoint *c = open_model(path, NULL);
    int64_t elements;
    float *read = read_all(c, "output_layer.weight", &elements);
    const float *direct = dt_checkpoint_direct(c, "output_layer.weight", DT_F32);
    assert_non_null(direct);
    assert_memory_equal(read, direct, sizeof *read * (size_t)elements);
    assert_null(dt_checkpoint_direct(c, "output_layer.weight", DT_BF16));
    assert_null(dt_checkpoint_direct(c, "decoder.layers.0.self_attention.linear_qkv.weight", DT_F32));
    free(read);
    dt_checkpoint_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoint__every_layout_of_megatron_gives_the_same_weights),
        cmocka_unit_test(checkpoint__masters_are_the_unrounded_weights),
        cmocka_unit_test(checkpoint__layouts_are_described),
        cmocka_unit_test(checkpoint__every_tensor_has_a_place_or_a_rule),
        cmocka_unit_test(checkpoint__makers_tensors_are_made_from_ours),
        cmocka_unit_test_setup_teardown(checkpoint__hugging_face_survives_megatron_state, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(checkpoint__megatron_state_survives_itself, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(checkpoint__megatron_llama_becomes_hugging_face, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(checkpoint__ranked_layouts_survive, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(checkpoint__impossible_layouts_are_refused, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(checkpoint__casting_rounds_once, make_folder, remove_folder),
        cmocka_unit_test(checkpoint__direct_is_the_mapped_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
