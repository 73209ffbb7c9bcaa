/*
 * plan_test.c - memory plans of random graphs, checked by walking them: every 64 bytes of the arena remember which
 * value was written there last, and each op must find its inputs as they were left.
 */
#include "graph/world.h"

#include "graph/plan.h"
#include "base/rng.h"

enum { CELL = 64, SCRATCH_OWNER = -2, NOBODY = -1 };

/* ---- random graphs ---- */

typedef struct dice {
    dt_rng rng;
    uint64_t at;
} dice;

static int roll(dice *d, int sides)
{
    return (int)(dt_rng_uniform(&d->rng, d->at++) * sides);
}

/* A random earlier value [tokens, 8]; mostly recent ones, as models read them. */
static dt_tensor *pick(dice *d, dt_tensor **pool, int count)
{
    int back = roll(d, 3) ? roll(d, count < 4 ? count : 4) : roll(d, count);
    return pool[count - 1 - back];
}

static dt_tensor *random_value(world *w, dice *d, dt_tensor **pool, int count)
{
    dt_graph *g = w->g;
    dt_tensor *x = pick(d, pool, count), *part[2];
    switch (roll(d, 9)) {
    case 0:
        return dt_add(g, x, pick(d, pool, count));
    case 1:
        return dt_multiply(g, x, pick(d, pool, count));
    case 2:
        return dt_scale(g, x, 2);
    case 3:
        return dt_rms_norm(g, x, w->norm, 1e-5, false);
    case 4: /* wide in the middle */
        return dt_linear(g, dt_activate(g, dt_linear(g, x, w->tall, NULL), DT_ACT_RELU),
                         param(g, "back", 8, 20), NULL);
    case 5:
        return dt_linear(g, dt_glu(g, x, DT_ACT_SILU), param(g, "up", 8, 4), NULL);
    case 6: {
        dt_split_groups(g, x, 1, 2, (int64_t[]){4, 4}, part);
        dt_attention_inputs in = plain_inputs(w);
        in.q = x, in.k = part[0], in.v = part[1];
        return dt_attention(g, &in, &plain_attention);
    }
    case 7:
        return dt_rope(g, x, w->positions, w->inv_freq, 4, false, 1);
    default:
        return dt_linear(g, dt_take_rows(g, x, w->positions), param(g, "square", 8, 8), NULL);
    }
}

static world random_graph(uint64_t seed)
{
    world w = make_world();
    dice d = {{seed, 1}, 0};
    dt_tensor *pool[80] = {w.x, w.y};
    int count = 2, ops = 5 + roll(&d, 60);
    dt_error err = {0};
    while (count < ops + 2) {
        pool[count] = random_value(&w, &d, pool, count);
        if (roll(&d, 4) == 0)
            dt_point(w.g, pool[count], "point.%d", count);
        count++;
    }
    dt_tensor *loss = dt_dot(w.g, pool[count - 1], w.y, 1);
    if (seed % 2) {
        dt_tensor *wrt[] = {w.norm, w.tall, w.x, pool[count / 2]}, *gradient[4];
        assert_ok(dt_graph_gradient(w.g, 1, &loss, NULL, 4, wrt, gradient, &err), err);
    }
    assert_ok(dt_graph_finish(w.g, &err), err);
    return w;
}

/* ---- walking a plan ---- */

typedef struct walk {
    const dt_graph *g;
    const dt_plan *plan;
    int *arena, *saved; /* owner of each cell */
    const dt_plan_options *options;
} walk;

static size_t cells(size_t bytes)
{
    return (bytes + CELL - 1) / CELL;
}

static size_t scratch_bytes(const walk *k, const dt_op *op)
{
    return k->options->scratch ? k->options->scratch(NULL, op) : 0;
}

static int *cells_of(const walk *k, const dt_tensor *t)
{
    size_t offset = k->plan->tensor[t->id].offset;
    bool saved = k->plan->tensor[t->id].place == DT_PLACE_SAVED;
    assert_int_not_equal(k->plan->tensor[t->id].place, DT_PLACE_NONE);
    assert_int_equal(offset % CELL, 0);
    assert_true(offset + dt_tensor_bytes(t, NULL) <= (saved ? k->plan->saved_bytes : k->plan->arena_bytes));
    return (saved ? k->saved : k->arena) + offset / CELL;
}

static void own(int *cell, size_t bytes, int owner)
{
    for (size_t i = 0; i < cells(bytes); i++)
        cell[i] = owner;
}

static void assert_owned(const int *cell, size_t bytes, int owner, const dt_op *op)
{
    for (size_t i = 0; i < cells(bytes); i++)
        if (cell[i] != owner)
            fail_msg("at op %d (%s): value %d was overwritten by %d", op ? op->id : -1,
                     op ? dt_op_info_of(op->kind)->name : "the end", owner, cell[i]);
}

