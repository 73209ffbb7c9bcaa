/*
 * album.c - pictures compared whole: a digest would be smaller, and could be wrong.
 */
#include "inference/album.h"

#include "inference/among.h"

#include <stdlib.h>
#include <string.h>

static size_t bytes_of(const dt_pixels *p)
{
    return (size_t)p->tiles * 3 * (size_t)p->height * (size_t)p->width * sizeof *p->values;
}

static bool same_picture(const dt_pixels *a, const dt_pixels *b)
{
    return a->tiles == b->tiles && a->height == b->height && a->width == b->width &&
           a->image_height == b->image_height && a->image_width == b->image_width &&
           a->grid_rows == b->grid_rows && a->grid_columns == b->grid_columns &&
           memcmp(a->values, b->values, bytes_of(a)) == 0;
}

int64_t dt_album_agrees(const dt_album *album, const dt_model_config *config, const dt_request *r)
{
    int64_t left = 0; /* places of the picture that we are in */
    size_t n = 0;
    for (int64_t i = 0; r->picture_count && i < r->start; i++) {
        if (r->tokens[i] != config->image_token_index)
            continue;
        if (left == 0) {
            if (n == album->count || !same_picture(&album->picture[n], &r->pictures[n]))
                return i;
            left = album->rows[n++];
        }
        left--;
    }
    return r->start;
}

static dt_status add(dt_album *album, const dt_model_config *config, const dt_pixels *p, dt_error *err)
{
    int64_t rows;
    DT_PASS(dt_among_rows(config, p, &rows, err));
    float *values = malloc(bytes_of(p));
    if (!values)
        return dt_fail_memory(err, bytes_of(p), "a picture");
    memcpy(values, p->values, bytes_of(p));
    album->picture[album->count] = *p;
    album->picture[album->count].values = values;
    album->rows[album->count++] = rows;
    return DT_OK;
}

dt_status dt_album_fill(dt_album *album, const dt_model_config *config, const dt_request *r, dt_error *err)
{
    dt_album_empty(album);
    if (r->picture_count == 0)
        return DT_OK;
    album->picture = calloc(r->picture_count, sizeof *album->picture);
    album->rows = calloc(r->picture_count, sizeof *album->rows);
    if (!album->picture || !album->rows)
        return dt_fail_memory(err, r->picture_count * sizeof *album->picture, "pictures");
    for (size_t i = 0; i < r->picture_count; i++)
        DT_PASS(add(album, config, &r->pictures[i], err));
    return DT_OK;
}

void dt_album_empty(dt_album *album)
{
    for (size_t i = 0; i < album->count; i++)
        dt_pixels_free(&album->picture[i]);
    free(album->picture);
    free(album->rows);
    *album = (dt_album){0};
}
