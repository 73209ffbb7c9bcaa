/*
 * pickle.c - the pickle stack machine: reads instructions, keeps stack, marks and memo, builds values. What names
 * and calls become is pickle_call.c's.
 *
 * Every length is checked against the bytes left, so all that is allocated is a small multiple of the pickle:
 * values are counted, memo numbers must be below the pickle's length. The machine has no recursion.
 */
#include "formats/torch/pickle_machine.h"

#include "base/checked.h"
#include "formats/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Python's opcodes, under Python's names. */
enum {
    MARK = '(',
    STOP = '.',
    POP = '0',
    POP_MARK = '1',
    DUP = '2',
    FLOAT = 'F',
    INT = 'I',
    BININT = 'J',
    BININT1 = 'K',
    LONG = 'L',
    BININT2 = 'M',
    NONE = 'N',
    PERSID = 'P',
    BINPERSID = 'Q',
    REDUCE = 'R',
    STRING = 'S',
    BINSTRING = 'T',
    SHORT_BINSTRING = 'U',
    UNICODE = 'V',
    BINUNICODE = 'X',
    APPEND = 'a',
    BUILD = 'b',
    GLOBAL = 'c',
    DICT = 'd',
    EMPTY_DICT = '}',
    APPENDS = 'e',
    GET = 'g',
    BINGET = 'h',
    INST = 'i',
    LONG_BINGET = 'j',
    LIST = 'l',
    EMPTY_LIST = ']',
    OBJ = 'o',
    PUT = 'p',
    BINPUT = 'q',
    LONG_BINPUT = 'r',
    SETITEM = 's',
    TUPLE = 't',
    EMPTY_TUPLE = ')',
    SETITEMS = 'u',
    BINFLOAT = 'G',
    BINBYTES = 'B',
    SHORT_BINBYTES = 'C',
    PROTO = 0x80,
    NEWOBJ = 0x81,
    EXT1 = 0x82,
    EXT2 = 0x83,
    EXT4 = 0x84,
    TUPLE1 = 0x85,
    TUPLE2 = 0x86,
    TUPLE3 = 0x87,
    NEWTRUE = 0x88,
    NEWFALSE = 0x89,
    LONG1 = 0x8a,
    LONG4 = 0x8b,
    SHORT_BINUNICODE = 0x8c,
    BINUNICODE8 = 0x8d,
    BINBYTES8 = 0x8e,
    EMPTY_SET = 0x8f,
    ADDITEMS = 0x90,
    FROZENSET = 0x91,
    NEWOBJ_EX = 0x92,
    STACK_GLOBAL = 0x93,
    MEMOIZE = 0x94,
    FRAME = 0x95,
    BYTEARRAY8 = 0x96,
};

enum { STACK_START = 256 };

typedef dt_pickle_machine machine;

/* ---- failures ---- */

static dt_status fail_cut(machine *m)
{
    return dt_fail(m->err, DT_FORMAT, "the pickle is cut off in the instruction at byte %zu of %zu", m->opcode_at,
                   m->bytes);
}

static dt_status fail_stack(machine *m)
{
    return dt_fail(m->err, DT_FORMAT, "the instruction at byte %zu takes more than the stack has", m->opcode_at);
}

static dt_status fail_operand(machine *m, const char *what)
{
    return dt_fail(m->err, DT_FORMAT, "the instruction at byte %zu: %s", m->opcode_at, what);
}

/* ---- values ---- */

dt_value *dt_pickle_new(machine *m, dt_value_kind kind)
{
    if (++m->values > DT_PICKLE_VALUES) {
        m->failed = dt_fail(m->err, DT_LIMIT, "the pickle holds more than %d values", DT_PICKLE_VALUES);
        return NULL;
    }
    dt_value *value = DT_NEW(m->arena, dt_value);
    if (!value)
        m->failed = dt_fail_memory(m->err, sizeof *value, "a pickled value");
    else
        value->kind = kind;
    return value;
}

