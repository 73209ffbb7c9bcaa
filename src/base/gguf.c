/*
 * gguf.c - parses a GGUF file's header into values and tensors. Access by key is in gguf_values.c, vocabularies in
 * gguf_vocabulary.c.
 *
 * A cursor walks the mapped bytes; whatever it is asked for lies inside them or is an error. Lists are allocated only
 * after their count has been compared with what the remaining bytes could hold.
 */
#include "base/gguf_parts.h"

#include "base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAIR_BYTES = 8 + 1 + 4 + 1,           /* the shortest key and value */
    TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* the shortest tensor */
    KEY_LIMIT = 65535,
    NAME_LIMIT = 63, /* ggml's */
    ALIGNMENT = 32,
    ALIGNMENT_LIMIT = 1 << 20
};

typedef struct type_row {
    int id;
    const char *name;
    int64_t elements, bytes;
} type_row;

static const type_row TYPES[] = {
#define GGUF_TYPE(id, name, elements, bytes) {id, name, elements, bytes},
#include "base/gguf_types.def"
#undef GGUF_TYPE
};

/* Bytes of a number; 0 for strings and arrays. */
static const uint8_t SIZES[DT_GGUF_TYPE_COUNT] = {
    [DT_GGUF_U8] = 1,  [DT_GGUF_I8] = 1,  [DT_GGUF_U16] = 2, [DT_GGUF_I16] = 2,
    [DT_GGUF_U32] = 4, [DT_GGUF_I32] = 4, [DT_GGUF_F32] = 4, [DT_GGUF_BOOL] = 1,
    [DT_GGUF_U64] = 8, [DT_GGUF_I64] = 8, [DT_GGUF_F64] = 8};

size_t dt_gguf_size(dt_gguf_type type)
{
    return SIZES[type];
}

/* ---- the cursor ---- */

typedef struct cursor {
    const uint8_t *data;
    size_t at, end;
} cursor;

static dt_status take(cursor *c, uint64_t bytes, const uint8_t **out, dt_error *err)
{
    if (bytes > c->end - c->at)
        return dt_fail(err, DT_FORMAT, "%" PRIu64 " bytes are wanted at byte %zu, the file has %zu left",
                       bytes, c->at, c->end - c->at);
    *out = c->data + c->at;
    c->at += (size_t)bytes;
    return DT_OK;
}

static dt_status take_u32(cursor *c, uint32_t *out, dt_error *err)
{
    const uint8_t *p;
    DT_PASS(take(c, 4, &p, err));
    *out = (uint32_t)dt_gguf_load(p, 4);
    return DT_OK;
}

static dt_status take_u64(cursor *c, uint64_t *out, dt_error *err)
{
    const uint8_t *p;
    DT_PASS(take(c, 8, &p, err));
    *out = dt_gguf_load(p, 8);
    return DT_OK;
}

static dt_status take_text(cursor *c, dt_gguf_text *out, dt_error *err)
{
    uint64_t bytes;
    const uint8_t *p;
    DT_PASS(take_u64(c, &bytes, err));
    DT_PASS(take(c, bytes, &p, err));
    *out = (dt_gguf_text){(const char *)p, (size_t)bytes};
    return DT_OK;
}

/* ---- keys and values ---- */

/* The format asks for ASCII; what it would do to a terminal is nobody's wish. */
static bool is_plain(const dt_gguf_text *text, size_t limit)
{
    for (size_t i = 0; i < text->bytes; i++)
        if (text->data[i] < 0x20 || text->data[i] > 0x7e)
            return false;
    return text->bytes > 0 && text->bytes <= limit;
}

static dt_status take_key(dt_gguf *g, cursor *c, const char **out, dt_error *err)
{
    dt_gguf_text text;
    size_t at = c->at;
    DT_PASS(take_text(c, &text, err));
    if (!is_plain(&text, KEY_LIMIT))
        return dt_fail(err, DT_FORMAT, "the key at byte %zu (%zu bytes) is empty, too long or no ASCII", at,
                       text.bytes);
    *out = dt_arena_text_n(g->arena, text.data, text.bytes);
    return *out ? DT_OK : dt_fail_memory(err, text.bytes, "a key");
}

static dt_status take_type(cursor *c, dt_gguf_type *out, dt_error *err)
{
    uint32_t type;
    DT_PASS(take_u32(c, &type, err));
    if (type >= DT_GGUF_TYPE_COUNT)
        return dt_fail(err, DT_FORMAT, "its type is %" PRIu32 "; GGUF has 0 to 12", type);
    *out = (dt_gguf_type)type;
    return DT_OK;
}

