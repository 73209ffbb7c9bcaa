/* build_test.c - graphs of models: their parameters, inputs and points, and layers of a caller's own. */
#include "unit.h"

#include "base/text.h"
#include "graph/ir.h"
#include "models/build.h"

static dt_model_config small(const char *family, const char *type)
{
    dt_model_config c;
    dt_config_init(&c);
    snprintf(c.family, sizeof c.family, "%s", family);
    snprintf(c.model_type, sizeof c.model_type, "%s", type);
    c.num_layers = 2;
    c.hidden_size = 32;
    c.num_attention_heads = 4;
    c.vocab_size = 90;
    c.padded_vocab_size = 96;
    c.max_sequence_length = 16;
    dt_config_derive(&c);
    return c;
}

static const dt_build_options step_options = {.mode = DT_BUILD_STEP,
                                              .tokens = 8,
                                              .source_tokens = 8,
                                              .sequences = 2,
                                              .output_rows = 2,
                                              .kv_blocks = 4,
                                              .sequence_blocks = 2,
                                              .memory_blocks = 4,
                                              .memory_sequence_blocks = 2,
                                              .kv_dtype = DT_F32};

static bool has(const dt_param_spec *list, int count, const char *name, int64_t rows, int64_t cols)
{
    for (int i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0)
            return list[i].dim[0] == rows && (list[i].rank == 1 || list[i].dim[1] == cols);
    return false;
}

static void build__gpt_has_megatrons_parameters(void **state)
{
    dt_error err = {0};
    dt_arena *arena = dt_arena_create();
    dt_model_config c = small("megatron_gpt", "gpt");
    const dt_param_spec *list;
    int count;
    c.num_query_groups = 2;
    c.gated_linear_unit = true;
    c.share_embeddings_and_output_weights = false;
    assert_ok(dt_model_parameters(&c, arena, &list, &count, &err), err);
    assert_true(has(list, count, "embedding.word_embeddings.weight", 96, 32));
    assert_true(has(list, count, "embedding.position_embeddings.weight", 16, 32));
    assert_true(has(list, count, "decoder.layers.1.self_attention.linear_qkv.weight", (4 + 2 * 2) * 8, 32));
    assert_true(has(list, count, "decoder.layers.0.self_attention.linear_qkv.layer_norm_bias", 32, 1));
    assert_true(has(list, count, "decoder.layers.0.mlp.linear_fc1.weight", 2 * 128, 32));
    assert_true(has(list, count, "decoder.final_layernorm.weight", 32, 1));
    assert_true(has(list, count, "output_layer.weight", 96, 32));
    assert_int_equal(count, 2 + 2 * 12 + 2 + 1); /* tables, layers of 12, final norm, head */
    dt_arena_destroy(arena);
}

static void build__t5_has_megatrons_parameters(void **state)
{
    dt_error err = {0};
    dt_arena *arena = dt_arena_create();
    dt_model_config c = small("megatron_t5", "t5");
    const dt_param_spec *list;
    int count;
    c.position_embedding_type = DT_POSITION_RELATIVE;
    assert_ok(dt_model_parameters(&c, arena, &list, &count, &err), err);
    assert_true(has(list, count, "encoder_relative_pos_emb.relative_attention_bias.weight", 32, 4));
    assert_true(has(list, count, "decoder_relative_pos_emb.relative_attention_bias.weight", 32, 4));
    assert_true(has(list, count, "decoder.layers.1.cross_attention.linear_kv.weight", 64, 32));
    assert_true(has(list, count, "decoder.layers.1.pre_cross_attn_layernorm.weight", 32, 1));
    assert_true(has(list, count, "lm_head.output_layer.bias", 96, 1));
    assert_false(has(list, count, "embedding.position_embeddings.weight", 16, 32));
    dt_arena_destroy(arena);
}

