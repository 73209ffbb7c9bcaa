/*
 * graph_test.c - the lists that a graph keeps, its names, and errors that stick.
 */
#include "graph/world.h"

static void graph__same_name_is_the_same_leaf(void **state)
{
    world w = make_world();
    dt_error err = {0};
    assert_ptr_equal(param(w.g, "w", 12, 8), w.w);
    assert_ptr_equal(rows_by(w.g, "x", w.tokens, 8), w.x);
    assert_ptr_equal(dt_graph_axis(w.g, "tokens", 16), w.tokens);
    assert_ptr_equal(dt_graph_constant(w.g, "inv_freq", 1, (float[]){1}), w.inv_freq);
    assert_ok(dt_graph_finish(w.g, &err), err);
    dt_graph_destroy(w.g);
}

static void graph__leaves_that_disagree_are_refused(void **state)
{
    refuses(DT_MISMATCH, "axis tokens has capacity 16 and cannot have 17", dt_graph_axis(g, "tokens", 17));
    refuses(DT_INVALID, "axis a: capacity 0", dt_graph_axis(g, "a", 0));
    refuses(DT_INVALID, "an axis needs a name", dt_graph_axis(g, "", 1));
    refuses(DT_MISMATCH, "parameter \"w\" [12, 8] is already there and cannot also be parameter [12, 9]",
            param(g, "w", 12, 9));
    refuses(DT_MISMATCH, "cannot also be input", rows_by(g, "w", w.tokens, 8));
    refuses(DT_MISMATCH, "another split",
            dt_graph_param(
                g, &(dt_param_spec){
                       .name = "w", .rank = 2, .dim = {12, 8}, .init = DT_INIT_NORMAL, .decay = true}));
    refuses(DT_INVALID, "rank 3; 1 and 2 exist", dt_graph_param(g, &(dt_param_spec){.name = "p", .rank = 3}));
    refuses(DT_INVALID, "rank 0", dt_graph_param(g, NULL));
    refuses(DT_MISMATCH, "\"inv_freq\" is already there with other values",
            dt_graph_constant(g, "inv_freq", 1, (float[]){2}));
    refuses(DT_INVALID, "\"c\" has no values", dt_graph_constant(g, "c", 1, NULL));
    refuses(DT_INVALID, "a graph's input needs a name",
            dt_graph_input(g, NULL, DT_F32, 1, (dt_dim[]){{NULL, 1}}));
}

static void graph__impossible_shapes_are_refused(void **state)
{
    dt_dim huge[3] = {{NULL, INT64_MAX / 4}, {NULL, 8}, {NULL, 8}}, none = {NULL, 0};
    refuses(DT_INVALID, "while making input \"a\"", dt_graph_input(g, "a", DT_F32, 3, huge));
    refuses(DT_INVALID, "[0] in f32 is not possible", dt_graph_input(g, "a", DT_F32, 1, &none));
    refuses(DT_INVALID, "rank 6", dt_graph_input(g, "a", DT_F32, 6, huge));
    refuses(DT_INVALID, "rank 1 and shape ?", dt_graph_input(g, "a", DT_F32, 1, NULL));
    refuses(DT_INVALID, "[tokens + 9223372036854775807]",
            dt_graph_input(g, "a", DT_F32, 1, (dt_dim[]){{w.tokens, INT64_MAX}}));
    refuses(DT_INVALID, "in q8_0", dt_graph_state(g, "a", DT_Q8_0, 2, (dt_dim[]){{NULL, 4}, {NULL, 33}}));
    refuses(DT_INVALID, "is not possible", dt_graph_input(g, "a", (dt_dtype)99, 1, (dt_dim[]){{NULL, 1}}));
    /* values that only an op makes too large */
    refuses(DT_INVALID, "is not possible", dt_tensor *a = param(g, "a", INT64_MAX / 64, 1),
            *b = param(g, "b", INT64_MAX / 64, 1);
            dt_linear(g, a, b, NULL));
}

