/*
 * pickle_write.c - each function appends the instructions that make one value. What values a file needs is for
 * the writers above.
 */
#include "formats/torch/pickle_write.h"

#include "formats/torch/pickle_opcodes.h"
#include "formats/utf8.h"

#include <string.h>

/* How an open container is closed: the instructions, in the order written. */
typedef enum closing {
    CLOSE_LIST,
    CLOSE_TUPLE,
    CLOSE_DICT,
    CLOSE_CALL,
    CLOSE_OBJECT,
    CLOSE_STATE,
    CLOSE_ID
} closing;

static const char *const CLOSING[] = {
    [CLOSE_LIST] = (const char[]){APPENDS, 0},           [CLOSE_TUPLE] = (const char[]){TUPLE, 0},
    [CLOSE_DICT] = (const char[]){SETITEMS, 0},          [CLOSE_CALL] = (const char[]){TUPLE, REDUCE, 0},
    [CLOSE_OBJECT] = (const char[]){SETITEMS, BUILD, 0}, [CLOSE_STATE] = (const char[]){TUPLE, BUILD, 0},
    [CLOSE_ID] = (const char[]){TUPLE, BINPERSID, 0},
};

static void fault(dt_pickler *p, const char *what)
{
    if (!p->fault)
        p->fault = what;
}

static void put(dt_pickler *p, int opcode)
{
    dt_text_append(&p->text, &(char){(char)opcode}, 1);
}

static void put_number(dt_pickler *p, uint64_t number, int bytes)
{
    char raw[8];
    for (int i = 0; i < bytes; i++)
        raw[i] = (char)(number >> (8 * i));
    dt_text_append(&p->text, raw, (size_t)bytes);
}

void dt_pickle_start(dt_pickler *p)
{
    dt_text_clear(&p->text);
    p->fault = NULL;
    p->open_count = p->memo_count = 0;
    put(p, PROTO);
    put(p, 2);
}

dt_status dt_pickle_finish(dt_pickler *p, dt_error *err)
{
    if (p->open_count)
        fault(p, "a container was left open");
    put(p, STOP);
    if (p->text.failed)
        return dt_fail_memory(err, p->text.bytes, "a pickle");
    return p->fault ? dt_fail(err, DT_INVALID, "cannot pickle this: %s", p->fault) : DT_OK;
}

void dt_pickle_free(dt_pickler *p)
{
    dt_text_free(&p->text);
}

/* The instruction from `at` to the end made a value: when it was made before, refer to that one instead. */
static void share(dt_pickler *p, size_t at)
{
    size_t bytes = p->text.bytes - at;
    if (p->text.failed)
        return;
    for (int i = 0; i < p->memo_count; i++) {
        if (p->memo[i].bytes == bytes &&
            memcmp(p->text.data + p->memo[i].at, p->text.data + at, bytes) == 0) {
            p->text.bytes = at;
            put(p, BINGET);
            put_number(p, (uint64_t)i, 1);
            return;
        }
    }
    if (p->memo_count == DT_PICKLE_MEMO)
        return;
    p->memo[p->memo_count].at = at;
    p->memo[p->memo_count].bytes = bytes;
    put(p, BINPUT);
    put_number(p, (uint64_t)p->memo_count++, 1);
}

/* ---- plain values ---- */

void dt_pickle_put_none(dt_pickler *p)
{
    put(p, NONE);
}

void dt_pickle_put_bool(dt_pickler *p, bool value)
{
    put(p, value ? NEWTRUE : NEWFALSE);
}

/* Two's complement in as few bytes as keep the sign. */
static void put_long(dt_pickler *p, int64_t value)
{
    int bytes = 8;
    while (bytes > 1 && value >> (8 * (bytes - 1) - 1) == (value < 0 ? -1 : 0))
        bytes--;
    put(p, LONG1);
    put_number(p, (uint64_t)bytes, 1);
    put_number(p, (uint64_t)value, bytes);
}

void dt_pickle_put_int(dt_pickler *p, int64_t value)
{
    if (value >= 0 && value <= UINT8_MAX) {
        put(p, BININT1);
        put_number(p, (uint64_t)value, 1);
    } else if (value >= 0 && value <= UINT16_MAX) {
        put(p, BININT2);
        put_number(p, (uint64_t)value, 2);
    } else if (value >= INT32_MIN && value <= INT32_MAX) {
        put(p, BININT);
        put_number(p, (uint64_t)value, 4);
    } else {
        put_long(p, value);
    }
}

void dt_pickle_put_real(dt_pickler *p, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put(p, BINFLOAT);
    put_number(p, __builtin_bswap64(bits), 8); /* the one big-endian number in a pickle */
}

