/*
 * json.c - strict reading of foreign JSON through jansson, and writing it for people.
 *
 * jansson checks syntax, UTF-8 and duplicate keys. A scan before it caps the nesting, and notes integers beyond
 * 64 bits, which jansson refuses but tokenizer_config.json files hold ("model_max_length": 10^30): these are
 * read as reals.
 */
#include "base/json.h"

#include "base/map.h"
#include "base/output.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 128 };

static bool is_number_byte(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* The end of the string that opens at text[at]. */
static size_t skip_string(const char *text, size_t bytes, size_t at)
{
    for (at++; at < bytes && text[at] != '"'; at++)
        if (text[at] == '\\')
            at++;
    return at < bytes ? at + 1 : bytes;
}

/* The end of the number that starts at text[at], or `at` when none does. */
static size_t skip_number(const char *text, size_t bytes, size_t at)
{
    if (text[at] != '-' && (text[at] < '0' || text[at] > '9'))
        return at;
    while (at < bytes && is_number_byte(text[at]))
        at++;
    return at;
}

/* Is this number an integer that int64 cannot hold? */
static bool is_huge_integer(const char *number, size_t bytes)
{
    char digits[32];
    bool negative = number[0] == '-';
    for (size_t i = negative; i < bytes; i++)
        if (number[i] < '0' || number[i] > '9')
            return false;
    if (bytes >= sizeof digits)
        return true;
    memcpy(digits, number + negative, bytes - negative);
    digits[bytes - negative] = '\0';
    unsigned __int128 value = 0;
    for (const char *c = digits; *c; c++)
        value = value * 10 + (unsigned)(*c - '0');
    return value > (unsigned __int128)INT64_MAX + negative;
}

/*
 * One pass over the text: refuse deep nesting and NUL bytes; when huge integers occur, fill `rewritten` with a copy in which
 * they are reals. Syntax is not its business: whatever is wrong, jansson will say.
 */
static dt_status scan(const char *text, size_t bytes, const char *what, dt_text *rewritten, dt_error *err)
{
    size_t depth = 0, copied = 0;
    for (size_t at = 0; at < bytes;) {
        size_t end = skip_number(text, bytes, at);
        if (end > at && is_huge_integer(text + at, end - at)) {
            dt_text_append(rewritten, text + copied, end - copied);
            dt_text_put(rewritten, "e0");
            copied = end;
        } else if (text[at] == '"') {
            end = skip_string(text, bytes, at);
        } else if (end == at) {
            end = at + 1;
            if (text[at] == '[' || text[at] == '{')
                depth++;
            else if ((text[at] == ']' || text[at] == '}') && depth > 0)
                depth--;
            if (text[at] == '\0') /* jansson would take one at the end for the end */
                return dt_fail(err, DT_FORMAT, "%s: a NUL byte at byte %zu", what, at);
            if (depth > DEEPEST)
                return dt_fail(err, DT_LIMIT, "%s: nested deeper than %d at byte %zu", what, DEEPEST, at);
        }
        at = end;
    }
    if (copied > 0)
        dt_text_append(rewritten, text + copied, bytes - copied);
    return rewritten->failed ? dt_fail_memory(err, bytes, "JSON text") : DT_OK;
}

static dt_status load_text(json_t **out, const char *text, size_t bytes, const char *what, dt_error *err)
{
    json_error_t error;
    *out = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (*out)
        return DT_OK;
    if (json_error_code(&error) == json_error_out_of_memory || !error.text[0]) /* mistakes have words */
        return dt_fail_memory(err, bytes, "parsed JSON");
    return dt_fail(err, DT_FORMAT, "%s: line %d, column %d: %s", what, error.line, error.column, error.text);
}

dt_status dt_json_parse(json_t **out, const char *text, size_t bytes, const char *what, dt_error *err)
{
    *out = NULL;
    if (bytes == 0) /* jansson takes NULL for a mistake of ours */
        return dt_fail(err, DT_FORMAT, "%s: empty, where JSON was expected", what);
    dt_text rewritten = {0};
    dt_status status = scan(text, bytes, what, &rewritten, err);
    if (status == DT_OK)
        status = rewritten.data ? load_text(out, rewritten.data, rewritten.bytes, what, err)
                                : load_text(out, text, bytes, what, err);
    dt_text_free(&rewritten);
    return status;
}

dt_status dt_json_load(json_t **out, const char *path, size_t limit, dt_error *err)
{
    *out = NULL;
    dt_map map;
    DT_PASS(dt_map_open(&map, path, err));
    dt_status status = map.size > limit ? dt_fail(err, DT_LIMIT, "%s: %zu bytes, where at most %zu are read",
                                                  path, map.size, limit)
                                        : dt_json_parse(out, (const char *)map.data, map.size, path, err);
    dt_map_close(&map);
    return status;
}

/* Append the shortest decimal that reads back as the same number: jansson writes 1e-05 with 17 digits. */
static void put_shortest(dt_text *out, const char *number, size_t bytes)
{
    json_t *value = json_loadb(number, bytes, JSON_DECODE_ANY, NULL);
    char *best = NULL;
    for (size_t digits = 15; value && json_is_real(value) && !best && digits < 17; digits++) {
        char *trial = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        json_t *again = trial ? json_loads(trial, JSON_DECODE_ANY, NULL) : NULL;
        if (again && json_is_real(again) && json_real_value(again) == json_real_value(value))
            best = trial;
        else
            free(trial);
        json_decref(again);
    }
    if (best)
        dt_text_put(out, best);
    else
        dt_text_append(out, number, bytes);
    free(best);
    json_decref(value);
}

static void shorten_reals(dt_text *out, const char *text)
{
    size_t bytes = strlen(text);
    for (size_t at = 0; at < bytes;) {
        size_t end = skip_number(text, bytes, at);
        if (end > at) {
            put_shortest(out, text + at, end - at);
        } else {
            end = text[at] == '"' ? skip_string(text, bytes, at) : at + 1;
            dt_text_append(out, text + at, end - at);
        }
        at = end;
    }
    dt_text_put(out, "\n");
}

dt_status dt_json_save(const json_t *json, const char *path, dt_error *err)
{
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_ENCODE_ANY);
    dt_text pretty = {0};
    if (text)
        shorten_reals(&pretty, text);
    free(text);
    dt_output *output = NULL;
    dt_status status = DT_OK;
    if (!text || pretty.failed)
        DT_GO(status, dt_fail(err, DT_NO_MEMORY, "%s: cannot write these values as JSON", path));
    DT_GO(status, dt_output_open(&output, path, true, err));
    DT_GO(status, dt_output_write(output, pretty.data, pretty.bytes, err));
    status = dt_output_commit(output, err);
    output = NULL;
done:
    dt_output_discard(output);
    dt_text_free(&pretty);
    return status;
}

