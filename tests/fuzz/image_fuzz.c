/*
 * image_fuzz.c - any bytes as a picture: an error with a story, or pixels that can all be read, turned and resized.
 */
#include <drivetrain/image.h>

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_error err = {0};
    dt_image *image = NULL, *rgb = NULL, *small = NULL;
    dt_image_options o = {.max_pixels = 1 << 16};
    dt_image_resize_options how = {.filter = DT_IMAGE_BILINEAR};
    if (dt_image_decode(&image, data, bytes, &o, &err) != DT_OK) {
        assert(!image && err.line_count > 0);
        return 0;
    }
    assert((int64_t)dt_image_width(image) * dt_image_height(image) <= o.max_pixels);
    assert(dt_image_frames(image) >= 1);
    if (dt_image_to_rgb(&rgb, image, DT_IMAGE_ALPHA_WHITE, &err) == DT_OK &&
        dt_image_resize(&small, rgb, 5, 3, &how, &err) == DT_OK)
        assert(dt_image_channels(small) == 3);
    dt_image_close(small);
    dt_image_close(rgb);
    dt_image_close(image);
    return 0;
}
