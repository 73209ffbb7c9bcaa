/*
 * pickle_call.c - what a pickle's names and calls become. The table says which names exist for us and what each
 * turns into; the instructions that lead here are pickle.c's.
 */
#include "formats/torch/pickle_machine.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

static const dt_pickle_global TABLE[] = {
#define PG(module, name, what, detail) {module, name, DT_GLOBAL_##what, detail},
#include "formats/torch/pickle_globals.def"
#undef PG
};

enum { NAME_BYTES = 256 };

/* Is `module` the row's module or below it? */
static bool is_below(const char *module, const char *row)
{
    size_t length = strlen(row);
    return strncmp(module, row, length) == 0 && (module[length] == 0 || module[length] == '.');
}

static const dt_pickle_global *find_row(const char *module, const char *name)
{
    const dt_pickle_global *wild = NULL;
    for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++) {
        if (strcmp(TABLE[i].name, "*") == 0) {
            if (is_below(module, TABLE[i].module) && !strchr(name, '.'))
                wild = &TABLE[i];
        } else if (strcmp(TABLE[i].module, module) == 0 && strcmp(TABLE[i].name, name) == 0) {
            return &TABLE[i];
        }
    }
    return wild;
}

/* Letters, digits, underscores and dots, as Python's names are; anything else would only confuse a message. */
static bool is_plain(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '_' && c != '.')
            return false;
    }
    return bytes > 0 && bytes <= NAME_BYTES;
}

dt_status dt_pickle_spend(dt_pickle_machine *m, size_t bytes)
{
    size_t budget = 65536;
    if (__builtin_add_overflow(m->spent, bytes, &m->spent) ||
        (!__builtin_mul_overflow(m->bytes, (size_t)16, &budget) && m->spent > budget + 65536))
        return dt_fail(m->err, DT_LIMIT,
                       "the pickle of %zu bytes copies itself beyond all measure (byte %zu)", m->bytes,
                       m->opcode_at);
    return DT_OK;
}

/* A row of its own for a class that a "*" row stands for. */
static dt_status name_row(dt_pickle_machine *m, const char *module, const char *name,
                          const dt_pickle_global **row)
{
    DT_PASS(dt_pickle_spend(m, strlen(module) + strlen(name)));
    dt_pickle_global *named = DT_NEW(m->arena, dt_pickle_global);
    if (!named || !(named->module = dt_arena_text(m->arena, module)) ||
        !(named->name = dt_arena_text(m->arena, name)))
        return dt_fail_memory(m->err, sizeof *named, "a pickled name");
    named->what = (*row)->what;
    named->detail = (*row)->detail;
    *row = named;
    return DT_OK;
}

dt_status dt_pickle_find_global(dt_pickle_machine *m, const char *module, size_t module_bytes,
                                const char *name, size_t name_bytes, dt_value **out)
{
    if (!is_plain(module, module_bytes) || !is_plain(name, name_bytes))
        return dt_fail(m->err, DT_FORMAT, "byte %zu names something that is no Python name", m->opcode_at);
    char module_text[NAME_BYTES + 1], name_text[NAME_BYTES + 1];
    snprintf(module_text, sizeof module_text, "%.*s", (int)module_bytes, module);
    snprintf(name_text, sizeof name_text, "%.*s", (int)name_bytes, name);
    const dt_pickle_global *row = find_row(module_text, name_text);
    if (!row)
        return dt_fail(
            m->err, DT_UNSUPPORTED,
            "byte %zu names %.120s.%.120s, which is not among the classes that a checkpoint may hold",
            m->opcode_at, module_text, name_text);
    if (strcmp(row->name, "*") == 0)
        DT_PASS(name_row(m, module_text, name_text, &row));
    *out = dt_pickle_new(m, DT_VALUE_GLOBAL);
    if (!*out)
        return m->failed;
    (*out)->global = row;
    return DT_OK;
}

static dt_status fail_arguments(dt_pickle_machine *m, const dt_pickle_global *global)
{
    return dt_fail(m->err, DT_FORMAT, "byte %zu calls %s.%s with arguments that it does not take",
                   m->opcode_at, global->module, global->name);
}

static const dt_value *argument(const dt_value *args, uint32_t index)
{
    return index < args->list.count ? args->list.item[index] : NULL;
}

