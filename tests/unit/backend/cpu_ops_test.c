/*
 * cpu_ops_test.c - every op of the cpu backend against the reference, at random sizes from 1 to 1100, on every
 * instruction set of the machine and in every type of weights.
 *
 * Tolerances are of the largest value. The reference is f64 inside; an f32 chain of 1100 products errs by about 1e-6.
 * bf16 rounds activations in both backends alike, but where a norm is fused the two may round one value apart. q8_0
 * also quantises activations, to 7 bits of the largest of 256, which the reference does not.
 */
#include "backend/cpu_rig.h"

enum { MOST = 1100, WORK = 1 << 21, ROUNDS = 12 };

static const dt_dtype types[] = {DT_F32, DT_BF16, DT_F16, DT_Q8_0};

typedef void make_case(rig_case *c, cpu_dice *dice);

/* Up to three sizes whose product is bounded; which of them is large changes from round to round. */
static void sizes(cpu_dice *dice, int count, int64_t *size)
{
    int64_t left = WORK;
    int first = (int)cpu_roll(dice, 0, count - 1);
    for (int i = 0; i < count; i++) {
        int which = (first + i) % count;
        size[which] = cpu_size(dice, left < MOST ? left : MOST);
        left /= size[which];
        left = left < 1 ? 1 : left;
    }
}

/* ---- operands of each op ---- */

static void make_linear(rig_case *c, cpu_dice *dice)
{
    int64_t n[3];
    sizes(dice, 3, n); /* T, K, N */
    c->in[0] = rig_rows(n[0], n[1], cpu_floats(dice, n[0] * n[1], 1));
    c->in[1] = rig_weight(n[2], n[1], cpu_floats(dice, n[2] * n[1], 1));
    if (cpu_roll(dice, 0, 1))
        c->in[2] = rig_weight(n[2], 0, cpu_floats(dice, n[2], 1));
    if (cpu_roll(dice, 0, 4) == 0) /* w may be a value of the graph */
        c->in[1].role = RIG_FLOATS;
}

/* K a multiple of 32, so that q8_0 blocks fit. */
static void make_linear_blocks(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, 40), K = 32 * cpu_size(dice, 34), N = cpu_size(dice, 100);
    c->in[0] = rig_rows(T, K, cpu_floats(dice, T * K, 1));
    c->in[1] = rig_weight(N, K, cpu_floats(dice, N * K, 1));
}

static void make_fused(rig_case *c, cpu_dice *dice)
{
    int64_t n[3];
    sizes(dice, 3, n);
    bool glu = cpu_roll(dice, 0, 1);
    int64_t T = n[0], K = n[1], N = glu ? n[2] + n[2] % 2 : n[2], columns = glu ? N / 2 : N;
    c->attr.fused.has_norm = cpu_roll(dice, 0, 2) > 0;
    c->attr.fused.rms = cpu_roll(dice, 0, 1);
    c->attr.fused.zero_centered = cpu_roll(dice, 0, 1);
    c->attr.fused.eps = 1e-5;
    c->attr.fused.glu = glu;
    c->attr.fused.kind = (dt_activation)cpu_roll(dice, 0, DT_ACT_COUNT - 1);
    c->in[0] = rig_rows(T, K, cpu_floats(dice, T * K, 1));
    c->in[1] = rig_weight(N, K, cpu_floats(dice, N * K, 0.2f));
    if (cpu_roll(dice, 0, 1))
        c->in[2] = rig_weight(N, 0, cpu_floats(dice, N, 1));
    if (c->attr.fused.has_norm)
        c->in[3] = rig_weight(K, 0, cpu_floats(dice, K, 1));
    if (c->attr.fused.has_norm && !c->attr.fused.rms && cpu_roll(dice, 0, 1))
        c->in[4] = rig_weight(K, 0, cpu_floats(dice, K, 1));
    if (cpu_roll(dice, 0, 1))
        c->in[5] = rig_rows(T, columns, cpu_floats(dice, T * columns, 1));
}

