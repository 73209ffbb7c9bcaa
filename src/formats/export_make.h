/*
 * export_make.h - rows of a target tensor, made from canonical ones by a team of threads.
 */
#ifndef DT_FORMATS_EXPORT_MAKE_H
#define DT_FORMATS_EXPORT_MAKE_H

#include "base/pool.h"
#include "formats/mapping.h"

/* What is made of a row of values. */
typedef enum dt_make_form {
    DT_MAKE_VALUES,     /* its values, in a type */
    DT_MAKE_FP8,        /* its values over its scale, as e4m3 */
    DT_MAKE_FP8_SCALES, /* its scale: the largest magnitude over e4m3's largest, f32 */
} dt_make_form;

typedef struct dt_make {
    const dt_mapping *to;
    int external;
    dt_dtype type;
    size_t row_bytes;
    const dt_canonical_source *source; /* safe from several threads at once */
    dt_make_form form;
    dt_pool *pool; /* NULL: the caller's thread alone */
} dt_make;

/*
 * As dt_mapping_assemble, the same bytes whatever the threads. Errors: DT_UNSUPPORTED when values overflow f16: names
 * the tensor, how many and how large, and proposes bf16.
 */
dt_status dt_make_rows(const dt_make *make, int64_t first, int64_t rows, void *out, dt_error *err);

#endif