static void graph__names_are_unique_and_a_tensor_may_have_several(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_tensor *y = dt_point(w.g, dt_add(w.g, w.x, w.y), "out.layer.%d", 3);
    assert_ptr_equal(dt_point(w.g, y, "out.hidden"), y);
    assert_ptr_equal(dt_point(w.g, y, "out.hidden"), y); /* again is fine */
    assert_string_equal(y->name, "out.layer.3");
    assert_ptr_equal(dt_graph_find(w.g, "out.layer.3"), y);
    assert_ptr_equal(dt_graph_find(w.g, "out.hidden"), y);
    assert_ptr_equal(dt_graph_find(w.g, "w"), w.w);
    assert_null(dt_graph_find(w.g, "out.layer.4"));
    for (int i = 0; i < 1000; i++) /* the hash grows */
        dt_point(w.g, y, "alias.%d", i);
    for (int i = 0; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof name, "alias.%d", i);
        assert_ptr_equal(dt_graph_find(w.g, name), y);
    }
    assert_ok(dt_graph_finish(w.g, &err), err);
    dt_graph_destroy(w.g);
}

static void graph__bad_points_are_refused(void **state)
{
    refuses(DT_MISMATCH, "the name \"x\" is taken by \"x\" [tokens, 8]",
            dt_point(g, dt_add(g, w.x, w.y), "x"));
    refuses(DT_INVALID, "1 to 255 bytes, not 300", dt_point(g, w.x, "%300d", 1));
    refuses(DT_INVALID, "1 to 255 bytes, not 0", dt_point(g, w.x, "%s", ""));
    refuses(DT_INVALID, "point \"p\" is given to NULL", dt_point(g, NULL, "p"));
    refuses(DT_INVALID, "a tensor of another graph", world o = make_world(); dt_point(g, o.x, "p");
            dt_graph_destroy(o.g));
}

static void graph__first_error_sticks(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_point(w.g, dt_rms_norm(w.g, w.x, w.norm, 1e-6, false), "out.before");
    int ops = w.g->op_count, tensors = w.g->tensor_count;
    dt_tensor *bad = dt_linear(w.g, w.x, w.k, NULL);
    assert_ptr_equal(bad, &w.g->harmless_tensor);
    /* Whatever follows is harmless, adds nothing, and does not replace the story. */
    dt_tensor *parts[4] = {0}, *gradient = w.x;
    dt_tensor *later = dt_point(w.g, dt_add(w.g, bad, dt_glu(w.g, bad, (dt_activation)77)), "later");
    dt_split_groups(w.g, later, 0, 4, (int64_t[]){1, 1, 1, 1}, parts);
    for (int i = 0; i < 4; i++)
        assert_non_null(parts[i]);
    dt_attention_inputs in = {.q = later};
    assert_non_null(dt_attention(w.g, &in, &plain_attention));
    dt_kv_store(w.g, later, NULL, w.cached, w.k_cache, NULL, 2, 2);
    assert_non_null(param(w.g, "new", -1, 0));
    assert_non_null(dt_graph_axis(w.g, "new", -1));
    assert_int_equal(dt_graph_gradient(w.g, 1, &later, NULL, 1, &w.w, &gradient, &err), DT_MISMATCH);
    assert_null(gradient);
    assert_int_equal(w.g->op_count, ops);
    assert_int_equal(w.g->tensor_count, tensors);
    for (int i = 0; i < 2; i++) { /* and it is told as often as asked */
        assert_fails(dt_graph_finish(w.g, &err), DT_MISMATCH, err, "linear: w \"k\" [tokens, 4] must have");
        assert_non_null(strstr(err.line[1], "while building op 1, after point \"out.before\""));
    }
    assert_int_equal(dt_graph_cost(w.g, NULL, DT_F32).flops, 0);
    dt_graph_destroy(w.g);
}

static void graph__no_graph_is_harmless(void **state)
{
    dt_error err = {0};
    dt_tensor *parts[1];
    assert_null(dt_add(NULL, NULL, NULL));
    assert_null(dt_graph_axis(NULL, "a", 1));
    assert_null(dt_graph_input(NULL, "a", DT_F32, 1, NULL));
    assert_null(dt_graph_constant(NULL, "a", 1, NULL));
    assert_null(dt_point(NULL, NULL, "a"));
    dt_split_groups(NULL, NULL, 1, 1, (int64_t[]){1}, parts);
    dt_graph_permit(NULL, DT_FUSE_ALL);
    assert_fails(dt_graph_finish(NULL, &err), DT_INVALID, err, "no graph");
    assert_fails(dt_graph_gradient(NULL, 0, NULL, NULL, 0, NULL, NULL, &err), DT_INVALID, err, "no graph");
    dt_graph_destroy(NULL);
}

