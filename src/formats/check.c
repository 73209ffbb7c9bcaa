/*
 * check.c - reads every byte of a checkpoint and reports what no header can show: NaN and infinities, and bytes that
 * are not those whose checksum the archive keeps.
 *
 * Findings are problems, not errors: a model with a NaN can still be inspected, and the reader wants them all named.
 */
#include "formats/open.h"
#include "tensor/convert.h"

#include <inttypes.h>
#include <libdeflate.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_ELEMENTS = 1 << 20, FINDINGS = 16 };

typedef struct findings {
    int64_t first, nans, infinities; /* first: element index of the first one */
} findings;

static void look(const float *value, int64_t count, int64_t base, findings *f)
{
    for (int64_t i = 0; i < count; i++) {
        if (isfinite(value[i]))
            continue;
        if (f->nans + f->infinities == 0)
            f->first = base + i;
        if (isnan(value[i]))
            f->nans++;
        else
            f->infinities++;
    }
}

/* Elements of one row along axis 0. */
static int64_t row_elements(const dt_shape *shape)
{
    int64_t n = 1;
    for (int i = 1; i < shape->rank; i++)
        n *= shape->dim[i];
    return n;
}

static dt_status scan(const dt_stored_tensor *s, findings *f, dt_error *err)
{
    int64_t rows = s->shape.rank ? s->shape.dim[0] : 1, width = row_elements(&s->shape);
    if (rows == 0 || width == 0)
        return DT_OK;
    int64_t chunk = width < CHUNK_ELEMENTS ? CHUNK_ELEMENTS / width : 1;
    float *buffer = malloc(sizeof *buffer * (size_t)(chunk * width));
    dt_status status =
        buffer ? DT_OK : dt_fail_memory(err, sizeof *buffer * (size_t)(chunk * width), s->name);
    for (int64_t row = 0; status == DT_OK && row < rows; row += chunk) {
        dt_stored_region region = {.shape = s->shape};
        int64_t n = rows - row < chunk ? rows - row : chunk;
        region.offset[0] = row;
        region.shape.dim[0] = n;
        status = dt_stored_read(s, s->shape.rank ? &region : NULL, DT_F32, buffer, NULL, err);
        if (status == DT_OK)
            look(buffer, n * width, row * width, f);
    }
    free(buffer);
    dt_stored_drop(s, NULL);
    return status;
}

/* "[3, 17]" of a flat index. */
static void print_place(const dt_shape *shape, int64_t index, char *out, size_t bytes)
{
    int64_t at[DT_MAX_RANK];
    size_t used = 1;
    for (int i = shape->rank - 1; i >= 0; i--) {
        at[i] = index % shape->dim[i];
        index /= shape->dim[i];
    }
    snprintf(out, bytes, "[");
    for (int i = 0; i < shape->rank && used < bytes; i++)
        used += (size_t)snprintf(out + used, bytes - used, "%s%" PRId64, i ? ", " : "", at[i]);
    if (used < bytes)
        snprintf(out + used, bytes - used, "]");
}

bool dt_stored_sum_holds(const dt_stored_sum *sum, uint32_t *crc)
{
    *crc = libdeflate_crc32(0, sum->map->data + sum->offset, sum->bytes);
    return *crc == sum->crc;
}

static void check_sums(dt_checkpoint *c)
{
    const dt_stored_sum *sum;
    int found = 0;
    for (size_t i = 0; (sum = dt_stored_set_sum_at(c->set, i)); i++) {
        uint32_t crc;
        if (dt_stored_sum_holds(sum, &crc) || found++ >= FINDINGS)
            continue;
        dt_open_problem(c, "%s: the %zu bytes at %" PRIu64 " (\"%s\") have CRC %08x, the archive says %08x",
                        sum->map->path, sum->bytes, sum->offset, sum->name, (unsigned)crc,
                        (unsigned)sum->crc);
    }
}

dt_status dt_checkpoint_check(dt_checkpoint *c, dt_error *err)
{
    int found = 0;
    check_sums(c);
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++) {
        const dt_stored_tensor *s = dt_stored_set_at(c->set, i);
        findings f = {0};
        char place[128];
        if (s->unsupported || !dt_can_convert(DT_F32, s->dtype))
            continue;
        DT_TRY(scan(s, &f, err), err, "while checking \"%s\"", s->name);
        if (f.nans + f.infinities == 0 || found++ >= FINDINGS)
            continue;
        print_place(&s->shape, f.first, place, sizeof place);
        dt_open_problem(c,
                        "tensor \"%s\" has %" PRId64 " NaN and %" PRId64 " infinite values, the first at %s",
                        s->name, f.nans, f.infinities, place);
    }
    return DT_OK;
}
