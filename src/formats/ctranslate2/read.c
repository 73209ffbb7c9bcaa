/*
 * read.c (ctranslate2) - reads one model.bin into a stored set. What the variables mean is for config.c.
 *
 *   u32 version · text spec (from 2) · u32 revision · u32 count · count × variable · u32 count · count × (text, text)
 *   variable: text name · u8 rank · rank × u32 · (4 and later: u8 type, u32 bytes; before: u8 size, u32 items) · data
 *   text: u16 bytes with the final NUL · bytes.   Aliases, the last list, are there from version 3 on.
 *
 * Peer  ctranslate2 python/ctranslate2/specs/model_spec.py (_serialize). All numbers are little-endian.
 */
#include "formats/ctranslate2/ctranslate2.h"

#include "base/checked.h"
#include "base/fail.h"
#include "tensor/convert.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { OLDEST = 2, NEWEST = 6, MOST_RANK = 8, NAME_BYTES = 512 };

static const dt_dtype types[] = {DT_F32, DT_I8, DT_I16, DT_I32, DT_F16, DT_BF16};

enum { TYPE_COUNT = sizeof types / sizeof types[0] };

typedef struct cursor {
    const dt_map *map;
    size_t at;
} cursor;

typedef struct variable {
    char name[NAME_BYTES];
    dt_dtype type;
    dt_shape shape;
    size_t offset, bytes;
} variable;

static dt_status cut_short(const cursor *c, const char *what, dt_error *err)
{
    return dt_fail(err, DT_FORMAT, "the file ends at byte %zu, inside %s that starts at byte %zu",
                   c->map->size, what, c->at);
}

/* `bytes` of 1, 2 or 4. */
static dt_status take_number(cursor *c, size_t bytes, const char *what, uint32_t *out, dt_error *err)
{
    if (!dt_range_inside(c->at, bytes, c->map->size))
        return cut_short(c, what, err);
    *out = 0;
    for (size_t i = 0; i < bytes; i++)
        *out |= (uint32_t)c->map->data[c->at + i] << (8 * i);
    c->at += bytes;
    return DT_OK;
}

static dt_status take_text(cursor *c, const char *what, char out[NAME_BYTES], dt_error *err)
{
    uint32_t bytes;
    DT_PASS(take_number(c, 2, what, &bytes, err));
    if (!dt_range_inside(c->at, bytes, c->map->size))
        return cut_short(c, what, err);
    if (bytes < 2 || bytes > NAME_BYTES ||
        memchr(c->map->data + c->at, 0, bytes) != c->map->data + c->at + bytes - 1)
        return dt_fail(err, DT_FORMAT, "%s at byte %zu is no text of 1 to %d bytes and a final NUL", what,
                       c->at, NAME_BYTES - 1);
    memcpy(out, c->map->data + c->at, bytes);
    c->at += bytes;
    return DT_OK;
}

/* ---- variables ---- */

static dt_status take_shape(cursor *c, variable *v, int64_t *elements, dt_error *err)
{
    uint32_t rank, dim;
    DT_PASS(take_number(c, 1, "a rank", &rank, err));
    if (rank > MOST_RANK || rank > DT_MAX_RANK)
        return dt_fail(err, DT_FORMAT, "variable \"%s\" has %u dimensions", v->name, rank);
    v->shape.rank = (int)rank;
    *elements = 1;
    for (uint32_t i = 0; i < rank; i++) {
        DT_PASS(take_number(c, 4, "a shape", &dim, err));
        v->shape.dim[i] = dim;
        if (!dt_mul_int64(*elements, dim, elements))
            return dt_fail(err, DT_FORMAT, "variable \"%s\": the product of its shape overflows", v->name);
    }
    return DT_OK;
}

/* Until version 4 only the size of an item was told, and a type is guessed from it, as the makers' own reader does. */
static dt_status take_type(cursor *c, uint32_t version, variable *v, dt_error *err)
{
    uint32_t type, count;
    DT_PASS(take_number(c, 1, "a type", &type, err));
    DT_PASS(take_number(c, 4, "a size", &count, err));
    if (version >= 4 && type >= TYPE_COUNT)
        return dt_fail(err, DT_UNSUPPORTED, "variable \"%s\" has type %u; 0 to %d are known", v->name, type,
                       TYPE_COUNT - 1);
    if (version < 4 && type != 1 && type != 2 && type != 4)
        return dt_fail(err, DT_FORMAT, "variable \"%s\" has items of %u bytes, expected 1, 2 or 4", v->name,
                       type);
    v->type = version >= 4 ? types[type] : type == 4 ? DT_F32 : type == 2 ? DT_I16 : DT_I8;
    v->bytes = version >= 4 ? count : (size_t)count * type;
    return DT_OK;
}

