/*
 * bad_checkpoint_test.c - checkpoints that lie: each error names the tensor or key, what was expected and what was
 * found. Every case starts from a good model and changes one thing.
 */
#include "unit.h"

#include "base/json.h"
#include "formats/folders.h"
#include "formats/safetensors/safetensors.h"
#include "formats/torch/torch.h"
#include "models/build.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>

/* What to change while copying a model's tensors. */
typedef struct edit {
    const char *drop;      /* leave this tensor out */
    const char *copy, *as; /* write this tensor a second time under another name */
    const char *spoil;     /* element 5 of this tensor (and of `as`) becomes `value` */
    float value;
} edit;

enum { TENSOR_LIMIT = 256 };

static void copy_tensors(const char *from, const char *to, const edit *e)
{
    dt_stored_set *set = NULL;
    dt_safetensors_entry entry[TENSOR_LIMIT];
    const char *source[TENSOR_LIMIT], *notes[] = {"format", "pt"};
    dt_safetensors_writer *writer = NULL;
    size_t count = 0;
    dt_error err = {0};
    assert_ok(dt_stored_set_create(&set, &err), err);
    assert_ok(dt_safetensors_read(set, from, &err), err);
    for (size_t i = 0; i < dt_stored_set_count(set); i++) {
        const dt_stored_tensor *s = dt_stored_set_at(set, i);
        for (int twice = 0; twice < 2; twice++) {
            bool wanted =
                twice ? e->copy && strcmp(s->name, e->copy) == 0 : !e->drop || strcmp(s->name, e->drop) != 0;
            if (!wanted)
                continue;
            assert_true(count < TENSOR_LIMIT);
            source[count] = s->name;
            entry[count++] = (dt_safetensors_entry){twice ? e->as : s->name, s->dtype, s->shape};
        }
    }
    assert_ok(dt_safetensors_create(&writer, to, true, entry, count, notes, 1, &err), err);
    for (size_t i = 0; i < count; i++) {
        const dt_stored_tensor *s = dt_stored_set_find(set, source[i]);
        float *data = malloc(dt_stored_bytes(s) + sizeof *data);
        assert_ok(dt_stored_read(s, NULL, s->dtype, data, NULL, &err), err);
        if (e->spoil && strcmp(entry[i].name, e->spoil) == 0)
            data[5] = e->value;
        assert_ok(dt_safetensors_write(writer, i, data, dt_stored_bytes(s), &err), err);
        free(data);
    }
    assert_ok(dt_safetensors_commit(writer, &err), err);
    dt_stored_set_destroy(set);
}

/* A copy of hf/NAME in the test's folder, its tensors edited. */
static const char *copy_model(char out[4096], const char *folder, const char *name, const char *weights,
                              const edit *e)
{
    char from[4096], path[8192], to[8192];
    dt_error err = {0};
    if (!model_folder(from, name))
        skip();
    snprintf(out, 4096, "%s", folder);
    snprintf(path, sizeof path, "%s/config.json", from);
    snprintf(to, sizeof to, "%s/config.json", out);
    assert_ok(dt_copy_file(path, to, &err), err);
    snprintf(path, sizeof path, "%s/%s", from, weights);
    snprintf(to, sizeof to, "%s/%s", out, weights);
    copy_tensors(path, to, e);
    return out;
}

#define edited_t5(...)                                                                                       \
    copy_model((char[4096]){0}, *state, "hf/t5-v1.1", "model.safetensors", &(edit){__VA_ARGS__})

/* Set a key of config.json; takes the value over. */
static void set_key(const char *folder, const char *key, json_t *value)
{
    char path[8192];
    json_t *json = NULL;
    dt_error err = {0};
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_ok(dt_json_load(&json, path, 1 << 20, &err), err);
    assert_int_equal(json_object_set_new(json, key, value), 0);
    assert_ok(dt_json_save(json, path, &err), err);
    json_decref(json);
}

#define assert_refuses(path, status, words)                                                                  \
    do {                                                                                                     \
        dt_error err_ = {0};                                                                                 \
        dt_checkpoint *c_ = NULL;                                                                            \
        assert_fails(dt_checkpoint_open(&c_, (path), NULL, &err_), (status), err_, (words));                 \
        assert_null(c_);                                                                                     \
    } while (0)