dt_status dt_pickle_append(machine *m, dt_value *list, dt_value *item)
{
    if (list->list.count == list->list.capacity) {
        uint32_t capacity = list->list.capacity ? list->list.capacity * 2 : 4;
        if (capacity > UINT32_MAX / 4)
            return dt_fail(m->err, DT_LIMIT, "a container of more than %u items", list->list.count);
        dt_value **grown = dt_arena_grow(m->arena, list->list.item, list->list.capacity * sizeof *grown,
                                         capacity * sizeof *grown);
        if (!grown)
            return dt_fail_memory(m->err, capacity * sizeof *grown, "a pickled container");
        list->list.item = grown;
        list->list.capacity = capacity;
    }
    list->list.item[list->list.count++] = item;
    return DT_OK;
}

/* ---- stack, marks, memo ---- */

static dt_status push(machine *m, dt_value *value)
{
    if (!value)
        return m->failed;
    dt_pickle_stack *s = &m->stack;
    if (s->count == s->capacity) {
        size_t capacity = s->capacity * 2;
        void **grown = dt_arena_grow(m->scratch, s->item, s->capacity * sizeof *grown, capacity * sizeof *grown);
        if (!grown)
            return dt_fail_memory(m->err, capacity * sizeof *grown, "the pickle's stack");
        s->item = grown;
        s->capacity = capacity;
    }
    s->item[s->count++] = value;
    return DT_OK;
}

/* The lowest stack place that the current instructions may touch. */
static size_t floor_of(const machine *m)
{
    return m->mark_count ? m->mark[m->mark_count - 1] : 0;
}

static dt_value *pop(machine *m)
{
    return m->stack.count > floor_of(m) ? m->stack.item[--m->stack.count] : NULL;
}

static dt_value *top(const machine *m)
{
    return m->stack.count > floor_of(m) ? m->stack.item[m->stack.count - 1] : NULL;
}

static dt_status push_mark(machine *m)
{
    if (m->mark_count == m->mark_capacity) {
        size_t capacity = m->mark_capacity ? m->mark_capacity * 2 : 64;
        size_t *grown = dt_arena_grow(m->scratch, m->mark, m->mark_capacity * sizeof *grown, capacity * sizeof *grown);
        if (!grown)
            return dt_fail_memory(m->err, capacity * sizeof *grown, "the pickle's marks");
        m->mark = grown;
        m->mark_capacity = capacity;
    }
    m->mark[m->mark_count++] = m->stack.count;
    return DT_OK;
}

/* Take everything above the last mark: *items lies on the stack until the next push. */
static dt_status pop_mark(machine *m, dt_value ***items, size_t *count)
{
    *items = NULL;
    *count = 0;
    if (!m->mark_count)
        return fail_operand(m, "there is no mark");
    size_t mark = m->mark[--m->mark_count];
    *items = (dt_value **)m->stack.item + mark;
    *count = m->stack.count - mark;
    m->stack.count = mark;
    return DT_OK;
}

/* A pickle cannot make more memo entries than it has bytes, so honest numbers are below its length. */
static dt_status memo_put(machine *m, uint64_t number)
{
    dt_value *value = top(m);
    if (!value)
        return fail_stack(m);
    if (number >= m->bytes)
        return dt_fail(m->err, DT_LIMIT, "byte %zu: memo number %" PRIu64 " in a pickle of %zu bytes", m->opcode_at,
                       number, m->bytes);
    if (number >= m->memo_capacity) {
        size_t capacity = m->memo_capacity ? m->memo_capacity * 2 : 256;
        while (capacity <= number)
            capacity *= 2;
        dt_value **grown = dt_arena_grow(m->scratch, m->memo, m->memo_capacity * sizeof *grown,
                                         capacity * sizeof *grown);
        if (!grown)
            return dt_fail_memory(m->err, capacity * sizeof *grown, "the pickle's memo");
        m->memo = grown;
        m->memo_capacity = capacity;
    }
    m->memo_count += !m->memo[number];
    m->memo[number] = value;
    return DT_OK;
}

static dt_status memo_get(machine *m, uint64_t number)
{
    if (number >= m->memo_capacity || !m->memo[number])
        return dt_fail(m->err, DT_FORMAT, "byte %zu asks for memo %" PRIu64 ", which was never set", m->opcode_at,
                       number);
    return push(m, m->memo[number]);
}