static void check_inputs(const walk *k, const dt_op *op, bool after)
{
    for (int i = 0; i < op->input_count; i++) {
        const dt_tensor *t = op->input[i];
        if (!t || t->kind != DT_TENSOR_VALUE)
            continue;
        bool shared = i == 0 && dt_op_info_of(op->kind)->in_place && op->output[0] &&
                      cells_of(k, t) == cells_of(k, op->output[0]);
        if (!(after && shared))
            assert_owned(cells_of(k, t), dt_tensor_bytes(t, NULL), t->id, op);
    }
}

/* Scratch and outputs are written while inputs are read, so that none may touch another. */
static void step(const walk *k, const dt_op *op)
{
    size_t scratch = scratch_bytes(k, op);
    int *scratch_cell = k->arena + k->plan->scratch[op->id] / CELL;
    assert_int_equal(k->plan->scratch[op->id] % CELL, 0);
    assert_true(!scratch || k->plan->scratch[op->id] + scratch <= k->plan->arena_bytes);
    own(scratch_cell, scratch, SCRATCH_OWNER);
    check_inputs(k, op, false);
    for (int i = 0; i < op->output_count; i++)
        if (op->output[i])
            own(cells_of(k, op->output[i]), dt_tensor_bytes(op->output[i], NULL), op->output[i]->id);
    for (int i = 0; i < op->output_count; i++)
        if (op->output[i])
            assert_owned(cells_of(k, op->output[i]), dt_tensor_bytes(op->output[i], NULL), op->output[i]->id,
                         op);
    check_inputs(k, op, true);
    assert_owned(scratch_cell, scratch, SCRATCH_OWNER, op);
}

static bool is_read(const dt_graph *g, const dt_tensor *t, int *last)
{
    *last = -1;
    for (int i = 0; i < g->op_count; i++)
        for (int j = 0; j < g->op[i]->input_count; j++)
            if (g->op[i]->input[j] == t)
                *last = i;
    return *last >= 0;
}

/* Whoever is read by nobody, was asked for, or is a point that is kept, must still be there at the end. */
static bool stays(const walk *k, const dt_tensor *t)
{
    int last;
    return !is_read(k->g, t, &last) || t->keep || (k->options->keep_points && t->name);
}

static void walk_plan(const dt_graph *g, const dt_plan *plan, const dt_plan_options *options)
{
    walk k = {g, plan, calloc(cells(plan->arena_bytes) + 1, sizeof(int)),
              calloc(cells(plan->saved_bytes) + 1, sizeof(int)), options};
    assert_int_equal(plan->arena_bytes % CELL, 0);
    assert_int_equal(plan->saved_bytes % CELL, 0);
    own(k.arena, plan->arena_bytes, NOBODY);
    own(k.saved, plan->saved_bytes, NOBODY);
    for (int i = 0; i < g->op_count; i++)
        step(&k, g->op[i]);
    for (int i = 0; i < g->tensor_count; i++) {
        const dt_tensor *t = g->tensor[i];
        if (t->kind == DT_TENSOR_VALUE && t->producer && stays(&k, t))
            assert_owned(cells_of(&k, t), dt_tensor_bytes(t, NULL), t->id, NULL);
    }
    free(k.arena);
    free(k.saved);
}

/* ---- bounds ---- */

/* The most bytes that are alive at one op, counting a value and the one that took its place once. */
static size_t alive_at_most(const dt_graph *g, const dt_plan *plan, const dt_plan_options *options,
                            size_t *sum)
{
    size_t *alive = calloc((size_t)g->op_count + 1, sizeof *alive), most = 0;
    walk k = {.g = g, .plan = plan, .options = options};
    *sum = 0;
    for (int i = 0; i < g->tensor_count; i++) {
        const dt_tensor *t = g->tensor[i];
        if (plan->tensor[i].place != DT_PLACE_ARENA)
            continue;
        int last;
        size_t bytes = cells(dt_tensor_bytes(t, NULL)) * CELL;
        is_read(g, t, &last);
        last = stays(&k, t) ? g->op_count : last;
        const dt_op *op = t->producer;
        const dt_tensor *x = op->input_count ? op->input[0] : NULL;
        bool shared = dt_op_info_of(op->kind)->in_place && x && plan->tensor[x->id].place == DT_PLACE_ARENA &&
                      plan->tensor[x->id].offset == plan->tensor[i].offset && op->output[0] == t;
        for (int j = op->id + shared; j <= last; j++)
            alive[j] += bytes;
        *sum += bytes;
    }
    for (int i = 0; i < g->op_count; i++) {
        alive[i] += cells(scratch_bytes(&k, g->op[i])) * CELL;
        *sum += cells(scratch_bytes(&k, g->op[i])) * CELL;
    }
    for (int i = 0; i <= g->op_count; i++)
        most = alive[i] > most ? alive[i] : most;
    free(alive);
    return most;
}

