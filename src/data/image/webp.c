/*
 * webp.c - WebP by libwebp: the canvas after its first frame, as Pillow takes it.
 */
#include "data/image/image.h"

#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

static dt_status take(dt_image *image, const uint8_t *rgba)
{
    size_t count = (size_t)image->width * (size_t)image->height;
    uint8_t *out = image->pixels;
    if (image->channels == 4)
        memcpy(out, rgba, count * 4);
    else
        for (size_t i = 0; i < count; i++, rgba += 4, out += 3)
            memcpy(out, rgba, 3);
    return DT_OK;
}

/* Also for a still picture: it is an animation of one frame. */
static dt_status first_frame(dt_image *image, WebPAnimDecoder *decoder, dt_error *err)
{
    uint8_t *canvas = NULL;
    int time;
    if (!WebPAnimDecoderGetNext(decoder, &canvas, &time) || !canvas)
        return dt_fail(err, DT_FORMAT, "broken data, or the file ends before the picture does");
    return take(image, canvas);
}

dt_status dt_image_decode_webp(dt_image **out, const uint8_t *data, size_t bytes, int64_t max_pixels,
                               dt_error *err)
{
    WebPBitstreamFeatures features;
    WebPAnimDecoderOptions options;
    WebPAnimInfo info;
    *out = NULL;
    VP8StatusCode code = WebPGetFeatures(data, bytes, &features);
    if (code != VP8_STATUS_OK)
        return dt_fail(err, DT_FORMAT, "%s",
                       code == VP8_STATUS_NOT_ENOUGH_DATA ? "the file ends in its header"
                                                          : "a broken header");
    DT_PASS(dt_image_check_size(features.width, features.height, max_pixels, err));
    if (!WebPAnimDecoderOptionsInit(&options))
        return dt_fail(err, DT_UNSUPPORTED, "a libwebp of another version than drivetrain was built with");
    options.color_mode = MODE_RGBA;
    WebPAnimDecoder *decoder = WebPAnimDecoderNew(&(WebPData){data, bytes}, &options);
    if (!decoder || !WebPAnimDecoderGetInfo(decoder, &info)) {
        WebPAnimDecoderDelete(decoder);
        return dt_fail(err, DT_FORMAT, "broken data, or the file ends before the picture does");
    }
    dt_status status =
        dt_image_new(out, info.canvas_width, info.canvas_height, features.has_alpha ? 4 : 3, max_pixels, err);
    if (status == DT_OK)
        status = first_frame(*out, decoder, err);
    WebPAnimDecoderDelete(decoder);
    if (status != DT_OK) {
        dt_image_close(*out);
        *out = NULL;
    }
    return status;
}
