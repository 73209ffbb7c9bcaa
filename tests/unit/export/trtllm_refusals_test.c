/*
 * trtllm_refusals_test.c - what Megatron's exporter refuses (fixtures/trtllm/refusals.json): refused before anything is
 * written, with the constraint in the story, or done right. The table says which; a case that it does not know fails.
 */
#include "unit.h"

#include "base/json.h"
#include "formats/safetensors/safetensors.h"
#include "models/build.h"

#include <drivetrain/export.h>

#include <sys/stat.h>

enum { PATH = 1024, ENTRIES = 128 };

/* A case: a fixture, what is changed in it, what is asked. */
typedef struct trial {
    const char *name, *fixture;
    const char *config;    /* keys put into its configuration */
    const char *from, *to; /* the tensor `from` is called `to`, or is left out */
    const char *added;     /* a tensor [8, 4] of zeros */
    bool alone;            /* every head of the first layer has keys of its own */
    bool blank;            /* weights of zeros, as the configuration wants them */
    int tensor, pipeline;
    const char *words; /* of the refusal; NULL: it is written */
    const char *why;   /* we do otherwise than Megatron */
} trial;

static const trial trials[] = {
    {.name = "a q_layernorm weight in the state",
     .fixture = "llama",
     .added = "decoder.layers.0.self_attention.q_layernorm.weight",
     .words = "q_layernorm"},
    {.name = "experts named local_experts.N",
     .fixture = "mixtral",
     .added = "decoder.layers.0.mlp.experts.local_experts.0.linear_fc1.weight",
     .words = "local_experts"},
    {.name = "3 query groups, tp 2",
     .fixture = "llama",
     .blank = true,
     .tensor = 2,
     .config = "{\"num_attention_heads\":6,\"num_query_groups\":3}",
     .words = "3 query groups"},
    {.name = "2 query groups, tp 3",
     .fixture = "llama",
     .blank = true,
     .tensor = 3,
     .config = "{\"num_attention_heads\":6,\"num_query_groups\":2}",
     .words = "2 query groups"},
    {.name = "more pipeline stages than layers",
     .fixture = "llama",
     .pipeline = 8,
     .words = "8 pipeline stages are more than 3 layers; the nearest that can: --pp 3"},
    {.name = "vocab_size given to the single-device converter",
     .fixture = "llama",
     .why = "an argument that does not exist here: the vocabulary is the model's"},
    {.name = "layer keys without numbers, split flag left on",
     .fixture = "gpt",
     .why = "stacked layers are seen from the tensors, without a flag (trtllm_test.c compares them)"},
    {.name = "position_embedding_type none",
     .fixture = "llama",
     .config = "{\"position_embedding_type\":\"none\"}",
     .words = "position_embedding_type"},
    {.name = "moe_router_topk 0 on a dense model", .fixture = "llama", .config = "{\"moe_router_topk\":0}"},
    {.name = "nemotron_nas with another kv head count in one layer",
     .fixture = "nemotron_nas",
     .blank = true,
     .alone = true,
     .why = "\"layer_configs\" holds each layer's own"},
    {.name = "nemotron_nas, norm fused into a replaced-by-linear MLP (as Transformer Engine names it)",
     .fixture = "nemotron_nas",
     .from = "decoder.layers.1.pre_mlp_layernorm.weight",
     .to = "decoder.layers.1.mlp.layer_norm_weight",
     .why = "its name is known"},
    {.name = "no output_layer in the state although share flag is off",
     .fixture = "llama",
     .from = "output_layer.weight",
     .words = "output_layer.weight",
     .why = "Megatron writes a checkpoint without a head; a file that lacks one is no tied model"},
    {.name = "no word embedding",
     .fixture = "llama",
     .from = "embedding.word_embeddings.weight",
     .words = "embedding.word_embeddings.weight"},
    {.name = "vocabulary 64, tp 12 (torch.chunk gives 11 pieces)",
     .fixture = "gpt",
     .blank = true,
     .tensor = 12,
     .config = "{\"num_attention_heads\":12,\"num_query_groups\":12,\"kv_channels\":4,\"hidden_size\":48}",
     .why = "rows are filled up to 72 with zeros, and \"vocab_size\" says so"},
    {.name = "heads 4, tp 3 (uneven chunks)", .fixture = "gpt", .tensor = 3, .words = "--tp 2"},
};

