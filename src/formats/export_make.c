/*
 * export_make.c - makes rows of a target tensor by all threads, and tells values that its type cannot hold.
 *
 * A row's bytes depend on that row alone, so how rows are shared out changes nothing. Streaming is export.c's.
 */
#include "formats/export_make.h"

#include "base/checked.h"
#include "tensor/convert.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SCAN_BYTES = 4 << 20, PART_BYTES = 64 << 10 };

static const double F16_LARGEST = 65504;
static const float F8E4M3_LARGEST = 448;

/* ---- values beyond f16 ---- */

typedef struct overflow {
    int64_t count, first_row; /* in the tensor's rows */
    double largest;           /* magnitude */
} overflow;

static void scan_rows(const float *value, int64_t rows, int64_t cols, int64_t row, overflow *o)
{
    for (int64_t i = 0; i < rows * cols; i++) {
        double size = fabs((double)value[i]);
        if (!(size > F16_LARGEST) || isinf(value[i])) /* what is infinite in the source stays so */
            continue;
        if (!o->count++)
            o->first_row = row + i / cols;
        o->largest = size > o->largest ? size : o->largest;
    }
}

/* The whole tensor once more, in f32: how many values are too large, and by how much. */
static dt_status measure(const dt_make *make, overflow *o, dt_error *err)
{
    int64_t rows, cols;
    dt_external_rows(dt_mapping_external_at(make->to, make->external), &rows, &cols);
    int64_t chunk = SCAN_BYTES / (cols * (int64_t)sizeof(float));
    chunk = chunk < 1 ? 1 : chunk < rows ? chunk : rows;
    float *value = malloc((size_t)(chunk * cols) * sizeof *value);
    if (!value)
        return dt_fail_memory(err, SCAN_BYTES, "a part of a tensor");
    dt_status status = DT_OK;
    for (int64_t row = 0; row < rows && status == DT_OK; row += chunk) {
        int64_t n = rows - row < chunk ? rows - row : chunk;
        status = dt_mapping_assemble(make->to, make->external, row, n, make->source, DT_F32, value, err);
        if (status == DT_OK)
            scan_rows(value, n, cols, row, o);
    }
    free(value);
    return status;
}

static bool has_infinity(const uint16_t *half, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if ((half[i] & 0x7fff) == 0x7c00)
            return true;
    return false;
}

static dt_status check_range(const dt_make *make, dt_error *err)
{
    overflow o = {0};
    DT_PASS(measure(make, &o, err));
    if (!o.count)
        return DT_OK;
    dt_fail(err, DT_UNSUPPORTED,
            "tensor \"%s\" does not fit f16: %lld values are larger than 65504, the largest %g (%.3g times "
            "that), the first in row %lld",
            dt_mapping_external_at(make->to, make->external)->name, (long long)o.count, o.largest,
            o.largest / F16_LARGEST, (long long)o.first_row);
    dt_error_try(err, "--dtype bf16, which has the range of f32");
    return DT_UNSUPPORTED;
}

/* ---- 8-bit floats ---- */

static float scale_of(const float *value, int64_t cols)
{
    float largest = 0;
    for (int64_t i = 0; i < cols; i++)
        largest = fabsf(value[i]) > largest ? fabsf(value[i]) : largest;
    return largest > 0 ? largest / F8E4M3_LARGEST : 1;
}

/* One row of values at a time: its scale, or its codes. */
static dt_status make_fp8(const dt_make *make, int64_t first, int64_t rows, uint8_t *out, dt_error *err)
{
    int64_t all, cols;
    dt_external_rows(dt_mapping_external_at(make->to, make->external), &all, &cols);
    float *value = malloc((size_t)(cols ? cols : 1) * sizeof *value);
    dt_status status = value ? DT_OK : dt_fail_memory(err, (size_t)cols * sizeof *value, "a row of a tensor");
    for (int64_t r = 0; r < rows && status == DT_OK; r++, out += make->row_bytes) {
        status =
            dt_mapping_assemble(make->to, make->external, first + r, 1, make->source, DT_F32, value, err);
        if (status != DT_OK)
            break;
        float scale = scale_of(value, cols);
        if (make->form == DT_MAKE_FP8_SCALES)
            memcpy(out, &scale, sizeof scale);
        for (int64_t i = 0; make->form == DT_MAKE_FP8 && i < cols; i++)
            out[i] = dt_f32_to_f8e4m3(value[i] / scale);
    }
    free(value);
    return status;
}

static dt_status make_part(const dt_make *make, int64_t first, int64_t rows, void *out, dt_error *err)
{
    if (make->form != DT_MAKE_VALUES)
        return make_fp8(make, first, rows, out, err);
    return dt_mapping_assemble(make->to, make->external, first, rows, make->source, make->type, out, err);
}

/* ---- by all threads ---- */

typedef struct sharing {
    const dt_make *make;
    int64_t first, rows;
    uint8_t *out;
    dt_status *status; /* of each thread */
    dt_error *err;
} sharing;

static void make_share(void *context, int thread, int threads)
{
    sharing *s = context;
    int64_t begin, end;
    dt_share(s->rows, 1, thread, threads, &begin, &end);
    s->status[thread] = DT_OK;
    if (begin < end)
        s->status[thread] = make_part(s->make, s->first + begin, end - begin,
                                      s->out + (size_t)begin * s->make->row_bytes, &s->err[thread]);
}

static dt_status make_shared(const dt_make *make, int64_t first, int64_t rows, void *out, dt_error *err)
{
    int threads = dt_pool_threads(make->pool);
    sharing s = {.make = make, .first = first, .rows = rows, .out = out};
    s.status = calloc((size_t)threads, sizeof *s.status);
    s.err = calloc((size_t)threads, sizeof *s.err);
    dt_status status = s.status && s.err ? DT_OK : dt_fail_memory(err, sizeof *s.err, "a team's errors");
    if (status == DT_OK)
        dt_pool_run(make->pool, make_share, &s);
    for (int i = 0; status == DT_OK && i < threads; i++) {
        status = s.status[i];
        if (status != DT_OK && err)
            *err = s.err[i];
    }
    free(s.status);
    free(s.err);
    return status;
}

dt_status dt_make_rows(const dt_make *make, int64_t first, int64_t rows, void *out, dt_error *err)
{
    size_t bytes = (size_t)rows * make->row_bytes;
    bool shared = make->pool && dt_pool_threads(make->pool) > 1 && rows > 1 && bytes >= PART_BYTES;
    if (shared)
        DT_PASS(make_shared(make, first, rows, out, err));
    else
        DT_PASS(make_part(make, first, rows, out, err));
    bool checked = make->type == DT_F16 && has_infinity(out, (int64_t)(bytes / sizeof(uint16_t)));
    return checked ? check_range(make, err) : DT_OK;
}
