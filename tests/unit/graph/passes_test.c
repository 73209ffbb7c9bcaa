/*
 * passes_test.c - the verifier finds what passes break; cost counts by hand-checked sums; the picture is whole.
 */
#include "graph/world.h"

#include <math.h>

/* x → scale → add → linear → dot, with a gradient, in a finished graph that tests break. */
typedef struct chain {
    world w;
    dt_tensor *scaled, *sum, *product, *loss, *gradient;
} chain;

static chain make_chain(void)
{
    chain c = {.w = make_world()};
    dt_graph *g = c.w.g;
    dt_error err = {0};
    c.scaled = dt_scale(g, c.w.x, 2);
    c.sum = dt_point(g, dt_add(g, c.scaled, c.w.y), "out.sum");
    c.product = dt_linear(g, c.sum, c.w.w, c.w.bias);
    c.loss = dt_dot(g, c.product, c.product, 1);
    assert_ok(dt_graph_gradient(g, 1, &c.loss, NULL, 1, &c.w.w, &c.gradient, &err), err);
    assert_ok(dt_graph_finish(g, &err), err);
    return c;
}

#define verifier_finds(status, words, ...)                                                                   \
    do {                                                                                                     \
        chain c = make_chain();                                                                              \
        dt_graph *g = c.w.g;                                                                                 \
        dt_error err = {0};                                                                                  \
        __VA_ARGS__;                                                                                         \
        assert_fails(dt_graph_verify(g, &err), status, err, words);                                          \
        dt_graph_destroy(g);                                                                                 \
    } while (0)

static void passes__verifier_finds_what_is_broken(void **state)
{
    verifier_finds(DT_INTERNAL, "op 1 calls itself 0", g->op[1]->id = 0);
    verifier_finds(DT_INTERNAL, "op 1 calls itself -1", g->op[1] = NULL);
    verifier_finds(DT_INTERNAL, "before it is made", dt_op *swap = g->op[0]; g->op[0] = g->op[1];
                   g->op[1] = swap; g->op[0]->id = 0; g->op[1]->id = 1);
    verifier_finds(DT_INTERNAL, "which no op of the graph makes", g->op[0]->output[0] = NULL);
    verifier_finds(DT_INTERNAL, "says otherwise", c.scaled->producer = NULL);
    verifier_finds(DT_INTERNAL, "should be [tokens, 12]", c.product->dim[1].n = 13);
    verifier_finds(DT_INTERNAL, "should be [tokens, 8]", c.sum->dtype = DT_F16);
    verifier_finds(DT_INTERNAL, "says otherwise", c.product->producer = g->op[0]);
    verifier_finds(DT_INTERNAL, "has 2 outputs, its rule makes 1", c.product->producer->output_count = 2);
    verifier_finds(DT_INTERNAL, "has no row in the op table", g->op[1]->kind = DT_OP_COUNT);
    verifier_finds(DT_INTERNAL, "tensor 0 calls itself 7", g->tensor[0]->id = 7);
    verifier_finds(DT_INTERNAL, "must be bound by a name", c.w.x->name = NULL);
    verifier_finds(DT_INTERNAL, "has no specification", c.w.w->spec = NULL);
    verifier_finds(DT_INTERNAL, "has no values", c.w.inv_freq->constant = NULL);
    verifier_finds(DT_INTERNAL, "which a later phase makes", g->op[0]->phase = DT_PHASE_BACKWARD_WEIGHT);
    verifier_finds(DT_INVALID, "linear needs 2 inputs", c.product->producer->input[1] = NULL);
    verifier_finds(DT_MISMATCH, "while checking op 1 (add)", g->op[1]->input[1] = c.w.odd);
}

static void passes__forward_after_backward_is_refused(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_tensor *loss = dt_dot(w.g, w.x, w.y, 1), *gradient;
    assert_ok(dt_graph_gradient(w.g, 1, &loss, NULL, 1, &w.x, &gradient, &err), err);
    dt_add(w.g, w.x, w.y);
    assert_fails(dt_graph_finish(w.g, &err), DT_INVALID, err, "build the whole forward graph first");
    dt_graph_destroy(w.g);
}

