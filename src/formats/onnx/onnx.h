/*
 * onnx.h - a GraphProto being made: values are named, nodes are pure, and the same node twice is one node.
 *
 * So a lowering computes its masks and rotary tables anew in every layer, and the graph holds them once. Everything is
 * kept serialised; the weights are not here: a parameter is a name, a type, dimensions and a place in the data file.
 * Shortness of memory sticks (dt_onnx_failed); names returned are never NULL.
 *
 * Source  onnx.proto (field numbers beside their use), opset 18 unless a call asks dt_onnx.opset.
 */
#ifndef DT_FORMATS_ONNX_H
#define DT_FORMATS_ONNX_H

#include "base/arena.h"
#include "base/text.h"
#include "tensor/shape.h"

#include <drivetrain/dtype.h>

#include <stdbool.h>
#include <stdint.h>

/* TensorProto.DataType */
enum { DT_ONNX_FLOAT = 1, DT_ONNX_INT64 = 7, DT_ONNX_BOOL = 9, DT_ONNX_FLOAT16 = 10, DT_ONNX_BFLOAT16 = 16 };
int dt_onnx_type_of(dt_dtype type); /* 0: ONNX has none for it here */

/* ---- the wire format (wire.c) ---- */

typedef enum dt_wire { DT_WIRE_VARINT, DT_WIRE_FIXED64, DT_WIRE_BYTES, DT_WIRE_FIXED32 = 5 } dt_wire;

void dt_wire_int(dt_text *out, int field, int64_t value);
void dt_wire_float(dt_text *out, int field, float value);
void dt_wire_data(dt_text *out, int field, const void *data, size_t bytes);
void dt_wire_string(dt_text *out, int field, const char *text);
void dt_wire_text(dt_text *out, int field, const dt_text *message);

/* A message being read: bytes that are there already. */
typedef struct dt_wire_reader {
    const uint8_t *at, *end;
} dt_wire_reader;

typedef struct dt_wire_field {
    int number;
    dt_wire wire;
    uint64_t value;       /* VARINT, FIXED */
    dt_wire_reader bytes; /* BYTES */
} dt_wire_field;

/* *more is false at the end. Errors: DT_FORMAT for what is no protobuf. */
dt_status dt_wire_next(dt_wire_reader *reader, dt_wire_field *field, bool *more, dt_error *err);

/* ---- nodes (nodes.c) ---- */

enum { DT_ONNX_ATTRIBUTES = 4, DT_ONNX_INPUTS = 8 };

typedef struct dt_onnx_attribute {
    const char *name; /* NULL: unused */
    enum { DT_ONNX_I, DT_ONNX_F, DT_ONNX_IS, DT_ONNX_S } kind;
    int64_t i;
    float f;
    const char *text;
    int64_t list[6];
    int count;
} dt_onnx_attribute;

/* A dimension: a number, or a named one. */
typedef struct dt_onnx_dim {
    const char *name;
    int64_t n;
} dt_onnx_dim;

typedef struct dt_onnx_entry dt_onnx_entry;

typedef struct dt_onnx {
    dt_arena *arena;
    int opset;
    dt_dtype type; /* of weights and activations */
    dt_text nodes, constants, inputs, outputs;
    int node_count, value_count;
    dt_onnx_entry **slot; /* open-addressing hash of what was made, by its bytes */
    int slot_count, entry_count;
    bool failed;
} dt_onnx;

bool dt_onnx_failed(const dt_onnx *o);
void dt_onnx_release(dt_onnx *o);

/* One node of up to DT_ONNX_INPUTS inputs (NULL ends them) and attributes; outputs' names in out[]. */
void dt_onnx_make(dt_onnx *o, const char *op, const char *const *input, const dt_onnx_attribute *attribute,
                  int outputs, const char **out);
const char *dt_onnx_node(dt_onnx *o, const char *op, const char *const *input,
                         const dt_onnx_attribute *attribute);
#define DT_ONNX_NODE(o, op, ...) dt_onnx_node((o), (op), (const char *const[]){__VA_ARGS__, NULL}, NULL)
#define DT_ONNX_WITH(o, op, attributes, ...)                                                                 \
    dt_onnx_node((o), (op), (const char *const[]){__VA_ARGS__, NULL}, (attributes))

/* Constants. */
const char *dt_onnx_integer(dt_onnx *o, int64_t value);                     /* int64 scalar */
const char *dt_onnx_integers(dt_onnx *o, int count, const int64_t *values); /* int64 [count] */
const char *dt_onnx_number(dt_onnx *o, double value);     /* f32 scalar, in the graph's type */
const char *dt_onnx_number_f32(dt_onnx *o, double value); /* f32 scalar */
const char *dt_onnx_floats(dt_onnx *o, int64_t rows, int64_t cols,
                           const float *values); /* f32; cols 0: a vector */
#define DT_ONNX_INTS(o, ...)                                                                                 \
    dt_onnx_integers((o), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

/* What lowerings say often. */
const char *dt_onnx_cast(dt_onnx *o, const char *x, int type);
const char *dt_onnx_to_f32(dt_onnx *o, const char *x);   /* x itself in an f32 graph */
const char *dt_onnx_from_f32(dt_onnx *o, const char *x); /* to the graph's type */
const char *dt_onnx_reshape(dt_onnx *o, const char *x, int rank, const int64_t *dim); /* 0 keeps, -1 infers */
#define DT_ONNX_RESHAPE(o, x, ...)                                                                           \
    dt_onnx_reshape((o), (x), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                     \
                    (int64_t[]){__VA_ARGS__})
const char *dt_onnx_transpose(dt_onnx *o, const char *x, int rank, const int64_t *order);
#define DT_ONNX_TRANSPOSE(o, x, ...)                                                                         \
    dt_onnx_transpose((o), (x), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                   \
                      (int64_t[]){__VA_ARGS__})
const char *dt_onnx_concat(dt_onnx *o, const char *x, const char *y, int64_t axis);
const char *dt_onnx_size(dt_onnx *o, const char *x, int64_t axis); /* int64 scalar */
const char *dt_onnx_range(dt_onnx *o, const char *count);          /* 0 … count - 1 */
const char *dt_onnx_reduce(dt_onnx *o, const char *op, const char *x, int64_t axis, bool keep);

/* The graph's edge. An input of a known name is declared once; an output is a value under a name of its own. */
const char *dt_onnx_input(dt_onnx *o, const char *name, int type, int rank, const dt_onnx_dim *dim);
void dt_onnx_output(dt_onnx *o, const char *value, const char *name, int type, int rank,
                    const dt_onnx_dim *dim);

#endif