static dt_status take_elements(cursor *c, dt_gguf_value *v, dt_error *err)
{
    const uint8_t *ignored;
    size_t begin = c->at, bytes;
    v->data = c->data + c->at;
    if (v->type == DT_GGUF_STRING) {
        dt_gguf_text text;
        for (size_t i = 0; i < v->count; i++)
            DT_PASS(take_text(c, &text, err));
    } else {
        if (!dt_mul_size(v->count, SIZES[v->type], &bytes))
            return dt_fail(err, DT_FORMAT, "%zu elements are impossible", v->count);
        DT_PASS(take(c, bytes, &ignored, err));
    }
    v->bytes = c->at - begin;
    for (size_t i = 0; v->type == DT_GGUF_BOOL && i < v->count; i++)
        if (v->data[i] > 1)
            return dt_fail(err, DT_FORMAT, "a truth value is %d, not 0 or 1", v->data[i]);
    return DT_OK;
}

static dt_status take_value(cursor *c, dt_gguf_value *v, dt_error *err)
{
    v->count = 1;
    DT_PASS(take_type(c, &v->type, err));
    if (v->type == DT_GGUF_ARRAY) {
        uint64_t count;
        v->is_array = true;
        DT_PASS(take_type(c, &v->type, err));
        if (v->type == DT_GGUF_ARRAY)
            return dt_fail(err, DT_UNSUPPORTED, "arrays of arrays are not read (nor by ggml)");
        DT_PASS(take_u64(c, &count, err));
        uint64_t least = SIZES[v->type] ? SIZES[v->type] : 8;
        if (count > (c->end - c->at) / least)
            return dt_fail(err, DT_FORMAT, "%" PRIu64 " elements are claimed, the file has %zu bytes left",
                           count, c->end - c->at);
        v->count = (size_t)count;
    }
    return take_elements(c, v, err);
}

/* ---- names ---- */

static uint32_t hash_text(const char *text)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 16777619u;
    return h;
}

static dt_status index_create(dt_gguf *g, dt_gguf_index *index, size_t count, dt_error *err)
{
    size_t slots = 64;
    while (slots < 2 * count)
        slots *= 2;
    index->slot = DT_NEW_ARRAY(g->arena, uint32_t, slots);
    index->slots = slots;
    return index->slot ? DT_OK : dt_fail_memory(err, slots * sizeof *index->slot, "a list of names");
}

/* The slot of a name, or the free one where it would go. The name is the first member of every item. */
static uint32_t *find_slot(const dt_gguf_index *index, const void *items, size_t item_bytes, const char *name)
{
    for (size_t i = hash_text(name) & (index->slots - 1);; i = (i + 1) & (index->slots - 1)) {
        uint32_t number = index->slot[i];
        if (!number)
            return &index->slot[i];
        const char *const *item = (const void *)((const char *)items + (number - 1) * item_bytes);
        if (strcmp(*item, name) == 0)
            return &index->slot[i];
    }
}

static dt_status index_add(dt_gguf_index *index, const void *items, size_t item_bytes, const char *name,
                           size_t number, dt_error *err)
{
    uint32_t *slot = find_slot(index, items, item_bytes, name);
    if (*slot)
        return dt_fail(err, DT_FORMAT, "the name \"%s\" occurs twice", name);
    *slot = (uint32_t)number + 1;
    return DT_OK;
}

const dt_gguf_value *dt_gguf_find(const dt_gguf *g, const char *key)
{
    uint32_t number = *find_slot(&g->keys, g->value, sizeof *g->value, key);
    return number ? &g->value[number - 1] : NULL;
}

static dt_status read_values(dt_gguf *g, cursor *c, dt_error *err)
{
    if (!(g->value = DT_NEW_ARRAY(g->arena, dt_gguf_value, g->value_count + 1)))
        return dt_fail_memory(err, g->value_count * sizeof *g->value, "a file's keys");
    DT_PASS(index_create(g, &g->keys, g->value_count, err));
    for (size_t i = 0; i < g->value_count; i++) {
        dt_gguf_value *v = &g->value[i];
        DT_TRY(take_key(g, c, &v->key, err), err, "while reading key %zu of %zu", i + 1, g->value_count);
        DT_TRY(take_value(c, v, err), err, "while reading the value of \"%.100s\"", v->key);
        DT_PASS(index_add(&g->keys, g->value, sizeof *v, v->key, i, err));
    }
    return DT_OK;
}

/* ---- tensors ---- */

static dt_status set_type(dt_gguf_tensor *t, uint32_t id, dt_error *err)
{
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if ((uint32_t)TYPES[i].id == id) {
            t->type = TYPES[i].id;
            t->type_name = TYPES[i].name;
            t->block_elements = TYPES[i].elements;
            t->block_bytes = TYPES[i].bytes;
            return DT_OK;
        }
    return dt_fail(err, DT_UNSUPPORTED, "its type is %" PRIu32 ", which is retired or newer than drivetrain",
                   id);
}