static void bad_checkpoint__unedited_copy_opens(void **state)
{
    dt_checkpoint_close(open_model(edited_t5(.drop = NULL), NULL)); /* or the other cases prove nothing */
}

static void bad_checkpoint__missing_tensor_is_named(void **state)
{
    const char *path = edited_t5(.drop = "decoder.block.1.layer.1.EncDecAttention.k.weight");
    assert_refuses(path, DT_NOT_FOUND,
                   "tensor \"decoder.block.1.layer.1.EncDecAttention.k.weight\" [64, 32] is missing");
}

static void bad_checkpoint__extra_tensor_is_named(void **state)
{
    const char *path = edited_t5(.copy = "shared.weight", .as = "encoder.surprise.weight");
    assert_refuses(path, DT_FORMAT, "tensor \"encoder.surprise.weight\" [128, 32] has no place");
}

static void bad_checkpoint__config_against_weights_names_both(void **state)
{
    const char *path = edited_t5(.drop = NULL);
    set_key(path, "d_model", json_integer(48));
    assert_refuses(path, DT_MISMATCH, "\"d_model\" is 48");
    assert_refuses(path, DT_MISMATCH, "[128, 32]");
    set_key(path, "d_model", json_integer(32));
    set_key(path, "num_heads", json_integer(8));
    assert_refuses(path, DT_MISMATCH, "\"num_heads\" is 8");
}

static void bad_checkpoint__layer_count_names_the_key(void **state)
{
    const char *path = edited_t5(.drop = NULL);
    set_key(path, "num_decoder_layers", json_integer(3));
    assert_refuses(path, DT_NOT_FOUND, "\"num_decoder_layers\" is 3");
    set_key(path, "num_decoder_layers", json_integer(1));
    assert_refuses(path, DT_FORMAT, "\"num_decoder_layers\" is 1");
}

static void bad_checkpoint__unequal_copy_is_refused(void **state)
{
    const char *path = edited_t5(.copy = "shared.weight", .as = "encoder.embed_tokens.weight",
                                 .spoil = "encoder.embed_tokens.weight", .value = 3);
    assert_refuses(path, DT_MISMATCH,
                   "tensors \"encoder.embed_tokens.weight\" and \"shared.weight\" must be equal");
}

static void bad_checkpoint__equal_copy_is_skipped_by_rule(void **state)
{
    dt_checkpoint *c =
        open_model(edited_t5(.copy = "shared.weight", .as = "encoder.embed_tokens.weight"), NULL);
    assert_int_equal(dt_checkpoint_describe(c).skipped_count, 1);
    dt_checkpoint_close(c);
}

/* "any one of the group": a file that has only the encoder's copy of the shared table. */
static void bad_checkpoint__a_copy_stands_for_the_original(void **state)
{
    dt_checkpoint *c = open_model(
        edited_t5(.drop = "shared.weight", .copy = "shared.weight", .as = "encoder.embed_tokens.weight"),
        NULL);
    assert_int_equal(dt_checkpoint_describe(c).skipped_count, 0);
    dt_checkpoint_close(c);
}

static void bad_checkpoint__unknown_words_name_key_and_nearest(void **state)
{
    const char *path = edited_t5(.drop = NULL);
    set_key(path, "feed_forward_proj", json_string("gated-geluu"));
    assert_refuses(path, DT_UNSUPPORTED, "\"feed_forward_proj\" is \"geluu\"");
    assert_refuses(path, DT_UNSUPPORTED, "nearest: gelu");
    set_key(path, "feed_forward_proj", json_string("gated-gelu"));
    set_key(path, "model_type", json_string("mt6"));
    assert_refuses(path, DT_UNSUPPORTED, "\"model_type\" is \"mt6\"; drivetrain reads gpt2, llama, ");
    set_key(path, "model_type", json_string("t5"));
    set_key(path, "d_kv", json_string("16"));
    assert_refuses(path, DT_FORMAT, "d_kv");
    set_key(path, "d_kv", json_integer(16));
    set_key(path, "quantization_config", json_object());
    assert_refuses(path, DT_UNSUPPORTED, "quantization_config");
}