static void build__umt5_has_a_table_in_every_layer(void **state)
{
    dt_error err = {0};
    dt_arena *arena = dt_arena_create();
    dt_model_config c = small("umt5", "t5");
    const dt_param_spec *list;
    int count;
    c.position_embedding_type = DT_POSITION_RELATIVE;
    c.relative_bias_per_layer = true;
    assert_ok(dt_model_parameters(&c, arena, &list, &count, &err), err);
    assert_true(has(list, count, "decoder.layers.1.self_attention.x_relative_attention_bias.weight", 32, 4));
    assert_false(has(list, count, "decoder_relative_pos_emb.relative_attention_bias.weight", 32, 4));
    dt_arena_destroy(arena);
}

/* Norms of sums: none before a branch, none at the end, and the last layer is the stack's result. */
static void build__norms_may_follow_the_sums(void **state)
{
    dt_error err = {0};
    dt_arena *arena = dt_arena_create();
    dt_graph *g = dt_graph_create(&err);
    dt_model_config c = small("megatron_t5", "t5");
    dt_build_options o = step_options;
    const dt_param_spec *list;
    int count;
    c.norm_placement = DT_NORM_AFTER;
    c.embedding_layernorm = true;
    assert_ok(dt_model_parameters(&c, arena, &list, &count, &err), err);
    assert_true(has(list, count, "decoder.layers.1.x_cross_attn_sum_layernorm.weight", 32, 1));
    assert_true(has(list, count, "encoder.layers.0.x_mlp_sum_layernorm.bias", 32, 1));
    assert_true(has(list, count, "encoder.x_embedding_layernorm.weight", 32, 1));
    assert_false(has(list, count, "encoder.layers.0.mlp.linear_fc1.layer_norm_weight", 32, 1));
    assert_false(has(list, count, "encoder.final_layernorm.weight", 32, 1));
    o.mode = DT_BUILD_FULL;
    assert_ok(dt_model_build(g, &c, &o, &err), err);
    assert_ptr_equal(dt_graph_find(g, "out.decoder.hidden"), dt_graph_find(g, "out.decoder.layer.1"));
    dt_graph_destroy(g);
    dt_arena_destroy(arena);
}

static void build__a_step_has_caches_and_selected_logits(void **state)
{
    dt_error err = {0};
    dt_graph *g = dt_graph_create(&err);
    dt_model_config c = small("megatron_gpt", "gpt");
    assert_ok(dt_model_build(g, &c, &step_options, &err), err);
    const dt_tensor *cache = dt_graph_find(g, "decoder.layers.1.k_cache");
    assert_non_null(cache);
    assert_int_equal(cache->kind, DT_TENSOR_STATE);
    assert_int_equal(cache->dim[1].n, DT_KV_BLOCK);
    const dt_tensor *logits = dt_graph_find(g, "out.logits");
    assert_string_equal(logits->dim[0].axis->name, "output_rows");
    assert_int_equal(logits->dim[1].n, 96);
    dt_graph_destroy(g);
}

static void build__a_t5_step_never_runs_the_encoder(void **state)
{
    dt_error err = {0};
    dt_graph *g = dt_graph_create(&err);
    dt_model_config c = small("megatron_t5", "t5");
    assert_ok(dt_model_build(g, &c, &step_options, &err), err);
    for (int i = 0; i < g->tensor_count; i++)
        assert_false(g->tensor[i]->name && dt_starts_with(g->tensor[i]->name, "encoder"));
    assert_non_null(dt_graph_find(g, "decoder.layers.0.cross_k_cache"));
    dt_graph_destroy(g);
}

/* The ENCODE graph's kv_store writes the very caches that the STEP graph reads. */
static void build__encode_stores_what_a_step_reads(void **state)
{
    dt_error err = {0};
    dt_graph *encode = dt_graph_create(&err), *step = dt_graph_create(&err);
    dt_model_config c = small("megatron_t5", "t5");
    dt_build_options o = step_options;
    assert_ok(dt_model_build(step, &c, &o, &err), err);
    o.mode = DT_BUILD_ENCODE;
    assert_ok(dt_model_build(encode, &c, &o, &err), err);
    int states = 0;
    for (int i = 0; i < encode->tensor_count; i++) {
        const dt_tensor *t = encode->tensor[i];
        if (t->kind != DT_TENSOR_STATE)
            continue;
        states++;
        assert_non_null(dt_graph_find(step, t->name));
    }
    assert_int_equal(states, 2 * c.decoder_num_layers);
    dt_graph_destroy(encode);
    dt_graph_destroy(step);
}