/* ---- operands ---- */

static dt_status take(machine *m, uint64_t bytes, const uint8_t **p)
{
    *p = m->data + m->at;
    if (bytes > m->bytes - m->at)
        return fail_cut(m);
    m->at += (size_t)bytes;
    return DT_OK;
}

static dt_status take_number(machine *m, int bytes, uint64_t *number)
{
    const uint8_t *p;
    DT_PASS(take(m, (uint64_t)bytes, &p));
    *number = 0;
    for (int i = bytes - 1; i >= 0; i--)
        *number = *number << 8 | p[i];
    return DT_OK;
}

static dt_status take_line(machine *m, const char **line, size_t *bytes)
{
    const uint8_t *start = m->data + m->at;
    const uint8_t *end = m->at < m->bytes ? memchr(start, '\n', m->bytes - m->at) : NULL;
    if (!end)
        return fail_cut(m);
    *line = (const char *)start;
    *bytes = (size_t)(end - start);
    m->at += *bytes + 1;
    return DT_OK;
}

/* ---- scalars ---- */

static dt_status push_int(machine *m, int64_t integer)
{
    bool small = integer >= 0 && integer < DT_PICKLE_SMALL_INTS;
    if (small && m->small[integer])
        return push(m, m->small[integer]);
    dt_value *value = dt_pickle_new(m, DT_VALUE_INT);
    if (!value)
        return m->failed;
    value->integer = integer;
    if (small)
        m->small[integer] = value;
    return push(m, value);
}

static dt_status push_bool(machine *m, bool truth)
{
    return push(m, m->truth[truth]);
}

/* Little-endian two's complement of any length. */
static dt_status push_long(machine *m, int length_bytes)
{
    uint64_t bytes, bits = 0;
    const uint8_t *p;
    DT_PASS(take_number(m, length_bytes, &bytes));
    DT_PASS(take(m, bytes, &p));
    if (bytes > 8) {
        dt_value *value = dt_pickle_new(m, DT_VALUE_BIG);
        if (value) {
            value->text.data = (const char *)p;
            value->text.bytes = (size_t)bytes;
        }
        return push(m, value);
    }
    if (bytes && (p[bytes - 1] & 0x80))
        bits = UINT64_MAX;
    for (int i = (int)bytes - 1; i >= 0; i--)
        bits = bits << 8 | p[i];
    return push_int(m, (int64_t)bits);
}

/* A short line as a terminated copy, for strtoll and strtod. */
static dt_status number_line(machine *m, char text[64])
{
    const char *line;
    size_t bytes;
    DT_PASS(take_line(m, &line, &bytes));
    if (bytes == 0 || bytes >= 64 || memchr(line, 0, bytes))
        return fail_operand(m, "no number, or one of too many digits");
    memcpy(text, line, bytes);
    text[bytes] = 0;
    return DT_OK;
}

static dt_status push_text_int(machine *m, bool is_long)
{
    char text[64], *end;
    DT_PASS(number_line(m, text));
    if (!is_long && (strcmp(text, "00") == 0 || strcmp(text, "01") == 0))
        return push_bool(m, text[1] == '1');
    long long number = strtoll(text, &end, 10);
    if (is_long && *end == 'L')
        end++;
    if (*end || end == text || number == INT64_MAX || number == INT64_MIN)
        return fail_operand(m, "no integer, or one beyond 64 bits");
    return push_int(m, number);
}

static dt_status push_real(machine *m, double real)
{
    dt_value *value = dt_pickle_new(m, DT_VALUE_REAL);
    if (value)
        value->real = real;
    return push(m, value);
}

static dt_status push_text_real(machine *m)
{
    char text[64], *end;
    DT_PASS(number_line(m, text));
    double real = strtod(text, &end);
    return *end || end == text ? fail_operand(m, "no number") : push_real(m, real);
}

