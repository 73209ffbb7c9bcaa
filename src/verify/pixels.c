/*
 * pixels.c - a recording's raw pictures (in.image.K) through the model's own processor: what a tower is run on where no
 * pixels are recorded, and what recorded ones are compared with.
 */
#include "verify/replay.h"

#include <drivetrain/image.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PICTURES = 4096 };

/* The class's own arithmetic, or the one that the recording's options name. */
static dt_status open_processor(dt_image_processor **out, const dt_recording *r, const char *model,
                                dt_error *err)
{
    dt_image_processor_options options = DT_IMAGE_PROCESSOR_OPTIONS_DEFAULT;
    if (r->pixels && strcmp(r->pixels, "pillow") == 0)
        options.arithmetic = DT_IMAGE_PILLOW;
    if (r->pixels && strcmp(r->pixels, "torchvision") == 0)
        options.arithmetic = DT_IMAGE_TORCHVISION;
    return dt_image_processor_open(out, model, &options, err);
}

static dt_status read_picture(const dt_stored_tensor *t, dt_image **out, dt_error *err)
{
    size_t bytes;
    *out = NULL;
    if (t->unsupported || t->dtype != DT_U8 || t->shape.rank != 3 || t->shape.dim[2] != 3 ||
        t->shape.dim[0] > INT32_MAX || t->shape.dim[1] > INT32_MAX ||
        !dt_shape_bytes(&t->shape, DT_U8, &bytes))
        return dt_fail(err, DT_FORMAT, "\"%s\" is %s, expected [height, width, 3] of u8", t->name,
                       dt_shape_print(&t->shape).text);
    uint8_t *pixels = malloc(bytes ? bytes : 1);
    if (!pixels)
        return dt_fail_memory(err, bytes, t->name);
    dt_status status = dt_stored_read(t, NULL, DT_U8, pixels, NULL, err);
    if (status == DT_OK)
        status = dt_image_create(out, pixels, (int)t->shape.dim[1], (int)t->shape.dim[0], 3, err);
    free(pixels);
    return status;
}

/* Each tile is a picture to the tower. */
static dt_status add_tiles(dt_replay_pixels *p, dt_arena *arena, const dt_pixels *made, dt_error *err)
{
    int64_t each = (int64_t)3 * made->height * made->width;
    dt_picture *grown = DT_NEW_ARRAY(arena, dt_picture, p->count + made->tiles);
    float *values = DT_NEW_ARRAY(arena, float, each * made->tiles);
    if (!grown || !values)
        return dt_fail_memory(err, (size_t)(each * made->tiles) * sizeof *values, "pixels");
    if (p->count)
        memcpy(grown, p->picture, (size_t)p->count * sizeof *grown);
    memcpy(values, made->values, (size_t)(each * made->tiles) * sizeof *values);
    for (int64_t i = 0; i < made->tiles; i++)
        grown[p->count++] = (dt_picture){values + i * each, made->height, made->width};
    p->picture = grown;
    return DT_OK;
}

static dt_status add_tiling(dt_replay_pixels *p, dt_arena *arena, const dt_pixels *made, dt_error *err)
{
    dt_tiling *grown = DT_NEW_ARRAY(arena, dt_tiling, p->pictures + 1);
    if (!grown)
        return dt_fail_memory(err, (size_t)p->pictures * sizeof *grown, "pictures");
    if (p->pictures)
        memcpy(grown, p->tiling, (size_t)p->pictures * sizeof *grown);
    grown[p->pictures++] = (dt_tiling){.tiles = made->tiles,
                                       .grid_rows = made->grid_rows,
                                       .grid_columns = made->grid_columns,
                                       .height = made->image_height,
                                       .width = made->image_width};
    p->tiling = grown;
    return DT_OK;
}

static dt_status process(const dt_image_processor *processor, const dt_stored_tensor *t, dt_arena *arena,
                         dt_replay_pixels *out, dt_error *err)
{
    dt_image *image = NULL;
    dt_pixels made = {0};
    dt_status status = read_picture(t, &image, err);
    if (status == DT_OK)
        status = dt_image_process(processor, image, &made, err);
    if (status == DT_OK)
        status = add_tiles(out, arena, &made, err);
    if (status == DT_OK)
        status = add_tiling(out, arena, &made, err);
    dt_pixels_free(&made);
    dt_image_close(image);
    return status;
}

dt_status dt_replay_pixels_make(const dt_recording *r, const char *model, dt_arena *arena,
                                dt_replay_pixels *out, dt_error *err)
{
    dt_image_processor *processor;
    char name[32];
    const dt_stored_tensor *t;
    dt_status status = DT_OK;
    *out = (dt_replay_pixels){0};
    if (!dt_stored_set_find(r->tensors, "in.image.0"))
        return DT_OK;
    DT_PASS(open_processor(&processor, r, model, err));
    out->exact = dt_image_processor_arithmetic(processor) == DT_IMAGE_PILLOW;
    out->step = dt_image_processor_step(processor);
    for (int k = 0; status == DT_OK && k < MAX_PICTURES; k++) {
        snprintf(name, sizeof name, "in.image.%d", k);
        if (!(t = dt_stored_set_find(r->tensors, name)))
            break;
        status = process(processor, t, arena, out, err);
        if (status != DT_OK)
            dt_error_while(err, "while making \"%s\" of %s into pixels", name, r->path);
    }
    dt_image_processor_close(processor);
    return status;
}
