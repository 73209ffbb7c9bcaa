/*
 * exif.c - which way up a picture is and how many frames its file has: EXIF, XMP, and the counts of APNG, MPO and WebP.
 *
 * Whatever is broken here counts as absent: the picture is judged by its decoder.
 */
#include "data/image/image.h"

#include "base/checked.h"

#include <string.h>

/* A run of a file's bytes. */
typedef struct part {
    const uint8_t *data;
    size_t bytes;
} part;

static part part_of(part p, size_t offset, size_t bytes)
{
    return dt_range_inside(offset, bytes, p.bytes) ? (part){p.data + offset, bytes} : (part){NULL, 0};
}

static bool starts(part p, const char *magic, size_t bytes)
{
    return p.bytes >= bytes && memcmp(p.data, magic, bytes) == 0;
}

static uint32_t number(const uint8_t *p, int bytes, bool little)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | p[little ? bytes - 1 - i : i];
    return value;
}

/* ---- TIFF's first directory, which EXIF and MPF share ---- */

enum { TAG_ORIENTATION = 0x0112, TAG_FRAMES = 0xB001, TIFF_SHORT = 3, TIFF_LONG = 4 };

/* The value of a tag that holds one number, else 0. */
static uint32_t tag_of(part tiff, uint32_t tag)
{
    if (!starts(tiff, "II*\0", 4) && !starts(tiff, "MM\0*", 4))
        return 0;
    bool little = tiff.data[0] == 'I';
    part head = part_of(tiff, 4, 4);
    if (!head.data)
        return 0;
    size_t place = number(head.data, 4, little);
    part count = part_of(tiff, place, 2);
    for (uint32_t i = 0, n = count.data ? number(count.data, 2, little) : 0; i < n; i++) {
        part entry = part_of(tiff, place + 2 + 12 * (size_t)i, 12);
        if (!entry.data)
            return 0;
        uint32_t type = number(entry.data + 2, 2, little);
        if (number(entry.data, 2, little) == tag && number(entry.data + 4, 4, little) == 1)
            return type == TIFF_SHORT ? number(entry.data + 8, 2, little)
                                      : (type == TIFF_LONG ? number(entry.data + 8, 4, little) : 0);
    }
    return 0;
}

static void take_exif(dt_image_remarks *r, part exif)
{
    if (starts(exif, "Exif\0\0", 6)) /* JPEG writes this before the TIFF, some WebP files do */
        exif = part_of(exif, 6, exif.bytes - 6);
    uint32_t value = tag_of(exif, TAG_ORIENTATION);
    if (value >= 1 && value <= 8)
        r->orientation = (int)value;
}

/* XMP says it as tiff:Orientation="6" or <tiff:Orientation>6<; EXIF, where it says anything, wins. */
static void take_xmp(dt_image_remarks *r, part xmp)
{
    static const char key[] = "tiff:Orientation";
    const uint8_t *found = xmp.data ? memmem(xmp.data, xmp.bytes, key, sizeof key - 1) : NULL;
    if (!found || r->orientation > 0)
        return;
    size_t at = (size_t)(found - xmp.data) + sizeof key - 1;
    part rest = part_of(xmp, at, xmp.bytes - at);
    size_t skip = starts(rest, "=\"", 2) ? 2 : (starts(rest, ">", 1) ? 1 : 0);
    if (skip && rest.bytes > skip && rest.data[skip] >= '1' && rest.data[skip] <= '8')
        r->orientation = rest.data[skip] - '0';
}

static dt_image_remarks finished(dt_image_remarks r)
{
    return (dt_image_remarks){r.orientation > 0 ? r.orientation : 1, r.frames > 0 ? r.frames : 1};
}

/* ---- the files ---- */

static int count_of(uint32_t frames)
{
    return frames > 1 && frames < 1u << 30 ? (int)frames : 1;
}

static void take_segment(dt_image_remarks *r, uint8_t marker, part segment)
{
    static const char xmp[] = "http://ns.adobe.com/xap/1.0/";
    if (marker == 0xE1 && starts(segment, "Exif\0\0", 6))
        take_exif(r, segment);
    else if (marker == 0xE1 && starts(segment, xmp, sizeof xmp))
        take_xmp(r, part_of(segment, sizeof xmp, segment.bytes - sizeof xmp));
    else if (marker == 0xE2 && starts(segment, "MPF\0", 4))
        r->frames = count_of(tag_of(part_of(segment, 4, segment.bytes - 4), TAG_FRAMES));
}

dt_image_remarks dt_image_remarks_of_jpeg(const uint8_t *data, size_t bytes)
{
    dt_image_remarks r = {0};
    size_t at = 2;
    while (at + 4 <= bytes) {
        uint8_t marker = data[at + 1];
        if (data[at] != 0xFF || marker == 0xDA || marker == 0xD9)
            break;
        if (marker == 0xFF) { /* filling */
            at++;
            continue;
        }
        size_t length = number(data + at + 2, 2, false);
        if (length < 2 || !dt_range_inside(at + 2, length, bytes))
            break;
        take_segment(&r, marker, (part){data + at + 4, length - 2});
        at += 2 + length;
    }
    return finished(r);
}

/* iTXt: keyword, compression flag and method, language, translated keyword, text; XMP is never compressed. */
static void take_text(dt_image_remarks *r, part text)
{
    static const char key[] = "XML:com.adobe.xmp";
    if (starts(text, key, sizeof key) && text.bytes > sizeof key && text.data[sizeof key] == 0)
        take_xmp(r, text);
}

dt_image_remarks dt_image_remarks_of_png(const uint8_t *data, size_t bytes)
{
    dt_image_remarks r = {0};
    size_t at = 8;
    while (at + 12 <= bytes) {
        size_t length = number(data + at, 4, false);
        part name = {data + at + 4, 4}, chunk = part_of((part){data, bytes}, at + 8, length);
        if (!chunk.data)
            break;
        if (starts(name, "eXIf", 4))
            take_exif(&r, chunk);
        else if (starts(name, "iTXt", 4))
            take_text(&r, chunk);
        else if (starts(name, "acTL", 4) && length >= 4)
            r.frames = count_of(number(chunk.data, 4, false));
        at += 12 + length;
    }
    return finished(r);
}

dt_image_remarks dt_image_remarks_of_webp(const uint8_t *data, size_t bytes)
{
    dt_image_remarks r = {0};
    part xmp = {0};
    size_t at = 12;
    int frames = 0;
    while (at + 8 <= bytes) {
        size_t length = number(data + at + 4, 4, true);
        part name = {data + at, 4}, chunk = part_of((part){data, bytes}, at + 8, length);
        if (!chunk.data)
            break;
        if (starts(name, "EXIF", 4))
            take_exif(&r, chunk);
        else if (starts(name, "XMP ", 4))
            xmp = chunk;
        frames += starts(name, "ANMF", 4);
        at += 8 + length + (length & 1);
    }
    take_xmp(&r, xmp);
    r.frames = frames;
    return finished(r);
}
