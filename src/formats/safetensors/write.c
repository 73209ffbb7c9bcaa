/*
 * write.c - writes a safetensors file as a stream. The header needs every name, type and shape, so these come
 * first; the bytes follow tensor by tensor, piece by piece. Layout as the makers' library: types by descending
 * rank in types.def, then names ascending; header padded with spaces to a multiple of 8.
 */
#include "formats/safetensors/safetensors.h"

#include "base/checked.h"
#include "base/output.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct slot {
    const char *name;
    const char *type_name;
    int type_rank;
    size_t index; /* in the caller's list */
    dt_shape shape;
    uint64_t begin, bytes; /* begin counts from the start of the data */
    uint64_t written;
} slot;

struct dt_safetensors_writer {
    dt_arena *arena;
    dt_output *output;
    slot *slot;    /* in file order */
    size_t *place; /* caller's index -> slot */
    size_t count;
    uint64_t data_start, file_bytes;
};

static const struct {
    const char *name;
    int dtype;
} TYPES[] = {
#define ST(name, bits, dtype) {name, dtype},
#include "formats/safetensors/types.def"
#undef ST
};

static bool find_type(slot *s, dt_dtype dtype)
{
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        if (TYPES[i].dtype == (int)dtype) {
            s->type_name = TYPES[i].name;
            s->type_rank = (int)i;
            return true;
        }
    }
    return false;
}

static int by_type_and_name(const void *a, const void *b)
{
    const slot *x = a, *y = b;
    return x->type_rank != y->type_rank ? y->type_rank - x->type_rank : strcmp(x->name, y->name);
}

/* JSON text as the makers' serialiser writes it: short escapes where JSON has them, UTF-8 as it is. */
static void put_string(dt_text *text, const char *s)
{
    dt_text_put(text, "\"");
    for (; *s; s++) {
        const char *known = "\"\\\b\f\n\r\t", *code = "\"\\bfnrt", *at = strchr(known, *s);
        if (at)
            dt_text_printf(text, "\\%c", code[at - known]);
        else if ((uint8_t)*s < 0x20)
            dt_text_printf(text, "\\u%04x", (unsigned)*s);
        else
            dt_text_append(text, s, 1);
    }
    dt_text_put(text, "\"");
}

static void put_notes(dt_text *text, const char *const *notes, size_t count)
{
    dt_text_put(text, "\"__metadata__\":{");
    for (size_t i = 0; i < count; i++) {
        dt_text_put(text, i ? "," : "");
        put_string(text, notes[2 * i]);
        dt_text_put(text, ":");
        put_string(text, notes[2 * i + 1]);
    }
    dt_text_put(text, "}");
}

static void put_slot(dt_text *text, const slot *s)
{
    put_string(text, s->name);
    dt_text_printf(text, ":{\"dtype\":\"%s\",\"shape\":[", s->type_name);
    for (int axis = 0; axis < s->shape.rank; axis++)
        dt_text_printf(text, "%s%" PRId64, axis ? "," : "", s->shape.dim[axis]);
    dt_text_printf(text, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", s->begin, s->begin + s->bytes);
}

static dt_status write_header(dt_safetensors_writer *w, const char *const *notes, size_t note_count,
                              dt_error *err)
{
    dt_text text = {0};
    uint8_t length[8];
    dt_text_put(&text, "{");
    if (note_count)
        put_notes(&text, notes, note_count);
    for (size_t i = 0; i < w->count; i++) {
        dt_text_put(&text, i || note_count ? "," : "");
        put_slot(&text, &w->slot[i]);
    }
    dt_text_put(&text, "}");
    while (text.bytes % 8 && !text.failed)
        dt_text_put(&text, " ");
    dt_status status = text.failed ? dt_fail_memory(err, text.bytes, "a safetensors header") : DT_OK;
    DT_GO(status, status);
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)text.bytes >> (8 * i));
    w->data_start = 8 + text.bytes;
    DT_GO(status, dt_output_write(w->output, length, sizeof length, err));
    DT_GO(status, dt_output_write(w->output, text.data, text.bytes, err));
done:
    dt_text_free(&text);
    return status;
}

static dt_status copy_entries(dt_safetensors_writer *w, const dt_safetensors_entry *entry, dt_error *err)
{
    for (size_t i = 0; i < w->count; i++) {
        slot *s = &w->slot[i];
        size_t bytes;
        *s = (slot){.index = i, .shape = entry[i].shape, .name = dt_arena_text(w->arena, entry[i].name)};
        if (!s->name)
            return dt_fail_memory(err, strlen(entry[i].name), "a tensor's name");
        if (!*s->name || strcmp(s->name, "__metadata__") == 0)
            return dt_fail(err, DT_INVALID, "\"%s\" cannot name a tensor in safetensors", s->name);
        if (!find_type(s, entry[i].dtype))
            return dt_fail(err, DT_UNSUPPORTED, "tensor \"%s\": safetensors has no type %s", s->name,
                           dt_dtype_name(entry[i].dtype));
        if (!dt_shape_bytes(&s->shape, entry[i].dtype, &bytes))
            return dt_fail(err, DT_INVALID, "tensor \"%s\": the shape %s is impossible", s->name,
                           dt_shape_print(&s->shape).text);
        s->bytes = bytes;
    }
    return DT_OK;
}