static void make_linear_dx(rig_case *c, cpu_dice *dice)
{
    int64_t n[3];
    sizes(dice, 3, n); /* T, N, K */
    c->in[0] = rig_rows(n[0], n[1], cpu_floats(dice, n[0] * n[1], 1));
    c->in[1] = rig_weight(n[1], n[2], cpu_floats(dice, n[1] * n[2], 1));
    if (cpu_roll(dice, 0, 4) == 0)
        c->in[1].role = RIG_FLOATS;
}

static void make_linear_dw(rig_case *c, cpu_dice *dice)
{
    int64_t n[3];
    sizes(dice, 3, n); /* T, N, K */
    c->in[0] = rig_rows(n[0], n[1], cpu_floats(dice, n[0] * n[1], 1));
    c->in[1] = rig_rows(n[0], n[2], cpu_floats(dice, n[0] * n[2], 1));
}

static void make_embedding(rig_case *c, cpu_dice *dice)
{
    int64_t V = cpu_size(dice, MOST), H = cpu_size(dice, MOST), T = cpu_size(dice, 200);
    c->attr.embedding.first = cpu_roll(dice, 0, V - 1);
    c->in[0] = rig_weight(V, H, cpu_floats(dice, V * H, 1));
    c->in[1] = rig_ids(T, cpu_ids(dice, T, 0, V - c->attr.embedding.first));
}

static void make_sinusoid(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, 200), pairs = cpu_size(dice, 100);
    c->attr.sinusoid.first = cpu_roll(dice, 0, 3);
    c->attr.sinusoid.width = pairs + cpu_roll(dice, 0, (int)pairs + 2);
    c->attr.sinusoid.single = cpu_roll(dice, 0, 1);
    c->in[0] = rig_ids(T, cpu_ids(dice, T, 0, 100000));
    c->in[1] = rig_fixed(2 * pairs, cpu_floats(dice, 2 * pairs, 1));
}

static void make_embedding_grad(rig_case *c, cpu_dice *dice)
{
    int64_t V = cpu_size(dice, MOST), H = cpu_size(dice, MOST), T = cpu_size(dice, 200);
    c->attr.embedding.first = cpu_roll(dice, 0, V - 1);
    c->attr.embedding.still = cpu_roll(dice, 0, V - c->attr.embedding.first); /* 0: none */
    c->in[0] = rig_ids(T, cpu_ids(dice, T, 0, V - c->attr.embedding.first));
    c->in[1] = rig_rows(T, H, cpu_floats(dice, T * H, 1));
    c->in[2] = rig_weight(V, H, cpu_floats(dice, V * H, 1));
}

static void make_norm(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, MOST), H = cpu_size(dice, MOST);
    bool gradient = c->kind == DT_OP_rms_norm_dx || c->kind == DT_OP_layer_norm_dx;
    if (gradient)
        H += 7; /* across one or two columns a norm's gradient cancels to what its eps leaves */
    c->attr.norm.eps = 1e-5;
    c->attr.norm.zero_centered = cpu_roll(dice, 0, 1);
    c->in[0] = rig_rows(T, H, cpu_floats(dice, T * H, 3));
    c->in[1] = rig_weight(H, 0, cpu_floats(dice, H, 1));
    if (gradient)
        c->in[2] = rig_rows(T, H, cpu_floats(dice, T * H, 1));
    else if (c->kind == DT_OP_layer_norm && cpu_roll(dice, 0, 1))
        c->in[2] = rig_weight(H, 0, cpu_floats(dice, H, 1));
}

static void make_norm_dw(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, MOST), H = cpu_size(dice, MOST);
    c->attr.norm.eps = 1e-5;
    c->in[0] = rig_rows(T, H, cpu_floats(dice, T * H, 3));
    c->in[1] = rig_rows(T, H, cpu_floats(dice, T * H, 1));
}

static void make_pair(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, MOST), H = cpu_size(dice, MOST);
    c->in[0] = rig_rows(T, H, cpu_floats(dice, T * H, 3));
    c->in[1] = rig_rows(T, H, cpu_floats(dice, T * H, 3));
}

static void make_single(rig_case *c, cpu_dice *dice)
{
    make_pair(c, dice);
    free(c->in[1].data);
    c->in[1] = (rig_operand){0};
}

static void make_scale(rig_case *c, cpu_dice *dice)
{
    make_single(c, dice);
    c->attr.scale.factor = 0.37;
}

