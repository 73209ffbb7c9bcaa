/*
 * llava_test.c - the graphs of a language model that sees: which parts each of them holds, what is left out where it is not
 * needed or frozen. Their numbers are verify_test's, their company see_test's.
 */
#include "graph/ir.h"
#include "models/build.h"
#include "seeing.h"
#include "unit.h"

static const dt_build_options whole = {.logits = true,
                                       .tokens = 20,
                                       .sequences = 2,
                                       .output_rows = 2,
                                       .images = 2,
                                       .patches = 32,
                                       .vision_tokens = 34,
                                       .features = 32,
                                       .image_rows = 32,
                                       .kv_blocks = 4,
                                       .sequence_blocks = 2,
                                       .kv_dtype = DT_F32};

static dt_graph *graph_of(const seeing *s, dt_build_mode mode, dt_build_options o)
{
    dt_error err = {0};
    dt_graph *g = dt_graph_create(&err);
    o.mode = mode;
    assert_ok(dt_model_build(g, &s->c, &o, &err), err);
    return g;
}

/* Parameters of a part that a graph reads. */
static int params_of(const dt_graph *g, dt_config_part part)
{
    int n = 0;
    for (int i = 0; i < g->tensor_count; i++)
        n += g->tensor[i]->kind == DT_TENSOR_PARAM && dt_config_part_of(g->tensor[i]->name) == part;
    return n;
}

static void expect_parts(const seeing *s, dt_build_mode mode, dt_build_options o, bool language, bool tower,
                         bool projector)
{
    dt_graph *g = graph_of(s, mode, o);
    assert_int_equal(params_of(g, DT_PART_LANGUAGE) > 0, language);
    assert_int_equal(params_of(g, DT_PART_TOWER) > 0, tower);
    assert_int_equal(params_of(g, DT_PART_PROJECTOR) > 0, projector);
    dt_graph_destroy(g);
}

static void llava__each_graph_has_the_parts_that_it_runs(void **state)
{
    seeing s;
    make_seeing(&s);
    dt_build_options words = whole;
    words.images = words.image_rows = 0;
    expect_parts(&s, DT_BUILD_FULL, whole, true, true, true);
    expect_parts(&s, DT_BUILD_FULL, words, true, false, false);
    expect_parts(&s, DT_BUILD_ENCODE, whole, false, true, true);
    expect_parts(&s, DT_BUILD_STEP, whole, true, false, false);
    expect_parts(&s, DT_BUILD_EMBED, whole, false, true, false);
    dt_graph *step = graph_of(&s, DT_BUILD_STEP, whole), *plain = graph_of(&s, DT_BUILD_STEP, words);
    assert_non_null(dt_graph_find(step, "image_rows"));
    assert_non_null(dt_graph_find(step, "merged_rows"));
    assert_null(dt_graph_find(plain, "image_rows"));
    dt_graph_destroy(step);
    dt_graph_destroy(plain);
}

static void llava__layers_behind_the_deepest_feature_are_not_run(void **state)
{
    seeing s;
    make_seeing(&s);
    s.c.feature_layers = 1;
    s.c.feature_layer[0] = -2;
    dt_graph *encode = graph_of(&s, DT_BUILD_ENCODE, whole), *full = graph_of(&s, DT_BUILD_FULL, whole);
    assert_non_null(dt_graph_find(encode, "out.vision.layer.1"));
    assert_null(dt_graph_find(encode, "out.vision.layer.2"));
    assert_null(dt_graph_find(encode, "vision_model.ln_post.weight"));
    assert_non_null(dt_graph_find(full, "out.vision.layer.2")); /* a trace shows them all */
    dt_graph_destroy(encode);
    dt_graph_destroy(full);
    s.c.feature_layer[0] = 0; /* what enters the first layer */
    encode = graph_of(&s, DT_BUILD_ENCODE, whole);
    assert_null(dt_graph_find(encode, "out.vision.layer.0"));
    dt_graph_destroy(encode);
}