static dt_status take_variable(cursor *c, uint32_t version, variable *v, dt_error *err)
{
    int64_t elements = 0, bytes;
    DT_PASS(take_text(c, "the name of a variable", v->name, err));
    DT_PASS(take_shape(c, v, &elements, err));
    DT_PASS(take_type(c, version, v, err));
    if (!dt_mul_int64(elements, dt_dtype_block_bytes(v->type), &bytes) || (uint64_t)bytes != v->bytes)
        return dt_fail(err, DT_FORMAT, "variable \"%s\" %s in %s does not fill its %zu bytes", v->name,
                       dt_shape_print(&v->shape).text, dt_dtype_name(v->type), v->bytes);
    v->offset = c->at;
    if (!dt_range_inside(c->at, v->bytes, c->map->size))
        return cut_short(c, "the data of a variable", err);
    c->at += v->bytes;
    return DT_OK;
}

static double scalar_of(const cursor *c, const variable *v)
{
    const uint8_t *data = c->map->data + v->offset;
    float real;
    int32_t integer;
    int16_t half;
    switch (v->type) {
    case DT_I8:
        return (int8_t)data[0];
    case DT_I16:
        memcpy(&half, data, sizeof half);
        return half;
    case DT_I32:
        memcpy(&integer, data, sizeof integer);
        return integer;
    default:
        dt_convert(DT_F32, &real, v->type, data, 1, NULL);
        return (double)real;
    }
}

/* Integers stay such: for some scalars a type is part of what is said. */
static json_t *scalar_json(const cursor *c, const variable *v)
{
    bool integer = v->type == DT_I8 || v->type == DT_I16 || v->type == DT_I32;
    return integer ? json_integer((json_int_t)scalar_of(c, v)) : json_real(scalar_of(c, v));
}

static dt_status add_tensor(dt_stored_set *set, const cursor *c, const variable *v, dt_error *err)
{
    dt_stored_box box = {.shape = v->shape, .map = c->map, .file_offset = v->offset};
    dt_stored_tensor tensor = {
        .name = v->name, .dtype = v->type, .shape = v->shape, .box_count = 1, .box = &box};
    int64_t stride = 1;
    if (v->bytes == 0) /* beside a 0, other dimensions may be of any size */
        tensor.box_count = 0;
    for (int a = v->shape.rank - 1; a >= 0 && tensor.box_count; stride *= v->shape.dim[a--])
        box.stride[a] = stride;
    return dt_stored_set_add(set, &tensor, err);
}

static dt_status read_variables(dt_stored_set *set, cursor *c, dt_ct2_file *out, dt_error *err)
{
    uint32_t count;
    DT_PASS(take_number(c, 4, "the number of variables", &count, err));
    for (uint32_t i = 0; i < count; i++) {
        variable v = {.shape = {0}};
        DT_PASS(take_variable(c, out->version, &v, err));
        if (v.shape.rank > 0)
            DT_PASS(add_tensor(set, c, &v, err));
        else if (json_object_get(out->scalars, v.name))
            return dt_fail(err, DT_FORMAT, "variable \"%s\" is there twice", v.name);
        else if (json_object_set_new(out->scalars, v.name, scalar_json(c, &v)))
            return dt_fail(err, DT_FORMAT, "variable \"%s\" is no finite number, or its name no UTF-8",
                           v.name);
    }
    return DT_OK;
}

/* ---- scales ---- */

