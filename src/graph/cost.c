/*
 * cost.c - how much work an op is: the `cost` column of ops.def, and dt_graph_cost over a whole graph.
 *
 * Products and attention are counted exactly (attention over the mean sequence length); for everything else one
 * FLOP an element stands in, since those ops are bound by the bytes they move, which are counted exactly.
 */
#include "graph/rules.h"

#include <math.h>

static double elements(const dt_tensor *t, const int64_t *counts)
{
    return t ? (double)dt_tensor_elements(t, counts) : 0;
}

static double weight_bytes(double count, dt_dtype weight)
{
    return count / (double)dt_dtype_block_elements(weight) * (double)dt_dtype_block_bytes(weight);
}

/* What an op reads and writes in full: parameters as weights, values, inputs and constants as activations. */
static void add_operands(const dt_op *op, const int64_t *counts, dt_cost *cost, dt_dtype weight)
{
    for (int i = 0; i < op->input_count; i++) {
        const dt_tensor *t = op->input[i];
        if (t && t->kind == DT_TENSOR_PARAM)
            cost->weight_bytes += weight_bytes(elements(t, counts), weight);
        else if (t && t->kind != DT_TENSOR_STATE)
            cost->activation_bytes += (double)dt_tensor_bytes(t, counts);
    }
    for (int i = 0; i < op->output_count; i++)
        if (op->output[i])
            cost->activation_bytes += (double)dt_tensor_bytes(op->output[i], counts);
}

void dt_cost_elementwise(const dt_op *op, const int64_t *counts, dt_cost *cost, dt_dtype weight)
{
    double in = op->input_count ? elements(op->input[0], counts) : 0;
    double out = op->output_count ? elements(op->output[0], counts) : 0;
    cost->flops += in > out ? in : out;
    add_operands(op, counts, cost, weight);
    if (op->kind == DT_OP_kv_store) /* what it reads goes into the caches, element for element */
        cost->activation_bytes +=
            2 * in * (double)dt_dtype_block_bytes(op->input[DT_KV_STORE_K_CACHE]->dtype);
}

/* Rows picked from a table or put into one: only they are read, the table is not. */
void dt_cost_gather(const dt_op *op, const int64_t *counts, dt_cost *cost, dt_dtype weight)
{
    bool picks = op->kind == DT_OP_embedding || op->kind == DT_OP_take_rows || op->kind == DT_OP_merge_rows ||
                 op->kind == DT_OP_blend_rows;
    if (!picks) {
        const dt_tensor *dy = op->input[op->kind == DT_OP_embedding_grad ? 1 : 0];
        cost->flops += elements(dy, counts);
        cost->activation_bytes += 4 * elements(dy, counts) + 4 * elements(op->output[0], counts);
        return;
    }
    double picked = elements(op->output[0], counts);
    cost->activation_bytes += 4 * picked + 4 * elements(op->input[1], counts);
    if (op->input[0]->kind == DT_TENSOR_PARAM)
        cost->weight_bytes += weight_bytes(picked, weight);
    else
        cost->activation_bytes += 4 * picked;
}

/* [T, ·] times the matrix in input 1: 2 · T · its elements. */
void dt_cost_linear(const dt_op *op, const int64_t *counts, dt_cost *cost, dt_dtype weight)
{
    cost->flops += 2 * (double)dt_dim_count(op->input[0]->dim[0], counts) * elements(op->input[1], counts);
    add_operands(op, counts, cost, weight);
}

/* dyᵀ [N, T] times x [T, K] */
void dt_cost_linear_dw(const dt_op *op, const int64_t *counts, dt_cost *cost, dt_dtype weight)
{
    cost->flops += 2 * (double)dt_dim_count(op->input[0]->dim[0], counts) * elements(op->output[0], counts);
    add_operands(op, counts, cost, weight);
}

/* Experts that rows meet when every choice is equally likely: E · (1 - (1 - k/E)^T). */
static double experts_met(const dt_op *op, const dt_tensor *experts, const int64_t *counts)
{
    double E = (double)op->attr.experts.count, T = (double)dt_dim_count(experts->dim[0], counts);
    double k = (double)dt_dim_count(experts->dim[1], counts);
    return E * (1 - pow(1 - fmin(k / E, 1), T));
}

