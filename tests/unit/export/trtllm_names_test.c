/*
 * trtllm_names_test.c - what is written of encoder-decoders has the names and shapes that TensorRT-LLM's classes ask for
 * (fixtures/trtllm/encdec-names.json): no tensor less, none more but a head's bias where a model has one.
 */
#include "unit.h"

#include "base/json.h"
#include "formats/megatron/megatron.h"
#include "formats/trtllm/trtllm.h"
#include "models/build.h"

#include <math.h>

#define COMMON                                                                                               \
    "\"model_type\":\"t5\",\"num_layers\":3,\"encoder_num_layers\":3,\"decoder_num_layers\":3,"              \
    "\"hidden_size\":32,\"num_attention_heads\":4,\"ffn_hidden_size\":64,\"vocab_size\":96,"
#define T5                                                                                                   \
    COMMON "\"kv_channels\":16,\"normalization\":\"RMSNorm\",\"add_bias_linear\":false,"                     \
           "\"max_sequence_length\":512,\"share_embeddings_and_output_weights\":false,"                      \
           "\"position_embedding_type\":\"relative\",\"relative_attention_num_buckets\":32,"                 \
           "\"relative_attention_max_distance\":128,\"x_softmax_scale\":1.0,"

/* The models of the table, as configurations of ours. */
static const struct model {
    const char *name, *type, *json;
} models[] = {
    {"t5", "t5", "{" T5 "\"activation_func\":\"relu\",\"gated_linear_unit\":false}"},
    {"t5-gated", "t5", "{" T5 "\"activation_func\":\"gelu_tanh\",\"gated_linear_unit\":true}"},
    {"t5-gated-implicit", "t5_implicit",
     "{" T5 "\"activation_func\":\"gelu_tanh\",\"gated_linear_unit\":true}"},
    {"bart", "t5",
     "{" COMMON "\"kv_channels\":8,\"normalization\":\"LayerNorm\",\"max_sequence_length\":64,"
     "\"activation_func\":\"gelu\",\"position_embedding_type\":\"learned_absolute\","
     "\"add_bias_linear\":true}"},
};

typedef struct built {
    dt_model_config config;
    dt_trtllm_plan plan;
    dt_arena *arena;
    const dt_param_spec *spec;
    int count;
} built;

/* What no flat configuration of Megatron's says. */
static void be_bart(dt_model_config *c)
{
    c->norm_placement = DT_NORM_AFTER;
    c->embedding_layernorm = c->positions_per_stack = true;
    c->position_offset = 2;
}

static void build(built *b, const struct model *m, int tensor, int pipeline)
{
    dt_error err = {0};
    json_t *json = NULL;
    *b = (built){.arena = dt_arena_create()};
    assert_non_null(b->arena);
    assert_ok(dt_json_parse(&json, m->json, strlen(m->json), m->name, &err), err);
    assert_ok(dt_megatron_read_config(json, "t5", &b->config, &err), err);
    json_decref(json);
    if (strcmp(m->name, "bart") == 0)
        be_bart(&b->config);
    b->config.padded_vocab_size = b->config.vocab_size;
    dt_config_derive(&b->config);
    if (b->config.position_embedding_type == DT_POSITION_RELATIVE)
        b->config.softmax_scale = 1;
    b->plan = (dt_trtllm_plan){
        .tensor = tensor, .pipeline = pipeline, .dtype = "bfloat16", .head_rows = b->config.vocab_size};
    assert_ok(dt_trtllm_type_named(m->type, &b->plan.type, &err), err);
    assert_ok(dt_model_parameters(&b->config, b->arena, &b->spec, &b->count, &err), err);
    const char *obstacle = NULL;
    assert_ok(dt_trtllm_obstacle(&b->config, &b->plan, &obstacle, &err), err);
    if (obstacle)
        fail_msg("%s: \"%s\" has no place", m->name, obstacle);
}

