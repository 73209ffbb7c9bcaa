/*
 * graph_f64.h - the forward phase of a graph in f64, from values to values: what gradients are differenced against.
 *
 * It shares nothing with any backend but the graph, knows no cache, and is as slow as it is short.
 */
#ifndef DT_UNIT_GRAPH_F64_H
#define DT_UNIT_GRAPH_F64_H

#include "unit.h"

#include "graph/ir.h"

typedef struct graph_f64 {
    const dt_graph *g;
    const int64_t *counts; /* by axis */
    double **value;        /* by tensor id, dense; leaves are the caller's to fill, integers too */
} graph_f64;

graph_f64 graph_f64_make(const dt_graph *g, const int64_t *counts); /* constants are filled */
void graph_f64_run(const graph_f64 *f);
void graph_f64_free(graph_f64 *f);

#endif