/* OrderedDict([[k, v], …]), dict(d); a defaultdict's factory comes first and says nothing. */
static dt_status make_dict(dt_pickle_machine *m, const dt_pickle_global *global, const dt_value *args,
                           dt_value *dict)
{
    const dt_value *from = argument(args, strcmp(global->name, "defaultdict") == 0 ? 1 : 0);
    if (!from)
        return DT_OK;
    bool pairs = dt_value_is_sequence(from);
    if (!pairs && !dt_value_is(from, DT_VALUE_DICT))
        return fail_arguments(m, global);
    DT_PASS(dt_pickle_spend(m, from->list.count * 2 * sizeof(void *)));
    for (uint32_t i = 0; i < from->list.count; i++) {
        const dt_value *item = from->list.item[i];
        if (!pairs) {
            DT_PASS(dt_pickle_append(m, dict, from->list.item[i]));
            continue;
        }
        if (!dt_value_is_sequence(item) || item->list.count != 2)
            return fail_arguments(m, global);
        DT_PASS(dt_pickle_append(m, dict, item->list.item[0]));
        DT_PASS(dt_pickle_append(m, dict, item->list.item[1]));
    }
    return DT_OK;
}

static dt_status make_list(dt_pickle_machine *m, const dt_pickle_global *global, const dt_value *args,
                           dt_value *list)
{
    const dt_value *from = argument(args, 0);
    if (!from)
        return DT_OK;
    if (!dt_value_is_sequence(from) && !dt_value_is(from, DT_VALUE_SET))
        return fail_arguments(m, global);
    DT_PASS(dt_pickle_spend(m, from->list.count * sizeof(void *)));
    for (uint32_t i = 0; i < from->list.count; i++)
        DT_PASS(dt_pickle_append(m, list, from->list.item[i]));
    return DT_OK;
}

/* The code points below 256 that a text stands for when it carries bytes; false when one is beyond. */
static bool latin1_bytes(const dt_value *text, uint8_t *out, size_t *bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < text->text.bytes; i++) {
        uint8_t c = (uint8_t)text->text.data[i];
        if (c >= 0x80) {
            if (c > 0xc3 || ++i == text->text.bytes)
                return false;
            c = (uint8_t)(c << 6 | ((uint8_t)text->text.data[i] & 0x3f));
        }
        out[n++] = c;
    }
    *bytes = n;
    return true;
}

/* _codecs.encode(text, "latin1"), bytes(), bytearray(b"…"), bytearray(text, "latin-1"): how protocol 2 spells bytes. */
static dt_status make_bytes(dt_pickle_machine *m, const dt_pickle_global *global, const dt_value *args,
                            dt_value *value)
{
    const dt_value *from = argument(args, 0), *code = argument(args, 1);
    value->text.data = "";
    value->text.bytes = 0;
    if (!from)
        return DT_OK;
    if (dt_value_is(from, DT_VALUE_BYTES)) {
        value->text = from->text;
        return DT_OK;
    }
    if (!dt_value_is(from, DT_VALUE_TEXT) ||
        !(dt_value_is_text(code, "latin1") || dt_value_is_text(code, "latin-1")))
        return fail_arguments(m, global);
    DT_PASS(dt_pickle_spend(m, from->text.bytes));
    uint8_t *copy = dt_arena_alloc(m->arena, from->text.bytes + 1);
    if (!copy)
        return dt_fail_memory(m->err, from->text.bytes, "pickled bytes");
    value->text.data = (const char *)copy;
    return latin1_bytes(from, copy, &value->text.bytes) ? DT_OK : fail_arguments(m, global);
}

/* PosixPath("/", "a", "b") is the text "/a/b". */
static dt_status make_path(dt_pickle_machine *m, const dt_pickle_global *global, const dt_value *args,
                           dt_value *value)
{
    dt_text path = {0};
    dt_status status = DT_OK;
    for (uint32_t i = 0; i < args->list.count; i++) {
        const dt_value *part = args->list.item[i];
        if (!dt_value_is(part, DT_VALUE_TEXT))
            DT_GO(status, fail_arguments(m, global));
        DT_GO(status, dt_pickle_spend(m, part->text.bytes));
        if (path.bytes && path.data[path.bytes - 1] != '/')
            dt_text_put(&path, "/");
        dt_text_append(&path, part->text.data, part->text.bytes);
    }
    value->text.bytes = path.bytes;
    value->text.data =
        path.failed ? NULL : dt_arena_text_n(m->arena, path.bytes ? path.data : "", path.bytes);
    if (!value->text.data)
        status = dt_fail_memory(m->err, path.bytes, "a path");
done:
    dt_text_free(&path);
    return status;
}

static dt_status make_object(dt_pickle_machine *m, const dt_pickle_global *global, const dt_value *args,
                             dt_value *value)
{
    value->object = DT_NEW(m->arena, dt_pickle_object);
    if (!value->object)
        return dt_fail_memory(m->err, sizeof *value->object, "a pickled object");
    value->object->type = global;
    value->object->args = args;
    return DT_OK;
}

