/*
 * preprocess.c - `drivetrain preprocess`: pictures to pixels as a model's processor makes them, into a recording.
 */
#include "cli/common.h"

#include "formats/safetensors/safetensors.h"

#include <drivetrain/image.h>
#include <drivetrain/version.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const option_spec options[] = {
    {"output", 'o', OPTION_TEXT, "FILE",
     "write a recording: in.pixels, in.image.K, in.image_sizes, in.tiles"},
    {"arithmetic", 0, OPTION_TEXT, "WHOSE",
     "pillow or torchvision [as the class says: torchvision unless …Pil]"},
    {"alpha", 0, OPTION_TEXT, "HOW", "transparency: onto white, or drop it as transformers 4 does [white]"},
    {"as-stored", 0, OPTION_FLAG, NULL, "leave out the turn that EXIF asks for"},
    {"max-pixels", 0, OPTION_INT, "N", "refuse larger pictures from their header [178956970]"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

/* One picture: what was read, and what became of it. */
typedef struct picture {
    const char *file;
    dt_image *image; /* RGB, as the processor saw it */
    dt_pixels pixels;
    const char *format;
    int frames, width, height;
} picture;

typedef struct batch {
    dt_image_processor *processor;
    picture *picture;
    int count;
    int64_t tiles;
} batch;

/* ---- reading ---- */

static bool how_of(const command_line *line, dt_image_processor_options *processor, dt_image_options *image)
{
    static const dt_image_processor_options processor_default = DT_IMAGE_PROCESSOR_OPTIONS_DEFAULT;
    const char *whose = text_of(line, "arithmetic"), *alpha = text_of(line, "alpha");
    *processor = processor_default;
    *image =
        (dt_image_options){.max_pixels = int_of(line, "max-pixels", 0), .as_stored = flag(line, "as-stored")};
    if (whose && strcmp(whose, "pillow") != 0 && strcmp(whose, "torchvision") != 0) {
        usage_error(line, "--arithmetic %s: expected pillow or torchvision", whose);
        return false;
    }
    if (alpha && strcmp(alpha, "white") != 0 && strcmp(alpha, "drop") != 0) {
        usage_error(line, "--alpha %s: expected white or drop", alpha);
        return false;
    }
    if (option_of(line, "max-pixels")->given && image->max_pixels < 1) {
        usage_error(line, "--max-pixels: expected a number of pixels");
        return false;
    }
    if (whose)
        processor->arithmetic = strcmp(whose, "pillow") == 0 ? DT_IMAGE_PILLOW : DT_IMAGE_TORCHVISION;
    if (alpha && strcmp(alpha, "drop") == 0)
        processor->alpha = DT_IMAGE_ALPHA_DROP;
    return true;
}

static dt_status read_picture(picture *p, const dt_image_options *o, dt_image_alpha alpha, dt_error *err)
{
    dt_image *image;
    DT_PASS(dt_image_open(&image, p->file, o, err));
    p->format = dt_image_format(image);
    p->frames = dt_image_frames(image);
    p->width = dt_image_width(image);
    p->height = dt_image_height(image);
    dt_status status = dt_image_to_rgb(&p->image, image, alpha, err);
    dt_image_close(image);
    return status;
}

/* Pixels of all pictures go into one tensor. */
static dt_status check_alike(const batch *b, const picture *p, dt_error *err)
{
    const dt_pixels *first = &b->picture[0].pixels;
    if (p->pixels.height == first->height && p->pixels.width == first->width)
        return DT_OK;
    return dt_fail(err, DT_MISMATCH, "%s becomes %d x %d pixels, %s %d x %d: one recording holds one size",
                   p->file, p->pixels.width, p->pixels.height, b->picture[0].file, first->width,
                   first->height);
}

static dt_status process_all(const command_line *line, batch *b, const dt_image_options *o,
                             dt_image_alpha alpha, dt_error *err)
{
    for (int i = 0; i < b->count; i++) {
        picture *p = &b->picture[i];
        p->file = line->positional[1 + i];
        DT_PASS(read_picture(p, o, alpha, err));
        if (p->frames > 1 && !flag(line, "quiet"))
            fprintf(stderr, "%s: %d frames; the first is used\n", p->file, p->frames);
        DT_TRY(dt_image_process(b->processor, p->image, &p->pixels, err), err, "while reading %s", p->file);
        DT_PASS(check_alike(b, p, err));
        b->tiles += p->pixels.tiles;
    }
    return DT_OK;
}

/* ---- the recording ---- */

static size_t rgb_bytes(const picture *p)
{
    return (size_t)dt_image_width(p->image) * (size_t)dt_image_height(p->image) * 3;
}

static bool is_tiled(const batch *b)
{
    for (int i = 0; i < b->count; i++)
        if (b->picture[i].pixels.grid_rows > 0)
            return true;
    return false;
}

/* Entries: pixels, sizes, tiles (where there are any), then the pictures. */
static size_t list_entries(const batch *b, dt_safetensors_entry *entry, char (*name)[32])
{
    const dt_pixels *first = &b->picture[0].pixels;
    size_t n = 0;
    entry[n++] = (dt_safetensors_entry){"in.pixels", DT_F32, {4, {b->tiles, 3, first->height, first->width}}};
    entry[n++] = (dt_safetensors_entry){"in.image_sizes", DT_I32, {2, {b->count, 2}}};
    if (is_tiled(b))
        entry[n++] = (dt_safetensors_entry){"in.tiles", DT_I32, {1, {b->count}}};
    for (int i = 0; i < b->count; i++) {
        const dt_image *image = b->picture[i].image;
        snprintf(name[i], sizeof name[i], "in.image.%d", i);
        entry[n++] =
            (dt_safetensors_entry){name[i], DT_U8, {3, {dt_image_height(image), dt_image_width(image), 3}}};
    }
    return n;
}

static dt_status write_tensors(const batch *b, dt_safetensors_writer *writer, dt_error *err)
{
    size_t images = is_tiled(b) ? 3 : 2;
    for (int i = 0; i < b->count; i++) {
        const picture *p = &b->picture[i];
        size_t each = 3 * sizeof(float) * (size_t)p->pixels.height * (size_t)p->pixels.width;
        int32_t size[2] = {p->pixels.image_height, p->pixels.image_width}, tiles = (int32_t)p->pixels.tiles;
        DT_PASS(dt_safetensors_write(writer, 0, p->pixels.values, each * (size_t)p->pixels.tiles, err));
        DT_PASS(dt_safetensors_write(writer, 1, size, sizeof size, err));
        if (images == 3)
            DT_PASS(dt_safetensors_write(writer, 2, &tiles, sizeof tiles, err));
        DT_PASS(
            dt_safetensors_write(writer, images + (size_t)i, dt_image_pixels(p->image), rgb_bytes(p), err));
    }
    return DT_OK;
}

static const char *arithmetic_name(const batch *b)
{
    return dt_image_processor_arithmetic(b->processor) == DT_IMAGE_PILLOW ? "pillow" : "torchvision";
}

static dt_status write_recording(const batch *b, const char *path, dt_error *err)
{
    char how[64];
    snprintf(how, sizeof how, "{\"pixels\": \"%s\"}", arithmetic_name(b));
    const char *notes[] = {
        "format", "drivetrain-recording/1", "source", "drivetrain " DT_VERSION, "dtype", "f32", "options",
        how};
    dt_safetensors_entry *entry = calloc((size_t)b->count + 3, sizeof *entry);
    char(*name)[32] = calloc((size_t)b->count, sizeof *name);
    dt_safetensors_writer *writer = NULL;
    dt_status status =
        entry && name ? DT_OK : dt_fail_memory(err, (size_t)b->count * sizeof *entry, "a recording");
    if (status == DT_OK) {
        size_t count = list_entries(b, entry, name);
        status = dt_safetensors_create(&writer, path, true, entry, count, notes, 4, err);
    }
    if (status == DT_OK && (status = write_tensors(b, writer, err)) == DT_OK)
        status = dt_safetensors_commit(writer, err);
    else
        dt_safetensors_discard(writer);
    free(entry);
    free(name);
    return status;
}

/* ---- what is shown ---- */

static void show_json(const batch *b, const char *path)
{
    const dt_pixels *first = &b->picture[0].pixels;
    json_t *images = json_array();
    for (int i = 0; i < b->count; i++) {
        const picture *p = &b->picture[i];
        json_array_append_new(images, json_pack("{s:s, s:s, s:i, s:i, s:i, s:I, s:[i,i]}", "file", p->file,
                                                "format", p->format, "width", p->width, "height", p->height,
                                                "frames", p->frames, "tiles", (json_int_t)p->pixels.tiles,
                                                "grid", p->pixels.grid_rows, p->pixels.grid_columns));
    }
    print_json(json_pack("{s:s, s:s, s:[I,i,i,i], s:o, s:s?}", "class",
                         dt_image_processor_class(b->processor), "arithmetic", arithmetic_name(b), "shape",
                         (json_int_t)b->tiles, 3, first->height, first->width, "images", images, "path",
                         path));
}

static void show_lines(const batch *b)
{
    const dt_pixels *first = &b->picture[0].pixels;
    printf("%s, %s's arithmetic\n", dt_image_processor_class(b->processor), arithmetic_name(b));
    for (int i = 0; i < b->count; i++) {
        const picture *p = &b->picture[i];
        printf("%s: %s, %d x %d", p->file, p->format, p->width, p->height);
        if (p->pixels.grid_rows > 0)
            printf(", %" PRId64 " tiles (%d x %d%s)", p->pixels.tiles, p->pixels.grid_rows,
                   p->pixels.grid_columns, p->pixels.overview >= 0 ? " and an overview" : "");
        printf("\n");
    }
    printf("in.pixels [%" PRId64 ", 3, %d, %d]\n", b->tiles, first->height, first->width);
}

/* ---- the command ---- */

static void free_batch(batch *b)
{
    for (int i = 0; b->picture && i < b->count; i++) {
        dt_image_close(b->picture[i].image);
        dt_pixels_free(&b->picture[i].pixels);
    }
    free(b->picture);
    dt_image_processor_close(b->processor);
}

static dt_status preprocess(const command_line *line, batch *b, const dt_image_processor_options *how,
                            const dt_image_options *image, dt_error *err)
{
    b->count = line->positional_count - 1;
    b->picture = calloc((size_t)b->count, sizeof *b->picture);
    if (!b->picture)
        return dt_fail_memory(err, (size_t)b->count * sizeof *b->picture, "pictures");
    DT_PASS(dt_image_processor_open(&b->processor, line->positional[0], how, err));
    DT_PASS(process_all(line, b, image, how->alpha, err));
    const char *path = text_of(line, "output");
    if (path)
        DT_TRY(write_recording(b, path, err), err, "while writing %s", path);
    if (flag(line, "json"))
        show_json(b, path);
    else
        show_lines(b);
    return DT_OK;
}

static dt_exit run(const command_line *line)
{
    dt_error err = {0};
    batch b = {0};
    dt_image_processor_options how;
    dt_image_options image;
    if (!how_of(line, &how, &image))
        return DT_EXIT_USAGE;
    apply_memory_limit(line);
    dt_status status = preprocess(line, &b, &how, &image, &err);
    free_batch(&b);
    return status == DT_OK ? DT_EXIT_DONE : report_failure(&err);
}

static const char *const positional[] = {"MODEL",
                                         "model folder, preprocessor_config.json or processor_config.json",
                                         "IMAGE", "JPEG, PNG or WebP files", NULL};
static const char *const examples[] = {
    "preprocess clip/ cat.jpg -o cat.safetensors",
    "preprocess llava-next/preprocessor_config.json page1.png page2.png --json", NULL};

const command_spec command_preprocess = {
    .name = "preprocess",
    .summary = "pictures to pixels, as the model's own processor makes them",
    .usage = "MODEL IMAGE... [options]",
    .about = "",
    .positional_min = 2,
    .positional_max = POSITIONAL_LIMIT,
    .positional = positional,
    .options = options,
    .examples = examples,
    .fact = "Pixels are those of transformers 5 bit for bit: resizing is Pillow's or torchvision's own "
            "fixed-point arithmetic.",
    .run = run,
};
