/*
 * zip_write.c - headers, footers and the directory of an archive, as miniz writes them for torch. Where they go is
 * for torch_write.c.
 */
#include "formats/torch/zip_write.h"

#include <libdeflate.h>
#include <string.h>

enum {
    LOCAL_BYTES = 30,
    CENTRAL_BYTES = 46,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    END_BYTES = 22,
    FIELD_BYTES = 4, /* an extra field's id and length */
    ALIGNMENT = 64,
    FLAG_CRC_FOLLOWS = 1 << 3,
    FLAG_UTF8 = 1 << 11,
};

#define PART_LIMIT (UINT64_C(1) << 62)

static void put(dt_text *text, uint64_t number, int bytes)
{
    char raw[8];
    for (int i = 0; i < bytes; i++)
        raw[i] = (char)(number >> (8 * i));
    dt_text_append(text, raw, (size_t)bytes);
}

/* A number of 32 (16) bits; all ones say that a zip64 record has it. */
static uint64_t narrow(uint64_t number, uint64_t ones)
{
    return number < ones ? number : ones;
}

static bool is_wide(uint64_t number)
{
    return number >= UINT32_MAX;
}

/* The zip64 extra field: both sizes when they are wide, then the header's place when that is. */
static size_t field64_bytes(const dt_zip_part *p)
{
    size_t content = (is_wide(p->bytes) ? 16U : 0U) + (is_wide(p->header) ? 8U : 0U);
    return content ? FIELD_BYTES + content : 0;
}

static void put_field64(dt_text *text, const dt_zip_part *p, uint64_t packed)
{
    size_t bytes = field64_bytes(p);
    if (!bytes)
        return;
    put(text, 1, 2);
    put(text, bytes - FIELD_BYTES, 2);
    if (is_wide(p->bytes)) {
        put(text, p->bytes, 8);
        put(text, packed, 8);
    }
    if (is_wide(p->header))
        put(text, p->header, 8);
}

static size_t footer_bytes(const dt_zip_part *p)
{
    return p->bytes == 0 ? 0 : field64_bytes(p) ? 24 : 16;
}

static uint64_t flags(const dt_zip_part *p)
{
    return FLAG_UTF8 | (p->bytes ? FLAG_CRC_FOLLOWS : 0);
}

/* What is left of the header once its padding field is taken as empty. */
static uint64_t unpadded_bytes(const dt_zip_part *p)
{
    return LOCAL_BYTES + strlen(p->name) + field64_bytes(p) + FIELD_BYTES;
}

dt_status dt_zip_lay_out(dt_zip_part *part, size_t count, uint64_t *directory, uint64_t *bytes, dt_error *err)
{
    uint64_t at = 0, end = 0;
    for (size_t i = 0; i < count; i++) {
        dt_zip_part *p = &part[i];
        if (strlen(p->name) > UINT16_MAX)
            return dt_fail(err, DT_INVALID, "\"%.60s…\" is too long for a name in an archive", p->name);
        if (p->bytes > PART_LIMIT || at > PART_LIMIT)
            return dt_fail(err, DT_INVALID, "entry \"%s\" is too large for an archive", p->name);
        p->header = at;
        p->at = (at + unpadded_bytes(p) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        at = p->at + p->bytes + footer_bytes(p);
        end += CENTRAL_BYTES + strlen(p->name) + field64_bytes(p);
    }
    *directory = at;
    *bytes = at + end + END64_BYTES + LOCATOR_BYTES + END_BYTES;
    return DT_OK;
}

/*
 * Checksum and sizes are zero here, because the footer has them; so is the packed size in miniz's zip64 field. The
 * time is zero too, so that equal data is equal bytes.
 */
void dt_zip_put_header(dt_text *text, const dt_zip_part *p)
{
    uint64_t padding = p->at - p->header - unpadded_bytes(p);
    dt_text_put(text, "PK\3\4");
    put(text, 0, 2);
    put(text, flags(p), 2);
    put(text, 0, 8); /* method, time, checksum … */
    put(text, 0, 8);
    put(text, 0, 2); /* … and sizes */
    put(text, strlen(p->name), 2);
    put(text, field64_bytes(p) + FIELD_BYTES + padding, 2);
    dt_text_put(text, p->name);
    put_field64(text, p, 0);
    dt_text_put(text, "FB");
    put(text, padding, 2);
    for (uint64_t i = 0; i < padding; i++)
        dt_text_put(text, "Z");
}

void dt_zip_put_footer(dt_text *text, const dt_zip_part *p)
{
    int width = field64_bytes(p) ? 8 : 4;
    if (!footer_bytes(p))
        return;
    dt_text_put(text, "PK\7\10");
    put(text, p->crc, 4);
    put(text, p->bytes, width);
    put(text, p->bytes, width);
}

static void put_central(dt_text *text, const dt_zip_part *p)
{
    dt_text_put(text, "PK\1\2");
    put(text, 0, 4); /* versions */
    put(text, flags(p), 2);
    put(text, 0, 6); /* method, time */
    put(text, p->crc, 4);
    put(text, narrow(p->bytes, UINT32_MAX), 4);
    put(text, narrow(p->bytes, UINT32_MAX), 4);
    put(text, strlen(p->name), 2);
    put(text, field64_bytes(p), 2);
    put(text, 0, 8); /* comment, disk … */
    put(text, 0, 2); /* … and attributes */
    put(text, narrow(p->header, UINT32_MAX), 4);
    dt_text_put(text, p->name);
    put_field64(text, p, p->bytes);
}

/* Torch writes the zip64 end record always. */
static void put_end(dt_text *text, size_t count, uint64_t directory, uint64_t bytes)
{
    dt_text_put(text, "PK\6\6");
    put(text, END64_BYTES - 12, 8);
    put(text, 0x031e, 2); /* made by: a Unix, version 3.0 */
    put(text, 45, 2);     /* needs zip64 */
    put(text, 0, 8);
    put(text, count, 8);
    put(text, count, 8);
    put(text, bytes, 8);
    put(text, directory, 8);
    dt_text_put(text, "PK\6\7");
    put(text, 0, 4);
    put(text, directory + bytes, 8);
    put(text, 1, 4);
    dt_text_put(text, "PK\5\6");
    put(text, 0, 4);
    put(text, narrow(count, UINT16_MAX), 2);
    put(text, narrow(count, UINT16_MAX), 2);
    put(text, narrow(bytes, UINT32_MAX), 4);
    put(text, narrow(directory, UINT32_MAX), 4);
    put(text, 0, 2);
}

void dt_zip_put_directory(dt_text *text, const dt_zip_part *part, size_t count, uint64_t directory)
{
    size_t begin = text->bytes;
    for (size_t i = 0; i < count; i++)
        put_central(text, &part[i]);
    put_end(text, count, directory, text->bytes - begin);
}

uint32_t dt_zip_crc(uint32_t crc, const void *data, size_t bytes)
{
    return libdeflate_crc32(crc, data, bytes);
}