typedef dt_status (*maker)(dt_pickle_machine *m, const dt_pickle_global *global, const dt_value *args,
                           dt_value *value);

static const struct {
    dt_value_kind kind;
    maker make;
} MAKERS[] = {
    /* OPAQUE is the last of dt_global_what, so every kind has a row, if an empty one */
    [DT_GLOBAL_DICT] = {DT_VALUE_DICT, make_dict},       [DT_GLOBAL_LIST] = {DT_VALUE_LIST, make_list},
    [DT_GLOBAL_SET] = {DT_VALUE_SET, make_list},         [DT_GLOBAL_TUPLE] = {DT_VALUE_TUPLE, make_list},
    [DT_GLOBAL_BYTES] = {DT_VALUE_BYTES, make_bytes},    [DT_GLOBAL_TEXT] = {DT_VALUE_TEXT, make_path},
    [DT_GLOBAL_TENSOR] = {DT_VALUE_OBJECT, make_object}, [DT_GLOBAL_OPAQUE] = {DT_VALUE_OBJECT, make_object},
};

/* _rebuild_from_type_v2(f, type, args, state): what f(*args) would be. f must be a tensor's, so this nests once. */
static dt_status call_inner(dt_pickle_machine *m, const dt_pickle_global *global, const dt_value *args,
                            dt_value **out)
{
    const dt_value *inner = argument(args, 0), *inner_args = argument(args, 2);
    if (!dt_value_is(inner, DT_VALUE_GLOBAL) || !dt_value_is(inner_args, DT_VALUE_TUPLE) ||
        (inner->global->what != DT_GLOBAL_TENSOR && inner->global->what != DT_GLOBAL_FIRST))
        return fail_arguments(m, global);
    return dt_pickle_call(m, inner, inner_args, out);
}

/* _reconstructor(class, object, None): how protocols 0 and 1 make an instance; its state follows by BUILD. */
static dt_status call_new(dt_pickle_machine *m, const dt_pickle_global *global, const dt_value *args,
                          dt_value **out)
{
    const dt_value *class = argument(args, 0);
    bool class_is_plain = dt_value_is(class, DT_VALUE_GLOBAL) && class->global->what != DT_GLOBAL_NEW &&
                          class->global->what != DT_GLOBAL_CALL;
    return class_is_plain ? dt_pickle_call(m, class, m->empty, out) : fail_arguments(m, global);
}

dt_status dt_pickle_call(dt_pickle_machine *m, const dt_value *callable, const dt_value *args, dt_value **out)
{
    if (!dt_value_is(callable, DT_VALUE_GLOBAL) || !dt_value_is(args, DT_VALUE_TUPLE))
        return dt_fail(m->err, DT_FORMAT, "byte %zu calls %s with %s", m->opcode_at,
                       callable ? dt_value_kind_name(callable->kind) : "nothing",
                       dt_value_kind_name(args->kind));
    const dt_pickle_global *global = callable->global;
    if (global->what == DT_GLOBAL_CALL)
        return call_inner(m, global, args, out);
    if (global->what == DT_GLOBAL_NEW)
        return call_new(m, global, args, out);
    if (global->what == DT_GLOBAL_FIRST) {
        if (!args->list.count)
            return fail_arguments(m, global);
        *out = args->list.item[0];
        return DT_OK;
    }
    if (!MAKERS[global->what].make)
        return dt_fail(m->err, DT_FORMAT, "byte %zu calls %s.%s, which is no function", m->opcode_at,
                       global->module, global->name);
    *out = dt_pickle_new(m, MAKERS[global->what].kind);
    if (!*out)
        return m->failed;
    return MAKERS[global->what].make(m, global, args, *out);
}

dt_status dt_pickle_build(dt_pickle_machine *m, dt_value *value, const dt_value *state)
{
    if (value->kind == DT_VALUE_DICT) /* an OrderedDict's attributes (_metadata): no entries */
        return DT_OK;
    if (value->kind != DT_VALUE_OBJECT)
        return dt_fail(m->err, DT_FORMAT, "byte %zu gives a state to %s", m->opcode_at,
                       dt_value_kind_name(value->kind));
    if (value->object->state)
        return dt_fail(m->err, DT_FORMAT, "byte %zu gives a second state to a %s.%s", m->opcode_at,
                       value->object->type->module, value->object->type->name);
    value->object->state = state;
    return DT_OK;
}