static void bad_checkpoint__unknown_rope_names_key(void **state)
{
    const char *path = copy_model((char[4096]){0}, *state, "hf/llama-gqa", "model.safetensors", &(edit){0});
    set_key(path, "rope_parameters", json_pack("{s:s,s:f}", "rope_type", "llama4", "factor", 2.0));
    assert_refuses(path, DT_UNSUPPORTED, "\"rope_type\" is \"llama4\"");
    assert_refuses(path, DT_UNSUPPORTED, "nearest: llama3");
    set_key(path, "rope_parameters", json_pack("{s:s}", "rope_type", "linear"));
    assert_refuses(path, DT_FORMAT, "\"factor\" is missing");
    set_key(path, "rope_parameters", json_integer(3));
    assert_refuses(path, DT_FORMAT, "rope_parameters");
}

/* transformers takes rope_scaling where a file has both, and the other where it is empty. */
static void bad_checkpoint__rope_scaling_goes_before_rope_parameters(void **state)
{
    const char *path = copy_model((char[4096]){0}, *state, "hf/llama-gqa", "model.safetensors", &(edit){0});
    set_key(path, "rope_scaling", json_pack("{s:s,s:f}", "rope_type", "linear", "factor", 3.0));
    dt_checkpoint *c = open_model(path, NULL);
    assert_int_equal(dt_checkpoint_config(c)->rope_scaling_type, DT_ROPE_LINEAR);
    assert_true(dt_checkpoint_config(c)->rope_scaling_factor == 3);
    dt_checkpoint_close(c);
    set_key(path, "rope_scaling", json_object());
    c = open_model(path, NULL);
    assert_int_equal(dt_checkpoint_config(c)->rope_scaling_type, DT_ROPE_LLAMA3);
    dt_checkpoint_close(c);
}

static void bad_checkpoint__partial_rotation_names_the_key(void **state)
{
    const char *path = copy_model((char[4096]){0}, *state, "hf/llama-gqa", "model.safetensors", &(edit){0});
    set_key(path, "partial_rotary_factor", json_real(0.5));
    assert_refuses(path, DT_UNSUPPORTED, "\"partial_rotary_factor\" is 0.5");
    set_key(path, "rope_parameters", json_null());
    assert_refuses(path, DT_UNSUPPORTED, "\"partial_rotary_factor\" is 0.5");
}

/* transformers' attribute_map: generic names stand for the family's own, and overrule them. */
static void bad_checkpoint__generic_key_names_are_read(void **state)
{
    const char *path = edited_t5(.drop = NULL);
    set_key(path, "num_heads", json_integer(999));
    set_key(path, "num_attention_heads", json_integer(4));
    set_key(path, "num_hidden_layers", json_integer(2));
    dt_checkpoint_close(open_model(path, NULL));
    set_key(path, "head_dim", json_integer(9));
    assert_refuses(path, DT_MISMATCH, "\"d_kv\" is 9");
    path = copy_model((char[4096]){0}, *state, "hf/gpt2", "model.safetensors", &(edit){0});
    set_key(path, "n_head", json_null());
    set_key(path, "num_attention_heads", json_integer(2)); /* no tensor's shape tells */
    dt_checkpoint *c = open_model(path, NULL);
    assert_int_equal(dt_checkpoint_config(c)->num_attention_heads, 2);
    dt_checkpoint_close(c);
}

/* transformers 5 writes null for a token that a model does not have; its class's default is not meant. */
static void bad_checkpoint__a_null_end_token_is_none(void **state)
{
    const char *path = edited_t5(.drop = NULL);
    set_key(path, "eos_token_id", json_null());
    dt_checkpoint *c = open_model(path, NULL);
    assert_int_equal(dt_checkpoint_config(c)->eos_count, 0);
    dt_checkpoint_close(c);
}