static void graph__finished_takes_nothing_more(void **state)
{
    world w = make_world();
    dt_error err = {0};
    assert_ok(dt_graph_finish(w.g, &err), err);
    assert_ptr_equal(dt_add(w.g, w.x, w.y), &w.g->harmless_tensor);
    assert_fails(dt_graph_finish(w.g, &err), DT_INVALID, err, "the graph is finished");
    dt_graph_destroy(w.g);
}

static void graph__tensors_of_another_graph_are_refused(void **state)
{
    refuses(DT_INVALID, "add: input 1 belongs to another graph", world o = make_world(); dt_add(g, w.x, o.x);
            dt_graph_destroy(o.g));
}

static void graph__permits_are_given_to_later_ops(void **state)
{
    world w = make_world();
    const dt_op *before = dt_add(w.g, w.x, w.y)->producer;
    dt_graph_permit(w.g, DT_FUSE_NORM_LINEAR);
    const dt_op *after = dt_add(w.g, w.x, w.y)->producer;
    assert_int_equal(before->fuse, DT_FUSE_NONE);
    assert_int_equal(after->fuse, DT_FUSE_NORM_LINEAR);
    dt_graph_destroy(w.g);
}

static void graph__compact_closes_gaps_and_detaches_values(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_tensor *a = dt_scale(w.g, w.x, 2), *b = dt_scale(w.g, w.x, 3), *c = dt_add(w.g, b, w.y);
    assert_ok(dt_graph_finish(w.g, &err), err);
    w.g->op[a->producer->id] = NULL;
    dt_graph_compact(w.g);
    assert_int_equal(w.g->op_count, 2);
    assert_null(a->producer);
    assert_int_equal(b->producer->id, 0);
    assert_int_equal(c->producer->id, 1);
    assert_ok(dt_graph_verify(w.g, &err), err);
    dt_graph_destroy(w.g);
}

/* ---- memory ---- */

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
static int calls_left = -1; /* -1: never fail */

void *__wrap_calloc(size_t count, size_t bytes)
{
    if (calls_left == 0)
        return NULL;
    calls_left -= calls_left > 0;
    return __real_calloc(count, bytes);
}

static dt_status build_all(dt_error *err)
{
    dt_graph *g = dt_graph_create(err);
    if (!g)
        return err->status;
    dt_axis *tokens = dt_graph_axis(g, "tokens", 16);
    dt_tensor *w = param(g, "w", 8, 8), *x = rows_by(g, "x", tokens, 8), *gradient = NULL;
    for (int i = 0; i < 600; i++)
        x = dt_point(g, dt_linear(g, x, w, NULL), "out.%d", i);
    dt_tensor *loss = dt_dot(g, x, x, 1);
    dt_status status = dt_graph_gradient(g, 1, &loss, NULL, 1, &w, &gradient, err);
    if (status == DT_OK)
        status = dt_graph_finish(g, err);
    dt_graph_destroy(g);
    return status;
}

static void graph__memory_that_runs_out_is_an_error_wherever_it_does(void **state)
{
    int allowed = 0;
    dt_status status = DT_NO_MEMORY;
    for (; status != DT_OK && allowed < 1000; allowed++) {
        dt_error err = {0};
        calls_left = allowed;
        status = build_all(&err);
        calls_left = -1;
        if (status != DT_OK)
            assert_int_equal(status, DT_NO_MEMORY);
        assert_int_equal(err.status, status);
    }
    assert_int_equal(status, DT_OK);
    assert_true(allowed > 5); /* or it never failed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(graph__same_name_is_the_same_leaf),
        cmocka_unit_test(graph__leaves_that_disagree_are_refused),
        cmocka_unit_test(graph__impossible_shapes_are_refused),
        cmocka_unit_test(graph__names_are_unique_and_a_tensor_may_have_several),
        cmocka_unit_test(graph__bad_points_are_refused),
        cmocka_unit_test(graph__first_error_sticks),
        cmocka_unit_test(graph__no_graph_is_harmless),
        cmocka_unit_test(graph__finished_takes_nothing_more),
        cmocka_unit_test(graph__tensors_of_another_graph_are_refused),
        cmocka_unit_test(graph__permits_are_given_to_later_ops),
        cmocka_unit_test(graph__compact_closes_gaps_and_detaches_values),
        cmocka_unit_test(graph__memory_that_runs_out_is_an_error_wherever_it_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