/* ---- cost ---- */

static void assert_count(double found, double expected)
{
    if (fabs(found - expected) > 1e-9 * expected)
        fail_msg("counted %.17g, expected %.17g", found, expected);
}

static void passes__cost_of_a_linear_layer(void **state)
{
    world w = make_world();
    dt_linear(w.g, w.x, w.w, w.bias);
    dt_cost c = dt_graph_cost(w.g, NULL, DT_F32), small = dt_graph_cost(w.g, (int64_t[]){5, 1, 1}, DT_BF16);
    assert_count(c.flops, 2.0 * 16 * 12 * 8);
    assert_count(c.weight_bytes, 4.0 * (12 * 8 + 12));
    assert_count(c.activation_bytes, 4.0 * 16 * (8 + 12));
    assert_count(small.flops, 2.0 * 5 * 12 * 8);
    assert_count(small.weight_bytes, 2.0 * (12 * 8 + 12));
    assert_count(small.activation_bytes, 4.0 * 5 * (8 + 12));
    dt_graph_destroy(w.g);
}

/* A training step is three products where inference is one. */
static void passes__cost_of_gradients(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_tensor *wrt[] = {w.x, w.w}, *gradient[2], *y = dt_linear(w.g, w.x, w.w, NULL),
              *dy = dt_linear(w.g, w.y, w.w, NULL);
    double forward = dt_graph_cost(w.g, NULL, DT_F32).flops / 2;
    assert_ok(dt_graph_gradient(w.g, 1, &y, &dy, 2, wrt, gradient, &err), err);
    assert_count(dt_graph_cost(w.g, NULL, DT_F32).flops, forward * 4);
    dt_graph_destroy(w.g);
}

static double attention_flops(int64_t window_left, bool causal, const int64_t *counts)
{
    world w = make_world();
    dt_attention_inputs in = plain_inputs(&w);
    dt_attention_spec spec = plain_attention;
    spec.window_left = window_left, spec.causal = causal;
    dt_attention(w.g, &in, &spec);
    double flops = dt_graph_cost(w.g, counts, DT_F32).flops;
    dt_graph_destroy(w.g);
    return flops;
}

static void passes__cost_of_attention_counts_the_pairs(void **state)
{
    const int64_t one[] = {16, 24, 1}, two[] = {16, 24, 2};
    double pair = 2 * 2 * 8; /* q·k and p·v, 8 columns */
    assert_count(attention_flops(-1, false, one), pair * 16 * 16);
    assert_count(attention_flops(-1, true, one), pair * 16 * 17 / 2);
    assert_count(attention_flops(-1, false, two), pair * 16 * 8);
    assert_count(attention_flops(3, true, one), pair * 16 * 4);
}

/* An embedding reads the rows it picks, not the table. */
static void passes__cost_of_an_embedding(void **state)
{
    world w = make_world();
    dt_embedding(w.g, w.w, w.ids);
    dt_cost c = dt_graph_cost(w.g, (int64_t[]){3, 1, 1}, DT_F16);
    assert_count(c.flops, 0);
    assert_count(c.weight_bytes, 2.0 * 3 * 8);
    dt_graph_destroy(w.g);
}