/* What is said twice: the newer keys win, as in transformers. */
static void bad_checkpoint__dense_act_fn_goes_before_feed_forward_proj(void **state)
{
    const char *path = edited_t5(.drop = NULL);
    set_key(path, "dense_act_fn", json_string("silu"));
    dt_checkpoint *c = open_model(path, NULL);
    assert_int_equal(dt_checkpoint_config(c)->activation_func, DT_ACT_SILU);
    assert_true(dt_checkpoint_config(c)->gated_linear_unit);
    dt_checkpoint_close(c);
    set_key(path, "dense_act_fn", json_string("mish"));
    assert_refuses(path, DT_UNSUPPORTED, "\"dense_act_fn\" is \"mish\"");
}

/* Every one of these changes what the model computes, and no tensor shows it. */
static void bad_checkpoint__unknown_mathematics_names_the_key(void **state)
{
    const struct {
        const char *key;
        json_t *value;
    } cases[] = {
        {"no_rope_freq", json_integer(2)},
        {"no_rope_freq", json_pack("[i,i]", 1, 0)},
        {"window_size", json_pack("[i,i]", 4, 3)},
        {"qk_l2_norm", json_true()},
        {"attention_output_gate", json_true()},
        {"softmax_type", json_string("off-by-two")},
        {"position_embedding_type", json_string("yarn")},
        {"heterogeneous_block_specs", json_true()},
        {"linear_attention_freq", json_integer(4)},
        {"experimental_attention_variant", json_string("dsa")},
        {"apply_residual_connection_post_layernorm", json_true()},
    };
    char from[4096], words[128];
    if (!model_folder(from, "megatron/gpt_llama"))
        skip();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dt_error err = {0};
        assert_ok(
            dt_copy_file(in_folder(from, "state.safetensors"), in_folder(*state, "state.safetensors"), &err),
            err);
        assert_ok(dt_copy_file(in_folder(from, "config.json"), in_folder(*state, "config.json"), &err), err);
        set_key(*state, cases[i].key, cases[i].value);
        snprintf(words, sizeof words, "key \"%s\" is", cases[i].key);
        assert_refuses(*state, DT_UNSUPPORTED, words);
    }
}

/* M2M100 counts positions past padding: where texts start with it, every position would be another one. */
static void bad_checkpoint__padding_that_starts_a_text_names_the_key(void **state)
{
    char from[4096];
    dt_error err = {0};
    if (!model_folder(from, "hf/m2m100"))
        skip();
    assert_ok(
        dt_copy_file(in_folder(from, "model.safetensors"), in_folder(*state, "model.safetensors"), &err),
        err);
    assert_ok(dt_copy_file(in_folder(from, "config.json"), in_folder(*state, "config.json"), &err), err);
    dt_checkpoint *c = open_model(*state, NULL);
    assert_true(dt_checkpoint_config(c)->padding_row_still);
    int64_t padding = dt_checkpoint_config(c)->pad_token_id;
    dt_checkpoint_close(c);
    set_key(*state, "decoder_start_token_id", json_integer(padding));
    assert_refuses(*state, DT_UNSUPPORTED, "key \"decoder_start_token_id\" is");
}

/* Layers that are not all alike: what cannot be one of them, and what does not say enough. */
static void bad_checkpoint__impossible_layer_shapes_are_refused(void **state)
{
    static const char key[] = "heterogeneous_layers_config_encoded_json";
    static const char *const cases[][2] = {
        {"{", key},
        {"{}", "no list"},
        {"{\"block_configs\": [1]}", "layer 0"},
        {"{\"block_configs\": [{\"attention\": {\"n_heads_in_group\": 4}, \"ffn\": {}}]}", "does not divide"},
        {"{\"block_configs\": [{\"attention\": {\"num_query_groups\": -7}, \"ffn\": {}}]}", "size is -7"},
        {"{\"block_configs\": [{\"attention\": {}, \"ffn\": {\"ffn_mult\": 1e30}}]}", "ffn_mult"},
        {"{\"block_configs\": [{\"attention\": {}, \"ffn\": {}}]}", "has 1 layers"},
    };
    char from[4096];
    if (!model_folder(from, "megatron/gpt_llama"))
        skip();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dt_error err = {0}, found = {0};
        dt_checkpoint *c = NULL;
        char text[4096];
        assert_ok(
            dt_copy_file(in_folder(from, "state.safetensors"), in_folder(*state, "state.safetensors"), &err),
            err);
        assert_ok(dt_copy_file(in_folder(from, "config.json"), in_folder(*state, "config.json"), &err), err);
        set_key(*state, key, json_string(cases[i][0]));
        assert_int_not_equal(dt_checkpoint_open(&c, *state, NULL, &found), DT_OK);
        dt_error_format(&found, text, sizeof text);
        if (!strstr(text, cases[i][1]))
            fail_msg("\"%s\" is not in: %s", cases[i][1], text);
    }
}

