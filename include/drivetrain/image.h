/**
 * image.h - pictures: from a file's bytes to the numbers that a vision tower reads.
 *
 * A picture is decoded (JPEG, PNG, WebP), turned upright, and made into pixels as the model's own processor makes
 * them: resized, cropped, padded, cut into tiles, normalised. The bytes are those of Pillow, the pixels those of
 * transformers: bit for bit, but for what the README of src/data/image names.
 *
 *     dt_image *image;
 *     dt_image_processor *processor;
 *     dt_pixels pixels;
 *     if (dt_image_open(&image, "cat.jpg", NULL, &err) == DT_OK &&
 *         dt_image_processor_open(&processor, "clip/", NULL, &err) == DT_OK &&
 *         dt_image_process(processor, image, &pixels, &err) == DT_OK)
 *         look_at(pixels.values, pixels.tiles, pixels.height, pixels.width);
 *
 * Threads  a processor and a picture are read by any number of threads at once; making and closing are one thread's.
 */
#ifndef DRIVETRAIN_IMAGE_H
#define DRIVETRAIN_IMAGE_H

#include <drivetrain/status.h>

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- pictures ---- */

/** A decoded picture: 8-bit RGB or RGBA, rows from the top, channels interleaved. */
typedef struct dt_image dt_image;

typedef struct dt_image_options {
    int64_t max_pixels; /**< refused from the header, before decoding, when it has more; 0: the default */
    bool as_stored;     /**< leave out the turn that EXIF or XMP asks for */
} dt_image_options;
#define DT_IMAGE_OPTIONS_DEFAULT                                                                             \
    {                                                                                                        \
        0, false                                                                                             \
    }

/** Where Pillow stops believing that a picture is meant (twice its MAX_IMAGE_PIXELS). */
enum { DT_IMAGE_MAX_PIXELS = 178956970 };

/**
 * Read a picture's file; what it is, is told from its content, not its name.
 *
 * Numbers  JPEG: the accurate integer transform and triangle upsampling; CMYK as Adobe inverts it. 16-bit colours
 *          keep their high byte, 16-bit greys above 255 become 255, palettes are looked up, 1-, 2- and 4-bit greys
 *          spread to 0..255: as Pillow's convert("RGB"). Colour profiles and gammas are not applied.
 * Errors   DT_FORMAT broken or cut short; DT_UNSUPPORTED another format (GIF, TIFF, …: the story names it), or
 *          one left out of this build; DT_LIMIT more pixels than allowed; DT_NO_MEMORY; DT_IO, DT_NOT_FOUND.
 */
dt_status dt_image_open(dt_image **out, const char *path, const dt_image_options *options, dt_error *err);

/** The same from memory. */
dt_status dt_image_decode(dt_image **out, const void *data, size_t bytes, const dt_image_options *options,
                          dt_error *err);

/** A picture from raw rows, which are copied; `channels` is 3 or 4. DT_INVALID for sizes that cannot be. */
dt_status dt_image_create(dt_image **out, const uint8_t *pixels, int width, int height, int channels,
                          dt_error *err);

void dt_image_close(dt_image *image); /**< NULL is fine */

int dt_image_width(const dt_image *image);
int dt_image_height(const dt_image *image);
int dt_image_channels(const dt_image *image);          /**< 3, or 4 where the file has transparency */
const uint8_t *dt_image_pixels(const dt_image *image); /**< [height, width, channels], borrowed */
const char *dt_image_format(const dt_image *image);    /**< "JPEG", "PNG", "WebP" or "raw" */
int dt_image_frames(const dt_image *image);            /**< in the file; only the first was decoded */

/** What becomes of transparency. */
typedef enum dt_image_alpha {
    DT_IMAGE_ALPHA_WHITE, /**< blended onto white, as transformers 5's do_convert_rgb does */
    DT_IMAGE_ALPHA_DROP   /**< ignored, as Pillow's convert("RGB") and transformers 4 do */
} dt_image_alpha;

/** An RGB copy. */
dt_status dt_image_to_rgb(dt_image **out, const dt_image *image, dt_image_alpha alpha, dt_error *err);

/** An RGB copy whose three channels hold the brightness (ITU-R 601), as Pillow's convert("L"): for towers of one channel. */
dt_status dt_image_to_grey(dt_image **out, const dt_image *image, dt_image_alpha alpha, dt_error *err);

/**
 * Write a picture as an 8-bit PNG, RGB or RGBA as it is; the file appears only when complete.
 *
 * Errors  DT_INVALID the file exists, and is not to be replaced; DT_IO; DT_UNSUPPORTED built without libpng.
 */
dt_status dt_image_save_png(const dt_image *image, const char *path, bool replace, dt_error *err);

/* ---- resizing ---- */