static dt_status take_dims(cursor *c, dt_gguf_tensor *t, int64_t *elements, dt_error *err)
{
    uint32_t rank;
    *elements = 1;
    DT_PASS(take_u32(c, &rank, err));
    if (rank < 1 || rank > DT_GGUF_RANK)
        return dt_fail(err, DT_FORMAT, "it has %" PRIu32 " dimensions; GGUF has 1 to 4", rank);
    t->rank = (int)rank;
    for (int i = 0; i < t->rank; i++) {
        uint64_t dim;
        DT_PASS(take_u64(c, &dim, err));
        if (dim == 0 || dim > INT64_MAX || !dt_mul_int64(*elements, (int64_t)dim, elements))
            return dt_fail(err, DT_FORMAT, "dimension %d is %" PRIu64 ", which is zero or too large", i, dim);
        t->dim[i] = (int64_t)dim;
    }
    return DT_OK;
}

static dt_status take_tensor(dt_gguf *g, cursor *c, dt_gguf_tensor *t, dt_error *err)
{
    dt_gguf_text name;
    int64_t elements, bytes;
    uint32_t type;
    DT_PASS(take_text(c, &name, err));
    if (name.bytes == 0 || name.bytes > NAME_LIMIT || memchr(name.data, 0, name.bytes))
        return dt_fail(err, DT_FORMAT, "its name has %zu bytes (1 to %d, none of them 0)", name.bytes,
                       NAME_LIMIT);
    if (!(t->name = dt_arena_text_n(g->arena, name.data, name.bytes)))
        return dt_fail_memory(err, name.bytes, "a tensor's name");
    DT_TRY(take_dims(c, t, &elements, err), err, "while reading tensor \"%s\"", t->name);
    DT_PASS(take_u32(c, &type, err));
    DT_TRY(set_type(t, type, err), err, "while reading tensor \"%s\"", t->name);
    if (t->dim[0] % t->block_elements)
        return dt_fail(err, DT_FORMAT,
                       "tensor \"%s\": rows of %" PRId64 " elements are no whole %s blocks of %" PRId64,
                       t->name, t->dim[0], t->type_name, t->block_elements);
    if (!dt_mul_int64(elements / t->block_elements, t->block_bytes, &bytes))
        return dt_fail(err, DT_FORMAT, "tensor \"%s\": its size overflows", t->name);
    t->bytes = (uint64_t)bytes;
    return take_u64(c, &t->offset, err);
}

/* Data lie in the order of the list, each at the next multiple of the alignment: no hole, no overlap. */
static dt_status place_tensors(dt_gguf *g, uint64_t start, uint64_t file, dt_error *err)
{
    uint64_t at = 0, room = start <= file ? file - start : 0, mask = (uint64_t)g->alignment - 1;
    for (size_t i = 0; i < g->tensor_count; i++) {
        dt_gguf_tensor *t = &g->tensor[i];
        if (t->offset != at)
            return dt_fail(err, DT_FORMAT,
                           "tensor \"%s\" is said to begin at byte %" PRIu64
                           " of the data; after the one before it, that is byte %" PRIu64,
                           t->name, t->offset, at);
        if (t->bytes > room - at)
            return dt_fail(err, DT_FORMAT,
                           "tensor \"%s\" has %" PRIu64 " bytes, the file has %" PRIu64 " left", t->name,
                           t->bytes, room - at);
        t->offset += start;
        if (((t->bytes + mask) & ~mask) > room - at)
            return dt_fail(err, DT_FORMAT, "the file ends within the padding after tensor \"%s\"", t->name);
        at += (t->bytes + mask) & ~mask;
    }
    if (at != room)
        return dt_fail(err, DT_FORMAT, "%" PRIu64 " bytes follow the last tensor", room - at);
    return DT_OK;
}

static dt_status read_tensors(dt_gguf *g, cursor *c, dt_error *err)
{
    dt_gguf_index names = {0};
    if (!(g->tensor = DT_NEW_ARRAY(g->arena, dt_gguf_tensor, g->tensor_count + 1)))
        return dt_fail_memory(err, g->tensor_count * sizeof *g->tensor, "a file's tensors");
    DT_PASS(index_create(g, &names, g->tensor_count, err));
    for (size_t i = 0; i < g->tensor_count; i++) {
        DT_TRY(take_tensor(g, c, &g->tensor[i], err), err, "while reading tensor %zu of %zu", i + 1,
               g->tensor_count);
        DT_PASS(index_add(&names, g->tensor, sizeof *g->tensor, g->tensor[i].name, i, err));
    }
    if (!g->tensor_count) /* a vocabulary alone: padding may follow or not */
        return c->end - c->at < g->alignment
                   ? DT_OK
                   : dt_fail(err, DT_FORMAT, "%zu bytes follow the last key", c->end - c->at);
    return place_tensors(g, ((uint64_t)c->at + g->alignment - 1) & ~((uint64_t)g->alignment - 1), c->end,
                         err);
}