static size_t some_scratch(void *user, const dt_op *op)
{
    return (size_t)(op->id * 97 % 5) * 100;
}

static dt_plan *plan_of(const dt_graph *g, const dt_plan_options *options, dt_arena *arena)
{
    dt_plan *plan;
    dt_error err = {0};
    assert_ok(dt_plan_make(&plan, g, options, arena, &err), err);
    return plan;
}

/* ---- tests ---- */

static void plan__no_value_is_overwritten_while_it_lives(void **state)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        world w = random_graph(seed);
        for (int variant = 0; variant < 4; variant++) {
            dt_plan_options options = {.keep_points = variant & 1,
                                       .scratch = variant & 2 ? some_scratch : NULL};
            dt_arena *arena = dt_arena_create();
            walk_plan(w.g, plan_of(w.g, &options, arena), &options);
            dt_arena_destroy(arena);
        }
        dt_graph_destroy(w.g);
    }
}

/* Random graphs are harder than models: within 10 % of the bound each, within 1 % together. */
static void plan__is_close_to_what_lives_at_once(void **state)
{
    double planned = 0, bound = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        world w = random_graph(seed);
        dt_plan_options options = {.scratch = some_scratch};
        dt_arena *arena = dt_arena_create();
        dt_plan *plan = plan_of(w.g, &options, arena);
        size_t sum, least = alive_at_most(w.g, plan, &options, &sum);
        assert_true(plan->arena_bytes >= least);
        assert_true(plan->arena_bytes <= sum);
        assert_true((double)plan->arena_bytes <= 1.10 * (double)least);
        planned += (double)plan->arena_bytes;
        bound += (double)least;
        dt_arena_destroy(arena);
        dt_graph_destroy(w.g);
    }
    print_message("random graphs: arena / bound = %.4f\n", planned / bound);
    assert_true(planned <= 1.01 * bound);
}

static void plan__is_the_same_every_time(void **state)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        dt_arena *arena = dt_arena_create();
        world a = random_graph(seed), b = random_graph(seed);
        dt_plan_options options = {.scratch = some_scratch};
        const dt_plan *p = plan_of(a.g, &options, arena), *q = plan_of(b.g, &options, arena);
        assert_int_equal(p->arena_bytes, q->arena_bytes);
        assert_int_equal(p->saved_bytes, q->saved_bytes);
        for (int i = 0; i < a.g->tensor_count; i++) {
            assert_int_equal(p->tensor[i].place, q->tensor[i].place);
            assert_int_equal(p->tensor[i].offset, q->tensor[i].offset);
        }
        assert_memory_equal(p->scratch, q->scratch, (size_t)a.g->op_count * sizeof *p->scratch);
        dt_arena_destroy(arena);
        dt_graph_destroy(a.g);
        dt_graph_destroy(b.g);
    }
}

/* A pre-norm stack as models build it. */
static dt_tensor *stack(world *w, int layers)
{
    dt_graph *g = w->g;
    dt_tensor *x = dt_linear(g, w->x, param(g, "in", 8, 8), NULL);
    for (int i = 0; i < layers; i++) {
        dt_attention_inputs in = plain_inputs(w);
        dt_tensor *part[3], *h = dt_rms_norm(g, x, w->norm, 1e-5, false);
        dt_split_groups(g, dt_linear(g, h, param(g, "qkv", 16, 8), NULL), 2, 3, (int64_t[]){4, 2, 2}, part);
        in.q = dt_rope(g, part[0], w->positions, w->inv_freq, 4, false, 1);
        in.k = dt_rope(g, part[1], w->positions, w->inv_freq, 2, false, 1), in.v = part[2];
        x = dt_add(g, x, dt_linear(g, dt_attention(g, &in, &plain_attention), param(g, "o", 8, 8), NULL));
        h = dt_glu(g, dt_linear(g, dt_rms_norm(g, x, w->norm, 1e-5, false), param(g, "fc1", 64, 8), NULL),
                   DT_ACT_SILU);
        x = dt_add(g, x, dt_linear(g, h, param(g, "fc2", 8, 32), NULL));
    }
    return x;
}

/* However many layers, an inference plan holds one layer's values: and exactly what lives at once. */
static void plan__depth_costs_nothing_in_inference(void **state)
{
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        world w = make_world();
        dt_error err = {0};
        dt_plan_options options = {0};
        stack(&w, i ? 48 : 2);
        assert_ok(dt_graph_finish(w.g, &err), err);
        dt_arena *arena = dt_arena_create();
        dt_plan *plan = plan_of(w.g, &options, arena);
        size_t sum;
        assert_int_equal(plan->arena_bytes, alive_at_most(w.g, plan, &options, &sum));
        /* x [16, 8], its fc1 [16, 64] and the gated half [16, 32] */
        assert_int_equal(plan->arena_bytes, 4 * 16 * (8 + 64 + 32));
        assert_int_equal(plan->saved_bytes, 0);
        bytes[i] = plan->arena_bytes;
        dt_arena_destroy(arena);
        dt_graph_destroy(w.g);
    }
    assert_int_equal(bytes[0], bytes[1]);
}

