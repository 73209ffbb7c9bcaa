/*
 * config.c - preprocessor_config.json and processor_config.json, of versions 4 and 5 of transformers.
 *
 * A class has defaults (a row of `classes`); keys override them. A key that would change pixels and is not known is an
 * error that names it; one that is null or false asks for nothing.
 */
#include "data/image/processor.h"

#include "base/gguf.h"
#include "base/bundle.h"
#include "base/json.h"
#include "base/output.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_LIMIT = 16 << 20, MAX_EDGE = 1 << 16 };

typedef struct class_row {
    const char *name, *model_types; /* those whose config.json means this class when none is named */
    dt_image_kind kind;
    bool square; /* an integer size is a height and a width, not the shortest edge */
    bool center_crop, pad;
    dt_image_filter filter;
    dt_image_size size, crop;
    double mean[3], std[3];
} class_row;

/* clang-format off */
#define EDGES(h, w)   {h, w, 0, 0, 0, 0}
#define SHORTEST(n)   {0, 0, n, 0, 0, 0}
#define NONE          {0, 0, 0, 0, 0, 0}
#define CLIP          {0.48145466, 0.4578275, 0.40821073}, {0.26862954, 0.26130258, 0.27577711}
#define HALF          {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}
#define CLASS(name, models, kind, square, crops, pads, filter, size, crop, numbers)                          \
    {#name, models, DT_IMAGE_##kind, square, crops, pads, DT_IMAGE_##filter, size, crop, numbers},
/* clang-format on */
static const class_row classes[] = {
#include "data/image/classes.def"
};

static const int next_pinpoints[][2] = {{336, 672}, {672, 336}, {672, 672}, {1008, 336}, {336, 1008}};

/* Keys that are read below, and keys that change no pixel. */
static const char *const read_keys[] = {"image_processor_type",
                                        "feature_extractor_type",
                                        "do_resize",
                                        "do_center_crop",
                                        "do_rescale",
                                        "do_normalize",
                                        "do_convert_rgb",
                                        "do_pad",
                                        "size",
                                        "crop_size",
                                        "pad_size",
                                        "resample",
                                        "rescale_factor",
                                        "image_mean",
                                        "image_std",
                                        "default_to_square"};
static const char *const idle_keys[] = {"processor_class",
                                        "auto_map",
                                        "input_data_format",
                                        "return_tensors",
                                        "device",
                                        "disable_grouping",
                                        "image_seq_length",
                                        "model_input_names",
                                        "_valid_processor_keys",
                                        "_valid_kwargs_names",
                                        "_processor_class",
                                        "transformers_version",
                                        "use_fast",
                                        "backend",
                                        "aspect_ratio_setting",
                                        "patch_size",
                                        "video_processor_type",
                                        "num_additional_image_tokens",
                                        "vision_feature_select_strategy",
                                        "image_token",
                                        "chat_template",
                                        "_name_or_path"};
static const struct own_key {
    const char *name;
    dt_image_kind kind;
} own_keys[] = {{"image_grid_pinpoints", DT_IMAGE_LLAVA_NEXT},
                {"crop_to_patches", DT_IMAGE_GOT_OCR2},
                {"min_patches", DT_IMAGE_GOT_OCR2},
                {"max_patches", DT_IMAGE_GOT_OCR2},
                {"crop_pct", DT_IMAGE_CONVNEXT}};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- which class ---- */

/* "CLIPImageProcessorFast", "…Pil" and "CLIPFeatureExtractor" are all CLIPImageProcessor. */
static void base_name(const char *name, char out[128], dt_image_arithmetic *arithmetic)
{
    static const char old[] = "FeatureExtractor", now[] = "ImageProcessor";
    snprintf(out, 128, "%s", name);
    size_t length = strlen(out);
    *arithmetic = DT_IMAGE_TORCHVISION;
    if (length > 4 && strcmp(out + length - 4, "Fast") == 0)
        out[length -= 4] = 0;
    else if (length > 3 && strcmp(out + length - 3, "Pil") == 0) {
        out[length -= 3] = 0;
        *arithmetic = DT_IMAGE_PILLOW;
    }
    if (length >= sizeof old - 1 && strcmp(out + length - (sizeof old - 1), old) == 0)
        strcpy(out + length - (sizeof old - 1), now);
}

static dt_status class_of_name(const class_row **out, const char *name, dt_image_arithmetic *arithmetic,
                               dt_error *err)
{
    char base[128];
    base_name(name, base, arithmetic);
    for (size_t i = 0; i < COUNT(classes); i++)
        if (strcmp(classes[i].name, base) == 0) {
            *out = &classes[i];
            return DT_OK;
        }
    return dt_fail(err, DT_UNSUPPORTED, "image_processor_type \"%s\" is not known", name);
}

static const class_row *class_of_model(const char *model_type)
{
    char word[64];
    snprintf(word, sizeof word, " %s ", model_type);
    for (size_t i = 0; i < COUNT(classes); i++)
        if (strstr(classes[i].model_types, word))
            return &classes[i];
    return NULL;
}

static dt_status find_class(const class_row **out, const json_t *json, const char *model_type,
                            dt_image_arithmetic *arithmetic, dt_error *err)
{
    const char *name = NULL;
    DT_PASS(dt_json_string(json, "image_processor_type", &name, err));
    if (!name)
        DT_PASS(dt_json_string(json, "feature_extractor_type", &name, err));
    if (name)
        return class_of_name(out, name, arithmetic, err);
    *arithmetic = DT_IMAGE_TORCHVISION;
    *out = model_type ? class_of_model(model_type) : NULL;
    if (*out)
        return DT_OK;
    return dt_fail(err, DT_UNSUPPORTED,
                   "no image_processor_type names the class, and model_type \"%s\" implies none",
                   model_type ? model_type : "");
}

/* ---- keys ---- */

static bool among(const char *key, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(key, list[i]) == 0)
            return true;
    return false;
}

