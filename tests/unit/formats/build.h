/*
 * build.h - writes small files byte by byte, so that the container tests can lie in any field: zip archives,
 * pickles, torch files. Nothing here is clever; everything can be made wrong on purpose.
 */
#ifndef DT_UNIT_FORMATS_BUILD_H
#define DT_UNIT_FORMATS_BUILD_H

#include "unit.h"

#include "base/text.h"
#include "formats/stored.h"

static inline void put_number(dt_text *t, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        dt_text_append(t, &(char){(char)(i < 8 ? value >> (8 * i) : 0)}, 1);
}

static inline void put_text(dt_text *t, const dt_text *other)
{
    if (other->bytes)
        dt_text_append(t, other->data, other->bytes);
}

/* ---- pickles: each appends one instruction, or a few that make one value ---- */

static inline void pk_raw(dt_text *t, const char *bytes, size_t count)
{
    dt_text_append(t, bytes, count);
}
#define pk(t, literal) pk_raw((t), (literal), sizeof(literal) - 1)

static inline void pk_string(dt_text *t, const char *text)
{
    pk(t, "X");
    put_number(t, strlen(text), 4);
    dt_text_put(t, text);
}

static inline void pk_int(dt_text *t, int64_t value)
{
    pk(t, "\x8a\x08");
    put_number(t, (uint64_t)value, 8);
}

static inline void pk_global(dt_text *t, const char *module, const char *name)
{
    dt_text_printf(t, "c%s\n%s\n", module, name);
}

/* A tuple of integers. */
static inline void pk_sizes(dt_text *t, int count, const int64_t *sizes)
{
    pk(t, "(");
    for (int i = 0; i < count; i++)
        pk_int(t, sizes[i]);
    pk(t, "t");
}

/* What torch writes for a tensor; every number may be a lie. */
typedef struct fake_tensor {
    const char *storage; /* "FloatStorage" */
    const char *key;
    int64_t elements, offset;
    int rank;
    int64_t size[8], stride[8];
} fake_tensor;

/* `end`: "tQ", or "NtQ" as before zip, when the id had a sixth part */
static inline void pk_storage(dt_text *t, const fake_tensor *f, const char *end)
{
    pk(t, "(");
    pk_string(t, "storage");
    pk_global(t, "torch", f->storage);
    pk_string(t, f->key);
    pk_string(t, "cpu");
    pk_int(t, f->elements);
    dt_text_put(t, end);
}

static inline void pk_tensor_as(dt_text *t, const fake_tensor *f, const char *end)
{
    pk_global(t, "torch._utils", "_rebuild_tensor_v2");
    pk(t, "(");
    pk_storage(t, f, end);
    pk_int(t, f->offset);
    pk_sizes(t, f->rank, f->size);
    pk_sizes(t, f->rank, f->stride);
    pk(t, "\x89");
    pk_global(t, "collections", "OrderedDict");
    pk(t, ")RtR");
}

static inline void pk_tensor(dt_text *t, const fake_tensor *f)
{
    pk_tensor_as(t, f, "tQ");
}

/* ---- zip archives ---- */

typedef struct zip_part {
    const char *name, *data;
    size_t bytes;
    int method, flags;
    const char *local_name; /* NULL: the same */
    int64_t central_offset; /* 0: the true one */
    int64_t central_bytes;  /* 0: the true ones */
    int64_t local_bytes;    /* 0: the true ones */
    uint32_t crc;
} zip_part;

static inline void zip_local(dt_text *t, const zip_part *p)
{
    const char *name = p->local_name ? p->local_name : p->name;
    uint64_t bytes = p->local_bytes ? (uint64_t)p->local_bytes : p->bytes;
    pk(t, "PK\3\4");
    put_number(t, 0, 2);
    put_number(t, (uint64_t)p->flags, 2);
    put_number(t, (uint64_t)p->method, 2);
    put_number(t, 0, 4);
    put_number(t, p->crc, 4);
    put_number(t, bytes, 4);
    put_number(t, bytes, 4);
    put_number(t, strlen(name), 2);
    put_number(t, 0, 2);
    dt_text_put(t, name);
    dt_text_append(t, p->data, p->bytes);
}

static inline void zip_central(dt_text *t, const zip_part *p, size_t offset)
{
    uint64_t bytes = p->central_bytes ? (uint64_t)p->central_bytes : p->bytes;
    pk(t, "PK\1\2");
    put_number(t, 0, 4);
    put_number(t, (uint64_t)p->flags, 2);
    put_number(t, (uint64_t)p->method, 2);
    put_number(t, 0, 4);
    put_number(t, p->crc, 4);
    put_number(t, bytes, 4);
    put_number(t, bytes, 4);
    put_number(t, strlen(p->name), 2);
    put_number(t, 0, 12);
    put_number(t, p->central_offset ? (uint64_t)p->central_offset : offset, 4);
    dt_text_put(t, p->name);
}

static inline void zip_end(dt_text *t, size_t count, size_t directory, size_t bytes)
{
    pk(t, "PK\5\6");
    put_number(t, 0, 4);
    put_number(t, count, 2);
    put_number(t, count, 2);
    put_number(t, bytes, 4);
    put_number(t, directory, 4);
    put_number(t, 0, 2);
}

static inline void zip_build(dt_text *t, const zip_part *part, size_t count)
{
    size_t offset[16], start = t->bytes;
    for (size_t i = 0; i < count; i++) {
        offset[i] = t->bytes - start;
        zip_local(t, &part[i]);
    }
    size_t directory = t->bytes - start;
    for (size_t i = 0; i < count; i++)
        zip_central(t, &part[i], offset[i]);
    zip_end(t, count, directory, t->bytes - start - directory);
}

/* A torch file of this pickle, with one storage "0". */
static inline void torch_build(dt_text *t, const dt_text *pickle, const void *storage, size_t bytes)
{
    zip_part part[] = {{.name = "archive/data.pkl", .data = pickle->data, .bytes = pickle->bytes},
                       {.name = "archive/data/0", .data = storage, .bytes = bytes}};
    zip_build(t, part, 2);
}

/* ---- sets ---- */

/* Every checksum that the set was told of holds, and there are some. */
static inline void assert_sums(const dt_stored_set *set)
{
    uint32_t crc;
    size_t i = 0;
    for (; dt_stored_set_sum_at(set, i); i++)
        assert_true(dt_stored_sum_holds(dt_stored_set_sum_at(set, i), &crc));
    assert_true(i > 0);
}

static inline dt_stored_set *new_set(void)
{
    dt_error err = {0};
    dt_stored_set *set = NULL;
    assert_ok(dt_stored_set_create(&set, &err), err);
    return set;
}

static inline const dt_map *in_memory(dt_stored_set *set, const char *name, const void *data, size_t bytes)
{
    dt_error err = {0};
    const dt_map *map = NULL;
    assert_ok(dt_stored_set_memory(set, name, data, bytes, &map, &err), err);
    return map;
}

/* FOLDER/NAME of the shared fixtures (or, with "DT_DATA", of other projects' files); skips when it is absent. */
#define need(variable, name) needed((char[4096]){0}, (variable), (name))

static inline const char *needed(char buffer[4096], const char *variable, const char *name)
{
    const char *root = getenv(variable);
    snprintf(buffer, 4096, "%s/%s", root ? root : "absent", name);
    if (access(buffer, R_OK) != 0)
        skip();
    return buffer;
}

#endif
