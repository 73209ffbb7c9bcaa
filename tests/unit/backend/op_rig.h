/*
 * op_rig.h - one op, run alone: its operands as plain arrays, on any backend, with any number of threads.
 */
#ifndef DT_UNIT_OP_RIG_H
#define DT_UNIT_OP_RIG_H

#include "unit.h"

#include "backend/backend.h"

/* What an operand is to the graph. ABSENT comes first so that unset operands are absent. */
typedef enum rig_role {
    RIG_ABSENT,
    RIG_FLOATS, /* an f32 input */
    RIG_INTS,   /* an i32 input */
    RIG_WEIGHT, /* a parameter, from an f32 source */
    RIG_STATE,  /* read and written where it lies */
} rig_role;

typedef struct rig_operand {
    rig_role role;
    const char *axis; /* of dim 0; NULL = fixed */
    int64_t extra;    /* dim 0 is the axis plus this; dim[0] counts it */
    int rank;
    int64_t dim[3];
    void *data;
    dt_dtype dtype; /* of a state */
} rig_operand;

typedef struct rig_case {
    dt_op_kind kind;
    dt_attributes attr;
    rig_operand in[DT_OP_MAX_INPUTS];
    const char *backend; /* NULL = "reference" */
    const char *isa;
    dt_dtype dtype; /* of products */
    int threads;    /* 0 = 1 */
    int64_t slack;  /* axes have this much more capacity than the run uses */
} rig_case;

typedef struct rig_result {
    int count;
    float *out[DT_OP_MAX_OUTPUTS]; /* NULL = absent */
    int64_t n[DT_OP_MAX_OUTPUTS];
} rig_result;

rig_operand rig_rows(int64_t rows, int64_t cols, float *data); /* [rows, cols] over the axis "rows" */
rig_operand rig_vector(int64_t rows, float *data);             /* [rows] over it */
rig_operand rig_ids(int64_t rows, int32_t *data);              /* [rows] i32 over it */
rig_operand rig_planes(int64_t rows, int64_t k, int64_t cols, float *data); /* [rows, k, cols] over it */
rig_operand rig_choices(int64_t rows, int64_t k, int32_t *data);            /* [rows, k] i32 over it */
rig_operand rig_fixed(int64_t n, float *data);                              /* [n] */
rig_operand rig_weight(int64_t rows, int64_t cols, float *data); /* [rows, cols], or [rows] when cols is 0 */
rig_operand rig_on(rig_operand operand, const char *axis);       /* the same over another axis */
rig_operand rig_lengths(int64_t sequences, int32_t *cu);         /* [sequences + 1] i32 over "sequences" */

/* Run it; the test fails with the story when anything does. */
rig_result rig_run(const rig_case *c);
/* The same, giving the status of dt_executor_run; everything before it must work. */
dt_status rig_try(const rig_case *c, rig_result *result, dt_error *err);
void rig_free(rig_result *result);

/* Numbers that f32 holds exactly and a script can make too: multiples of 1/1024 in [-1, 1). */
float *rig_numbers(int64_t n, uint32_t seed);

/* Sources of parameters from arrays, for tests that build graphs of their own. */
typedef struct rig_array {
    const char *name;
    dt_shape shape;
    dt_dtype dtype;
    const void *data;
} rig_array;
typedef struct rig_arrays {
    const rig_array *array;
    int count;
    bool mapped; /* offer the arrays themselves */
    int reads, drops;
} rig_arrays;
dt_weight_source rig_source(rig_arrays *arrays);

void assert_same_bits(const float *a, const float *b, int64_t n);
void assert_near(const float *found, const double *expected, int64_t n,
                 double tolerance); /* of the largest */

#endif