static bool is_own_key(const char *key, dt_image_kind kind)
{
    for (size_t i = 0; i < COUNT(own_keys); i++)
        if (own_keys[i].kind == kind && strcmp(key, own_keys[i].name) == 0)
            return true;
    return false;
}

static dt_status check_keys(const json_t *json, const class_row *row, dt_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)json, key, value)
    {
        bool first = json_is_string(value) && strstr(json_string_value(value), "first");
        if (json_is_null(value) || json_is_false(value) || among(key, read_keys, COUNT(read_keys)) ||
            among(key, idle_keys, COUNT(idle_keys)) || is_own_key(key, row->kind) ||
            (strcmp(key, "data_format") == 0 && first))
            continue;
        return dt_fail(err, DT_UNSUPPORTED, "\"%s\" of a %s is not known; it may change pixels", key,
                       row->name);
    }
    return DT_OK;
}

/* ---- values ---- */

static dt_status edge_of(const json_t *value, const char *key, int *out, dt_error *err)
{
    if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > MAX_EDGE)
        return dt_fail(err, DT_FORMAT, "%s: expected a number of pixels from 1 to %d", key, MAX_EDGE);
    *out = (int)json_integer_value(value);
    return DT_OK;
}

static dt_status size_of_object(const json_t *json, const char *key, dt_image_size *out, dt_error *err)
{
    dt_image_size size = {0};
    const char *part;
    json_t *value;
    const struct {
        const char *name;
        int *edge;
    } parts[] = {{"height", &size.height},          {"width", &size.width},
                 {"shortest_edge", &size.shortest}, {"longest_edge", &size.longest},
                 {"max_height", &size.max_height},  {"max_width", &size.max_width}};
    json_object_foreach((json_t *)json, part, value)
    {
        size_t i = 0;
        while (i < COUNT(parts) && strcmp(parts[i].name, part) != 0)
            i++;
        if (json_is_null(value))
            continue;
        if (i == COUNT(parts))
            return dt_fail(err, DT_UNSUPPORTED, "%s: \"%s\" is not known", key, part);
        DT_PASS(edge_of(value, key, parts[i].edge, err));
    }
    *out = size;
    return DT_OK;
}

/* 224, [224, 336] or {"shortest_edge": 224}. */
static dt_status read_size(const json_t *json, const char *key, bool square, dt_image_size *out,
                           dt_error *err)
{
    const json_t *value = dt_json_get(json, key);
    if (!value)
        return DT_OK;
    if (json_is_object(value))
        return size_of_object(value, key, out, err);
    dt_image_size size = {0};
    if (json_is_array(value) && json_array_size(value) == 2) {
        DT_PASS(edge_of(json_array_get(value, 0), key, &size.height, err));
        DT_PASS(edge_of(json_array_get(value, 1), key, &size.width, err));
    } else {
        DT_PASS(edge_of(value, key, square ? &size.height : &size.shortest, err));
        size.width = size.height;
    }
    *out = size;
    return DT_OK;
}

