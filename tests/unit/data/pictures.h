/*
 * pictures.h - the stored pictures, and what fixtures/images/index.json says of them.
 */
#ifndef DT_UNIT_PICTURES_H
#define DT_UNIT_PICTURES_H

#include "unit.h"

#include "base/json.h"
#include "formats/safetensors/safetensors.h"

#include <drivetrain/image.h>
#include <drivetrain/memory.h>

/* A file below $DT_DATA/images or $DT_FIXTURES/images; "made:thin" lies beside the index. Skips without the folder. */
static inline const char *picture_path(char buffer[4096], const char *name)
{
    const char *data = getenv("DT_DATA"), *fixtures = getenv("DT_FIXTURES");
    if (strncmp(name, "made:", 5) == 0)
        snprintf(buffer, 4096, "%s/images/%s.png", fixtures ? fixtures : "", name + 5);
    else
        snprintf(buffer, 4096, "%s/images/%s", data ? data : "", name);
    if (access(buffer, R_OK) != 0)
        skip();
    return buffer;
}

/* index.json; the caller decrefs. Skips without it. */
static inline json_t *picture_index(void)
{
    char path[4096];
    const char *fixtures = getenv("DT_FIXTURES");
    dt_error err = {0};
    json_t *index = NULL;
    snprintf(path, sizeof path, "%s/images/index.json", fixtures ? fixtures : "");
    if (access(path, R_OK) != 0)
        skip();
    assert_ok(dt_json_load(&index, path, 1 << 22, &err), err);
    return index;
}

/* RGB as Pillow's convert("RGB"), as stored. */
static inline dt_image *picture_rgb(const char *name)
{
    char path[4096];
    dt_error err = {0};
    dt_image *image, *rgb;
    dt_image_options o = {0, true};
    assert_ok(dt_image_open(&image, picture_path(path, name), &o, &err), err);
    assert_ok(dt_image_to_rgb(&rgb, image, DT_IMAGE_ALPHA_DROP, &err), err);
    dt_image_close(image);
    return rgb;
}

/* A tensor of a file, dense and as stored; NULL when the file lacks it. */
static inline const void *picture_tensor(dt_stored_set *set, const char *name, dt_shape *shape)
{
    const dt_stored_tensor *tensor = dt_stored_set_find(set, name);
    if (!tensor)
        return NULL;
    *shape = tensor->shape;
    assert_non_null(dt_stored_dense(tensor));
    return dt_stored_dense(tensor);
}

static inline dt_stored_set *picture_tensors(const char *path)
{
    dt_error err = {0};
    dt_stored_set *set;
    assert_ok(dt_stored_set_create(&set, &err), err);
    assert_ok(dt_safetensors_read(set, path, &err), err);
    return set;
}

#endif