static void make_scale_by(rig_case *c, cpu_dice *dice)
{
    make_single(c, dice);
    c->in[1] = rig_fixed(1, cpu_floats(dice, 1, 2));
}

static void make_activate(rig_case *c, cpu_dice *dice)
{
    if (c->kind == DT_OP_activate)
        make_single(c, dice);
    else
        make_pair(c, dice);
    c->attr.activation.kind = (dt_activation)cpu_roll(dice, 0, DT_ACT_COUNT - 1);
}

static void make_glu(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, MOST), F = cpu_size(dice, MOST);
    c->attr.activation.kind = (dt_activation)cpu_roll(dice, 0, DT_ACT_COUNT - 1);
    c->in[0] = rig_rows(T, 2 * F, cpu_floats(dice, T * 2 * F, 3));
    if (c->kind == DT_OP_glu_grad)
        c->in[1] = rig_rows(T, F, cpu_floats(dice, T * F, 3));
    if (cpu_roll(dice, 0, 1)) {
        c->attr.activation.limit = 2;
        c->attr.activation.offset = 1;
    }
}

/* Rows, choices and experts; many rows for few experts, one row for many, experts that nobody chooses. */
typedef struct expert_sizes {
    int64_t T, k, E, K, N;
} expert_sizes;

static expert_sizes expert_sizes_of(rig_case *c, cpu_dice *dice)
{
    expert_sizes n = {.T = cpu_size(dice, 300), .k = cpu_roll(dice, 1, 4), .E = cpu_size(dice, 40)};
    int64_t left = WORK / 4 / (n.T * n.k > n.E ? n.T * n.k : n.E);
    n.K = cpu_size(dice, left < 1100 ? left : 1100);
    n.N = cpu_size(dice, left / n.K < 300 ? left / n.K + 1 : 300);
    c->attr.experts.count = n.E;
    return n;
}

static rig_operand chosen(cpu_dice *dice, expert_sizes n)
{
    return rig_choices(n.T, n.k, cpu_ids(dice, n.T * n.k, 0, n.E));
}

static rig_operand rows_or_planes(cpu_dice *dice, expert_sizes n)
{
    if (cpu_roll(dice, 0, 1))
        return rig_rows(n.T, n.K, cpu_floats(dice, n.T * n.K, 1));
    return rig_planes(n.T, n.k, n.K, cpu_floats(dice, n.T * n.k * n.K, 1));
}

static void make_expert_linear(rig_case *c, cpu_dice *dice)
{
    expert_sizes n = expert_sizes_of(c, dice);
    if (c->dtype == DT_Q8_0 && cpu_roll(dice, 0, 2))
        n.K = (n.K + 31) / 32 * 32;
    c->in[0] = rows_or_planes(dice, n);
    c->in[1] = rig_weight(n.E * n.N, n.K, cpu_floats(dice, n.E * n.N * n.K, 1));
    c->in[2] = chosen(dice, n);
    if (cpu_roll(dice, 0, 1))
        c->in[3] = rig_weight(n.E * n.N, 0, cpu_floats(dice, n.E * n.N, 1));
}

static void make_expert_linear_dx(rig_case *c, cpu_dice *dice)
{
    expert_sizes n = expert_sizes_of(c, dice);
    c->in[0] = rig_planes(n.T, n.k, n.N, cpu_floats(dice, n.T * n.k * n.N, 1));
    c->in[1] = rig_weight(n.E * n.N, n.K, cpu_floats(dice, n.E * n.N * n.K, 1));
    c->in[2] = chosen(dice, n);
}

static void make_expert_linear_dw(rig_case *c, cpu_dice *dice)
{
    expert_sizes n = expert_sizes_of(c, dice);
    bool sum = c->kind == DT_OP_expert_column_sum;
    c->in[0] = rig_planes(n.T, n.k, n.N, cpu_floats(dice, n.T * n.k * n.N, 1));
    if (!sum)
        c->in[1] = rows_or_planes(dice, n);
    c->in[sum ? 1 : 2] = chosen(dice, n);
}