/* One for all of the weight (int16), or one a row (int8). */
static dt_status find_scale(dt_stored_set *set, const dt_ct2_file *file, const dt_stored_tensor *t,
                            const float **scale, int64_t *count, dt_error *err)
{
    char name[NAME_BYTES + 8];
    snprintf(name, sizeof name, "%s_scale", t->name);
    const dt_stored_tensor *s = dt_stored_set_find(set, name);
    const json_t *single = json_object_get(file->scalars, name);
    *count = s ? t->shape.dim[0] : 1;
    if (!s && !single)
        return dt_fail(err, DT_FORMAT, "variable \"%s\" is stored as %s, but \"%s\" is missing", t->name,
                       dt_dtype_name(t->dtype), name);
    if (s && (s->dtype != DT_F32 || s->shape.rank != 1 || s->shape.dim[0] != *count))
        return dt_fail(err, DT_FORMAT,
                       "variable \"%s\" is %s of %s, expected [%" PRId64 "] f32, one for each row", name,
                       dt_shape_print(&s->shape).text, dt_dtype_name(s->dtype), *count);
    float *values = DT_NEW_ARRAY(dt_stored_set_arena(set), float, *count + 1);
    if (!values)
        return dt_fail_memory(err, sizeof *values * (size_t)*count, "scales");
    if (s)
        DT_PASS(dt_stored_read(s, NULL, DT_F32, values, NULL, err));
    else
        values[0] = (float)json_number_value(single);
    *scale = values;
    return DT_OK;
}

static dt_status add_scales(dt_stored_set *set, const dt_ct2_file *file, dt_error *err)
{
    for (size_t i = 0; i < dt_stored_set_count(set); i++) {
        const dt_stored_tensor *t = dt_stored_set_at(set, i);
        const float *scale = NULL;
        int64_t count = 0;
        if (t->unsupported || (t->dtype != DT_I8 && t->dtype != DT_I16) || t->shape.rank != 2)
            continue;
        DT_PASS(find_scale(set, file, t, &scale, &count, err));
        dt_stored_set_divide(set, i, scale, count);
    }
    return DT_OK;
}

/* ---- aliases ---- */

static dt_status add_alias(dt_stored_set *set, json_t *scalars, const char *alias, const char *of,
                           dt_error *err)
{
    json_t *scalar = json_object_get(scalars, of);
    const dt_stored_tensor *t = dt_stored_set_find(set, of);
    if (!t && !scalar)
        return dt_fail(err, DT_FORMAT, "alias \"%s\" stands for \"%s\", which the file does not have", alias,
                       of);
    if (!t)
        return json_object_set(scalars, alias, scalar) ? dt_fail_memory(err, 64, alias) : DT_OK;
    dt_stored_tensor copy = *t;
    copy.name = alias;
    return dt_stored_set_add(set, &copy, err);
}

static dt_status read_aliases(dt_stored_set *set, cursor *c, dt_ct2_file *out, dt_error *err)
{
    uint32_t count = 0;
    if (out->version >= 3)
        DT_PASS(take_number(c, 4, "the number of aliases", &count, err));
    for (uint32_t i = 0; i < count; i++) {
        char alias[NAME_BYTES], of[NAME_BYTES];
        DT_PASS(take_text(c, "an alias", alias, err));
        DT_PASS(take_text(c, "what an alias stands for", of, err));
        DT_PASS(add_alias(set, out->scalars, alias, of, err));
    }
    if (c->at != c->map->size)
        return dt_fail(err, DT_FORMAT, "%zu bytes follow the last alias", c->map->size - c->at);
    return DT_OK;
}

dt_status dt_ct2_read_map(dt_stored_set *set, const dt_map *map, dt_ct2_file *out, dt_error *err)
{
    cursor c = {map, 0};
    char spec[NAME_BYTES];
    *out = (dt_ct2_file){.scalars = json_object()};
    if (!out->scalars)
        return dt_fail_memory(err, 64, "model.bin");
    DT_PASS(take_number(&c, 4, "the version", &out->version, err));
    if (out->version < OLDEST || out->version > NEWEST)
        return dt_fail(err, DT_UNSUPPORTED, "model.bin has version %u; %d to %d are read", out->version,
                       OLDEST, NEWEST);
    DT_PASS(take_text(&c, "the name of the spec", spec, err));
    DT_PASS(take_number(&c, 4, "the spec's revision", &out->revision, err));
    if (!(out->spec = dt_arena_text(dt_stored_set_arena(set), spec)))
        return dt_fail_memory(err, sizeof spec, "model.bin");
    DT_PASS(read_variables(set, &c, out, err));
    DT_PASS(add_scales(set, out, err));
    return read_aliases(set, &c, out, err);
}

dt_status dt_ct2_read(dt_stored_set *set, const char *path, dt_ct2_file *out, dt_error *err)
{
    const dt_map *map = NULL;
    *out = (dt_ct2_file){0};
    DT_PASS(dt_stored_set_map(set, path, &map, err));
    return dt_ct2_read_map(set, map, out, err);
}
