/*
 * pickle.c - the pickle stack machine: reads instructions, keeps stack, marks and memo, builds containers. Plain
 * values are pickle_scalar.c's; what names and calls become is pickle_call.c's.
 *
 * Every length is checked against the bytes left, so all that is allocated is a small multiple of the pickle:
 * values are counted, memo numbers must be below the pickle's length. The machine has no recursion.
 */
#include "formats/torch/pickle_machine.h"
#include "formats/torch/pickle_opcodes.h"

#include "base/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { STACK_START = 256 };

typedef dt_pickle_machine machine;

/* ---- failures ---- */

dt_status dt_pickle_fail_cut(machine *m)
{
    return dt_fail(m->err, DT_FORMAT, "the pickle is cut off in the instruction at byte %zu of %zu",
                   m->opcode_at, m->bytes);
}

static dt_status fail_stack(machine *m)
{
    return dt_fail(m->err, DT_FORMAT, "the instruction at byte %zu takes more than the stack has",
                   m->opcode_at);
}

dt_status dt_pickle_fail_operand(machine *m, const char *what)
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

dt_status dt_pickle_push(machine *m, dt_value *value)
{
    if (!value)
        return m->failed;
    dt_pickle_stack *s = &m->stack;
    if (s->count == s->capacity) {
        size_t capacity = s->capacity * 2;
        void **grown =
            dt_arena_grow(m->scratch, s->item, s->capacity * sizeof *grown, capacity * sizeof *grown);
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
        size_t *grown =
            dt_arena_grow(m->scratch, m->mark, m->mark_capacity * sizeof *grown, capacity * sizeof *grown);
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
        return dt_pickle_fail_operand(m, "there is no mark");
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
        return dt_fail(m->err, DT_LIMIT, "byte %zu: memo number %" PRIu64 " in a pickle of %zu bytes",
                       m->opcode_at, number, m->bytes);
    if (number >= m->memo_capacity) {
        size_t capacity = m->memo_capacity ? m->memo_capacity * 2 : 256;
        while (capacity <= number)
            capacity *= 2;
        dt_value **grown =
            dt_arena_grow(m->scratch, m->memo, m->memo_capacity * sizeof *grown, capacity * sizeof *grown);
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
        return dt_fail(m->err, DT_FORMAT, "byte %zu asks for memo %" PRIu64 ", which was never set",
                       m->opcode_at, number);
    return dt_pickle_push(m, m->memo[number]);
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
        return dt_pickle_fail_operand(m, "a dict with a key that has no value");
    DT_PASS(new_sequence(m, kind, items, count, &value));
    return dt_pickle_push(m, value);
}

static dt_status push_tuple(machine *m, size_t count)
{
    dt_value *value;
    if (m->stack.count - floor_of(m) < count)
        return fail_stack(m);
    DT_PASS(
        new_sequence(m, DT_VALUE_TUPLE, (dt_value **)m->stack.item + m->stack.count - count, count, &value));
    m->stack.count -= count;
    return dt_pickle_push(m, value);
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
        return dt_fail(m->err, DT_FORMAT, "the instruction at byte %zu adds items to %s, not to %s",
                       m->opcode_at, dt_value_kind_name(target->kind), dt_value_kind_name(kind));
    *out = target;
    return DT_OK;
}

/* The items lie just above what was the stack's top before them. */
static dt_status add_items(machine *m, dt_value_kind kind, dt_value **items, size_t count)
{
    dt_value *target = NULL;
    if (kind == DT_VALUE_DICT && count % 2)
        return dt_pickle_fail_operand(m, "a key without a value");
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
    DT_PASS(dt_pickle_take_line(m, &module, &module_bytes));
    DT_PASS(dt_pickle_take_line(m, &name, &name_bytes));
    DT_PASS(dt_pickle_find_global(m, module, module_bytes, name, name_bytes, &value));
    return dt_pickle_push(m, value);
}

static dt_status push_stack_global(machine *m)
{
    const dt_value *name = pop(m), *module = pop(m);
    dt_value *value = NULL;
    if (!dt_value_is(name, DT_VALUE_TEXT) || !dt_value_is(module, DT_VALUE_TEXT))
        return dt_pickle_fail_operand(m, "a name must be two texts");
    DT_PASS(dt_pickle_find_global(m, module->text.data, module->text.bytes, name->text.data, name->text.bytes,
                                  &value));
    return dt_pickle_push(m, value);
}

static dt_status call(machine *m, const dt_value *callable, const dt_value *args)
{
    dt_value *value = NULL;
    if (!callable || !args)
        return fail_stack(m);
    DT_PASS(dt_pickle_call(m, callable, args, &value));
    return dt_pickle_push(m, value);
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
        return dt_pickle_fail_operand(m, "keyword arguments must be a dict");
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
    return dt_pickle_push(m, value);
}

static dt_status push_persistent_line(machine *m)
{
    const char *line;
    size_t bytes;
    DT_PASS(dt_pickle_take_line(m, &line, &bytes));
    DT_PASS(dt_pickle_push_python2(m, line, bytes));
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
    *number = 0;
    if (bytes)
        return dt_pickle_take_number(m, bytes, number);
    DT_PASS(dt_pickle_number_line(m, text));
    long long value = strtoll(text, &end, 10);
    if (*end || end == text || value < 0)
        return dt_pickle_fail_operand(m, "a memo number that is none");
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
    DT_PASS(dt_pickle_take_number(m, 1, &protocol));
    if (protocol > 5)
        return dt_fail(m->err, DT_UNSUPPORTED, "pickle protocol %" PRIu64 " (0 to 5 are known)", protocol);
    return DT_OK;
}

static dt_status check_frame(machine *m)
{
    uint64_t bytes;
    DT_PASS(dt_pickle_take_number(m, 8, &bytes));
    return bytes > m->bytes - m->at ? dt_pickle_fail_cut(m) : DT_OK;
}

static dt_status duplicate(machine *m)
{
    return top(m) ? dt_pickle_push(m, top(m)) : fail_stack(m);
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
    DT_PASS(dt_pickle_take_number(m, bytes, &number));
    return dt_pickle_push_int(m, bytes == 4 ? (int32_t)number : (int64_t)number);
}

static dt_status unknown(machine *m, uint8_t opcode)
{
    if (opcode >= EXT1 && opcode <= EXT4)
        return dt_fail(m->err, DT_UNSUPPORTED,
                       "byte %zu uses the extension registry, which no checkpoint does", m->opcode_at);
    return dt_fail(m->err, DT_FORMAT, "byte %zu (0x%02x) is no instruction of a pickle", m->opcode_at,
                   opcode);
}

/* One instruction. Flat on purpose: the table of pickle's opcodes. */
/* clang-format off */
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

    case NONE: return dt_pickle_push(m, m->none);
    case NEWTRUE: return dt_pickle_push_bool(m, true);
    case NEWFALSE: return dt_pickle_push_bool(m, false);
    case INT: return dt_pickle_push_text_int(m, false);
    case LONG: return dt_pickle_push_text_int(m, true);
    case BININT1: return push_number(m, 1);
    case BININT2: return push_number(m, 2);
    case BININT: return push_number(m, 4);
    case LONG1: return dt_pickle_push_long(m, 1);
    case LONG4: return dt_pickle_push_long(m, 4);
    case FLOAT: return dt_pickle_push_text_real(m);
    case BINFLOAT: return dt_pickle_push_binary_real(m);

    case STRING: return dt_pickle_push_quoted(m);
    case SHORT_BINSTRING: return dt_pickle_push_string(m, 1);
    case BINSTRING: return dt_pickle_push_string(m, 4);
    case UNICODE: return dt_pickle_push_unicode_line(m);
    case SHORT_BINUNICODE: return dt_pickle_push_text(m, 1);
    case BINUNICODE: return dt_pickle_push_text(m, 4);
    case BINUNICODE8: return dt_pickle_push_text(m, 8);
    case SHORT_BINBYTES: return dt_pickle_push_bytes(m, 1);
    case BINBYTES: return dt_pickle_push_bytes(m, 4);
    case BINBYTES8: return dt_pickle_push_bytes(m, 8);
    case BYTEARRAY8: return dt_pickle_push_bytes(m, 8);

    case EMPTY_LIST: return dt_pickle_push(m, dt_pickle_new(m, DT_VALUE_LIST));
    case EMPTY_DICT: return dt_pickle_push(m, dt_pickle_new(m, DT_VALUE_DICT));
    case EMPTY_SET: return dt_pickle_push(m, dt_pickle_new(m, DT_VALUE_SET));
    case EMPTY_TUPLE: return dt_pickle_push(m, m->empty);
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
/* clang-format on */

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
            return dt_fail(m->err, DT_FORMAT,
                           "the pickle stops at byte %zu with %zu values on its stack, not 1", m->opcode_at,
                           m->stack.count);
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

dt_status dt_pickle_read_whole(dt_pickle *out, dt_arena *arena, const uint8_t *data, size_t bytes,
                               dt_error *err)
{
    DT_PASS(dt_pickle_read(out, arena, data, bytes, err));
    if (out->used != bytes)
        return dt_fail(err, DT_FORMAT, "%zu bytes follow the pickle's end at byte %zu", bytes - out->used,
                       out->used);
    return DT_OK;
}
