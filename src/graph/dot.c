/*
 * dot.c - a picture of a graph in Graphviz' language: ops as boxes coloured by phase, values as edges.
 *
 * Parameters and constants are lines in the box of the op that reads them, not nodes of their own: a model has
 * hundreds, and they would bury the flow. Inputs and states are ellipses.
 */
#include "graph/rules.h"

#include "base/text.h"

static const char *const phase_color[] = {
    [DT_PHASE_FORWARD] = "#dbe9f6",
    [DT_PHASE_BACKWARD_INPUT] = "#fde0c5",
    [DT_PHASE_BACKWARD_WEIGHT] = "#e3f1d4",
};

/* Names come from files: what would end a quoted string is escaped. */
static void put_escaped(dt_text *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            dt_text_put(out, "\\");
        dt_text_append(out, (unsigned char)*text < ' ' ? " " : text, 1);
    }
}

static bool is_folded(const dt_tensor *t)
{
    return t->kind == DT_TENSOR_PARAM || t->kind == DT_TENSOR_CONSTANT;
}

static void put_leaf(dt_text *out, const dt_tensor *t)
{
    dt_text_printf(out, "  t%d [shape=ellipse, style=%s, label=\"", t->id,
                   t->kind == DT_TENSOR_STATE ? "\"filled,bold\", fillcolor=\"#eeeeee\"" : "dashed");
    put_escaped(out, t->name);
    dt_text_printf(out, "\\n%s %s\"];\n", dt_dims_print(t->rank, t->dim).text, dt_dtype_name(t->dtype));
}

static void put_op(dt_text *out, const dt_op *op)
{
    dt_text_printf(out, "  op%d [fillcolor=\"%s\", label=\"%s", op->id, phase_color[op->phase],
                   dt_op_info_of(op->kind)->name);
    for (int i = 0; i < op->input_count; i++) {
        const dt_tensor *t = op->input[i];
        if (!t || !is_folded(t))
            continue;
        dt_text_put(out, "\\n");
        put_escaped(out, t->name);
        dt_text_printf(out, " %s", dt_dims_print(t->rank, t->dim).text);
    }
    for (int i = 0; i < op->output_count; i++) {
        if (!op->output[i] || !op->output[i]->name)
            continue;
        dt_text_put(out, "\\n\xe2\x86\x92 "); /* → the point */
        put_escaped(out, op->output[i]->name);
    }
    dt_text_put(out, "\"];\n");
}

static void put_edges(dt_text *out, const dt_op *op)
{
    for (int i = 0; i < op->input_count; i++) {
        const dt_tensor *t = op->input[i];
        if (!t || is_folded(t))
            continue;
        if (t->producer)
            dt_text_printf(out, "  op%d -> op%d [label=\"%s\"];\n", t->producer->id, op->id,
                           dt_dims_print(t->rank, t->dim).text);
        else
            dt_text_printf(out, "  t%d -> op%d;\n", t->id, op->id);
    }
}

dt_status dt_graph_dot(const dt_graph *g, char **text, dt_error *err)
{
    *text = NULL;
    if (!g || g->error.status != DT_OK)
        return dt_fail(err, DT_INVALID, "a graph that failed to build has no picture");
    dt_text out = {0};
    dt_text_put(&out, "digraph drivetrain {\n  rankdir=TB;\n"
                      "  node [shape=box, style=filled, fontname=\"Helvetica\", fontsize=10];\n"
                      "  edge [fontname=\"Helvetica\", fontsize=8];\n"
                      "  label=\"blue: forward, orange: backward to inputs, green: parameter gradients\";\n");
    for (int i = 0; i < g->tensor_count; i++)
        if (g->tensor[i]->kind == DT_TENSOR_INPUT || g->tensor[i]->kind == DT_TENSOR_STATE)
            put_leaf(&out, g->tensor[i]);
    for (int i = 0; i < g->op_count; i++)
        put_op(&out, g->op[i]);
    for (int i = 0; i < g->op_count; i++)
        put_edges(&out, g->op[i]);
    dt_text_put(&out, "}\n");
    if (out.failed) {
        dt_text_free(&out);
        return dt_fail_memory(err, 0, "the picture of a graph");
    }
    *text = out.data;
    return DT_OK;
}