static const char *fixtures(void)
{
    const char *path = getenv("DT_FIXTURES");
    return path ? path : "";
}

/* ---- sources ---- */

static void write_tensors(const char *path, const dt_safetensors_entry *entry, const void *const *data,
                          int count)
{
    dt_safetensors_writer *w = NULL;
    dt_error err = {0};
    assert_ok(dt_safetensors_create(&w, path, true, entry, (size_t)count, NULL, 0, &err), err);
    for (int place = 0; place < count; place++) {
        size_t i = dt_safetensors_order(w, (size_t)place), bytes = sizeof(float);
        for (int axis = 0; axis < entry[i].shape.rank; axis++)
            bytes *= (size_t)entry[i].shape.dim[axis];
        void *zeros = data[i] ? NULL : calloc(1, bytes);
        assert_true(data[i] || zeros);
        assert_ok(dt_safetensors_write(w, i, data[i] ? data[i] : zeros, bytes, &err), err);
        free(zeros);
    }
    assert_ok(dt_safetensors_commit(w, &err), err);
}

/* The fixture's configuration with the trial's sizes. */
static dt_model_config blank_config(const trial *t)
{
    char path[PATH];
    dt_checkpoint *c = NULL;
    dt_error err = {0};
    snprintf(path, sizeof path, "%s/trtllm/%s", fixtures(), t->fixture);
    assert_ok(dt_checkpoint_open(&c, path, NULL, &err), err);
    dt_model_config config = *dt_checkpoint_config(c);
    dt_checkpoint_close(c);
    json_t *keys = json_loads(t->config ? t->config : "{}", 0, NULL);
    assert_ok(dt_json_int(keys, "num_attention_heads", &config.num_attention_heads, &err), err);
    assert_ok(dt_json_int(keys, "num_query_groups", &config.num_query_groups, &err), err);
    assert_ok(dt_json_int(keys, "kv_channels", &config.kv_channels, &err), err);
    assert_ok(dt_json_int(keys, "hidden_size", &config.hidden_size, &err), err);
    json_decref(keys);
    if (t->alone)
        config.shape[0].num_query_groups = (int32_t)config.num_attention_heads;
    return config;
}

static void write_blank(const char *path, const trial *t)
{
    dt_safetensors_entry entry[ENTRIES];
    const void *data[ENTRIES] = {NULL};
    dt_model_config config = blank_config(t);
    const dt_param_spec *spec;
    dt_arena *arena = dt_arena_create();
    dt_error err = {0};
    int count;
    assert_ok(dt_model_parameters(&config, arena, &spec, &count, &err), err);
    assert_true(count <= ENTRIES);
    for (int i = 0; i < count; i++)
        entry[i] = (dt_safetensors_entry){
            spec[i].name, DT_F32, {.rank = spec[i].rank, .dim = {spec[i].dim[0], spec[i].dim[1]}}};
    write_tensors(path, entry, data, count);
    dt_arena_destroy(arena);
}

static void write_changed(const char *path, const trial *t)
{
    dt_safetensors_entry entry[ENTRIES];
    const void *data[ENTRIES];
    char from[PATH];
    dt_stored_set *set = NULL;
    dt_error err = {0};
    int count = 0;
    snprintf(from, sizeof from, "%s/trtllm/%s/state.safetensors", fixtures(), t->fixture);
    assert_ok(dt_stored_set_create(&set, &err), err);
    assert_ok(dt_safetensors_read(set, from, &err), err);
    for (size_t i = 0; i < dt_stored_set_count(set); i++) {
        const dt_stored_tensor *s = dt_stored_set_at(set, i);
        bool changed = t->from && strcmp(s->name, t->from) == 0;
        if (changed && !t->to)
            continue;
        data[count] = s->box[0].data;
        entry[count++] = (dt_safetensors_entry){changed ? t->to : s->name, s->dtype, s->shape};
    }
    if (t->added) {
        data[count] = NULL;
        entry[count++] = (dt_safetensors_entry){t->added, DT_F32, {.rank = 2, .dim = {8, 4}}};
    }
    write_tensors(path, entry, data, count);
    dt_stored_set_destroy(set);
}