static void make_route(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, 300), E = cpu_size(dice, 200), k = cpu_roll(dice, 1, E < 9 ? E : 9);
    c->attr.route = (dt_route_spec){.topk = k,
                                    .score = (dt_router_score)cpu_roll(dice, 0, 1),
                                    .pre_softmax = cpu_roll(dice, 0, 1),
                                    .scaling = cpu_roll(dice, 0, 1) ? 2.5 : 0};
    c->in[0] = rig_rows(T, E, cpu_floats(dice, T * E, 4));
    if (c->kind == DT_OP_route && cpu_roll(dice, 0, 1))
        c->in[1] = rig_weight(E, 0, cpu_floats(dice, E, 1));
    if (c->kind == DT_OP_route)
        return;
    int32_t *experts = cpu_ids(dice, T * k, 0, E); /* each expert once a row */
    for (int64_t i = 0; i < T * k; i++)
        experts[i] = (int32_t)((experts[i / k * k] + i % k) % E);
    c->in[1] = rig_choices(T, k, experts);
    c->in[2] = rig_rows(T, k, cpu_floats(dice, T * k, 1));
}

static void make_sum_choices(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, 300), k = cpu_roll(dice, 1, 8), H = cpu_size(dice, 300);
    bool flat = k == 1 && cpu_roll(dice, 0, 1);
    rig_operand y = rig_planes(T, k, H, cpu_floats(dice, T * k * H, 1));
    rig_operand rows_of_h = rig_rows(T, H, cpu_floats(dice, T * H, 1));
    rig_operand weights = rig_rows(T, k, cpu_floats(dice, T * k, 1));
    if (c->kind == DT_OP_spread_choices) {
        c->attr.experts.flat = flat;
        c->in[0] = rows_of_h, c->in[1] = weights;
        free(y.data);
        return;
    }
    c->in[0] = y;
    if (flat)
        c->in[0].rank = 2, c->in[0].dim[1] = H;
    c->in[1] = c->kind == DT_OP_choice_dots ? rows_of_h : weights;
    free(c->kind == DT_OP_choice_dots ? weights.data : rows_of_h.data);
}

static void make_groups(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, 300), groups = cpu_size(dice, 12), sum = 0;
    c->attr.split.groups = groups;
    c->attr.split.parts = (int)cpu_roll(dice, 1, 4);
    for (int i = 0; i < c->attr.split.parts; i++)
        sum += c->attr.split.width[i] = cpu_size(dice, 70);
    if (c->kind == DT_OP_split_groups) {
        c->in[0] = rig_rows(T, groups * sum, cpu_floats(dice, T * groups * sum, 1));
        return;
    }
    for (int i = 0; i < c->attr.split.parts; i++) {
        int64_t cols = groups * c->attr.split.width[i];
        if (i == 0 || i + 1 == c->attr.split.parts ||
            cpu_roll(dice, 0, 2)) /* parts in the middle may be absent */
            c->in[i] = rig_rows(T, cols, cpu_floats(dice, T * cols, 1));
    }
}

static void make_rope(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, 300), heads = cpu_size(dice, 12), D = 1 + cpu_size(dice, 128);
    int64_t pairs = cpu_roll(dice, 1, D / 2);
    c->attr.rope.spec.heads = heads;
    c->attr.rope.spec.interleaved = cpu_roll(dice, 0, 1);
    c->attr.rope.inverse = cpu_roll(dice, 0, 1);
    c->attr.rope.spec.magnitude = 1.25;
    c->in[0] = rig_rows(T, heads * D, cpu_floats(dice, T * heads * D, 1));
    c->in[1] = rig_ids(T, cpu_ids(dice, T, 0, 100000));
    c->in[2] = rig_fixed(pairs, cpu_floats(dice, pairs, 1));
}

static void make_take_rows(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, MOST), H = cpu_size(dice, MOST), R = cpu_size(dice, 100);
    c->in[0] = rig_rows(T, H, cpu_floats(dice, T * H, 1));
    c->in[1] = rig_on(rig_ids(R, cpu_ids(dice, R, 0, T)), "picked");
}

static void make_put_rows(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, MOST), H = cpu_size(dice, MOST), R = cpu_size(dice, 100);
    c->in[0] = rig_on(rig_rows(R, H, cpu_floats(dice, R * H, 1)), "picked");
    c->in[1] = rig_on(rig_ids(R, cpu_ids(dice, R, 0, T)), "picked");
    c->in[2] = rig_rows(T, H, cpu_floats(dice, T * H, 1));
}