static dt_status push_binary_real(machine *m)
{
    const uint8_t *p;
    uint64_t bits = 0;
    double real;
    DT_PASS(take(m, 8, &p));
    for (int i = 0; i < 8; i++) /* big-endian, unlike everything else */
        bits = bits << 8 | p[i];
    memcpy(&real, &bits, sizeof real);
    return push_real(m, real);
}

/* ---- texts ---- */

static dt_status push_run(machine *m, dt_value_kind kind, const char *data, size_t bytes)
{
    dt_value *value = dt_pickle_new(m, kind);
    if (value) {
        value->text.data = data;
        value->text.bytes = bytes;
    }
    return push(m, value);
}

static dt_status push_text(machine *m, int length_bytes)
{
    uint64_t bytes;
    const uint8_t *p;
    DT_PASS(take_number(m, length_bytes, &bytes));
    DT_PASS(take(m, bytes, &p));
    if (!dt_utf8_valid(p, (size_t)bytes))
        return fail_operand(m, "a text that is not UTF-8");
    return push_run(m, DT_VALUE_TEXT, (const char *)p, (size_t)bytes);
}

static dt_status push_bytes(machine *m, int length_bytes)
{
    uint64_t bytes;
    const uint8_t *p;
    DT_PASS(take_number(m, length_bytes, &bytes));
    DT_PASS(take(m, bytes, &p));
    return push_run(m, DT_VALUE_BYTES, (const char *)p, (size_t)bytes);
}

/* Python 2's str: a text when it is UTF-8 (ASCII nearly always), bytes otherwise. */
static dt_status push_python2(machine *m, const char *data, size_t bytes)
{
    bool text = dt_utf8_valid((const uint8_t *)data, bytes);
    return push_run(m, text ? DT_VALUE_TEXT : DT_VALUE_BYTES, data, bytes);
}

