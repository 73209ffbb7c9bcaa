/*
 * wire.c - protobuf's wire format, both ways: varints, fixed numbers, and bytes with a length before them.
 */
#include "formats/onnx/onnx.h"

#include <inttypes.h>
#include <string.h>

static void put_varint(dt_text *out, uint64_t value)
{
    char byte[10];
    size_t count = 0;
    for (; value >= 0x80; value >>= 7)
        byte[count++] = (char)(value | 0x80);
    byte[count++] = (char)value;
    dt_text_append(out, byte, count);
}

static void put_tag(dt_text *out, int field, dt_wire wire)
{
    put_varint(out, (uint64_t)field << 3 | (unsigned)wire);
}

void dt_wire_int(dt_text *out, int field, int64_t value)
{
    put_tag(out, field, DT_WIRE_VARINT);
    put_varint(out, (uint64_t)value);
}

void dt_wire_float(dt_text *out, int field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    char little[] = {(char)bits, (char)(bits >> 8), (char)(bits >> 16), (char)(bits >> 24)};
    put_tag(out, field, DT_WIRE_FIXED32);
    dt_text_append(out, little, sizeof little);
}

void dt_wire_data(dt_text *out, int field, const void *data, size_t bytes)
{
    put_tag(out, field, DT_WIRE_BYTES);
    put_varint(out, bytes);
    dt_text_append(out, bytes ? data : "", bytes);
}

void dt_wire_string(dt_text *out, int field, const char *text)
{
    dt_wire_data(out, field, text, strlen(text));
}

void dt_wire_text(dt_text *out, int field, const dt_text *message)
{
    out->failed |= message->failed;
    dt_wire_data(out, field, message->data, message->bytes);
}

/* ---- reading ---- */

static bool take_varint(dt_wire_reader *r, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 70 && r->at < r->end; shift += 7) {
        uint8_t byte = *r->at++;
        if (shift == 63 && byte > 1)
            return false;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static bool take_fixed(dt_wire_reader *r, int bytes, uint64_t *value)
{
    *value = 0;
    if (r->end - r->at < bytes)
        return false;
    for (int i = 0; i < bytes; i++)
        *value |= (uint64_t)*r->at++ << (8 * i);
    return true;
}

static bool take_bytes(dt_wire_reader *r, dt_wire_reader *bytes)
{
    uint64_t count;
    if (!take_varint(r, &count) || count > (uint64_t)(r->end - r->at))
        return false;
    *bytes = (dt_wire_reader){r->at, r->at + count};
    r->at += count;
    return true;
}

dt_status dt_wire_next(dt_wire_reader *r, dt_wire_field *f, bool *more, dt_error *err)
{
    uint64_t tag;
    bool whole = false;
    *f = (dt_wire_field){0};
    *more = r->at < r->end;
    if (!*more)
        return DT_OK;
    if (!take_varint(r, &tag) || tag >> 3 == 0 || tag >> 3 > INT32_MAX)
        return dt_fail(err, DT_FORMAT, "no protobuf message: a field without a number");
    f->number = (int)(tag >> 3);
    f->wire = (dt_wire)(tag & 7);
    switch (f->wire) {
    case DT_WIRE_VARINT:
        whole = take_varint(r, &f->value);
        break;
    case DT_WIRE_FIXED64:
        whole = take_fixed(r, 8, &f->value);
        break;
    case DT_WIRE_FIXED32:
        whole = take_fixed(r, 4, &f->value);
        break;
    case DT_WIRE_BYTES:
        whole = take_bytes(r, &f->bytes);
        break;
    default:
        return dt_fail(err, DT_FORMAT, "no protobuf message: field %d has wire type %d", f->number, f->wire);
    }
    return whole
               ? DT_OK
               : dt_fail(err, DT_FORMAT, "no protobuf message: field %d ends behind its message", f->number);
}
