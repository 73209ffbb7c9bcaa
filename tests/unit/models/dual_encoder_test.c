/*
 * dual_encoder_test.c - text towers and the models of two towers: whose row stands for a text, which sides a graph has, and
 * what does not fit is named with both sizes. Their numbers are verify_test's.
 */
#include "graph/ir.h"
#include "models/build.h"
#include "unit.h"

#include <stdio.h>

typedef struct pair {
    dt_model_config text, vision;
} pair;

static void make(pair *p)
{
    dt_model_config *v = &p->vision, *t = &p->text;
    dt_config_init(v);
    snprintf(v->model_type, sizeof v->model_type, "clip_vit");
    snprintf(v->family, sizeof v->family, "clip_vision_model");
    v->position_embedding_type = DT_POSITION_NONE;
    v->num_layers = 1;
    v->hidden_size = 8;
    v->num_attention_heads = 2;
    v->patch_dim = 2;
    v->img_h = v->img_w = 4;
    v->class_token_len = 1;
    v->vision_pooling = DT_POOL_CLASS;
    v->projection_dim = 6;
    dt_config_init(t);
    snprintf(t->model_type, sizeof t->model_type, "clip");
    snprintf(t->family, sizeof t->family, "clip_text_model");
    t->num_layers = 1;
    t->hidden_size = 4;
    t->num_attention_heads = 2;
    t->vocab_size = 20;
    t->max_sequence_length = 10;
    t->no_lm_head = true;
    t->text_pooling = DT_TEXT_POOL_LAST;
    t->text_projection_dim = 6;
    t->vision = v;
    dt_config_derive(v);
    dt_config_derive(t);
}

static void dual_encoder__a_text_stands_by_the_row_that_transformers_takes(void **state)
{
    static const int32_t text[] = {3, 9, 7, 19, 7, 19};
    dt_model_config c;
    dt_config_init(&c);
    c.eos_count = 1;
    c.eos_token_ids[0] = 7;
    c.text_pooling = DT_TEXT_POOL_END;
    assert_int_equal(dt_model_pooled_row(&c, text, 6), 2); /* the first end, whatever follows */
    assert_int_equal(dt_model_pooled_row(&c, text, 2), 0); /* none */
    c.text_pooling = DT_TEXT_POOL_LARGEST;
    assert_int_equal(dt_model_pooled_row(&c, text, 6), 3); /* the first of the largest */
    c.text_pooling = DT_TEXT_POOL_LAST;
    assert_int_equal(dt_model_pooled_row(&c, text, 6), 5);
}

static dt_graph *graph_of(const pair *p, dt_build_options o, dt_error *err)
{
    dt_graph *g = dt_graph_create(err);
    o.mode = o.images && o.tokens ? DT_BUILD_FULL : DT_BUILD_EMBED;
    assert_ok(dt_model_build(g, &p->text, &o, err), *err);
    return g;
}

static void dual_encoder__builds_the_sides_that_are_asked_for(void **state)
{
    dt_error err = {0};
    pair p;
    make(&p);
    dt_graph *texts = graph_of(&p, (dt_build_options){.tokens = 5, .sequences = 2}, &err);
    assert_non_null(dt_graph_find(texts, "out.text_features"));
    assert_null(dt_graph_find(texts, "out.image_features"));
    assert_null(dt_graph_find(texts, "x_logit_scale"));
    dt_graph *pictures =
        graph_of(&p, (dt_build_options){.images = 2, .patches = 8, .vision_tokens = 10}, &err);
    assert_non_null(dt_graph_find(pictures, "out.image_features"));
    assert_null(dt_graph_find(pictures, "tokens"));
    dt_graph *both = graph_of(
        &p, (dt_build_options){.tokens = 5, .sequences = 3, .images = 2, .patches = 8, .vision_tokens = 10},
        &err);
    const dt_tensor *logits = dt_graph_find(both, "out.logits");
    assert_non_null(logits);
    assert_string_equal(logits->dim[0].axis->name, "images");
    assert_string_equal(logits->dim[1].axis->name, "sequences");
    dt_graph_destroy(texts);
    dt_graph_destroy(pictures);
    dt_graph_destroy(both);
}

static void refuses(const dt_model_config *c, const char *first, const char *second)
{
    dt_error err = {0};
    char story[DT_ERROR_TEXT_BYTES];
    assert_int_not_equal(dt_config_check(c, &err), DT_OK);
    dt_error_format(&err, story, sizeof story);
    if (!strstr(story, first) || !strstr(story, second))
        fail_msg("expected \"%s\" and \"%s\" in: %s", first, second, story);
}

static void dual_encoder__towers_that_do_not_meet_are_named_with_both_widths(void **state)
{
    pair p;
    make(&p);
    p.text.text_projection_dim = 5;
    refuses(&p.text, "5 columns", "vision tower's 6");
    make(&p);
    p.vision.projection_dim = 0; /* its own width is 8 */
    refuses(&p.text, "6 columns", "vision tower's 8");
    make(&p);
    p.vision.projection_dim = 0;
    p.vision.vision_pooling = DT_POOL_NONE;
    refuses(&p.text, "x_vision_pooling", "pictures");
    make(&p);
    p.text.text_pooling = DT_TEXT_POOL_END;
    refuses(&p.text, "eos_token_id", "0");
    make(&p);
    snprintf(p.text.model_type, sizeof p.text.model_type, "bert");
    refuses(&p.text, "x_text_pooling", "last");
}

static void dual_encoder__neither_writes_nor_learns(void **state)
{
    pair p;
    make(&p);
    for (int kind = 0; kind < 2; kind++) {
        dt_build_options o = {
            .mode = kind ? DT_BUILD_FULL : DT_BUILD_STEP, .loss = kind, .tokens = 1, .sequences = 1};
        dt_error err = {0};
        char story[DT_ERROR_TEXT_BYTES];
        dt_graph *g = dt_graph_create(&err);
        assert_int_equal(dt_model_build(g, &p.text, &o, &err), DT_UNSUPPORTED);
        dt_error_format(&err, story, sizeof story);
        assert_non_null(strstr(story, kind ? "contrastive loss" : "it can only embed"));
        dt_graph_destroy(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dual_encoder__a_text_stands_by_the_row_that_transformers_takes),
        cmocka_unit_test(dual_encoder__builds_the_sides_that_are_asked_for),
        cmocka_unit_test(dual_encoder__towers_that_do_not_meet_are_named_with_both_widths),
        cmocka_unit_test(dual_encoder__neither_writes_nor_learns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