static void bad_checkpoint__hostile_sizes_are_refused(void **state)
{
    const char *path = edited_t5(.drop = NULL);
    set_key(path, "d_model", json_integer(INT64_MAX));
    assert_refuses(path, DT_UNSUPPORTED, "hidden_size");
    set_key(path, "d_model", json_integer(-5));
    assert_refuses(path, DT_UNSUPPORTED, "hidden_size");
    set_key(path, "d_model", json_integer(32));
    set_key(path, "num_heads", json_integer(1 << 15));
    assert_refuses(path, DT_MISMATCH, "parameters, but the files hold only");
    set_key(path, "num_heads", json_integer(4));
    set_key(path, "num_layers", json_integer(1 << 30));
    assert_refuses(path, DT_UNSUPPORTED, "encoder_num_layers");
}

static void bad_checkpoint__nan_is_found_and_named(void **state)
{
    dt_error err = {0};
    dt_checkpoint *c = open_model(edited_t5(.spoil = "encoder.final_layer_norm.weight", .value = NAN), NULL);
    assert_int_equal(dt_checkpoint_describe(c).problem_count, 0);
    assert_ok(dt_checkpoint_check(c, &err), err);
    assert_int_equal(dt_checkpoint_describe(c).problem_count, 1);
    assert_string_equal(
        dt_checkpoint_problem_at(c, 0),
        "tensor \"encoder.final_layer_norm.weight\" has 1 NaN and 0 infinite values, the first at [5]");
    assert_null(dt_checkpoint_problem_at(c, 1));
    dt_checkpoint_close(c);
}

static void bad_checkpoint__truncated_weights_name_the_file(void **state)
{
    const char *path = edited_t5(.drop = NULL);
    const char *file = in_folder(path, "model.safetensors");
    assert_int_equal(truncate(file, 20000), 0);
    assert_refuses(path, DT_FORMAT, "model.safetensors");
}

static void bad_checkpoint__unknown_names_are_explained(void **state)
{
    dt_error err = {0};
    dt_checkpoint *c = NULL;
    dt_open_options options = {.format = "hff"};
    assert_fails(dt_checkpoint_open(&c, *state, NULL, &err), DT_FORMAT, err, "holds no checkpoint");
    assert_fails(dt_checkpoint_open(&c, "/nowhere/at/all", NULL, &err), DT_NOT_FOUND, err, "/nowhere/at/all");
    assert_fails(dt_checkpoint_open(&c, *state, &options, &err), DT_UNSUPPORTED, err,
                 "no checkpoint format \"hff\"");
    c = open_model(edited_t5(.drop = NULL), NULL);
    assert_fails(dt_checkpoint_shape(c, "encoder.final_layernorm.wait", NULL, NULL, NULL, &err), DT_NOT_FOUND,
                 err, "nearest is \"encoder.final_layernorm.weight\"");
    dt_checkpoint_close(c);
}

/* ---- ranks ---- */

static const char *copy_tree(char out[4096], const char *folder, const char *name)
{
    char from[4096], command[16384];
    if (!model_folder(from, name))
        skip();
    snprintf(out, 4096, "%s/ranks", folder);
    snprintf(command, sizeof command, "cp -r '%s' '%s' && chmod -R u+w '%s'", from, out, out);
    assert_int_equal(system(command), 0);
    return out;
}