static void make_merge_rows(rig_case *c, cpu_dice *dice)
{
    int64_t A = cpu_size(dice, 100), B = cpu_size(dice, MOST), H = cpu_size(dice, MOST);
    int64_t T = cpu_size(dice, 200);
    c->in[0] = rig_on(rig_rows(A, H, cpu_floats(dice, A * H, 1)), "first");
    c->in[1] = rig_on(rig_rows(B, H, cpu_floats(dice, B * H, 1)), "second");
    c->in[2] = rig_ids(T, cpu_ids(dice, T, -B, A));
}

/* The half of merge_rows' gradient that takes what the other source gave. */
static void make_put_other_rows(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, MOST), H = cpu_size(dice, MOST), R = cpu_size(dice, 100);
    c->attr.rows.other = cpu_roll(dice, 0, 1);
    c->in[0] = rig_on(rig_rows(R, H, cpu_floats(dice, R * H, 1)), "picked");
    c->in[1] = rig_on(rig_ids(R, cpu_ids(dice, R, -T, T)), "picked");
    c->in[2] = rig_rows(T, H, cpu_floats(dice, T * H, 1));
}

static void make_blend_rows(rig_case *c, cpu_dice *dice)
{
    int64_t V = cpu_size(dice, 100), T = cpu_size(dice, 100), H = cpu_size(dice, MOST);
    int64_t k = cpu_size(dice, 16);
    bool back = c->kind == DT_OP_blend_grad;
    float *weight = cpu_floats(dice, T * k, 1);
    weight[cpu_roll(dice, 0, T * k - 1)] = 0;
    if (back)
        c->in[0] = rig_rows(T, H, cpu_floats(dice, T * H, 1));
    c->in[back ? 3 : 0] = rig_weight(V, H, cpu_floats(dice, V * H, 1));
    c->in[1] = rig_choices(T, k, cpu_ids(dice, T * k, 0, V));
    c->in[2] = rig_rows(T, k, weight);
}

static void make_scale_columns(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, 100), H = cpu_size(dice, MOST);
    c->in[0] = rig_rows(T, H, cpu_floats(dice, T * H, 1));
    c->in[1] = rig_weight(H, 0, cpu_floats(dice, H, 1));
}

static void make_scale_exp(rig_case *c, cpu_dice *dice)
{
    int64_t N = cpu_size(dice, 100), B = cpu_size(dice, MOST);
    c->in[0] = rig_rows(N, B, cpu_floats(dice, N * B, 1));
    c->in[1] = rig_fixed(1, cpu_floats(dice, 1, 5));
    if (cpu_roll(dice, 0, 1))
        c->in[2] = rig_fixed(1, cpu_floats(dice, 1, 5));
}

static void make_cross_entropy(rig_case *c, cpu_dice *dice)
{
    int64_t T = cpu_size(dice, 200), V = cpu_size(dice, MOST), vocab = cpu_roll(dice, 1, V);
    c->attr.cross_entropy.vocab = cpu_roll(dice, 0, 1) ? vocab : 0;
    c->in[0] = rig_rows(T, V, cpu_floats(dice, T * V, 8));
    c->in[1] = rig_ids(T, cpu_ids(dice, T, -1, vocab));
    if (c->kind == DT_OP_cross_entropy_grad)
        c->in[2] = rig_vector(T, cpu_floats(dice, T, 1));
}

static void make_whole_sum(rig_case *c, cpu_dice *dice)
{
    make_pair(c, dice);
    for (int64_t i = 0; i < c->in[1].dim[0] * c->in[1].dim[1]; i++)
        ((float *)c->in[1].data)[i] += 3.5f; /* weights that do not sum to nearly nothing */
    c->attr.scale.factor = 0.37;
    if (c->kind == DT_OP_weighted_mean_grad)
        c->in[2] = rig_fixed(1, cpu_floats(dice, 1, 2));
}

/* ---- running ---- */

typedef struct op_row {
    dt_op_kind kind;
    make_case *make;
    double tolerance; /* in f32 */
    bool multiplies;  /* by weights of the backend's type */
} op_row;