/* Every op counts something, whatever it is made of. */
static void passes__cost_of_every_op_is_positive(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_attention_inputs in = plain_inputs(&w);
    dt_tensor *x = dt_embedding(w.g, w.w, w.ids), *wrt[] = {w.w, w.buckets}, *gradient[2];
    dt_attention_spec spec = plain_attention;
    in.q = dt_layer_norm(w.g, x, w.norm, NULL, 1e-5, false), in.bias_table = w.buckets,
    spec.bias_max_distance = 8;
    dt_tensor *y = dt_take_rows(w.g, dt_attention(w.g, &in, &spec), w.labels);
    dt_tensor *loss = dt_weighted_mean(
        w.g, dt_cross_entropy(w.g, dt_activate(w.g, y, DT_ACT_RELU), w.labels, 0), w.per_row);
    dt_kv_store(w.g, w.k, w.v, w.cached, w.k_cache, w.v_cache, 2, 2);
    in.k = in.v = NULL, in.keys = w.cached, in.k_cache = w.k_cache, in.v_cache = w.v_cache;
    dt_attention(w.g, &in, &spec);
    assert_ok(dt_graph_gradient(w.g, 1, &loss, NULL, 2, wrt, gradient, &err), err);
    for (int i = 0; i < w.g->op_count; i++) {
        dt_cost c = {0};
        dt_op_info_of(w.g->op[i]->kind)->cost(w.g->op[i], NULL, &c, DT_Q8_0);
        assert_true(c.activation_bytes > 0);
        assert_true(c.flops > 0 || w.g->op[i]->kind == DT_OP_embedding ||
                    w.g->op[i]->kind == DT_OP_take_rows);
    }
    dt_graph_destroy(w.g);
}

/* ---- the picture ---- */

static void passes__dot_shows_every_op_value_and_phase(void **state)
{
    chain c = make_chain();
    dt_error err = {0};
    char *text, node[32];
    assert_ok(dt_graph_dot(c.w.g, &text, &err), err);
    assert_true(strncmp(text, "digraph drivetrain {\n", 21) == 0);
    assert_string_equal(text + strlen(text) - 2, "}\n");
    for (int i = 0; i < c.w.g->op_count; i++) {
        snprintf(node, sizeof node, "  op%d [", i);
        assert_non_null(strstr(text, node));
    }
    assert_non_null(strstr(text, "op0 -> op1 [label=\"[tokens, 8]\"]"));
    assert_non_null(strstr(text, "label=\"add\\n→ out.sum\""));
    assert_non_null(strstr(text, "label=\"linear\\nw [12, 8]\\nbias [12]\""));
    assert_non_null(strstr(text, "#dbe9f6")); /* forward */
    assert_non_null(strstr(text, "#fde0c5")); /* backward to inputs */
    assert_non_null(strstr(text, "#e3f1d4")); /* parameter gradients */
    assert_null(strstr(text, "-> w"));
    free(text);
    dt_graph_destroy(c.w.g);
}

static void passes__dot_escapes_names(void **state)
{
    world w = make_world();
    dt_error err = {0};
    char *text;
    dt_point(w.g, dt_scale(w.g, w.x, 1), "a\"];\\\n");
    assert_ok(dt_graph_dot(w.g, &text, &err), err);
    assert_non_null(strstr(text, "→ a\\\"];\\\\ \""));
    free(text);
    dt_graph_destroy(w.g);
}

static void passes__dot_refuses_a_poisoned_graph(void **state)
{
    world w = make_world();
    dt_error err = {0};
    char *text;
    dt_add(w.g, w.x, w.odd);
    assert_fails(dt_graph_dot(w.g, &text, &err), DT_INVALID, err, "no picture");
    assert_null(text);
    dt_graph_destroy(w.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes__verifier_finds_what_is_broken),
        cmocka_unit_test(passes__forward_after_backward_is_refused),
        cmocka_unit_test(passes__cost_of_a_linear_layer),
        cmocka_unit_test(passes__cost_of_gradients),
        cmocka_unit_test(passes__cost_of_attention_counts_the_pairs),
        cmocka_unit_test(passes__cost_of_an_embedding),
        cmocka_unit_test(passes__cost_of_every_op_is_positive),
        cmocka_unit_test(passes__dot_shows_every_op_value_and_phase),
        cmocka_unit_test(passes__dot_escapes_names),
        cmocka_unit_test(passes__dot_refuses_a_poisoned_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