static dt_status push_string(machine *m, int length_bytes)
{
    uint64_t bytes;
    const uint8_t *p;
    DT_PASS(take_number(m, length_bytes, &bytes));
    if (length_bytes == 4 && bytes > INT32_MAX)
        return fail_operand(m, "a string of negative length");
    DT_PASS(take(m, bytes, &p));
    return push_python2(m, (const char *)p, (size_t)bytes);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* `digits` hexadecimal digits at p; -1 when they are not there. */
static int64_t hex_number(const char *p, const char *end, int digits)
{
    int64_t number = 0;
    if (end - p < digits)
        return -1;
    for (int i = 0; i < digits; i++) {
        if (hex_digit(p[i]) < 0)
            return -1;
        number = number << 4 | hex_digit(p[i]);
    }
    return number;
}

/* A protocol-0 str: quoted, with Python's escapes. */
static dt_status push_quoted(machine *m)
{
    const char *line;
    size_t bytes, n = 0;
    DT_PASS(take_line(m, &line, &bytes));
    if (bytes < 2 || line[0] != line[bytes - 1] || (line[0] != '\'' && line[0] != '"'))
        return fail_operand(m, "a string without its quotes");
    char *copy = dt_arena_alloc(m->arena, bytes);
    if (!copy)
        return dt_fail_memory(m->err, bytes, "a pickled string");
    for (const char *p = line + 1, *end = line + bytes - 1; p < end; p++) {
        static const char CODES[] = "nrtabfv\\'\"", VALUES[] = "\n\r\t\a\b\f\v\\'\"";
        if (*p != '\\') {
            copy[n++] = *p;
            continue;
        }
        const char *code = ++p < end ? memchr(CODES, *p, sizeof CODES - 1) : NULL;
        if (code) {
            copy[n++] = VALUES[code - CODES];
        } else if (p < end && *p == 'x' && hex_number(p + 1, end, 2) >= 0) {
            copy[n++] = (char)hex_number(p + 1, end, 2);
            p += 2;
        } else {
            return fail_operand(m, "a string with an escape that is not understood");
        }
    }
    return push_python2(m, copy, n);
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((length == 2 ? 0xc0 : length == 3 ? 0xe0 : 0xf0) | c);
    return length;
}

/* A protocol-0 text: Latin-1 bytes and \uXXXX, \UXXXXXXXX. */
static dt_status push_unicode_line(machine *m)
{
    const char *line;
    size_t bytes, n = 0;
    DT_PASS(take_line(m, &line, &bytes));
    char *copy = dt_arena_alloc(m->arena, 2 * bytes + 1); /* a Latin-1 byte needs two at most, \uXXXX less than six */
    if (!copy)
        return dt_fail_memory(m->err, bytes, "a pickled text");
    for (const char *p = line, *end = line + bytes; p < end; p++) {
        int digits = *p == '\\' && p + 1 < end ? (p[1] == 'u' ? 4 : p[1] == 'U' ? 8 : 0) : 0;
        if (!digits) {
            n += put_utf8(copy + n, (uint8_t)*p);
            continue;
        }
        int64_t c = hex_number(p + 2, end, digits);
        if (c < 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            return fail_operand(m, "a text with an escape that is no character");
        n += put_utf8(copy + n, (uint32_t)c);
        p += 1 + digits;
    }
    return push_run(m, DT_VALUE_TEXT, copy, n);
}

/* ---- containers ---- */

static dt_status new_sequence(machine *m, dt_value_kind kind, dt_value **items, size_t count, dt_value **out)
{
    if (kind == DT_VALUE_TUPLE && count == 0) {
        *out = m->empty;
        return DT_OK;
    }
    *out = dt_pickle_new(m, kind);
    if (!*out)
        return m->failed;
    if (!count)
        return DT_OK;
    dt_value **copy = count > UINT32_MAX / 4 ? NULL : DT_NEW_ARRAY(m->arena, dt_value *, count);
    if (!copy)
        return dt_fail_memory(m->err, count * sizeof *copy, "a pickled container");
    memcpy(copy, items, count * sizeof *copy);
    (*out)->list.item = copy;
    (*out)->list.count = (*out)->list.capacity = (uint32_t)count;
    return DT_OK;
}

/* Everything above the mark becomes one container. */
static dt_status collect(machine *m, dt_value_kind kind)
{
    dt_value **items, *value;
    size_t count;
    DT_PASS(pop_mark(m, &items, &count));
    if (kind == DT_VALUE_DICT && count % 2)
        return fail_operand(m, "a dict with a key that has no value");
    DT_PASS(new_sequence(m, kind, items, count, &value));
    return push(m, value);
}

static dt_status push_tuple(machine *m, size_t count)
{
    dt_value *value;
    if (m->stack.count - floor_of(m) < count)
        return fail_stack(m);
    DT_PASS(new_sequence(m, DT_VALUE_TUPLE, (dt_value **)m->stack.item + m->stack.count - count, count, &value));
    m->stack.count -= count;
    return push(m, value);
}

/* Where items go that are added to `target`: itself, or the items of an object. */
static dt_status container(machine *m, dt_value *target, dt_value_kind kind, dt_value **out)
{
    if (!target)
        return fail_stack(m);
    if (target->kind == DT_VALUE_OBJECT) {
        if (!target->object->items && !(target->object->items = dt_pickle_new(m, kind)))
            return m->failed;
        target = target->object->items;
    }
    if (target->kind != kind)
        return dt_fail(m->err, DT_FORMAT, "the instruction at byte %zu adds items to %s, not to %s", m->opcode_at,
                       dt_value_kind_name(target->kind), dt_value_kind_name(kind));
    *out = target;
    return DT_OK;
}

/* The items lie just above what was the stack's top before them. */
static dt_status add_items(machine *m, dt_value_kind kind, dt_value **items, size_t count)
{
    dt_value *target = NULL;
    if (kind == DT_VALUE_DICT && count % 2)
        return fail_operand(m, "a key without a value");
    DT_PASS(container(m, top(m), kind, &target));
    for (size_t i = 0; i < count; i++)
        DT_PASS(dt_pickle_append(m, target, items[i]));
    return DT_OK;
}

static dt_status add_marked(machine *m, dt_value_kind kind)
{
    dt_value **items;
    size_t count;
    DT_PASS(pop_mark(m, &items, &count));
    return add_items(m, kind, items, count);
}

static dt_status add_top(machine *m, dt_value_kind kind, size_t count)
{
    if (m->stack.count - floor_of(m) < count + 1)
        return fail_stack(m);
    m->stack.count -= count;
    return add_items(m, kind, (dt_value **)m->stack.item + m->stack.count, count);
}

/* ---- names and calls ---- */

static dt_status push_global(machine *m)
{
    const char *module, *name;
    size_t module_bytes, name_bytes;
    dt_value *value = NULL;
    DT_PASS(take_line(m, &module, &module_bytes));
    DT_PASS(take_line(m, &name, &name_bytes));
    DT_PASS(dt_pickle_find_global(m, module, module_bytes, name, name_bytes, &value));
    return push(m, value);
}

static dt_status push_stack_global(machine *m)
{
    const dt_value *name = pop(m), *module = pop(m);
    dt_value *value = NULL;
    if (!dt_value_is(name, DT_VALUE_TEXT) || !dt_value_is(module, DT_VALUE_TEXT))
        return fail_operand(m, "a name must be two texts");
    DT_PASS(dt_pickle_find_global(m, module->text.data, module->text.bytes, name->text.data, name->text.bytes, &value));
    return push(m, value);
}

static dt_status call(machine *m, const dt_value *callable, const dt_value *args)
{
    dt_value *value = NULL;
    if (!callable || !args)
        return fail_stack(m);
    DT_PASS(dt_pickle_call(m, callable, args, &value));
    return push(m, value);
}

static dt_status reduce(machine *m)
{
    const dt_value *args = pop(m), *callable = pop(m);
    return call(m, callable, args);
}

/* cls.__new__(cls, *args, **kwargs); the keywords say nothing that we read. */
static dt_status new_object_with_keywords(machine *m)
{
    const dt_value *keywords = pop(m);
    if (!dt_value_is(keywords, DT_VALUE_DICT))
        return fail_operand(m, "keyword arguments must be a dict");
    return reduce(m);
}

/* OBJ: mark, class, arguments. */
static dt_status marked_object(machine *m)
{
    dt_value **items, *args, *callable;
    size_t count;
    DT_PASS(pop_mark(m, &items, &count));
    if (!count)
        return fail_stack(m);
    callable = items[0];
    DT_PASS(new_sequence(m, DT_VALUE_TUPLE, items + 1, count - 1, &args));
    return call(m, callable, args);
}

/* INST: the class is named in the instruction, the arguments lie above the mark. */
static dt_status named_object(machine *m)
{
    dt_value **items, *args, *callable;
    size_t count;
    DT_PASS(push_global(m));
    callable = pop(m);
    DT_PASS(pop_mark(m, &items, &count));
    DT_PASS(new_sequence(m, DT_VALUE_TUPLE, items, count, &args));
    return call(m, callable, args);
}

static dt_status push_persistent(machine *m, const dt_value *id)
{
    if (!id)
        return fail_stack(m);
    dt_value *value = dt_pickle_new(m, DT_VALUE_PERSISTENT);
    if (value) {
        value->persistent.id = id;
        value->persistent.previous = m->last_persistent;
        m->last_persistent = value;
    }
    return push(m, value);
}

static dt_status push_persistent_line(machine *m)
{
    const char *line;
    size_t bytes;
    DT_PASS(take_line(m, &line, &bytes));
    DT_PASS(push_python2(m, line, bytes));
    return push_persistent(m, pop(m));
}

static dt_status build(machine *m)
{
    const dt_value *state = pop(m);
    dt_value *value = top(m);
    return state && value ? dt_pickle_build(m, value, state) : fail_stack(m);
}

/* ---- memo and frames ---- */

static dt_status memo_number(machine *m, int bytes, uint64_t *number)
{
    char text[64], *end;
    if (bytes)
        return take_number(m, bytes, number);
    DT_PASS(number_line(m, text));
    long long value = strtoll(text, &end, 10);
    if (*end || end == text || value < 0)
        return fail_operand(m, "a memo number that is none");
    *number = (uint64_t)value;
    return DT_OK;
}

static dt_status put(machine *m, int bytes)
{
    uint64_t number;
    DT_PASS(memo_number(m, bytes, &number));
    return memo_put(m, number);
}

static dt_status get(machine *m, int bytes)
{
    uint64_t number;
    DT_PASS(memo_number(m, bytes, &number));
    return memo_get(m, number);
}

static dt_status check_protocol(machine *m)
{
    uint64_t protocol;
    DT_PASS(take_number(m, 1, &protocol));
    if (protocol > 5)
        return dt_fail(m->err, DT_UNSUPPORTED, "pickle protocol %" PRIu64 " (0 to 5 are known)", protocol);
    return DT_OK;
}

static dt_status check_frame(machine *m)
{
    uint64_t bytes;
    DT_PASS(take_number(m, 8, &bytes));
    return bytes > m->bytes - m->at ? fail_cut(m) : DT_OK;
}

static dt_status duplicate(machine *m)
{
    return top(m) ? push(m, top(m)) : fail_stack(m);
}

/* POP takes a value, or a mark that nothing stands on. */
static dt_status drop(machine *m)
{
    if (pop(m))
        return DT_OK;
    if (!m->mark_count)
        return fail_stack(m);
    m->mark_count--;
    return DT_OK;
}

static dt_status drop_marked(machine *m)
{
    dt_value **items;
    size_t count;
    return pop_mark(m, &items, &count);
}

static dt_status push_number(machine *m, int bytes)
{
    uint64_t number;
    DT_PASS(take_number(m, bytes, &number));
    return push_int(m, bytes == 4 ? (int32_t)number : (int64_t)number);
}

static dt_status unknown(machine *m, uint8_t opcode)
{
    if (opcode >= EXT1 && opcode <= EXT4)
        return dt_fail(m->err, DT_UNSUPPORTED, "byte %zu uses the extension registry, which no checkpoint does",
                       m->opcode_at);
    return dt_fail(m->err, DT_FORMAT, "byte %zu (0x%02x) is no instruction of a pickle", m->opcode_at, opcode);
}

/* One instruction. Flat on purpose: the table of pickle's opcodes. */
static dt_status step(machine *m, uint8_t opcode)
{
    switch (opcode) {
    case PROTO: return check_protocol(m);
    case FRAME: return check_frame(m);
    case MARK: return push_mark(m);
    case POP: return drop(m);
    case POP_MARK: return drop_marked(m);
    case DUP: return duplicate(m);
    case PUT: return put(m, 0);
    case BINPUT: return put(m, 1);
    case LONG_BINPUT: return put(m, 4);
    case MEMOIZE: return memo_put(m, m->memo_count);
    case GET: return get(m, 0);
    case BINGET: return get(m, 1);
    case LONG_BINGET: return get(m, 4);

    case NONE: return push(m, m->none);
    case NEWTRUE: return push_bool(m, true);
    case NEWFALSE: return push_bool(m, false);
    case INT: return push_text_int(m, false);
    case LONG: return push_text_int(m, true);
    case BININT1: return push_number(m, 1);
    case BININT2: return push_number(m, 2);
    case BININT: return push_number(m, 4);
    case LONG1: return push_long(m, 1);
    case LONG4: return push_long(m, 4);
    case FLOAT: return push_text_real(m);
    case BINFLOAT: return push_binary_real(m);

    case STRING: return push_quoted(m);
    case SHORT_BINSTRING: return push_string(m, 1);
    case BINSTRING: return push_string(m, 4);
    case UNICODE: return push_unicode_line(m);
    case SHORT_BINUNICODE: return push_text(m, 1);
    case BINUNICODE: return push_text(m, 4);
    case BINUNICODE8: return push_text(m, 8);
    case SHORT_BINBYTES: return push_bytes(m, 1);
    case BINBYTES: return push_bytes(m, 4);
    case BINBYTES8: return push_bytes(m, 8);
    case BYTEARRAY8: return push_bytes(m, 8);

    case EMPTY_LIST: return push(m, dt_pickle_new(m, DT_VALUE_LIST));
    case EMPTY_DICT: return push(m, dt_pickle_new(m, DT_VALUE_DICT));
    case EMPTY_SET: return push(m, dt_pickle_new(m, DT_VALUE_SET));
    case EMPTY_TUPLE: return push(m, m->empty);
    case LIST: return collect(m, DT_VALUE_LIST);
    case DICT: return collect(m, DT_VALUE_DICT);
    case TUPLE: return collect(m, DT_VALUE_TUPLE);
    case FROZENSET: return collect(m, DT_VALUE_SET);
    case TUPLE1: return push_tuple(m, 1);
    case TUPLE2: return push_tuple(m, 2);
    case TUPLE3: return push_tuple(m, 3);
    case APPEND: return add_top(m, DT_VALUE_LIST, 1);
    case SETITEM: return add_top(m, DT_VALUE_DICT, 2);
    case APPENDS: return add_marked(m, DT_VALUE_LIST);
    case SETITEMS: return add_marked(m, DT_VALUE_DICT);
    case ADDITEMS: return add_marked(m, DT_VALUE_SET);

    case GLOBAL: return push_global(m);
    case STACK_GLOBAL: return push_stack_global(m);
    case REDUCE: return reduce(m);
    case NEWOBJ: return reduce(m);
    case NEWOBJ_EX: return new_object_with_keywords(m);
    case OBJ: return marked_object(m);
    case INST: return named_object(m);
    case BUILD: return build(m);
    case PERSID: return push_persistent_line(m);
    case BINPERSID: return push_persistent(m, pop(m));
    default: return unknown(m, opcode);
    }
}

static dt_status run(machine *m, const dt_value **out)
{
    for (;;) {
        m->opcode_at = m->at;
        if (m->at == m->bytes)
            return dt_fail(m->err, DT_FORMAT, "the pickle ends after %zu bytes without its STOP", m->bytes);
        uint8_t opcode = m->data[m->at++];
        if (opcode != STOP) {
            DT_PASS(step(m, opcode));
            continue;
        }
        if (m->stack.count != 1 || m->mark_count)
            return dt_fail(m->err, DT_FORMAT, "the pickle stops at byte %zu with %zu values on its stack, not 1",
                           m->opcode_at, m->stack.count);
        *out = m->stack.item[0];
        return DT_OK;
    }
}

static bool make_constants(machine *m)
{
    m->none = dt_pickle_new(m, DT_VALUE_NONE);
    m->truth[0] = dt_pickle_new(m, DT_VALUE_BOOL);
    m->truth[1] = dt_pickle_new(m, DT_VALUE_BOOL);
    m->empty = dt_pickle_new(m, DT_VALUE_TUPLE);
    if (!m->none || !m->truth[0] || !m->truth[1] || !m->empty)
        return false;
    m->truth[1]->truth = true;
    m->stack.item = DT_NEW_ARRAY(m->scratch, void *, STACK_START); /* never NULL: offsets into it are taken */
    m->stack.capacity = STACK_START;
    if (!m->stack.item)
        m->failed = dt_fail_memory(m->err, STACK_START * sizeof(void *), "the pickle's stack");
    return m->stack.item != NULL;
}

dt_status dt_pickle_read(dt_pickle *out, dt_arena *arena, const uint8_t *data, size_t bytes, dt_error *err)
{
    machine m = {.data = data, .bytes = bytes, .arena = arena, .err = err, .scratch = dt_arena_create()};
    *out = (dt_pickle){0};
    dt_status status = m.scratch ? DT_OK : dt_fail_memory(err, 0, "the pickle's stack");
    DT_GO(status, status);
    if (!make_constants(&m)) {
        status = m.failed;
        goto done;
    }
    DT_GO(status, run(&m, &out->root));
    out->last_persistent = m.last_persistent;
    out->used = m.at;
    out->values = m.values;
done:
    dt_arena_destroy(m.scratch);
    return status;
}

dt_status dt_pickle_read_whole(dt_pickle *out, dt_arena *arena, const uint8_t *data, size_t bytes, dt_error *err)
{
    DT_PASS(dt_pickle_read(out, arena, data, bytes, err));
    if (out->used != bytes)
        return dt_fail(err, DT_FORMAT, "%zu bytes follow the pickle's end at byte %zu", bytes - out->used, out->used);
    return DT_OK;
}