static const op_row rows[] = {
    {DT_OP_linear, make_linear, 3e-6, true},
    {DT_OP_linear, make_linear_blocks, 3e-6, true},
    {DT_OP_fused_linear, make_fused, 3e-6, true},
    {DT_OP_linear_dx, make_linear_dx, 3e-6, true},
    {DT_OP_embedding, make_embedding, 0, true},
    {DT_OP_embedding_grad, make_embedding_grad, 1e-6, true},
    {DT_OP_sinusoid, make_sinusoid, 0, false},
    {DT_OP_linear_dw, make_linear_dw, 3e-6, false},
    {DT_OP_rms_norm, make_norm, 5e-7, false},
    {DT_OP_layer_norm, make_norm, 5e-7, false},
    {DT_OP_rms_norm_dx, make_norm, 2e-6, false},
    {DT_OP_layer_norm_dx, make_norm, 2e-6, false},
    {DT_OP_rms_norm_dw, make_norm_dw, 3e-6, false},
    {DT_OP_layer_norm_dw, make_norm_dw, 3e-6, false},
    {DT_OP_add, make_pair, 1e-7, false},
    {DT_OP_multiply, make_pair, 1e-7, false},
    {DT_OP_scale, make_scale, 1e-7, false},
    {DT_OP_scale_by, make_scale_by, 1e-7, false},
    {DT_OP_activate, make_activate, 3e-7, false},
    {DT_OP_activate_grad, make_activate, 5e-7, false},
    {DT_OP_glu, make_glu, 5e-7, false},
    {DT_OP_glu_grad, make_glu, 5e-7, false},
    {DT_OP_split_groups, make_groups, 0, false},
    {DT_OP_join_groups, make_groups, 0, false},
    {DT_OP_rope, make_rope, 3e-7, false},
    {DT_OP_take_rows, make_take_rows, 0, false},
    {DT_OP_put_rows, make_put_rows, 1e-6, false},
    {DT_OP_put_rows, make_put_other_rows, 1e-6, false},
    {DT_OP_merge_rows, make_merge_rows, 0, false},
    {DT_OP_blend_rows, make_blend_rows, 1e-6, false},
    {DT_OP_blend_grad, make_blend_rows, 1e-6, false},
    {DT_OP_scale_columns, make_scale_columns, 1e-7, false},
    {DT_OP_scale_exp, make_scale_exp, 3e-7, false},
    {DT_OP_cross_entropy, make_cross_entropy, 5e-7, false},
    {DT_OP_cross_entropy_grad, make_cross_entropy, 2e-6, false},
    {DT_OP_dot, make_whole_sum, 1e-7, false},
    {DT_OP_weighted_mean, make_whole_sum, 1e-7, false},
    {DT_OP_weighted_mean_grad, make_whole_sum, 2e-7, false},
    {DT_OP_column_sum, make_single, 2e-6, false},
    {DT_OP_route, make_route, 1e-6, false},
    {DT_OP_route_grad, make_route, 2e-6, false},
    {DT_OP_expert_linear, make_expert_linear, 3e-6, true},
    {DT_OP_expert_linear_dx, make_expert_linear_dx, 3e-6, true},
    {DT_OP_expert_linear_dw, make_expert_linear_dw, 3e-6, false},
    {DT_OP_expert_column_sum, make_expert_linear_dw, 2e-6, false},
    {DT_OP_sum_choices, make_sum_choices, 5e-7, false},
    {DT_OP_spread_choices, make_sum_choices, 1e-7, false},
    {DT_OP_choice_dots, make_sum_choices, 3e-6, false},
};

static double tolerance_of(const op_row *row, dt_dtype dtype, const rig_case *c)
{
    bool gathers = row->kind == DT_OP_embedding || row->kind == DT_OP_embedding_grad;
    if (!row->multiplies || gathers || dtype == DT_F32 || dtype == DT_F16)
        return row->tolerance;
    bool normed = row->kind == DT_OP_fused_linear && c->attr.fused.has_norm;
    /* experts of an odd height begin inside a pair: their input gradients are multiplied in f32 (cpu.c) */
    bool widened = row->kind == DT_OP_expert_linear_dx && c->in[0].dim[2] % 2 != 0;
    if (dtype == DT_BF16)
        return normed || widened ? 1e-2 : 1e-5;
    bool back = row->kind == DT_OP_linear_dx || row->kind == DT_OP_expert_linear_dx;
    return back ? row->tolerance : 3e-2;
}

