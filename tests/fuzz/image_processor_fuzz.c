/*
 * image_processor_fuzz.c - any bytes as a preprocessor_config.json: an error with a story, or a processor that makes
 * pixels of a small picture, or says why not.
 */
#include "data/image/processor.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { EDGE = 64 };

static bool is_small_size(const dt_image_size *s)
{
    return s->height <= EDGE && s->width <= EDGE && s->shortest <= EDGE && s->longest <= EDGE &&
           s->max_height <= EDGE && s->max_width <= EDGE;
}

static bool is_small(const dt_image_settings *s)
{
    for (int i = 0; i < s->pinpoint_count; i++)
        if (s->pinpoint[i][0] > 4 * EDGE || s->pinpoint[i][1] > 4 * EDGE)
            return false;
    return is_small_size(&s->size) && is_small_size(&s->crop) && is_small_size(&s->pad_to) &&
           s->max_patches <= 12;
}

static void process(const dt_image_processor *p)
{
    static const uint8_t raw[9 * 14 * 3] = {1, 2, 3, 250, 251, 252};
    dt_error err = {0};
    dt_image *image = NULL;
    dt_pixels pixels;
    if (dt_image_create(&image, raw, 14, 9, 3, &err) != DT_OK)
        return;
    if (dt_image_process(p, image, &pixels, &err) == DT_OK)
        assert(pixels.values && pixels.tiles > 0 && pixels.height > 0 && pixels.width > 0);
    else
        assert(!pixels.values && err.line_count > 0);
    dt_pixels_free(&pixels);
    dt_image_close(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_error err = {0};
    dt_image_processor *p = NULL;
    if (dt_image_processor_parse(&p, (const char *)data, bytes, NULL, &err) == DT_OK) {
        if (is_small(&p->s))
            process(p);
    } else {
        assert(!p && err.line_count > 0);
    }
    dt_image_processor_close(p);
    return 0;
}