static void llava__several_layers_lie_side_by_side(void **state)
{
    seeing s;
    make_seeing(&s);
    s.c.feature_layers = 6;
    for (int i = 0; i < 6; i++)
        s.c.feature_layer[i] = i % 4;
    s.parts.projection.input_size = 6 * 16;
    dt_graph *g = graph_of(&s, DT_BUILD_ENCODE, whole);
    const dt_tensor *features = dt_graph_find(g, "out.image_features");
    assert_int_equal(features->dim[1].n, 96);
    dt_graph_destroy(g);
    s.c.pixel_shuffle = true;
    s.parts.projection.input_size = 4 * 96;
    g = graph_of(&s, DT_BUILD_ENCODE, whole);
    assert_int_equal(dt_graph_find(g, "out.image_features")->dim[1].n, 384);
    dt_graph_destroy(g);
}

/* Gradients of all parameters but those of frozen parts; returns how many ops of the backward phases there are. */
static int backward_ops(const seeing *s, unsigned frozen, unsigned *has)
{
    dt_error err = {0};
    dt_graph *g = dt_graph_create(&err);
    dt_tensor *wrt[256], *gradient[256];
    dt_build_options o = whole;
    int count = 0, ops = 0;
    o.loss = true;
    assert_ok(dt_model_type_find("megatron_llava")->build(g, &s->c, &o, &err), err);
    for (int i = 0; i < g->tensor_count; i++)
        if (g->tensor[i]->kind == DT_TENSOR_PARAM && !(frozen & dt_config_part_of(g->tensor[i]->name)))
            wrt[count++] = g->tensor[i];
    dt_tensor *loss = dt_graph_find(g, "out.loss");
    assert_ok(dt_graph_gradient(g, 1, &loss, NULL, count, wrt, gradient, &err), err);
    for (int i = 0; i < count; i++)
        if (gradient[i]) {
            *has |= dt_config_part_of(wrt[i]->name);
            dt_point(g, gradient[i], "grad.%s", wrt[i]->name);
        }
    assert_ok(dt_graph_finish(g, &err), err);
    for (int i = 0; i < g->op_count; i++)
        ops += g->op[i]->phase != DT_PHASE_FORWARD;
    dt_graph_destroy(g);
    return ops;
}

static void llava__frozen_parts_cost_nothing_backwards(void **state)
{
    seeing s;
    unsigned all = 0, words = 0, eyes = 0, joint = 0;
    make_seeing(&s);
    int every = backward_ops(&s, 0, &all);
    int no_tower = backward_ops(&s, DT_PART_TOWER, &joint);
    int no_eyes = backward_ops(&s, DT_PART_TOWER | DT_PART_PROJECTOR, &words);
    int no_words = backward_ops(&s, DT_PART_LANGUAGE, &eyes);
    assert_int_equal(all, DT_PART_LANGUAGE | DT_PART_TOWER | DT_PART_PROJECTOR);
    assert_int_equal(joint, DT_PART_LANGUAGE | DT_PART_PROJECTOR);
    assert_int_equal(words, DT_PART_LANGUAGE);
    assert_int_equal(eyes, DT_PART_TOWER | DT_PART_PROJECTOR);
    assert_true(no_eyes < no_tower && no_tower < every && no_words < every);
}

static void llava__what_has_no_place_for_pictures_is_refused(void **state)
{
    dt_error err = {0};
    seeing s;
    make_seeing(&s);
    s.c.position_embedding_type = DT_POSITION_LEARNED;
    s.c.max_sequence_length = 30;
    assert_fails(dt_model_computes(&s.c, &err), DT_UNSUPPORTED, err,
                 "rows of pictures have no such positions");
    make_seeing(&s);
    s.parts.projection.input_size = 20;
    assert_fails(dt_model_computes(&s.c, &err), DT_MISMATCH, err,
                 "it takes 20 columns, but a tower of hidden_size 16 gives 16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llava__each_graph_has_the_parts_that_it_runs),
        cmocka_unit_test(llava__layers_behind_the_deepest_feature_are_not_run),
        cmocka_unit_test(llava__several_layers_lie_side_by_side),
        cmocka_unit_test(llava__frozen_parts_cost_nothing_backwards),
        cmocka_unit_test(llava__what_has_no_place_for_pictures_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