static void check_row(const op_row *row, const char *isa, dt_dtype dtype)
{
    cpu_dice dice = {(uint32_t)row->kind * 977u + (uint32_t)dtype * 31u + (uint32_t)isa[3]};
    for (int round = 0; round < ROUNDS; round++) {
        rig_case c = {.kind = row->kind, .dtype = dtype, .threads = 1 + round % 3, .slack = round};
        row->make(&c, &dice);
        cpu_agrees(&c, isa, tolerance_of(row, dtype, &c));
        cpu_free_operands(&c);
    }
}

static void check_all(const char *isa)
{
    bool here = false;
    for (const char *const *i = cpu_isas(); *i != NULL; i++)
        here |= strcmp(*i, isa) == 0;
    if (!here)
        skip();
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
        for (int t = 0; t < (rows[r].multiplies ? 4 : 1); t++)
            check_row(&rows[r], isa, types[t]);
}

static void cpu_ops__avx512bf16_agrees_with_the_reference(void **state)
{
    check_all("avx512bf16");
}

static void cpu_ops__avx512_agrees_with_the_reference(void **state)
{
    check_all("avx512");
}

static void cpu_ops__avx2_agrees_with_the_reference(void **state)
{
    check_all("avx2");
}

static void cpu_ops__baseline_agrees_with_the_reference(void **state)
{
    check_all("baseline");
}

/* Attention and its relatives have tests of their own; everything else must be in the table above. */
static void cpu_ops__no_op_is_left_to_the_reference(void **state)
{
    const dt_backend *backend;
    dt_error err = {0};
    assert_ok(dt_backend_find(&backend, "cpu", DT_F32, NULL, &err), err);
    for (int kind = 0; kind < DT_OP_COUNT; kind++) {
        dt_tensor w = {.kind = DT_TENSOR_PARAM, .rank = 2, .dim = {{NULL, 32}, {NULL, 32}}};
        dt_op op = {.kind = (dt_op_kind)kind, .input = {&w, &w}};
        if (op.kind == DT_OP_expert_linear_dx)
            op.attr.experts.count = 2;
        assert_non_null(backend->kernel(backend, &op));
        bool tested = kind == DT_OP_attention || kind == DT_OP_attention_grad || kind == DT_OP_kv_store;
        for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
            tested |= rows[r].kind == (dt_op_kind)kind;
        if (!tested)
            fail_msg("%s has no test", dt_op_info_of((dt_op_kind)kind)->name);
    }
}

/* A NaN in an activation is seen in the output, whatever the type: it must not be quantised away. */
static void cpu_ops__nan_reaches_the_output(void **state)
{
    cpu_dice dice = {7};
    for (const char *const *isa = cpu_isas(); *isa != NULL; isa++)
        for (int t = 0; t < 4; t++) {
            rig_case c = {.kind = DT_OP_linear, .dtype = types[t], .backend = "cpu", .isa = *isa};
            c.in[0] = rig_rows(2, 64, cpu_floats(&dice, 128, 1));
            c.in[1] = rig_weight(20, 64, cpu_floats(&dice, 20 * 64, 1));
            ((float *)c.in[0].data)[64 + 33] = __builtin_nanf("");
            rig_result r = rig_run(&c);
            for (int i = 0; i < 20; i++) {
                assert_true(r.out[0][i] == r.out[0][i]);
                assert_true(r.out[0][20 + i] != r.out[0][20 + i]);
            }
            rig_free(&r), cpu_free_operands(&c);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_ops__avx512bf16_agrees_with_the_reference),
        cmocka_unit_test(cpu_ops__avx512_agrees_with_the_reference),
        cmocka_unit_test(cpu_ops__avx2_agrees_with_the_reference),
        cmocka_unit_test(cpu_ops__baseline_agrees_with_the_reference),
        cmocka_unit_test(cpu_ops__no_op_is_left_to_the_reference),
        cmocka_unit_test(cpu_ops__nan_reaches_the_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