static void check_rank(const built *b, int part, int rank, const json_t *required)
{
    dt_mapping *m = NULL;
    dt_error err = {0};
    const char *name;
    json_t *shape;
    assert_ok(dt_trtllm_map_rank(&b->config, &b->plan, part, rank, b->spec, b->count, b->arena, &m, &err),
              err);
    json_object_foreach((json_t *)required, name, shape)
    {
        int at = dt_mapping_find_external(m, name);
        if (at < 0)
            fail_msg("rank %d lacks %s", rank, name);
        const dt_shape *have = &dt_mapping_external_at(m, at)->shape;
        assert_int_equal(have->rank, json_array_size(shape));
        for (int i = 0; i < have->rank; i++)
            if (have->dim[i] != json_integer_value(json_array_get(shape, (size_t)i)))
                fail_msg("axis %d of %s is %lld", i, name, (long long)have->dim[i]);
    }
    for (int i = 0; i < dt_mapping_external_count(m); i++) {
        const char *mine = dt_mapping_external_at(m, i)->name;
        if (!json_object_get(required, mine) && strcmp(mine, "lm_head.bias") != 0)
            fail_msg("rank %d has %s, which the class does not ask for", rank, mine);
    }
    bool last = part == 1 && rank / b->plan.tensor == b->plan.pipeline - 1;
    assert_true((dt_mapping_find_external(m, "lm_head.bias") >= 0) ==
                (last && dt_config_has_output_bias(&b->config)));
}

/* Every key that the table's configurations have; the head's bias is the model's. */
static void check_config(const built *b, int part, const json_t *want)
{
    json_t *have = NULL, *value;
    dt_error err = {0};
    const char *key;
    assert_ok(dt_trtllm_write_config(&b->config, &b->plan, part, &have, &err), err);
    json_object_foreach((json_t *)want, key, value)
    {
        const json_t *mine = json_object_get(have, key);
        bool decoders = strcmp(key, "use_implicit_relative_attention") == 0;
        if (strcmp(key, "has_lm_head_bias") == 0 || (decoders && part == 0))
            continue;
        bool equal = json_is_number(value) && json_is_number(mine)
                         ? fabs(json_number_value(value) - json_number_value(mine)) < 1e-9
                         : json_equal(value, mine);
        if (!equal)
            fail_msg("\"%s\" differs", key);
    }
    json_decref(have);
}

static void check_model(const struct model *m, const json_t *table)
{
    static const char *const parts[] = {"encoder", "decoder"};
    const char *layout, *rank;
    json_t *parts_of, *one;
    json_object_foreach((json_t *)table, layout, parts_of)
    {
        int tensor, pipeline, number;
        built b;
        if (sscanf(layout, "tp%d_pp%d", &tensor, &pipeline) != 2)
            continue;
        build(&b, m, tensor, pipeline);
        for (int part = 0; part < 2; part++) {
            json_object_foreach(json_object_get(parts_of, parts[part]), rank, one)
            {
                assert_int_equal(sscanf(rank, "rank%d", &number), 1);
                check_rank(&b, part, number, json_object_get(one, "required"));
            }
            check_config(&b, part, json_object_get(table, "config"));
        }
        dt_arena_destroy(b.arena);
    }
}

static void trtllm_names__encoder_decoders_have_what_the_classes_ask_for(void **state)
{
    (void)state;
    char path[1024];
    const char *fixtures = getenv("DT_FIXTURES");
    snprintf(path, sizeof path, "%s/trtllm/encdec-names.json", fixtures ? fixtures : "");
    json_t *table = json_load_file(path, 0, NULL);
    if (!table)
        skip();
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        const json_t *one = json_object_get(table, models[i].name);
        assert_non_null(one);
        check_model(&models[i], one);
    }
    assert_int_equal(json_object_size(table), sizeof models / sizeof models[0]);
    json_decref(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trtllm_names__encoder_decoders_have_what_the_classes_ask_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
