/*
 * tiling.c - sizes: what a picture is resized to, and how one of any shape is cut into tiles of one size.
 *
 * Source  transformers 5.23: image_transforms.py, image_processing_utils.py (LLaVA-NeXT) and
 *         models/got_ocr2 (InternVL). Quotients are f64 and cut off, as Python's int(a / b).
 */
#include "data/image/processor.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>

/* ---- resizing ---- */

static void by_shortest(const dt_image_size *size, int height, int width, int64_t target[2])
{
    int64_t shorter = width <= height ? width : height, longer = width <= height ? height : width;
    int64_t length = (int64_t)((double)((int64_t)size->shortest * longer) / (double)shorter);
    target[0] = width <= height ? length : size->shortest;
    target[1] = width <= height ? size->shortest : length;
}

/* The shorter edge becomes `shortest`, unless the longer one would exceed `longest`. */
static void by_both_edges(const dt_image_size *size, int height, int width, int64_t target[2])
{
    double shorter = height < width ? height : width, longer = height < width ? width : height;
    double edge = size->shortest, raw = 0;
    if (longer / shorter * edge > size->longest) {
        raw = size->longest * shorter / longer;
        edge = rint(raw);
    }
    double scale = raw > 0 ? raw : edge;
    target[0] = height;
    target[1] = width;
    if ((height <= width && height == edge) || (width <= height && width == edge))
        return;
    target[0] = width < height ? (int64_t)(scale * height / width) : (int64_t)edge;
    target[1] = width < height ? (int64_t)edge : (int64_t)(scale * width / height);
}

static void by_maxima(const dt_image_size *size, int height, int width, int64_t target[2])
{
    double down = (double)size->max_height / height, across = (double)size->max_width / width;
    double scale = down < across ? down : across;
    target[0] = (int64_t)(height * scale);
    target[1] = (int64_t)(width * scale);
}

dt_status dt_image_target(const dt_image_size *size, int height, int width, int64_t target[2], dt_error *err)
{
    if (size->shortest && size->longest) {
        by_both_edges(size, height, width, target);
    } else if (size->shortest) {
        by_shortest(size, height, width, target);
    } else if (size->max_height && size->max_width) {
        by_maxima(size, height, width, target);
    } else if (size->height && size->width) {
        target[0] = size->height;
        target[1] = size->width;
    } else {
        return dt_fail(err, DT_UNSUPPORTED,
                       "size: a resize needs height and width, shortest_edge, or max_height and max_width");
    }
    if (target[0] < 1 || target[1] < 1)
        return dt_fail(err, DT_INVALID, "a picture of %d x %d would be resized to %" PRId64 " x %" PRId64,
                       width, height, target[1], target[0]);
    return DT_OK;
}

/* ---- LLaVA-NeXT ---- */

void dt_image_best_resolution(const int (*resolution)[2], int count, int height, int width, int best[2])
{
    int64_t most = 0, least_waste = INT64_MAX, all = (int64_t)height * width;
    best[0] = best[1] = 0;
    for (int i = 0; i < count; i++) {
        double across = (double)resolution[i][1] / width, down = (double)resolution[i][0] / height;
        double scale = across < down ? across : down;
        int64_t kept = (int64_t)(width * scale) * (int64_t)(height * scale);
        kept = kept < all ? kept : all;
        int64_t waste = (int64_t)resolution[i][0] * resolution[i][1] - kept;
        if (kept < most || (kept == most && waste >= least_waste))
            continue;
        most = kept;
        least_waste = waste;
        best[0] = resolution[i][0];
        best[1] = resolution[i][1];
    }
}

static int at_most(double value, int limit)
{
    return value < limit ? (int)value : limit;
}

void dt_image_fit_inside(int height, int width, const int resolution[2], int fitted[2])
{
    double across = (double)resolution[1] / width, down = (double)resolution[0] / height;
    if (across < down) {
        fitted[1] = resolution[1];
        fitted[0] = at_most(ceil(height * across), resolution[0]);
    } else {
        fitted[0] = resolution[0];
        fitted[1] = at_most(ceil(width * down), resolution[1]);
    }
}

/* Cut off, but what is within 5e-8 of the next whole number counts as it: Python's int(round(value, 7)). */
static int whole(double value)
{
    return (int)floor(value + 0.5e-7);
}

dt_image_window dt_image_unpad(int height, int width, int image_height, int image_width)
{
    dt_image_window all = {0, 0, height, width};
    if (height < 1 || width < 1 || image_height < 1 || image_width < 1)
        return all;
    if ((double)image_width / image_height > (double)width / height) {
        all.top = (height - whole(image_height * ((double)width / image_width))) / 2;
        all.height = height - 2 * all.top;
    } else {
        all.left = (width - whole(image_width * ((double)height / image_height))) / 2;
        all.width = width - 2 * all.left;
    }
    return all;
}

/* ---- GOT-OCR 2 and InternVL ---- */

/* Grids are tried by number of tiles, then columns: among equally good ones a larger one wins while it is not twice
 * the picture. */
void dt_image_tile_grid(int height, int width, int tile_height, int tile_width, int least, int most,
                        int grid[2])
{
    double shape = (double)width / height, nearest = INFINITY;
    double area = (double)width * height, tile = 0.5 * tile_height * tile_width;
    grid[0] = grid[1] = 1;
    for (int tiles = least > 1 ? least : 1; tiles <= most; tiles++)
        for (int columns = 1; columns <= tiles; columns++) {
            if (tiles % columns)
                continue;
            int rows = tiles / columns;
            double gap = fabs(shape - (double)columns / rows);
            if (gap < nearest || (gap == nearest && area > tile * columns * rows)) {
                nearest = gap;
                grid[0] = rows;
                grid[1] = columns;
            }
        }
}
