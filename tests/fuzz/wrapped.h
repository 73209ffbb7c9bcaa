/*
 * wrapped.h - mutates what is inside a wrapper, and keeps the wrapper true: a zip archive's entry with its sizes,
 * offsets and checksum (0: none), a safetensors header with its length. Bytes changed at random would not pass the
 * wrapper's checks, so that what lies behind them would hardly be reached.
 */
#ifndef DT_FUZZ_WRAPPED_H
#define DT_FUZZ_WRAPPED_H

#include "base/text.h"
#include "formats/torch/zip.h"

#include <stdlib.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t limit);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t limit, unsigned seed);

enum { WRAPPED_SLACK = 256 };

static inline void put_little(dt_text *t, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        dt_text_append(t, &(char){(char)(value >> (8 * i))}, 1);
}

/* What local and central header have in common, from the flags on: stored, no checksum. */
static inline void put_sizes(dt_text *t, const dt_zip_entry *e)
{
    put_little(t, 0, 2); /* flags */
    put_little(t, 0, 2); /* method */
    put_little(t, 0, 4); /* time */
    put_little(t, 0, 4); /* checksum */
    put_little(t, e->bytes, 4);
    put_little(t, e->bytes, 4);
    put_little(t, strlen(e->name), 2);
    put_little(t, 0, 2); /* extra field */
}

static inline void put_archive(dt_text *t, dt_zip_entry *entry, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        entry[i].offset = t->bytes;
        dt_text_append(t, "PK\3\4\0\0", 6);
        put_sizes(t, &entry[i]);
        dt_text_put(t, entry[i].name);
        dt_text_append(t, (const char *)entry[i].data, entry[i].bytes);
    }
    size_t directory = t->bytes;
    for (size_t i = 0; i < count; i++) {
        dt_text_append(t, "PK\1\2\0\0\0\0", 8);
        put_sizes(t, &entry[i]);
        put_little(t, 0, 8); /* comment, disk, attributes */
        put_little(t, 0, 2);
        put_little(t, entry[i].offset, 4);
        dt_text_put(t, entry[i].name);
    }
    size_t end = t->bytes;
    dt_text_append(t, "PK\5\6\0\0\0\0", 8);
    put_little(t, count, 2);
    put_little(t, count, 2);
    put_little(t, end - directory, 4);
    put_little(t, directory, 4);
    put_little(t, 0, 2);
}

/* data.pkl three times in four, else any entry. */
static inline dt_zip_entry *choose_entry(dt_zip_entry *entry, size_t count, unsigned seed)
{
    for (size_t i = 0; i < count && seed % 4; i++)
        if (strstr(entry[i].name, "/data.pkl"))
            return &entry[i];
    return &entry[seed / 4 % count];
}

/* Returns the new length; 0 when the bytes are no archive, or the new one is too long. */
static inline size_t mutate_archive(uint8_t *data, size_t bytes, size_t limit, unsigned seed)
{
    dt_zip zip;
    dt_text built = {0};
    size_t made = 0;
    dt_arena *arena = dt_arena_create();
    if (arena && dt_zip_read(&zip, arena, data, bytes, NULL) == DT_OK && zip.count) {
        dt_zip_entry *entry = DT_NEW_ARRAY(arena, dt_zip_entry, zip.count);
        memcpy(entry, zip.entry, zip.count * sizeof *entry);
        dt_zip_entry *chosen = choose_entry(entry, zip.count, seed);
        uint8_t *copy = dt_arena_alloc(arena, chosen->bytes + WRAPPED_SLACK);
        memcpy(copy, chosen->data, chosen->bytes);
        chosen->bytes = LLVMFuzzerMutate(copy, chosen->bytes, chosen->bytes + WRAPPED_SLACK);
        chosen->data = copy;
        put_archive(&built, entry, zip.count);
        if (!built.failed && built.bytes <= limit) {
            memcpy(data, built.data, built.bytes);
            made = built.bytes;
        }
    }
    dt_text_free(&built);
    dt_arena_destroy(arena);
    return made;
}

/* A safetensors file's header, its length made true again; 0 when the bytes do not look like one. */
static inline size_t mutate_header(uint8_t *data, size_t bytes, size_t limit)
{
    uint64_t header = 0;
    for (int i = 7; i >= 0 && bytes >= 10; i--)
        header = header << 8 | data[i];
    if (header < 2 || header > bytes - 8 || data[8] != '{' || bytes + WRAPPED_SLACK > limit)
        return 0;
    uint8_t *copy = malloc(header + WRAPPED_SLACK);
    if (!copy)
        return 0;
    memcpy(copy, data + 8, header);
    size_t now = LLVMFuzzerMutate(copy, header, header + WRAPPED_SLACK), rest = bytes - 8 - header;
    memmove(data + 8 + now, data + 8 + header, rest);
    memcpy(data + 8, copy, now);
    free(copy);
    for (int i = 0; i < 8; i++)
        data[i] = (uint8_t)((uint64_t)now >> (8 * i));
    return 8 + now + rest;
}

/* One time in four, or when nothing is wrapped: as libFuzzer does. */
static inline size_t mutate_wrapped(uint8_t *data, size_t bytes, size_t limit, unsigned seed)
{
    size_t made = 0;
    if (seed % 4 != 0 && dt_zip_is(data, bytes))
        made = mutate_archive(data, bytes, limit, seed / 4);
    else if (seed % 4 != 0)
        made = mutate_header(data, bytes, limit);
    return made ? made : LLVMFuzzerMutate(data, bytes, limit);
}

#endif
