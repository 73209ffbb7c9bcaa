/*
 * mapping.h - how a model's canonical tensors lie in somebody's tensors, as data that runs both ways.
 *
 * A canonical tensor is seen as [rows, cols] (a vector has one column). An external tensor is seen as planes of
 * [rows, cols]: leading axes (layer, expert) count planes. A piece says that one rectangle of the canonical tensor
 * is one rectangle of an external plane, perhaps transposed. Joining, splitting, regrouping, stacking, padding and
 * cutting for ranks are all lists of pieces; nothing else knows how a format lies. Reading copies pieces from
 * external to canonical; writing, and gradients under the makers' names, copy the same pieces back.
 *
 * Pieces of a canonical tensor come in bands: sorted by to_row, and those of equal to_row have equal rows. A rectangle
 * may stand in several external places (T5's buckets in GGUF): pieces with one corner, one after the other, of which all
 * are written and the first is read.
 */
#ifndef DT_FORMATS_MAPPING_H
#define DT_FORMATS_MAPPING_H

#include "base/arena.h"
#include "formats/stored.h"

#include <drivetrain/graph.h>

typedef struct dt_piece {
    int external;           /* index into dt_mapping.external */
    int64_t plane;          /* of the external tensor */
    int64_t row, col;       /* corner in that plane */
    int64_t to_row, to_col; /* corner in the canonical tensor */
    int64_t rows, cols;     /* extent in the canonical tensor */
    bool transposed;        /* canonical [i, j] is external [j, i] */
    int64_t step;           /* canonical rows lie so far apart there (gate and up in turns); 0 = 1 */
    float shift;            /* external elements are canonical ones plus this */
} dt_piece;

typedef struct dt_external {
    const char *name;
    dt_shape shape; /* what the configuration makes it */
    int axes;       /* trailing axes that make a plane: 1 or 2 */
    bool reshaped;  /* the file's tensor has the shape `file`, of as many elements, and is seen as `shape` */
    dt_shape file;
    const dt_stored_tensor *stored; /* the file's, once bound; NULL in a mapping for writing */
    const char *canonical;          /* the first canonical tensor in it, for lists */
    int piece_count;
    const int *piece; /* indices into dt_mapping.piece, filled by dt_mapping_finish */
} dt_external;

typedef struct dt_canonical {
    const dt_param_spec *spec;
    int64_t rows, cols;
    int first, count; /* its pieces */
    bool covered;     /* by its pieces; else the rest reads as zeros */
} dt_canonical;

typedef struct dt_mapping dt_mapping;

/* A mapping of `count` parameters without pieces; everything lives in `arena`. specs stay the caller's. */
dt_status dt_mapping_create(dt_mapping **out, dt_arena *arena, const dt_param_spec *specs, int count,
                            dt_error *err);

/* Start the pieces of the next parameter (in order, each once). */
const dt_canonical *dt_mapping_next(dt_mapping *mapping, dt_error *err);
/* The external tensor of that name, added when new; a second shape for it is DT_MISMATCH. */
dt_status dt_mapping_add_external(dt_mapping *mapping, const char *name, const dt_shape *shape, int axes,
                                  int *index, dt_error *err);
dt_status dt_mapping_add_piece(dt_mapping *mapping, const dt_piece *piece, dt_error *err);
/* After the last: checks the bands and that no element of an external tensor is meant twice. */
dt_status dt_mapping_finish(dt_mapping *mapping, dt_error *err);

int dt_mapping_count(const dt_mapping *mapping);
const dt_canonical *dt_mapping_at(const dt_mapping *mapping, int index);
int dt_mapping_find(const dt_mapping *mapping, const char *canonical); /* -1 when unknown */
/* The same with a story that lists the nearest name. */
dt_status dt_mapping_get(const dt_mapping *mapping, const char *canonical, int *index, dt_error *err);

int dt_mapping_external_count(const dt_mapping *mapping);
dt_external *dt_mapping_external_at(const dt_mapping *mapping, int index);
int dt_mapping_find_external(const dt_mapping *mapping, const char *name); /* -1 when unknown */
const dt_piece *dt_mapping_piece_at(const dt_mapping *mapping, int index);

typedef struct dt_block {
    int64_t row, col, rows, cols;
} dt_block;

/* Memory that a block goes to: element (i, j) at out[i * row_stride + j * col_stride], counted in elements of dtype. */
typedef struct dt_window {
    dt_dtype dtype;
    void *out;
    int64_t row_stride, col_stride;
} dt_window;

/* Copy a block of a canonical tensor out of the bound external tensors. */
dt_status dt_mapping_read(const dt_mapping *mapping, int index, const dt_block *block,
                          const dt_window *window, dt_error *err);
/* The pages behind a canonical tensor may go. */
void dt_mapping_drop(const dt_mapping *mapping, int index);
/* They will be read soon. */
void dt_mapping_will_need(const dt_mapping *mapping, int index);
/* The type that holds a canonical tensor as stored: its pieces' one, or the widest of several. */
dt_dtype dt_mapping_stored_type(const dt_mapping *mapping, int index);

/* Supplies a block of a canonical tensor. */
typedef struct dt_canonical_source {
    dt_status (*read)(void *user, const dt_canonical *canonical, const dt_block *block,
                      const dt_window *window, dt_error *err);
    void *user;
} dt_canonical_source;

/*
 * Make rows [first, first + count) of an external tensor (all planes' rows in one sequence) from canonical ones,
 * dense, as dtype. What no piece covers is zero.
 */
dt_status dt_mapping_assemble(const dt_mapping *mapping, int external, int64_t first, int64_t count,
                              const dt_canonical_source *source, dt_dtype dtype, void *out, dt_error *err);
/* The shape in the file: `file` where it is reshaped (rows seen in pairs, kernels as matrices), else `shape`. */
dt_shape dt_external_file_shape(const dt_external *external);
/* An external tensor as planes × rows, of cols elements each. */
void dt_external_rows(const dt_external *external, int64_t *rows, int64_t *cols);

#endif