/* ---- the whole ---- */

static dt_status read_alignment(dt_gguf *g, dt_error *err)
{
    const dt_gguf_value *v = dt_gguf_find(g, "general.alignment");
    int64_t alignment = ALIGNMENT;
    if (v && (v->is_array || v->type != DT_GGUF_U32 || !dt_gguf_int_at(v, 0, &alignment)))
        return dt_fail(err, DT_FORMAT, "\"general.alignment\" is no 32-bit number");
    if (alignment < 1 || alignment > ALIGNMENT_LIMIT || (alignment & (alignment - 1)))
        return dt_fail(err, DT_FORMAT,
                       "\"general.alignment\" is %" PRId64 ", which is no power of two up to %d", alignment,
                       ALIGNMENT_LIMIT);
    g->alignment = (size_t)alignment;
    return DT_OK;
}

static dt_status read_counts(dt_gguf *g, cursor *c, dt_error *err)
{
    uint64_t tensors, values;
    DT_PASS(take_u64(c, &tensors, err));
    DT_PASS(take_u64(c, &values, err));
    size_t left = c->end - c->at;
    if (values > left / PAIR_BYTES)
        return dt_fail(err, DT_FORMAT, "%" PRIu64 " keys are claimed, the file has %zu bytes left", values,
                       left);
    if (tensors > left / TENSOR_BYTES)
        return dt_fail(err, DT_FORMAT, "%" PRIu64 " tensors are claimed, the file has %zu bytes left",
                       tensors, left);
    g->value_count = (size_t)values;
    g->tensor_count = (size_t)tensors;
    return DT_OK;
}

static dt_status read_file(dt_gguf *g, dt_error *err)
{
    cursor c = {g->map->data, 0, g->map->size};
    const uint8_t *magic;
    uint32_t version;
    DT_PASS(take(&c, 4, &magic, err));
    if (memcmp(magic, "GGUF", 4) != 0)
        return dt_fail(err, DT_FORMAT, "the file does not begin with GGUF");
    DT_PASS(take_u32(&c, &version, err));
    if (version && (version & 0xffff) == 0)
        return dt_fail(err, DT_UNSUPPORTED, "the file is big-endian; drivetrain reads little-endian GGUF");
    if (version != 2 && version != 3)
        return dt_fail(err, DT_UNSUPPORTED, "GGUF version %" PRIu32 "; drivetrain reads 2 and 3", version);
    DT_PASS(read_counts(g, &c, err));
    DT_PASS(read_values(g, &c, err));
    DT_PASS(read_alignment(g, err));
    return read_tensors(g, &c, err);
}

static dt_status create(dt_gguf **out, dt_error *err)
{
    dt_arena *arena = dt_arena_create();
    dt_gguf *g = arena ? DT_NEW(arena, dt_gguf) : NULL;
    if (!g) {
        dt_arena_destroy(arena);
        return dt_fail_memory(err, sizeof *g, "a GGUF file");
    }
    g->arena = arena;
    *out = g;
    return DT_OK;
}

static dt_status read_or_close(dt_gguf **out, dt_error *err)
{
    dt_status status = read_file(*out, err);
    if (status == DT_OK)
        return DT_OK;
    dt_error_while(err, "while reading %s", (*out)->map->path);
    dt_gguf_close(*out);
    *out = NULL;
    return status;
}

dt_status dt_gguf_open_map(dt_gguf **out, const dt_map *map, dt_error *err)
{
    *out = NULL;
    DT_PASS(create(out, err));
    (*out)->map = map;
    return read_or_close(out, err);
}

dt_status dt_gguf_open(dt_gguf **out, const char *path, dt_error *err)
{
    dt_map map;
    *out = NULL;
    DT_PASS(dt_map_open(&map, path, err));
    dt_status status = create(out, err);
    if (status != DT_OK) {
        dt_map_close(&map);
        return status;
    }
    (*out)->own = map;
    (*out)->map = &(*out)->own;
    return read_or_close(out, err);
}

void dt_gguf_close(dt_gguf *g)
{
    if (!g)
        return;
    dt_map_close(&g->own);
    dt_arena_destroy(g->arena); /* holds *g itself */
}

bool dt_gguf_eyes_path(char *out, size_t bytes, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    int length = snprintf(out, bytes, "%.*smmproj-%s", (int)(name - path), path, name);
    return length >= 0 && (size_t)length < bytes;
}

bool dt_gguf_detect(const char *path)
{
    char magic[4] = {0};
    FILE *file = fopen(path, "rbe");
    if (!file)
        return false;
    bool is = fread(magic, 1, 4, file) == 4 && memcmp(magic, "GGUF", 4) == 0;
    fclose(file);
    return is;
}