static void bad_checkpoint__missing_rank_is_named(void **state)
{
    char path[4096], rank[8192];
    copy_tree(path, *state, "megatron/checkpoints/gpt_llama/legacy_tp2_pp2");
    snprintf(rank, sizeof rank, "%s/iter_0000010/mp_rank_01_001", path);
    dt_error err = {0};
    assert_ok(dt_remove_tree(rank, &err), err);
    assert_refuses(path, DT_NOT_FOUND, "mp_rank_01_001/model_optim_rng.pt is missing");
    assert_refuses(path, DT_NOT_FOUND, "\"pipeline_model_parallel_size\" is 2");
}

static void bad_checkpoint__tracker_cannot_leave_the_folder(void **state)
{
    char path[4096];
    copy_tree(path, *state, "megatron/checkpoints/gpt_llama/legacy_tp2_pp2");
    const char *tracker = in_folder(path, "latest_checkpointed_iteration.txt");
    put_file(tracker, "../../etc", 9);
    assert_refuses(path, DT_FORMAT, "holds no checkpoint");
    put_file(tracker, "11", 2);
    assert_refuses(path, DT_FORMAT, "holds no checkpoint");
}

/* ---- pytorch_model.bin in shards ---- */

/* hf/llama's weights as a "shard", under an index that places each of its tensors in `file`. */
static const char *make_shards(char out[4096], const char *folder, const char *file)
{
    char from[4096], path[8192], to[8192];
    dt_stored_set *set = NULL;
    dt_error err = {0};
    if (!model_folder(from, "hf/llama"))
        skip();
    snprintf(out, 4096, "%s", folder);
    snprintf(path, sizeof path, "%s/config.json", from);
    assert_ok(dt_copy_file(path, in_folder(out, "config.json"), &err), err);
    snprintf(path, sizeof path, "%s/pytorch_model.bin", from);
    snprintf(to, sizeof to, "%s/part.bin", out);
    assert_ok(dt_copy_file(path, to, &err), err);
    json_t *map = json_object();
    assert_ok(dt_stored_set_create(&set, &err), err);
    assert_ok(dt_torch_read(set, to, "", &err), err);
    for (size_t i = 0; i < dt_stored_set_count(set); i++)
        json_object_set_new(map, dt_stored_set_at(set, i)->name, json_string(file));
    dt_stored_set_destroy(set);
    json_t *index = json_pack("{s:o}", "weight_map", map);
    assert_ok(dt_json_save(index, in_folder(out, "pytorch_model.bin.index.json"), &err), err);
    json_decref(index);
    return out;
}

static void bad_checkpoint__sharded_bin_is_read(void **state)
{
    char path[4096], whole[4096];
    dt_checkpoint *c = open_model(make_shards(path, *state, "part.bin"), NULL);
    dt_checkpoint *truth = open_model(model_folder(whole, "hf/llama"), NULL);
    int64_t n, m;
    float *a = read_all(c, "decoder.layers.1.self_attention.linear_qkv.weight", &n);
    float *b = read_all(truth, "decoder.layers.1.self_attention.linear_qkv.weight", &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, sizeof *a * (size_t)n);
    free(a);
    free(b);
    dt_checkpoint_close(c);
    dt_checkpoint_close(truth);
}

static void bad_checkpoint__shards_stay_in_their_folder(void **state)
{
    char path[4096];
    assert_refuses(make_shards(path, *state, "../part.bin"), DT_FORMAT, "which is no file name");
    assert_refuses(make_shards(path, *state, "lost.bin"), DT_NOT_FOUND, "lost.bin");
}

static void bad_checkpoint__masters_that_are_not_there(void **state)
{
    const char *path = require_model("megatron/checkpoints/gpt_llama/te_nemo2");
    dt_open_options options = {.master_weights = true};
    dt_checkpoint *c = NULL;
    dt_error err = {0};
    assert_fails(dt_checkpoint_open(&c, path, &options, &err), DT_NOT_FOUND, err,
                 "is stored as bf16 and no master");
}

/* ---- writing ---- */