/** The numbers are Pillow's, as `resample` in preprocessor_config.json has them. */
typedef enum dt_image_filter {
    DT_IMAGE_NEAREST = 0,
    DT_IMAGE_LANCZOS = 1,
    DT_IMAGE_BILINEAR = 2,
    DT_IMAGE_BICUBIC = 3,
    DT_IMAGE_BOX = 4,
    DT_IMAGE_HAMMING = 5
} dt_image_filter;

/** Whose arithmetic: they differ by one step of 255 in about one value of a hundred. */
typedef enum dt_image_arithmetic {
    DT_IMAGE_AS_CONFIGURED, /**< in options: as the class says; a plain name and "…Fast" mean torchvision */
    DT_IMAGE_PILLOW,
    DT_IMAGE_TORCHVISION
} dt_image_arithmetic;

typedef struct dt_image_resize_options {
    dt_image_filter filter;
    dt_image_arithmetic arithmetic; /**< DT_IMAGE_AS_CONFIGURED: Pillow's */
    bool no_antialias;              /**< torchvision, bilinear and bicubic: look at the nearest pixels only */
} dt_image_resize_options;

/**
 * A resized copy of an RGB picture.
 *
 * Errors  DT_UNSUPPORTED RGBA (dt_image_to_rgb first), or a filter that torchvision lacks (box, hamming);
 *         DT_INVALID a size below 1; DT_LIMIT more than DT_IMAGE_MAX_PIXELS.
 */
dt_status dt_image_resize(dt_image **out, const dt_image *image, int width, int height,
                          const dt_image_resize_options *options, dt_error *err);

/* ---- processors ---- */

/** What a model's preprocessor_config.json asks for. */
typedef struct dt_image_processor dt_image_processor;

typedef struct dt_image_processor_options {
    dt_image_arithmetic arithmetic;
    dt_image_alpha alpha;
} dt_image_processor_options;
#define DT_IMAGE_PROCESSOR_OPTIONS_DEFAULT                                                                   \
    {                                                                                                        \
        DT_IMAGE_AS_CONFIGURED, DT_IMAGE_ALPHA_WHITE                                                         \
    }

/**
 * Read a processor: a model's folder (processor_config.json where it holds an "image_processor", as version 5 of
 * transformers writes it, else preprocessor_config.json), such a file itself, or a model of drivetrain's in GGUF.
 *
 * Errors  DT_UNSUPPORTED names a class, or a key that would change pixels, that is not known;
 *         DT_FORMAT a value that cannot be; DT_NOT_FOUND neither file.
 */
dt_status dt_image_processor_open(dt_image_processor **out, const char *path,
                                  const dt_image_processor_options *options, dt_error *err);

/** The same from the text of a configuration. */
dt_status dt_image_processor_parse(dt_image_processor **out, const char *json, size_t bytes,
                                   const dt_image_processor_options *options, dt_error *err);

void dt_image_processor_close(dt_image_processor *processor); /**< NULL is fine */

const char *dt_image_processor_class(const dt_image_processor *processor); /**< "CLIPImageProcessor" */
dt_image_arithmetic dt_image_processor_arithmetic(const dt_image_processor *processor);
/** What one level of 255 makes of a pixel, at most: how far torchvision's arithmetic may be off on another machine. */
double dt_image_processor_step(const dt_image_processor *processor);

/** One picture as a tower reads it. */
typedef struct dt_pixels {
    float *values; /**< [tiles, 3, height, width]; freed by dt_pixels_free */
    int64_t tiles; /**< 1, or as many as the picture was cut into */
    int height, width;
    int image_height, image_width; /**< of the picture that came in (LLaVA-NeXT's image_sizes) */
    int grid_rows, grid_columns;   /**< how the tiles lie; 0 when the picture is one */
    int overview; /**< tile that shows the whole picture: 0 (LLaVA-NeXT), last (InternVL); or -1 */
} dt_pixels;

/**
 * Make a picture into pixels. RGBA becomes RGB as the processor's options say.
 *
 * Memory  out->values is the caller's (dt_pixels_free). On failure *out is zeroed.
 * Errors  DT_INVALID a picture that the processor cannot take (a crop larger than a tile of nothing, …);
 *         DT_LIMIT a result of more than DT_IMAGE_MAX_PIXELS.
 */
dt_status dt_image_process(const dt_image_processor *processor, const dt_image *image, dt_pixels *out,
                           dt_error *err);

void dt_pixels_free(dt_pixels *pixels); /**< zeroes it; a zeroed one is fine */

/** A part of a grid of patches. */
typedef struct dt_image_window {
    int top, left, height, width;
} dt_image_window;

/**
 * LLaVA-NeXT: the part of a grid of height x width patches (all tiles but the overview, put together) that shows the
 * picture and not its padding.
 *
 * Source  unpad_image of transformers' modeling_llava_next.py.
 */
dt_image_window dt_image_unpad(int height, int width, int image_height, int image_width);

#ifdef __cplusplus
}
#endif
#endif
