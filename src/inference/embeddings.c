/*
 * embeddings.c - vectors kept: rows copied or averaged, lengths made 1. Sums are f64, ascending.
 */
#include "inference/embeddings.h"

#include "base/arena.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct dt_embeddings {
    dt_arena *arena; /* owns the values */
    dt_embedded *row;
    size_t count;
    int64_t width;
};

const char *dt_pooling_name(dt_pooling pooling)
{
    static const char *const name[] = {[DT_POOLING_MEAN] = "mean",
                                       [DT_POOLING_CLS] = "cls",
                                       [DT_POOLING_POOLER] = "pooler",
                                       [DT_POOLING_NONE] = "none",
                                       [DT_POOLING_PROJECTION] = "projection"};
    return (size_t)pooling < sizeof name / sizeof name[0] ? name[pooling] : NULL;
}

dt_status dt_embeddings_create(dt_embeddings **out, size_t count, int64_t width, dt_error *err)
{
    dt_embeddings *e = calloc(1, sizeof *e);
    if (e && (e->arena = dt_arena_create()))
        e->row = DT_NEW_ARRAY(e->arena, dt_embedded, count ? count : 1);
    *out = e;
    if (!e || !e->row)
        return dt_fail_memory(err, count * sizeof *e->row, "embeddings");
    e->count = count;
    e->width = width;
    return DT_OK;
}

static void mean_rows(const float *row, int64_t rows, int64_t width, float *out)
{
    for (int64_t h = 0; h < width; h++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++)
            sum += (double)row[r * width + h];
        out[h] = (float)(sum / (double)rows);
    }
}

static void normalize_row(float *row, int64_t width)
{
    double squares = 0;
    for (int64_t h = 0; h < width; h++)
        squares += (double)row[h] * (double)row[h];
    double length = fmax(sqrt(squares), 1e-12);
    for (int64_t h = 0; h < width; h++)
        row[h] = (float)((double)row[h] / length);
}

dt_status dt_embeddings_keep(dt_embeddings *e, size_t index, const float *row, int64_t rows, bool mean,
                             bool normalize, dt_error *err)
{
    int64_t kept = mean ? 1 : rows;
    float *values = DT_NEW_ARRAY(e->arena, float, kept * e->width);
    if (!values)
        return dt_fail_memory(err, (size_t)(kept * e->width) * sizeof *values, "embeddings");
    if (mean)
        mean_rows(row, rows, e->width, values);
    else
        memcpy(values, row, (size_t)(kept * e->width) * sizeof *values);
    for (int64_t i = 0; normalize && i < kept; i++)
        normalize_row(values + i * e->width, e->width);
    e->row[index] = (dt_embedded){values, kept};
    return DT_OK;
}

void dt_embeddings_destroy(dt_embeddings *e)
{
    if (!e)
        return;
    dt_arena_destroy(e->arena);
    free(e);
}

size_t dt_embeddings_count(const dt_embeddings *e)
{
    return e->count;
}

int64_t dt_embeddings_width(const dt_embeddings *e)
{
    return e->width;
}

dt_embedded dt_embeddings_at(const dt_embeddings *e, size_t index)
{
    return index < e->count ? e->row[index] : (dt_embedded){0};
}