/* A number for all channels, or three. */
static dt_status read_channels(const json_t *json, const char *key, double out[3], dt_error *err)
{
    const json_t *value = dt_json_get(json, key);
    if (!value)
        return DT_OK;
    for (size_t c = 0; c < 3; c++) {
        const json_t *one =
            json_is_array(value) && json_array_size(value) == 3 ? json_array_get(value, c) : value;
        if (!json_is_number(one))
            return dt_fail(err, DT_FORMAT, "%s: expected a number, or three", key);
        out[c] = json_number_value(one);
    }
    return DT_OK;
}

/* A number of Pillow's, or its name as some files have it. */
static dt_status read_filter(const json_t *json, int64_t *out, dt_error *err)
{
    static const char *const names[] = {"nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"};
    const json_t *value = dt_json_get(json, "resample");
    if (json_is_string(value))
        for (size_t i = 0; i < COUNT(names); i++)
            if (strcmp(json_string_value(value), names[i]) == 0) {
                *out = (int64_t)i;
                return DT_OK;
            }
    DT_PASS(dt_json_int(json, "resample", out, err));
    if (*out != DT_IMAGE_NEAREST && (*out < 0 || *out > DT_IMAGE_HAMMING))
        return dt_fail(err, DT_UNSUPPORTED,
                       "resample: no filter has the number %" PRId64 " (0 to 5 are known)", *out);
    return DT_OK;
}

static dt_status read_pinpoints(const json_t *json, dt_image_settings *s, dt_error *err)
{
    const json_t *list = dt_json_get(json, "image_grid_pinpoints"), *pair;
    size_t i;
    if (!list)
        return DT_OK;
    if (!json_is_array(list) || json_array_size(list) < 1 || json_array_size(list) > DT_IMAGE_MAX_PINPOINTS)
        return dt_fail(err, DT_FORMAT, "image_grid_pinpoints: expected 1 to %d pairs of height and width",
                       DT_IMAGE_MAX_PINPOINTS);
    s->pinpoint_count = (int)json_array_size(list);
    json_array_foreach(list, i, pair)
    {
        if (!json_is_array(pair) || json_array_size(pair) != 2)
            return dt_fail(err, DT_FORMAT, "image_grid_pinpoints: entry %zu is no pair of height and width",
                           i);
        for (size_t k = 0; k < 2; k++)
            DT_PASS(edge_of(json_array_get(pair, k), "image_grid_pinpoints", &s->pinpoint[i][k], err));
    }
    return DT_OK;
}

/* ---- the whole ---- */

static void use_defaults(const class_row *row, dt_image_settings *s)
{
    *s = (dt_image_settings){.resize = true, .rescale = true, .normalize = true};
    s->center_crop = row->center_crop;
    s->pad = row->pad;
    s->size = row->size;
    s->crop = row->crop;
    s->filter = row->filter;
    s->rescale_factor = 1.0 / 255;
    s->crop_pct = 224.0 / 256;
    s->min_patches = 1;
    s->max_patches = 12;
    s->pinpoint_count = COUNT(next_pinpoints);
    memcpy(s->pinpoint, next_pinpoints, sizeof next_pinpoints);
    memcpy(s->mean, row->mean, sizeof s->mean);
    memcpy(s->std, row->std, sizeof s->std);
}

static dt_status read_switches(const json_t *json, dt_image_settings *s, dt_error *err)
{
    DT_PASS(dt_json_bool(json, "do_resize", &s->resize, err));
    DT_PASS(dt_json_bool(json, "do_center_crop", &s->center_crop, err));
    DT_PASS(dt_json_bool(json, "do_rescale", &s->rescale, err));
    DT_PASS(dt_json_bool(json, "do_normalize", &s->normalize, err));
    DT_PASS(dt_json_bool(json, "do_pad", &s->pad, err));
    return dt_json_bool(json, "crop_to_patches", &s->crop_to_patches, err);
}