json_t *dt_json_get(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key); /* NULL when `object` is none */
    return json_is_null(value) ? NULL : value;
}

static const char *type_name(const json_t *value)
{
    static const char *const name[] = {"an object",     "an array", "a string", "an integer",
                                       "a real number", "true",     "false",    "null"};
    return name[json_typeof(value)];
}

static dt_status wrong_type(const json_t *value, const char *key, const char *expected, dt_error *err)
{
    return dt_fail(err, DT_FORMAT, "key \"%s\": expected %s, found %s", key, expected, type_name(value));
}

dt_status dt_json_int(const json_t *object, const char *key, int64_t *out, dt_error *err)
{
    const json_t *value = dt_json_get(object, key);
    if (!value)
        return DT_OK;
    if (!json_is_integer(value))
        return wrong_type(value, key, "an integer", err);
    *out = json_integer_value(value);
    return DT_OK;
}

dt_status dt_json_real(const json_t *object, const char *key, double *out, dt_error *err)
{
    const json_t *value = dt_json_get(object, key);
    if (!value)
        return DT_OK;
    if (!json_is_number(value))
        return wrong_type(value, key, "a number", err);
    *out = json_number_value(value);
    return DT_OK;
}

dt_status dt_json_bool(const json_t *object, const char *key, bool *out, dt_error *err)
{
    const json_t *value = dt_json_get(object, key);
    if (!value)
        return DT_OK;
    if (!json_is_boolean(value))
        return wrong_type(value, key, "true or false", err);
    *out = json_boolean_value(value);
    return DT_OK;
}

dt_status dt_json_string(const json_t *object, const char *key, const char **out, dt_error *err)
{
    const json_t *value = dt_json_get(object, key);
    if (!value)
        return DT_OK;
    if (!json_is_string(value))
        return wrong_type(value, key, "a string", err);
    if (strlen(json_string_value(value)) != json_string_length(value))
        return dt_fail(err, DT_FORMAT, "key \"%s\": the string holds a NUL character", key);
    *out = json_string_value(value);
    return DT_OK;
}

/* One of two positive numbers that an int32 holds. */
static bool side_of(const json_t *pair, size_t index, int32_t *out)
{
    json_int_t value = json_integer_value(json_array_get(pair, index));
    *out = value > 0 && value <= INT32_MAX ? (int32_t)value : 0;
    return *out > 0;
}

dt_status dt_json_pairs(const json_t *object, const char *key, int limit, int *count, int32_t (*out)[2],
                        dt_error *err)
{
    const json_t *list = dt_json_get(object, key);
    size_t size = json_array_size(list);
    if (!list)
        return DT_OK;
    if (!json_is_array(list) || size > (size_t)limit)
        return dt_fail(err, DT_FORMAT, "key \"%s\" is no list of at most %d pairs", key, limit);
    for (size_t i = 0; i < size; i++) {
        const json_t *pair = json_array_get(list, i);
        if (json_array_size(pair) != 2 || !side_of(pair, 0, &out[i][0]) || !side_of(pair, 1, &out[i][1]))
            return dt_fail(err, DT_FORMAT, "key \"%s\": entry %zu is no pair of positive numbers", key, i);
    }
    *count = (int)size;
    return DT_OK;
}

json_t *dt_json_from_pairs(int count, const int32_t (*pair)[2])
{
    json_t *list = json_array();
    for (int i = 0; list && i < count; i++)
        json_array_append_new(list, json_pack("[I,I]", (json_int_t)pair[i][0], (json_int_t)pair[i][1]));
    return list;
}
