/*
 * damage.h - ways to damage a file at random: flipped bits, bytes and numbers that parsers trip over, cuts, insertions,
 * swapped and lost blocks, edited lengths and digits. What is drawn depends on the seed and the mutant's number alone.
 */
#ifndef DT_UNIT_FORMATS_DAMAGE_H
#define DT_UNIT_FORMATS_DAMAGE_H

#include "base/rng.h"

#include <stdint.h>
#include <string.h>

enum { FILE_SLACK = 1 << 13 }; /* a mutant may be this much longer than its file */

typedef struct wound {
    uint8_t *file, *mutant; /* the good bytes, and the damaged ones */
    size_t bytes, mutant_bytes;
    size_t *word; /* places of bytes that are no tensor's values: headers, names, pickles */
    size_t words;
    dt_rng rng;
    uint64_t drawn;
} wound;

static inline size_t draw(wound *p, size_t below)
{
    uint32_t out[4];
    dt_rng_block(&p->rng, p->drawn++, out);
    return below ? (size_t)(((uint64_t)out[0] << 32 | out[1]) % below) : 0;
}

/* Three times in four among the words: values are most of the file, and damage to them is always the same story. */
static inline size_t draw_place(wound *p)
{
    if (p->words && draw(p, 4)) {
        size_t place = p->word[draw(p, p->words)];
        return place < p->mutant_bytes ? place : 0;
    }
    return draw(p, p->mutant_bytes);
}

static inline void flip_bit(wound *p)
{
    p->mutant[draw_place(p)] ^= (uint8_t)(1u << draw(p, 8));
}

static inline void overwrite_byte(wound *p)
{
    static const char LIKELY[] = "\0\1\2\x7f\x80\xff 0123456789-.,:\"/{}[]()tRQ";
    p->mutant[draw_place(p)] = (uint8_t)LIKELY[draw(p, sizeof LIKELY - 1)];
}

static inline void overwrite_number(wound *p)
{
    uint64_t size = p->bytes, likely[] = {0,       1,        UINT64_MAX, INT64_MAX,         UINT32_MAX,
                                          size,    size - 1, size + 1,   (uint64_t)1 << 62, (uint64_t)1 << 31,
                                          1 << 16, 8,        size / 2,   draw(p, size)};
    uint64_t number = likely[draw(p, sizeof likely / sizeof *likely)];
    size_t width = (size_t)2 << draw(p, 3), at = draw_place(p);
    for (size_t i = 0; i < width && at + i < p->mutant_bytes; i++)
        p->mutant[at + i] = (uint8_t)(number >> (8 * i));
}

static inline void cut_tail(wound *p)
{
    p->mutant_bytes = draw(p, 4) ? draw(p, p->mutant_bytes) : p->mutant_bytes - 1;
}

static inline void insert(wound *p)
{
    size_t at = draw_place(p), n = 1 + draw(p, draw(p, 2) ? 8 : 512), from = draw(p, p->mutant_bytes);
    if (p->mutant_bytes + n > p->bytes + FILE_SLACK || from + n > p->mutant_bytes)
        return;
    uint8_t copy[512];
    memcpy(copy, p->mutant + from, n);
    memmove(p->mutant + at + n, p->mutant + at, p->mutant_bytes - at);
    memcpy(p->mutant + at, copy, n);
    p->mutant_bytes += n;
}

static inline void delete_bytes(wound *p)
{
    size_t at = draw_place(p), n = 1 + draw(p, draw(p, 2) ? 8 : 512);
    if (at + n > p->mutant_bytes)
        return;
    memmove(p->mutant + at, p->mutant + at + n, p->mutant_bytes - at - n);
    p->mutant_bytes -= n;
}

static inline void swap_blocks(wound *p)
{
    size_t n = 1 + draw(p, draw(p, 2) ? 8 : 256), a = draw_place(p), b = draw_place(p);
    if (a + n > p->mutant_bytes || b + n > p->mutant_bytes || (a < b ? b - a : a - b) < n)
        return;
    for (size_t i = 0; i < n; i++) {
        uint8_t kept = p->mutant[a + i];
        p->mutant[a + i] = p->mutant[b + i];
        p->mutant[b + i] = kept;
    }
}

/* A hole, as a lost disk block leaves one. */
static inline void blank_block(wound *p)
{
    size_t n = (size_t)512 << draw(p, 4), at = draw_place(p) / n * n;
    memset(p->mutant + at, 0, at + n > p->mutant_bytes ? p->mutant_bytes - at : n);
}

/* The length of a safetensors header, a zip archive's end record, a pickle's first instructions. */
static inline void edit_ends(wound *p)
{
    size_t range = p->mutant_bytes < 22 ? p->mutant_bytes : 22, at = draw(p, draw(p, 2) ? range : 8);
    if (draw(p, 2))
        at = p->mutant_bytes - 1 - draw(p, range);
    if (at < p->mutant_bytes)
        p->mutant[at] = (uint8_t)(p->mutant[at] + (draw(p, 2) ? 1 : 255) * (1 + draw(p, 8)));
}

/* A digit in the words becomes another: sizes, offsets, names of layers and files. */
static inline void edit_digit(wound *p)
{
    for (int tries = 0; tries < 200; tries++) {
        size_t at = draw_place(p);
        if (p->mutant[at] < '0' || p->mutant[at] > '9')
            continue;
        p->mutant[at] = (uint8_t)('0' + draw(p, 10));
        return;
    }
}

static inline void damage(wound *p)
{
    static void (*const WAYS[])(wound *) = {flip_bit,  overwrite_byte, overwrite_number, cut_tail,
                                            insert,    delete_bytes,   swap_blocks,      blank_block,
                                            edit_ends, edit_digit,     edit_digit,       flip_bit};
    memcpy(p->mutant, p->file, p->bytes);
    p->mutant_bytes = p->bytes;
    for (size_t times = draw(p, 4) ? 1 : 3; times-- && p->mutant_bytes;)
        WAYS[draw(p, sizeof WAYS / sizeof *WAYS)](p);
}

#endif