/* What a backward op reads of the forward phase is in the saved block, and nothing else is. */
static void plan__saved_block_is_what_backward_reads(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_tensor *x = stack(&w, 3), *loss = dt_dot(w.g, x, w.y, 1), *gradient;
    assert_ok(dt_graph_gradient(w.g, 1, &loss, NULL, 1, (dt_tensor *[]){dt_graph_find(w.g, "qkv")}, &gradient,
                                &err),
              err);
    assert_ok(dt_graph_finish(w.g, &err), err);
    dt_arena *arena = dt_arena_create();
    dt_plan_options options = {0};
    dt_plan *plan = plan_of(w.g, &options, arena);
    size_t expected = 0;
    for (int i = 0; i < w.g->tensor_count; i++) {
        const dt_tensor *t = w.g->tensor[i];
        int last;
        bool crosses = t->producer && t->producer->phase == DT_PHASE_FORWARD && is_read(w.g, t, &last) &&
                       w.g->op[last]->phase != DT_PHASE_FORWARD;
        assert_int_equal(plan->tensor[i].place == DT_PLACE_SAVED, crosses);
        expected += crosses ? cells(dt_tensor_bytes(t, NULL)) * CELL : 0;
    }
    assert_true(expected > 0);
    assert_int_equal(plan->saved_bytes, expected);
    walk_plan(w.g, plan, &options);
    dt_arena_destroy(arena);
    dt_graph_destroy(w.g);
}

static void plan__values_without_an_op_take_no_memory(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_tensor *gone = dt_scale(w.g, w.x, 2);
    assert_ok(dt_graph_finish(w.g, &err), err);
    w.g->op[0] = NULL;
    dt_graph_compact(w.g);
    dt_arena *arena = dt_arena_create();
    dt_plan *plan = plan_of(w.g, NULL, arena);
    assert_int_equal(plan->arena_bytes, 0);
    assert_int_equal(plan->tensor[gone->id].place, DT_PLACE_NONE);
    dt_arena_destroy(arena);
    dt_graph_destroy(w.g);
}

static size_t endless_scratch(void *user, const dt_op *op)
{
    return SIZE_MAX / 3;
}

static size_t most_scratch(void *user, const dt_op *op)
{
    return SIZE_MAX;
}

static void plan__refuses_what_cannot_be(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_plan *plan;
    dt_arena *arena = dt_arena_create();
    dt_add(w.g, dt_add(w.g, w.x, w.y), w.y);
    assert_fails(dt_plan_make(&plan, w.g, NULL, arena, &err), DT_INVALID, err, "only a finished graph");
    assert_ok(dt_graph_finish(w.g, &err), err);
    dt_plan_options endless = {.scratch = endless_scratch}, most = {.scratch = most_scratch};
    assert_fails(dt_plan_make(&plan, w.g, &endless, arena, &err), DT_LIMIT, err, "larger than memory can be");
    assert_null(plan);
    assert_fails(dt_plan_make(&plan, w.g, &most, arena, &err), DT_LIMIT, err, "larger than memory can be");
    dt_arena_destroy(arena);
    dt_graph_destroy(w.g);
}

/* Bytes are for capacities; a run with any counts up to them fits, since offsets stay and sizes only shrink. */
static void plan__is_made_for_capacities(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_tensor *y = dt_add(w.g, w.x, w.y);
    assert_ok(dt_graph_finish(w.g, &err), err);
    dt_arena *arena = dt_arena_create();
    assert_int_equal(plan_of(w.g, NULL, arena)->arena_bytes, 16 * 8 * 4);
    assert_int_equal(dt_tensor_bytes(y, (int64_t[]){3, 24, 4}), 3 * 8 * 4);
    dt_arena_destroy(arena);
    dt_graph_destroy(w.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan__no_value_is_overwritten_while_it_lives),
        cmocka_unit_test(plan__is_close_to_what_lives_at_once),
        cmocka_unit_test(plan__is_the_same_every_time),
        cmocka_unit_test(plan__depth_costs_nothing_in_inference),
        cmocka_unit_test(plan__saved_block_is_what_backward_reads),
        cmocka_unit_test(plan__values_without_an_op_take_no_memory),
        cmocka_unit_test(plan__refuses_what_cannot_be),
        cmocka_unit_test(plan__is_made_for_capacities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