static dt_status check_settings(const dt_image_settings *s, const class_row *row, dt_error *err)
{
    if (s->center_crop && row->kind != DT_IMAGE_GOT_OCR2 && (!s->crop.height || !s->crop.width))
        return dt_fail(err, DT_FORMAT, "do_center_crop without a height and width in crop_size");
    if (s->pad && (row->kind == DT_IMAGE_PLAIN || row->kind == DT_IMAGE_CONVNEXT) &&
        (!s->pad_to.height || !s->pad_to.width))
        return dt_fail(err, DT_UNSUPPORTED,
                       "do_pad without pad_size: padding to the largest of a batch is not done");
    if (!(s->rescale_factor != 0) || !isfinite(s->rescale_factor) || !(s->crop_pct > 0) || s->crop_pct > 1)
        return dt_fail(err, DT_FORMAT, "rescale_factor or crop_pct: a number that cannot be");
    for (int c = 0; c < 3 && s->normalize; c++)
        if (!((float)s->std[c] != 0) || !isfinite(s->std[c]) || !isfinite(s->mean[c]))
            return dt_fail(err, DT_FORMAT, "image_std: %g divides", s->std[c]);
    if (s->min_patches < 1 || s->max_patches < s->min_patches || s->max_patches > DT_IMAGE_MAX_TILES)
        return dt_fail(err, DT_FORMAT, "min_patches, max_patches: expected 1 to %d", DT_IMAGE_MAX_TILES);
    if (row->kind == DT_IMAGE_GOT_OCR2 && (!s->size.height || !s->size.width))
        return dt_fail(err, DT_UNSUPPORTED, "size: a %s needs height and width", row->name);
    if ((row->kind == DT_IMAGE_LLAVA_NEXT && !s->size.shortest && (!s->size.height || !s->size.width)) ||
        (row->kind == DT_IMAGE_CONVNEXT && !s->size.shortest))
        return dt_fail(err, DT_UNSUPPORTED, "size: a %s needs shortest_edge", row->name);
    return DT_OK;
}

static dt_status read_settings(const json_t *json, const class_row *row, dt_image_settings *s, dt_error *err)
{
    bool square = row->square;
    use_defaults(row, s);
    DT_PASS(check_keys(json, row, err));
    DT_PASS(read_switches(json, s, err));
    DT_PASS(dt_json_bool(json, "default_to_square", &square, err));
    DT_PASS(read_size(json, "size", square, &s->size, err));
    DT_PASS(read_size(json, "crop_size", true, &s->crop, err));
    DT_PASS(read_size(json, "pad_size", true, &s->pad_to, err));
    DT_PASS(read_filter(json, &s->filter, err));
    DT_PASS(dt_json_real(json, "rescale_factor", &s->rescale_factor, err));
    DT_PASS(read_channels(json, "image_mean", s->mean, err));
    DT_PASS(read_channels(json, "image_std", s->std, err));
    DT_PASS(dt_json_real(json, "crop_pct", &s->crop_pct, err));
    DT_PASS(dt_json_int(json, "min_patches", &s->min_patches, err));
    DT_PASS(dt_json_int(json, "max_patches", &s->max_patches, err));
    DT_PASS(read_pinpoints(json, s, err));
    return check_settings(s, row, err);
}

static dt_status make(dt_image_processor **out, const json_t *json, const char *model_type,
                      const dt_image_processor_options *options, dt_error *err)
{
    dt_image_processor_options o = DT_IMAGE_PROCESSOR_OPTIONS_DEFAULT;
    const class_row *row = NULL;
    dt_image_arithmetic arithmetic;
    if (options)
        o = *options;
    if (!json_is_object(json))
        return dt_fail(err, DT_FORMAT, "the configuration is no JSON object");
    const json_t *nested = dt_json_get(json, "image_processor");
    if (json_is_object(nested))
        json = nested;
    DT_PASS(find_class(&row, json, model_type, &arithmetic, err));
    dt_image_processor *p = calloc(1, sizeof *p);
    if (!p)
        return dt_fail_memory(err, sizeof *p, "a processor");
    p->name = row->name;
    p->kind = row->kind;
    p->arithmetic = o.arithmetic == DT_IMAGE_AS_CONFIGURED ? arithmetic : o.arithmetic;
    p->alpha = o.alpha;
    dt_status status = read_settings(json, row, &p->s, err);
    if (status == DT_OK)
        *out = p;
    else
        free(p);
    return status;
}