void dt_pickle_put_text_n(dt_pickler *p, const char *text, size_t bytes)
{
    if (bytes > UINT32_MAX)
        fault(p, "a text is longer than 4 GiB");
    else if (!dt_utf8_valid((const uint8_t *)text, bytes))
        fault(p, "a text is not UTF-8");
    put(p, BINUNICODE);
    put_number(p, bytes, 4);
    if (bytes)
        dt_text_append(&p->text, text, bytes);
}

void dt_pickle_put_text(dt_pickler *p, const char *text)
{
    dt_pickle_put_text_n(p, text, strlen(text));
}

void dt_pickle_put_name(dt_pickler *p, const char *name)
{
    size_t at = p->text.bytes;
    dt_pickle_put_text(p, name);
    share(p, at);
}

void dt_pickle_put_global(dt_pickler *p, const char *module, const char *name)
{
    size_t at = p->text.bytes;
    if (!*module || !*name || strchr(module, '\n') || strchr(name, '\n'))
        fault(p, "a class or function without a proper name");
    put(p, GLOBAL);
    dt_text_put(&p->text, module);
    put(p, '\n');
    dt_text_put(&p->text, name);
    put(p, '\n');
    share(p, at);
}

/* Protocol 2 has no bytes: Python writes the call _codecs.encode(text, "latin1"). */
void dt_pickle_put_bytes(dt_pickler *p, const void *data, size_t bytes)
{
    const uint8_t *byte = data;
    size_t high = 0;
    for (size_t i = 0; i < bytes; i++)
        high += byte[i] >> 7;
    if (bytes + high > UINT32_MAX)
        fault(p, "bytes are longer than 4 GiB");
    dt_pickle_open_call(p, "_codecs", "encode");
    put(p, BINUNICODE);
    put_number(p, bytes + high, 4);
    for (size_t i = 0; i < bytes; i++) {
        if (byte[i] >> 7)
            put(p, 0xc0 | byte[i] >> 6);
        put(p, byte[i] >> 7 ? 0x80 | (byte[i] & 0x3f) : byte[i]);
    }
    dt_pickle_put_name(p, "latin1");
    dt_pickle_close(p);
}

/* ---- containers ---- */

static void open_container(dt_pickler *p, closing how)
{
    put(p, MARK);
    if (p->open_count == DT_PICKLE_OPEN)
        fault(p, "containers lie too deep in each other");
    else
        p->open[p->open_count++] = (uint8_t)how;
}

void dt_pickle_close(dt_pickler *p)
{
    if (p->open_count == 0)
        fault(p, "a container was closed that was not open");
    else
        dt_text_put(&p->text, CLOSING[p->open[--p->open_count]]);
}

void dt_pickle_open_list(dt_pickler *p)
{
    put(p, EMPTY_LIST);
    open_container(p, CLOSE_LIST);
}

void dt_pickle_open_tuple(dt_pickler *p)
{
    open_container(p, CLOSE_TUPLE);
}

void dt_pickle_open_dict(dt_pickler *p)
{
    put(p, EMPTY_DICT);
    open_container(p, CLOSE_DICT);
}

void dt_pickle_open_ordered_dict(dt_pickler *p)
{
    dt_pickle_put_global(p, "collections", "OrderedDict");
    put(p, EMPTY_TUPLE);
    put(p, REDUCE);
    open_container(p, CLOSE_DICT);
}

void dt_pickle_open_call(dt_pickler *p, const char *module, const char *name)
{
    dt_pickle_put_global(p, module, name);
    open_container(p, CLOSE_CALL);
}

static void put_instance(dt_pickler *p, const char *module, const char *name)
{
    dt_pickle_put_global(p, module, name);
    put(p, EMPTY_TUPLE);
    put(p, NEWOBJ);
}

void dt_pickle_open_object(dt_pickler *p, const char *module, const char *name)
{
    put_instance(p, module, name);
    put(p, EMPTY_DICT);
    open_container(p, CLOSE_OBJECT);
}

void dt_pickle_open_state(dt_pickler *p, const char *module, const char *name)
{
    put_instance(p, module, name);
    open_container(p, CLOSE_STATE);
}

void dt_pickle_open_persistent(dt_pickler *p)
{
    open_container(p, CLOSE_ID);
}

void dt_pickle_put_tuple(dt_pickler *p, int count, const int64_t *values)
{
    dt_pickle_open_tuple(p);
    for (int i = 0; i < count; i++)
        dt_pickle_put_int(p, values[i]);
    dt_pickle_close(p);
}

void dt_pickle_put_size(dt_pickler *p, int count, const int64_t *values)
{
    dt_pickle_open_call(p, "torch", "Size");
    dt_pickle_put_tuple(p, count, values);
    dt_pickle_close(p);
}
