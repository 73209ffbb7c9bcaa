/*
 * export_make.h - rows of a target tensor, made from canonical ones by a team of threads.
 */
#ifndef DT_FORMATS_EXPORT_MAKE_H
#define DT_FORMATS_EXPORT_MAKE_H

#include "base/pool.h"
#include "formats/mapping.h"

typedef struct dt_make {
    const dt_mapping *to;
    int external;
    dt_dtype type;
    size_t row_bytes;
    const dt_canonical_source *source; /* safe from several threads at once */
    dt_pool *pool;                     /* NULL: the caller's thread alone */
} dt_make;

/*
 * As dt_mapping_assemble, the same bytes whatever the threads. Errors: DT_UNSUPPORTED when values overflow f16: names
 * the tensor, how many and how large, and proposes bf16.
 */
dt_status dt_make_rows(const dt_make *make, int64_t first, int64_t rows, void *out, dt_error *err);

#endif