static void build__refuses_what_a_model_is_not(void **state)
{
    dt_error err = {0};
    dt_graph *g = dt_graph_create(&err);
    dt_model_config c = small("megatron_gpt", "gpt");
    dt_build_options o = step_options;
    o.mode = DT_BUILD_ENCODE;
    assert_fails(dt_model_build(g, &c, &o, &err), DT_INVALID, err, "no encoder");
    dt_graph_destroy(g);
    g = dt_graph_create(&err);
    snprintf(c.family, sizeof c.family, "nonsense");
    assert_fails(dt_model_build(g, &c, &o, &err), DT_UNSUPPORTED, err, "nonsense");
    dt_graph_destroy(g);
    g = dt_graph_create(&err);
    c = small("t5", "t5");
    c.encoder_only = true;
    assert_fails(dt_model_build(g, &c, &step_options, &err), DT_UNSUPPORTED, err, "cannot generate");
    dt_graph_destroy(g);
}

/* ---- a layer of the caller's own ---- */

static int own_calls;

static dt_tensor *own_mlp(dt_layer *l, dt_tensor *x)
{
    const dt_model_config *c = dt_layer_config(l);
    own_calls++;
    assert_int_equal(own_calls - 1, dt_layer_number(l));
    return dt_layer_linear(l, x, "mlp.own", c->hidden_size, c->hidden_size, DT_SPLIT_NONE, false);
}

static void build__a_caller_may_bring_his_own_layer(void **state)
{
    dt_error err = {0};
    dt_graph *g = dt_graph_create(&err);
    dt_model_config c = small("megatron_gpt", "gpt");
    dt_layer_spec own = *dt_layer_spec_local();
    dt_build_options o = step_options;
    own.name = "own";
    own.mlp = own_mlp;
    o.spec = &own;
    own_calls = 0;
    assert_ok(dt_model_build(g, &c, &o, &err), err);
    assert_int_equal(own_calls, 2);
    assert_non_null(dt_graph_find(g, "decoder.layers.1.mlp.own.weight"));
    assert_null(dt_graph_find(g, "decoder.layers.1.mlp.linear_fc1.weight"));
    dt_graph_destroy(g);
}

static void build__only_the_fused_spec_permits_fusion(void **state)
{
    dt_error err = {0};
    dt_model_config c = small("megatron_gpt", "gpt");
    for (int fused = 0; fused < 2; fused++) {
        dt_graph *g = dt_graph_create(&err);
        dt_build_options o = step_options;
        o.spec = fused ? dt_layer_spec_fused() : dt_layer_spec_local();
        assert_ok(dt_model_build(g, &c, &o, &err), err);
        for (int i = 0; i < g->op_count; i++)
            if (g->op[i]->kind == DT_OP_attention)
                assert_int_equal(g->op[i]->fuse, fused ? DT_FUSE_ALL : DT_FUSE_NONE);
        dt_graph_destroy(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(build__gpt_has_megatrons_parameters),
        cmocka_unit_test(build__t5_has_megatrons_parameters),
        cmocka_unit_test(build__umt5_has_a_table_in_every_layer),
        cmocka_unit_test(build__norms_may_follow_the_sums),
        cmocka_unit_test(build__a_step_has_caches_and_selected_logits),
        cmocka_unit_test(build__a_t5_step_never_runs_the_encoder),
        cmocka_unit_test(build__encode_stores_what_a_step_reads),
        cmocka_unit_test(build__refuses_what_a_model_is_not),
        cmocka_unit_test(build__a_caller_may_bring_his_own_layer),
        cmocka_unit_test(build__only_the_fused_spec_permits_fusion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