static void bad_checkpoint__no_class_names_the_key(void **state)
{
    static const struct {
        const char *model, *key;
    } cases[] = {{"megatron/t5_relative", "\"softmax_scale\" stands in the way"},
                 {"megatron/t5_rope", "\"position_embedding_type\" stands in the way"}};
    for (int i = 0; i < 2; i++) {
        const char *path = require_model(cases[i].model);
        dt_checkpoint *c = open_model(path, NULL);
        dt_export_options options = {.format = "hf"};
        dt_error err = {0};
        const char *out = in_folder(*state, "hf");
        assert_fails(dt_checkpoint_export(c, out, &options, NULL, &err), DT_UNSUPPORTED, err, cases[i].key);
        assert_false(dt_is_folder(out));
        dt_checkpoint_close(c);
    }
}

static int count_entries(const char *folder)
{
    char command[8192];
    int count = -1;
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
    FILE *pipe = popen(command, "r");
    assert_int_equal(fscanf(pipe, "%d", &count), 1);
    pclose(pipe);
    return count;
}

static bool stop_at_once(void *user, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    return false;
}

static void bad_checkpoint__cancelled_export_leaves_nothing(void **state)
{
    const char *path = require_model("hf/t5-v1.1");
    dt_checkpoint *c = open_model(path, NULL);
    dt_export_options options = {.format = "megatron-state", .progress = stop_at_once};
    dt_error err = {0};
    const char *out = in_folder(*state, "out");
    assert_fails(dt_checkpoint_export(c, out, &options, NULL, &err), DT_CANCELLED, err, "stopped");
    assert_int_equal(count_entries(*state), 0);
    dt_checkpoint_close(c);
}

/* A limit on file sizes stands in for a full disk: both make write() fail half-way. */
static void bad_checkpoint__full_disk_leaves_nothing(void **state)
{
    const char *path = require_model("hf/t5-v1.1");
    dt_checkpoint *c = open_model(path, NULL);
    dt_export_options options = {.format = "hf"};
    dt_error err = {0};
    struct rlimit before, small = {40000, 40000};
    const char *out = in_folder(*state, "out");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    dt_status status = dt_checkpoint_export(c, out, &options, NULL, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, DT_IO);
    assert_int_equal(count_entries(*state), 0);
    dt_checkpoint_close(c);
}

static void bad_checkpoint__existing_output_is_not_replaced(void **state)
{
    const char *path = require_model("hf/t5-v1.1");
    dt_checkpoint *c = open_model(path, NULL);
    dt_export_options options = {.format = "hf"};
    dt_error err = {0};
    const char *out = in_folder(*state, "out");
    assert_ok(dt_checkpoint_export(c, out, &options, NULL, &err), err);
    dt_error_clear(&err);
    assert_int_not_equal(dt_checkpoint_export(c, out, &options, NULL, &err), DT_OK);
    options.replace = true;
    assert_ok(dt_checkpoint_export(c, out, &options, NULL, &err), err);
    dt_checkpoint_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bad_checkpoint__unedited_copy_opens, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__missing_tensor_is_named, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__extra_tensor_is_named, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__config_against_weights_names_both, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__layer_count_names_the_key, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__unequal_copy_is_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__equal_copy_is_skipped_by_rule, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__a_copy_stands_for_the_original, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__unknown_words_name_key_and_nearest, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__unknown_rope_names_key, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__rope_scaling_goes_before_rope_parameters, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__partial_rotation_names_the_key, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__generic_key_names_are_read, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__a_null_end_token_is_none, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__dense_act_fn_goes_before_feed_forward_proj,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__padding_that_starts_a_text_names_the_key, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__unknown_mathematics_names_the_key, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__impossible_layer_shapes_are_refused, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__hostile_sizes_are_refused, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__nan_is_found_and_named, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__truncated_weights_name_the_file, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__unknown_names_are_explained, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__missing_rank_is_named, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__tracker_cannot_leave_the_folder, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__sharded_bin_is_read, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__shards_stay_in_their_folder, make_folder,
                                        remove_folder),
        cmocka_unit_test(bad_checkpoint__masters_that_are_not_there),
        cmocka_unit_test_setup_teardown(bad_checkpoint__no_class_names_the_key, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__cancelled_export_leaves_nothing, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__full_disk_leaves_nothing, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_checkpoint__existing_output_is_not_replaced, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
