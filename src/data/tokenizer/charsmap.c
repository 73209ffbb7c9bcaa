/*
 * charsmap.c - walks the Darts double array of a precompiled charsmap.
 *
 * Layout   S. Yata, darts-clone: bit 8 has_leaf, bits 0-7 and 31 the label, the rest an offset (shifted by 8 more
 *          when bit 9 is set); a leaf's unit holds the value in its low 31 bits.
 */
#include "data/tokenizer/charsmap.h"

#include "data/tokenizer/unicode.h"

#include <string.h>

static uint32_t load_le32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t unit_offset(uint32_t unit)
{
    return (unit >> 10) << ((unit & 0x200) >> 6);
}

/* Is there a rule of this character alone, or one that goes on in ASCII? */
static bool rule_in_ascii(const dt_charsmap *map, uint32_t byte)
{
    size_t at = unit_offset(map->unit[0]) ^ byte;
    uint32_t unit = map->unit[at];
    if (unit >> 8 & 1)
        return true;
    at ^= unit_offset(unit);
    for (uint32_t next = 1; next < 128; next++)
        if ((at ^ next) < map->units && (map->unit[at ^ next] & 0x800000FFu) == next)
            return true;
    return false;
}

dt_status dt_charsmap_parse(dt_charsmap *map, dt_arena *arena, const void *data, size_t bytes, dt_error *err)
{
    *map = (dt_charsmap){0};
    if (bytes == 0)
        return DT_OK;
    const unsigned char *in = data;
    if (bytes < 4)
        return dt_fail(err, DT_FORMAT, "precompiled charsmap of %zu bytes is too short for its size field",
                       bytes);
    size_t trie_bytes = load_le32(in);
    if (trie_bytes > bytes - 4 || trie_bytes % 4 != 0 || trie_bytes == 0)
        return dt_fail(err, DT_FORMAT, "precompiled charsmap claims a trie of %zu bytes, %zu are left",
                       trie_bytes, bytes - 4);
    size_t text_bytes = bytes - 4 - trie_bytes;
    const char *text = (const char *)in + 4 + trie_bytes;
    if (text_bytes == 0 || text[text_bytes - 1] != 0)
        return dt_fail(err, DT_FORMAT, "the replacements of a precompiled charsmap do not end in a NUL");
    if (!dt_utf8_valid(text, text_bytes))
        return dt_fail(err, DT_FORMAT, "the replacements of a precompiled charsmap are not UTF-8");
    uint32_t *unit = DT_NEW_ARRAY(arena, uint32_t, trie_bytes / 4);
    map->text = dt_arena_text_n(arena, text, text_bytes);
    if (unit == NULL || map->text == NULL)
        return dt_fail_memory(err, bytes, "a precompiled charsmap");
    map->units = trie_bytes / 4;
    for (size_t i = 0; i < map->units; i++)
        unit[i] = load_le32(in + 4 + 4 * i);
    map->unit = unit;
    map->text_bytes = text_bytes;
    for (uint32_t byte = 1; byte < 256; byte++) {
        size_t at = unit_offset(unit[0]) ^ byte;
        map->starts[byte] = at < map->units && (unit[at] & 0x800000FFu) == byte;
    }
    for (uint32_t byte = 1; byte < 128; byte++)
        map->alone[byte] = map->starts[byte] && rule_in_ascii(map, byte);
    return DT_OK;
}

/* The replacement at `index`; false when the table does not hold a string there. */
static bool replacement(const dt_charsmap *map, uint32_t index, dt_rule *rule)
{
    if (index >= map->text_bytes || ((unsigned char)map->text[index] & 0xC0) == 0x80)
        return false;
    rule->text = map->text + index;
    rule->bytes = strlen(rule->text); /* the table ends in a NUL */
    return true;
}

bool dt_charsmap_find(const dt_charsmap *map, const char *text, size_t bytes, bool longest, dt_rule *rule)
{
    if (map->unit == NULL || bytes == 0 || !map->starts[(unsigned char)text[0]])
        return false;
    bool found = false;
    uint32_t at = unit_offset(map->unit[0]);
    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)text[i];
        at ^= byte;
        if (byte == 0 || at >= map->units || (map->unit[at] & 0x800000FFu) != byte)
            break;
        uint32_t unit = map->unit[at];
        at ^= unit_offset(unit);
        if (!(unit >> 8 & 1))
            continue;
        if (at < map->units && replacement(map, map->unit[at] & 0x7FFFFFFF, rule)) {
            rule->used = i + 1;
            found = true;
        }
        if (found && !longest)
            break;
    }
    return found;
}