static void leave_alone(json_t *json)
{
    static const char key[] = "heterogeneous_layers_config_encoded_json";
    char *text = strdup(json_string_value(json_object_get(json, key)));
    char *group = strstr(text, "\"n_heads_in_group\": 2");
    assert_non_null(group);
    group[strlen("\"n_heads_in_group\": ")] = '1';
    json_object_set_new(json, key, json_string(text));
    free(text);
}

static void make_source(const char *folder, const trial *t)
{
    char path[PATH];
    dt_error err = {0};
    snprintf(path, sizeof path, "%s/trtllm/%s/config.json", fixtures(), t->fixture);
    json_t *json = json_load_file(path, 0, NULL);
    assert_non_null(json);
    if (t->config) {
        json_t *keys = json_loads(t->config, 0, NULL);
        assert_non_null(keys);
        json_object_update(json, keys);
        json_decref(keys);
    }
    if (t->alone)
        leave_alone(json);
    mkdir(folder, 0700);
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_ok(dt_json_save(json, path, &err), err);
    snprintf(path, sizeof path, "%s/state.safetensors", folder);
    if (t->blank)
        write_blank(path, t);
    else
        write_changed(path, t);
    json_decref(json);
}

/* ---- exports ---- */

static dt_status export_trial(const trial *t, const char *source, const char *output, dt_error *err)
{
    dt_export_request r = {.target = "trtllm", .type = "bf16", .write = {.replace = true}};
    dt_checkpoint *c = NULL;
    dt_exported done;
    r.write.tensor_parallel = t->tensor;
    r.write.pipeline_parallel = t->pipeline;
    dt_status status = dt_checkpoint_open(&c, source, NULL, err);
    if (status == DT_OK)
        status = dt_export(&done, c, output, &r, err);
    if (status == DT_OK) {
        assert_true(done.proof->pass);
        dt_exported_release(&done);
    }
    dt_checkpoint_close(c);
    return status;
}

static void try_one(const trial *t, const char *folder, bool refused)
{
    char source[PATH], output[PATH], story[DT_ERROR_TEXT_BYTES];
    struct stat found;
    dt_error err = {0};
    snprintf(source, sizeof source, "%s/source", folder);
    snprintf(output, sizeof output, "%s/output", folder);
    make_source(source, t);
    dt_status status = export_trial(t, source, output, &err);
    dt_error_format(&err, story, sizeof story);
    if ((status != DT_OK) != (t->words != NULL) || (t->words && !strstr(story, t->words)))
        fail_msg("%s: %s: %s", t->name, dt_status_text(status), story);
    assert_true((stat(output, &found) == 0) == (status == DT_OK));
    if ((t->words != NULL) != refused && !t->why)
        fail_msg("%s: Megatron does otherwise, and no reason is given", t->name);
    assert_ok(dt_remove_tree(source, &err), err);
    if (status == DT_OK)
        assert_ok(dt_remove_tree(output, &err), err);
}

static const trial *find_trial(const char *name)
{
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++)
        if (strcmp(trials[i].name, name) == 0)
            return &trials[i];
    return NULL;
}

static void trtllm_refusals__what_cannot_be_is_refused_before_anything_is_written(void **state)
{
    char path[PATH];
    size_t i;
    json_t *one;
    snprintf(path, sizeof path, "%s/trtllm/refusals.json", fixtures());
    json_t *list = json_load_file(path, 0, NULL);
    if (!list)
        skip();
    json_array_foreach(list, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "case"));
        const trial *t = find_trial(name);
        if (!t)
            fail_msg("no trial of \"%s\"", name);
        try_one(t, *state, json_is_string(json_object_get(one, "raises")));
    }
    json_decref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(
        trtllm_refusals__what_cannot_be_is_refused_before_anything_is_written, make_folder, remove_folder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