/* Each choice is a row that meets one expert's matrix; only the weights of experts that are met are read. */
static void add_expert_product(const dt_op *op, const dt_tensor *experts, const dt_tensor *w,
                               const int64_t *counts, dt_cost *cost, dt_dtype weight)
{
    double matrix = elements(w, counts) / (double)op->attr.experts.count;
    cost->flops += 2 * elements(experts, counts) * matrix;
    if (w->kind == DT_TENSOR_PARAM)
        cost->weight_bytes += weight_bytes(experts_met(op, experts, counts) * matrix, weight);
    for (int i = 0; i < op->input_count; i++)
        if (op->input[i] && op->input[i]->kind != DT_TENSOR_PARAM)
            cost->activation_bytes += (double)dt_tensor_bytes(op->input[i], counts);
    cost->activation_bytes += (double)dt_tensor_bytes(op->output[0], counts);
}

void dt_cost_expert_linear(const dt_op *op, const int64_t *counts, dt_cost *cost, dt_dtype weight)
{
    add_expert_product(op, op->input[2], op->input[1], counts, cost, weight);
}

void dt_cost_expert_linear_dw(const dt_op *op, const int64_t *counts, dt_cost *cost, dt_dtype weight)
{
    add_expert_product(op, op->input[2], op->output[0], counts, cost, weight);
}

/* How many keys a query sees, were all sequences of one length; over a cache, were it full. */
static double keys_of_a_query(const dt_op *op, const int64_t *counts)
{
    const dt_attention_spec *s = &op->attr.attention.spec;
    double sequences = fmax(1, (double)dt_dim_count(op->input[DT_ATTENTION_CU_ROWS]->dim[0], counts) - 1);
    double keys, window = INFINITY;
    if (op->input[DT_ATTENTION_K_CACHE])
        keys = (double)dt_dim_count(op->input[DT_ATTENTION_BLOCK_TABLE]->dim[1], counts) * DT_KV_BLOCK;
    else
        keys = (double)dt_dim_count(op->input[DT_ATTENTION_K]->dim[0], counts) / sequences;
    if (s->window_left >= 0 && (s->causal || s->window_right >= 0))
        window = 1 + (double)s->window_left + (s->causal ? 0 : (double)s->window_right);
    if (s->causal && !op->input[DT_ATTENTION_K_CACHE])
        keys = (keys + 1) / 2;
    return fmin(keys, window);
}

/* `products` of q·k's size for each pair of query and key: two forward, five backward (scores again, dq, dk, dv, dp) */
static void add_attention(const dt_op *op, const int64_t *counts, dt_cost *cost, dt_dtype weight,
                          double products)
{
    const dt_tensor *cache = op->input[DT_ATTENTION_K_CACHE];
    double keys = keys_of_a_query(op, counts);
    cost->flops += 2 * products * keys * elements(op->input[DT_ATTENTION_Q], counts);
    add_operands(op, counts, cost, weight);
    if (cache) {
        double sequences = (double)dt_dim_count(op->input[DT_ATTENTION_CU_ROWS]->dim[0], counts) - 1;
        double columns = (double)dt_dim_count(cache->dim[2], counts);
        double stored = elements(op->input[DT_ATTENTION_K], counts) + sequences * keys * columns;
        cost->activation_bytes += weight_bytes(2 * stored, cache->dtype);
    }
}

void dt_cost_attention(const dt_op *op, const int64_t *counts, dt_cost *cost, dt_dtype weight)
{
    add_attention(op, counts, cost, weight, 2);
}

void dt_cost_attention_grad(const dt_op *op, const int64_t *counts, dt_cost *cost, dt_dtype weight)
{
    add_attention(op, counts, cost, weight, 5);
}

dt_cost dt_graph_cost(const dt_graph *g, const int64_t *counts, dt_dtype weight)
{
    dt_cost cost = {0};
    if (!g || g->error.status != DT_OK || (unsigned)weight >= DT_DTYPE_COUNT)
        return cost;
    for (int i = 0; i < g->op_count; i++)
        dt_op_info_of(g->op[i]->kind)->cost(g->op[i], counts, &cost, weight);
    return cost;
}