static dt_status lay_out(dt_safetensors_writer *w, dt_error *err)
{
    uint64_t at = 0;
    qsort(w->slot, w->count, sizeof *w->slot, by_type_and_name);
    for (size_t i = 0; i < w->count; i++) {
        slot *s = &w->slot[i];
        if (i && by_type_and_name(s - 1, s) == 0)
            return dt_fail(err, DT_INVALID, "two tensors are named \"%s\"", s->name);
        s->begin = at;
        if (__builtin_add_overflow(at, s->bytes, &at))
            return dt_fail(err, DT_INVALID, "the tensors are larger than any file");
        w->place[s->index] = i;
    }
    w->file_bytes = at;
    return DT_OK;
}

/* A name that occurs under two types is found here; lay_out sees only equal neighbours. */
static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static dt_status check_names(dt_safetensors_writer *w, dt_error *err)
{
    const char **name = DT_NEW_ARRAY(w->arena, const char *, w->count + 1);
    if (!name)
        return dt_fail_memory(err, w->count * sizeof *name, "a list of names");
    for (size_t i = 0; i < w->count; i++)
        name[i] = w->slot[i].name;
    qsort(name, w->count, sizeof *name, by_name);
    for (size_t i = 1; i < w->count; i++) {
        if (strcmp(name[i - 1], name[i]) == 0)
            return dt_fail(err, DT_INVALID, "two tensors are named \"%s\"", name[i]);
    }
    return DT_OK;
}

dt_status dt_safetensors_create(dt_safetensors_writer **out, const char *path, bool replace,
                                const dt_safetensors_entry *entry, size_t count, const char *const *notes,
                                size_t note_count, dt_error *err)
{
    *out = NULL;
    dt_arena *arena = dt_arena_create();
    dt_safetensors_writer *w = arena ? DT_NEW(arena, dt_safetensors_writer) : NULL;
    dt_status status = w ? DT_OK : dt_fail_memory(err, sizeof *w, "a safetensors writer");
    if (!w) {
        dt_arena_destroy(arena);
        return status;
    }
    w->arena = arena;
    w->count = count;
    w->slot = DT_NEW_ARRAY(arena, slot, count + 1);
    w->place = DT_NEW_ARRAY(arena, size_t, count + 1);
    if (!w->slot || !w->place)
        DT_GO(status, dt_fail_memory(err, count * sizeof(slot), "a list of tensors"));
    DT_GO(status, copy_entries(w, entry, err));
    DT_GO(status, check_names(w, err));
    DT_GO(status, lay_out(w, err));
    DT_GO(status, dt_output_open(&w->output, path, replace, err));
    DT_GO(status, write_header(w, notes, note_count, err));
    w->file_bytes += w->data_start;
    *out = w;
done:
    if (status != DT_OK) {
        dt_error_while(err, "while starting %s", path);
        dt_safetensors_discard(w);
    }
    return status;
}

size_t dt_safetensors_order(const dt_safetensors_writer *w, size_t place)
{
    return w->slot[place].index;
}

uint64_t dt_safetensors_file_bytes(const dt_safetensors_writer *w)
{
    return w->file_bytes;
}

dt_status dt_safetensors_write(dt_safetensors_writer *w, size_t index, const void *data, size_t bytes,
                               dt_error *err)
{
    if (index >= w->count)
        return dt_fail(err, DT_INVALID, "tensor %zu of %zu", index, w->count);
    slot *s = &w->slot[w->place[index]];
    if (bytes > s->bytes - s->written)
        return dt_fail(err, DT_INVALID,
                       "tensor \"%s\" takes %" PRIu64 " bytes; %zu more after %" PRIu64 " are too many",
                       s->name, s->bytes, bytes, s->written);
    uint64_t at = w->data_start + s->begin + s->written;
    s->written += bytes;
    if (at == dt_output_position(w->output))
        return dt_output_write(w->output, data, bytes, err);
    return dt_output_write_at(w->output, at, data, bytes, err);
}

dt_status dt_safetensors_commit(dt_safetensors_writer *w, dt_error *err)
{
    for (size_t i = 0; i < w->count; i++) {
        const slot *s = &w->slot[i];
        if (s->written != s->bytes) {
            dt_status status =
                dt_fail(err, DT_INVALID, "tensor \"%s\" got %" PRIu64 " of its %" PRIu64 " bytes", s->name,
                        s->written, s->bytes);
            dt_safetensors_discard(w);
            return status;
        }
    }
    dt_status status = dt_output_commit(w->output, err);
    dt_arena_destroy(w->arena);
    return status;
}

void dt_safetensors_discard(dt_safetensors_writer *w)
{
    if (!w)
        return;
    dt_output_discard(w->output);
    dt_arena_destroy(w->arena);
}