dt_status dt_image_processor_parse(dt_image_processor **out, const char *json, size_t bytes,
                                   const dt_image_processor_options *options, dt_error *err)
{
    json_t *parsed = NULL;
    *out = NULL;
    DT_PASS(dt_json_parse(&parsed, json, bytes, "the processor's configuration", err));
    dt_status status = make(out, parsed, NULL, options, err);
    json_decref(parsed);
    return status;
}

/* ---- files ---- */

/* The model's type, where its folder says one; a configuration that cannot be read says none. */
static char *model_type_of(const char *folder)
{
    char path[4096];
    json_t *json = NULL;
    char *copy = NULL;
    snprintf(path, sizeof path, "%s/config.json", folder);
    if (dt_is_file(path) && dt_json_load(&json, path, CONFIG_LIMIT, NULL) == DT_OK) {
        const char *type = json_string_value(dt_json_get(json, "model_type"));
        copy = type ? strdup(type) : NULL;
    }
    json_decref(json);
    return copy;
}

static dt_status open_file(dt_image_processor **out, const char *path, const char *model_type,
                           const dt_image_processor_options *options, dt_error *err)
{
    json_t *json = NULL;
    DT_PASS(dt_json_load(&json, path, CONFIG_LIMIT, err));
    dt_status status = make(out, json, model_type, options, err);
    json_decref(json);
    if (status != DT_OK)
        dt_error_while(err, "while reading %s", path);
    return status;
}

/* processor_config.json counts only where it holds the image processor's part. */
static bool holds_processor(const char *path)
{
    json_t *json = NULL;
    bool holds = dt_is_file(path) && dt_json_load(&json, path, CONFIG_LIMIT, NULL) == DT_OK &&
                 json_is_object(dt_json_get(json, "image_processor"));
    json_decref(json);
    return holds;
}

bool dt_image_processor_file(char *out, size_t bytes, const char *folder)
{
    snprintf(out, bytes, "%s/processor_config.json", folder);
    if (!holds_processor(out))
        snprintf(out, bytes, "%s/preprocessor_config.json", folder);
    return dt_is_file(out);
}

/* The eyes of a model in GGUF say it themselves, where drivetrain wrote them. */
static dt_status open_gguf(dt_image_processor **out, const char *path,
                           const dt_image_processor_options *options, dt_error *err)
{
    char eyes[4096];
    dt_gguf *g = NULL;
    const char *text = NULL;
    if (dt_gguf_eyes_path(eyes, sizeof eyes, path) && dt_gguf_detect(eyes))
        DT_PASS(dt_gguf_open(&g, eyes, err));
    dt_status status = g ? dt_gguf_string(g, DT_GGUF_PROCESSOR, &text, err) : DT_OK;
    if (status == DT_OK)
        status = text ? dt_image_processor_parse(out, text, strlen(text), options, err)
                      : dt_fail(err, DT_NOT_FOUND, "%s does not say how its pictures are made", path);
    dt_gguf_close(g);
    return status;
}

dt_status dt_image_processor_open(dt_image_processor **out, const char *path,
                                  const dt_image_processor_options *options, dt_error *err)
{
    char file[4096];
    *out = NULL;
    if (dt_gguf_detect(path))
        return open_gguf(out, path, options, err);
    if (!dt_is_folder(path) && !dt_bundle_is(path)) /* an engine holds its model's small files */
        return open_file(out, path, NULL, options, err);
    if (!dt_image_processor_file(file, sizeof file, path))
        return dt_fail(err, DT_NOT_FOUND,
                       "%s holds no preprocessor_config.json: how its pictures are made is not said", path);
    char *model_type = model_type_of(path);
    dt_status status = open_file(out, file, model_type, options, err);
    free(model_type);
    return status;
}

void dt_image_processor_close(dt_image_processor *processor)
{
    free(processor);
}

const char *dt_image_processor_class(const dt_image_processor *processor)
{
    return processor->name;
}

dt_image_arithmetic dt_image_processor_arithmetic(const dt_image_processor *processor)
{
    return processor->arithmetic;
}

double dt_image_processor_step(const dt_image_processor *processor)
{
    const dt_image_settings *s = &processor->s;
    double least = 1;
    for (int c = 0; s->normalize && c < 3; c++)
        least = c == 0 || s->std[c] < least ? s->std[c] : least;
    return (s->rescale ? s->rescale_factor : 1) / least;
}
