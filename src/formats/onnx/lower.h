/*
 * lower.h - one packed graph of drivetrain's becoming one padded ONNX graph.
 *
 * Rows [T, H] become [B, S, H]; where a sequence begins and ends (cu_seqlens, block tables) becomes masks. Each op has
 * a lowering, named in ops.def. A choice among experts, [T, k, ·], becomes [B, E, S, ·]: every expert computes every row,
 * and weights of zero leave out those that were not chosen (standard operators have no grouped product).
 */
#ifndef DT_FORMATS_ONNX_LOWER_H
#define DT_FORMATS_ONNX_LOWER_H

#include "formats/onnx/onnx.h"
#include "graph/ir.h"

#include <drivetrain/config.h>

/* How a parameter lies in the files. */
typedef enum dt_onnx_layout {
    DT_ONNX_AS_IS,      /* [N, K] */
    DT_ONNX_TRANSPOSED, /* only products read it: [K, N], for MatMul */
    DT_ONNX_EXPERTS     /* only experts' products read it: [E, K, N] */
} dt_onnx_layout;

/* A point that is a result, under a name. */
typedef struct dt_onnx_result {
    const char *point, *name;
} dt_onnx_result;

enum { DT_ONNX_RESULTS = 6 };

/* What a graph is fed and asked for. */
typedef struct dt_onnx_frame {
    dt_onnx_result result[DT_ONNX_RESULTS]; /* those of them that the graph has; a point of NULL ends them */
    dt_onnx_result cut;                     /* a point that is an input instead of being computed; or NULL */
    const char *cut_length;                 /* name of the axis along which it is */
    bool wordless;                          /* no input_ids: rows are the cut's, pictures, or features */
    bool cached;                            /* keys and values of the past come in */
    bool presents;                          /* those of now go out */
    bool cross;             /* there is an encoder: names have "decoder." or "encoder." in them */
    bool numbered;          /* position_ids come in; else positions are counted */
    const char *own_mask;   /* "attention_mask", or NULL: rows see what the past and the order allow */
    const char *own_length; /* name of the axis along which the rows are */
    const char *own_batch;  /* … and of the one along which texts are; NULL: batch_size */
} dt_onnx_frame;

typedef struct dt_lowering {
    dt_onnx *o;
    const dt_graph *graph;
    const dt_model_config *config;
    const dt_onnx_frame *frame;
    const dt_onnx_layout *layout; /* of each tensor of the graph */
    const char **value;           /* what each tensor has become, or NULL */
    bool *used;                   /* parameters that were read, by tensor */
    const char *cut_value;        /* the input that stands for the cut */
    const char *past_key;         /* the first layer's keys of the past: how long it is; NULL without */
    int self_count,
        cross_count;  /* attentions lowered so far: layers have their numbers where no cache names them */
    dt_status status; /* sticky */
    dt_error *err;
} dt_lowering;

typedef void (*dt_onnx_lowering)(dt_lowering *l, const dt_op *op);

/* Poison the lowering, keeping the first story. */
void dt_lower_fail(dt_lowering *l, const char *format, ...) DT_PRINTF(2, 3);
/* What a tensor has become: a parameter's name, an input's, or the value its op was lowered to. */
const char *dt_lower_value(dt_lowering *l, const dt_tensor *t);
const char *dt_lower_input(dt_lowering *l, const dt_op *op, int index); /* NULL when absent */
/* A weight [N, K] as MatMul takes it. */
const char *dt_lower_weight(dt_lowering *l, const dt_tensor *t);
/* The result of an op. */
void dt_lower_set(dt_lowering *l, const dt_tensor *t, const char *value);

/* Inputs of the frame. */
const char *dt_lower_ids(dt_lowering *l);     /* int64 [B, S] */
const char *dt_lower_mask(dt_lowering *l);    /* int64 [B, P + S], 1 where there is a token; NULL without */
const char *dt_lower_past(dt_lowering *l);    /* int64 scalar: positions before these; NULL without */
const char *dt_lower_queries(dt_lowering *l); /* int64 [S]: the place of each row among all keys */

/* Of pictures (lower_vision.c). */
bool dt_lower_sees(const dt_tensor *t);    /* has it a row a patch, or a picture? */
bool dt_lower_is_flat(const dt_tensor *t); /* one row a text or picture, instead of one a token or patch */
void dt_lower_features(dt_lowering *l, const dt_op *op, int part); /* which of a tower's rows are projected */
const char *dt_lower_patches(dt_lowering *l);                      /* [B, P, C·p·p] */
const char *dt_lower_picture_rows(dt_lowering *l);                 /* int64 scalar: rows of a picture */

/* Learn how long the past is, before anything asks. */
void dt_lower_find_past(dt_lowering *l);

/* Lower every op that a result of the frame, or a present, needs. */
dt_status dt_lower_graph(dt_lowering *l);

/* The column of ops.def. */
#define dt_onnx_lower_none NULL
void dt_onnx_lower_embedding(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_sinusoid(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_linear(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_rms_norm(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_layer_norm(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_add(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_multiply(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_scale(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_activate(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_glu(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_split_groups(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_join_groups(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_rope(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_attention(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_take_rows(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_route(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_expert_linear(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_sum_choices(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_merge_rows(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_blend_rows(dt_lowering *l, const dt_op *op);
void dt_onnx_lower_scale_exp(dt_lowering *l, const dt_op *op);

#endif
