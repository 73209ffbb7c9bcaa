/*
 * bind.c - ties a mapping's external tensors to stored ones, and accounts for every stored tensor.
 *
 * Nothing is loaded silently wrong: what a file has is used, is an equal copy, falls under a named rule, or is an
 * error; what the model needs is there in the shape that its configuration makes, or the error names both.
 */
#include "base/text.h"
#include "formats/open.h"
#include "models/build.h"
#include "tensor/convert.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 512, COMPARE_BYTES = 1 << 20 };

const char *dt_open_path(dt_checkpoint *c, const char *folder, const char *name)
{
    size_t n = strlen(folder);
    return dt_arena_printf(c->arena, "%s%s%s", folder, n && folder[n - 1] == '/' ? "" : "/", name);
}

void dt_open_fact(dt_checkpoint *c, const char *key, int64_t value)
{
    if (c->fact_count < DT_FACT_LIMIT)
        c->fact[c->fact_count++] = (dt_fact){key, value};
}

void dt_open_problem(dt_checkpoint *c, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    const char *copy = c->problem_count < DT_PROBLEM_LIMIT ? dt_arena_text(c->arena, text) : NULL;
    if (copy)
        c->problem[c->problem_count++] = copy;
}

/*
 * A configuration may ask for more than any file holds; pieces are made of it only when the files could fill them.
 * The slack leaves ordinary contradictions to the checks that name a tensor.
 */
static dt_status check_size(const dt_checkpoint *c, const dt_param_spec *spec, int count, dt_error *err)
{
    double wanted = 0, stored = (double)c->engine_bytes;
    for (int i = 0; i < count; i++)
        wanted += (double)spec[i].dim[0] * (spec[i].rank == 2 ? (double)spec[i].dim[1] : 1);
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++)
        stored += (double)dt_stored_bytes(dt_stored_set_at(c->set, i));
    if (wanted <= 4 * stored + (1 << 22))
        return DT_OK;
    return dt_fail(err, DT_MISMATCH,
                   "%s describes %.0f parameters, but the files hold only %.0f bytes of tensors",
                   c->config_file, wanted, stored);
}

dt_status dt_open_parameters(dt_checkpoint *c, dt_error *err)
{
    const dt_param_spec *spec = NULL;
    int count = 0;
    dt_config_derive(&c->config);
    if (c->config.vision)
        dt_config_derive(&c->parts.vision);
    if (c->config.projection)
        dt_config_derive(&c->parts.projection);
    DT_TRY(dt_config_check(&c->config, err), err, "while checking %s", c->config_file);
    DT_PASS(dt_model_parameters(&c->config, c->arena, &spec, &count, err));
    DT_PASS(check_size(c, spec, count, err));
    return dt_mapping_create(&c->mapping, c->arena, spec, count, err);
}

/* ---- shapes that contradict the configuration ---- */

/* Say in the maker's words which keys make `size`: one key, twice one, or the product of two. */
static void explain_size(const dt_checkpoint *c, int64_t size, char *out, size_t bytes)
{
    out[0] = 0;
    for (int i = 0; i < c->fact_count; i++)
        if (c->fact[i].value == size) {
            snprintf(out, bytes, " (\"%s\" is %" PRId64 ")", c->fact[i].key, size);
            return;
        }
    for (int i = 0; i < c->fact_count; i++)
        for (int j = 0; j < c->fact_count; j++) {
            int64_t a = c->fact[i].value, b = c->fact[j].value, product;
            if (i == j || a < 2 || b < 2 || __builtin_mul_overflow(a, b, &product) || product != size)
                continue;
            snprintf(out, bytes, " (\"%s\" is %" PRId64 ", \"%s\" is %" PRId64 ")", c->fact[i].key, a,
                     c->fact[j].key, b);
            return;
        }
    for (int i = 0; i < c->fact_count; i++)
        if (c->fact[i].value * 2 == size)
            snprintf(out, bytes, " (\"%s\" is %" PRId64 ")", c->fact[i].key, c->fact[i].value);
}

static dt_status wrong_shape(const dt_checkpoint *c, const dt_external *e, const dt_stored_tensor *s,
                             dt_error *err)
{
    char why[256] = "";
    dt_shape shape = dt_external_file_shape(e);
    for (int i = 0; i < shape.rank && i < s->shape.rank && !why[0]; i++)
        if (shape.dim[i] != s->shape.dim[i])
            explain_size(c, shape.dim[i], why, sizeof why);
    dt_fail(err, DT_MISMATCH, "tensor \"%s\" is %s, but %s makes it %s%s", s->name,
            dt_shape_print(&s->shape).text, c->config_file, dt_shape_print(&shape).text, why);
    if (s->box_count)
        dt_error_while(err, "while comparing %s with %s", s->box[0].file, c->config_file);
    return DT_MISMATCH;
}

/* Do the tensor's elements lie one behind another? */
static bool is_dense(const dt_stored_tensor *s)
{
    int64_t stride = 1;
    bool dense = s->box_count == 1;
    for (int i = s->shape.rank - 1; dense && i >= 0; i--) {
        dense = s->shape.dim[i] == 1 || s->box[0].stride[i] == stride;
        stride *= s->shape.dim[i];
    }
    return dense;
}

/* A dense tensor seen in another shape; NULL when memory is short. */
static const dt_stored_tensor *seen_as(const dt_checkpoint *c, const dt_external *e,
                                       const dt_stored_tensor *s)
{
    dt_stored_tensor *view = DT_NEW(c->arena, dt_stored_tensor);
    dt_stored_box *box = DT_NEW(c->arena, dt_stored_box);
    if (!view || !box)
        return NULL;
    *view = *s;
    *box = s->box[0];
    view->shape = box->shape = e->shape;
    view->box = box;
    view->longest = e->shape.dim[0];
    memset(box->offset, 0, sizeof box->offset);
    int64_t stride = 1;
    for (int i = e->shape.rank - 1; i >= 0; i--) {
        box->stride[i] = stride;
        stride *= e->shape.dim[i];
    }
    return view;
}

dt_status dt_open_bind(dt_checkpoint *c, int external, const dt_stored_tensor *s, dt_error *err)
{
    dt_external *e = dt_mapping_external_at(c->mapping, external);
    if (s->unsupported)
        return dt_fail(err, DT_UNSUPPORTED, "tensor \"%s\" is stored as %s, which drivetrain cannot read",
                       s->name, s->unsupported);
    dt_shape shape = dt_external_file_shape(e);
    if (!dt_shape_equal(&shape, &s->shape))
        return wrong_shape(c, e, s, err);
    if (dt_stored_type(s) != DT_F32 && !dt_can_convert(DT_F32, s->dtype))
        return dt_fail(err, DT_UNSUPPORTED, "tensor \"%s\" is stored as %s, expected a floating-point type",
                       s->name, dt_dtype_name(s->dtype));
    if (e->reshaped && !is_dense(s))
        return dt_fail(err, DT_UNSUPPORTED, "tensor \"%s\" lies in pieces, which drivetrain cannot see as %s",
                       s->name, dt_shape_print(&e->shape).text);
    e->stored = e->reshaped ? seen_as(c, e, s) : s;
    return e->stored ? DT_OK : dt_fail_memory(err, sizeof *s, e->name);
}

/* How many layers the configuration has, in its own words: most missing and extra tensors come from that. */
static void explain_layers(const dt_checkpoint *c, char *out, size_t bytes)
{
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; i < c->fact_count && used < bytes; i++)
        if (strstr(c->fact[i].key, "layer") && c->fact[i].value > 0)
            used += (size_t)snprintf(out + used, bytes - used, "%s\"%s\" is %" PRId64, used ? ", " : "; ",
                                     c->fact[i].key, c->fact[i].value);
}

dt_status dt_open_missing(dt_checkpoint *c, int external, dt_error *err)
{
    char layers[256];
    const dt_external *e = dt_mapping_external_at(c->mapping, external);
    explain_layers(c, layers, sizeof layers);
    dt_fail(err, DT_NOT_FOUND, "tensor \"%s\" %s is missing: %s asks for it, no file has it%s", e->name,
            dt_shape_print(&e->shape).text, c->config_file, layers);
    dt_error_try(err, "drivetrain inspect %s --tensors", c->path);
    return DT_NOT_FOUND;
}

/* ---- equal copies ---- */

static bool same_place(const dt_stored_tensor *a, const dt_stored_tensor *b)
{
    return a->box_count == 1 && b->box_count == 1 && a->box[0].data == b->box[0].data &&
           memcmp(a->box[0].stride, b->box[0].stride, sizeof(int64_t) * (size_t)a->shape.rank) == 0;
}

dt_status dt_stored_same(const dt_stored_tensor *a, const dt_stored_tensor *b, bool *same, dt_error *err)
{
    *same = a->dtype == b->dtype && !a->divisor == !b->divisor && !a->factor == !b->factor &&
            dt_shape_equal(&a->shape, &b->shape) && !a->unsupported && !b->unsupported;
    if (!*same || same_place(a, b) || dt_stored_bytes(a) == 0)
        return DT_OK;
    int64_t rows = a->shape.rank ? a->shape.dim[0] : 1;
    dt_dtype type = dt_stored_type(a);
    size_t row_bytes = dt_stored_bytes(a) / (size_t)dt_dtype_block_bytes(a->dtype) *
                       (size_t)dt_dtype_block_bytes(type) / (size_t)rows;
    int64_t chunk = row_bytes < COMPARE_BYTES ? (int64_t)(COMPARE_BYTES / row_bytes) : 1;
    char *buffer = malloc(2 * row_bytes * (size_t)chunk);
    dt_status status =
        buffer ? DT_OK : dt_fail_memory(err, 2 * row_bytes * (size_t)chunk, "comparing tensors");
    for (int64_t row = 0; status == DT_OK && *same && row < rows; row += chunk) {
        dt_stored_region region = {.shape = a->shape};
        int64_t n = rows - row < chunk ? rows - row : chunk;
        char *other = buffer + row_bytes * (size_t)chunk;
        region.offset[0] = row;
        region.shape.dim[0] = n;
        const dt_stored_region *part = a->shape.rank ? &region : NULL;
        status = dt_stored_read(a, part, type, buffer, NULL, err);
        if (status == DT_OK)
            status = dt_stored_read(b, part, type, other, NULL, err);
        *same = status == DT_OK && memcmp(buffer, other, row_bytes * (size_t)n) == 0;
    }
    free(buffer);
    return status;
}

/* ---- by name ---- */

static const dt_stored_tensor *find_joined(const dt_checkpoint *c, const char *before, const char *name)
{
    char full[NAME_BYTES];
    if (!before[0])
        return dt_stored_set_find(c->set, name);
    snprintf(full, sizeof full, "%s%s", before, name);
    return dt_stored_set_find(c->set, full);
}

static const dt_stored_tensor *find_either(const dt_checkpoint *c, const dt_name_table *t, const char *before,
                                           const char *name)
{
    const dt_stored_tensor *s = find_joined(c, before, name);
    size_t n = strlen(t->prefix);
    return !s && n && strncmp(name, t->prefix, n) == 0 ? find_joined(c, before, name + n) : s;
}

/* `name` fits the pattern `from`: what `to` makes of its layer's number. */
static bool translate(const char *from, const char *name, const char *to, char out[NAME_BYTES])
{
    int64_t numbers[2];
    int count;
    return dt_match_numbers(from, name, numbers, 2, &count) &&
           dt_names_fill(out, NAME_BYTES, to, numbers, count);
}

/*
 * Is a tensor of that name one of this model's own? Then it is nobody's copy: a head that is not tied is no embedding.
 * Before the model is known, no.
 */
static bool has_home(const dt_checkpoint *c, const char *before, const char *name)
{
    char full[NAME_BYTES];
    return c->mapping && dt_mapping_external_count(c->mapping) > 0 &&
           snprintf(full, sizeof full, "%s%s", before, name) < (int)sizeof full &&
           dt_mapping_find_external(c->mapping, full) >= 0;
}

const dt_stored_tensor *dt_open_find(const dt_checkpoint *c, const dt_name_table *t, const char *before,
                                     const char *name)
{
    const dt_stored_tensor *s = find_either(c, t, before, name);
    for (int i = 0; i < t->copy_count && !s; i++) {
        char other[NAME_BYTES];
        if (translate(t->copy[i].of, name, t->copy[i].name, other) && !has_home(c, before, other))
            s = find_either(c, t, before, other);
    }
    return s;
}

typedef struct bound {
    const dt_stored_tensor *stored;
    int external;
} bound;

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const bound *)a)->stored, y = (uintptr_t)((const bound *)b)->stored;
    return (x > y) - (x < y);
}

static dt_status unknown_tensor(const dt_checkpoint *c, const dt_stored_tensor *s, dt_error *err)
{
    char layers[256];
    explain_layers(c, layers, sizeof layers);
    dt_fail(err, DT_FORMAT, "tensor \"%s\" %s has no place in the %s that %s describes%s", s->name,
            dt_shape_print(&s->shape).text, c->config.family, c->config_file, layers);
    if (s->box_count)
        dt_error_while(err, "while accounting for the tensors of %s", s->box[0].file);
    return DT_FORMAT;
}

dt_status dt_open_copy(dt_checkpoint *c, const dt_stored_tensor *s, int external, bool lenient, dt_fate *fate,
                       dt_error *err)
{
    bool same = false;
    const dt_external *e = dt_mapping_external_at(c->mapping, external);
    const dt_stored_tensor *of = e->stored, *seen = s;
    if (e->reshaped && dt_shape_equal(&e->file, &s->shape) && is_dense(s) && !(seen = seen_as(c, e, s)))
        return dt_fail_memory(err, sizeof *s, e->name);
    DT_PASS(dt_stored_same(seen, of, &same, err));
    if (!same && !lenient)
        return dt_fail(err, DT_MISMATCH, "tensors \"%s\" and \"%s\" must be equal and are not", s->name,
                       of->name);
    if (!same)
        dt_open_problem(c, "tensor \"%s\" differs from \"%s\", which it should repeat; the latter is used",
                        s->name, of->name);
    *fate = (dt_fate){external, dt_arena_printf(c->arena, "copy of %s", of->name)};
    return fate->rule ? DT_OK : dt_fail_memory(err, 64, "a rule");
}

/* `s`, called `name`, repeats a bound tensor when the table says so; then they must be equal. */
static dt_status try_copies(dt_checkpoint *c, const dt_name_table *t, const char *before, const char *name,
                            const dt_stored_tensor *s, dt_fate *fate, dt_error *err)
{
    for (int i = 0; i < t->copy_count && fate->external < 0; i++) {
        char of[NAME_BYTES], plain[NAME_BYTES];
        if (!translate(t->copy[i].name, name, t->copy[i].of, plain))
            continue;
        snprintf(of, sizeof of, "%s%s", before, plain);
        int external = dt_mapping_find_external(c->mapping, of);
        if (external >= 0)
            DT_PASS(dt_open_copy(c, s, external, false, fate, err));
    }
    return DT_OK;
}

static dt_status decide_fate(dt_checkpoint *c, const dt_name_table *t, const char *before,
                             dt_fate_finder finder, const dt_stored_tensor *s, dt_fate *fate, dt_error *err)
{
    char full[NAME_BYTES];
    const char *name = dt_starts_with(s->name, before) ? s->name + strlen(before) : s->name;
    bool prefixed = t->prefix[0] && !dt_starts_with(name, t->prefix);
    snprintf(full, sizeof full, "%s%s", t->prefix, name);
    if (finder)
        DT_PASS(finder(c, s, fate, err));
    if (fate->external >= 0 || fate->rule)
        return DT_OK;
    for (int i = 0; i < t->skip_count && !fate->rule; i++)
        if (dt_names_fit(t->skip[i].pattern, name) || (prefixed && dt_names_fit(t->skip[i].pattern, full)))
            fate->rule = t->skip[i].rule;
    if (!fate->rule)
        fate->rule = dt_open_scale_rule(c->set, s->name);
    if (fate->rule)
        return DT_OK;
    DT_PASS(try_copies(c, t, before, name, s, fate, err));
    if (prefixed)
        DT_PASS(try_copies(c, t, before, full, s, fate, err));
    return fate->external >= 0 || fate->rule ? DT_OK : unknown_tensor(c, s, err);
}

static dt_status account(dt_checkpoint *c, const dt_name_table *t, const char *before, dt_fate_finder finder,
                         const bound *list, size_t bound_count, dt_error *err)
{
    size_t count = dt_stored_set_count(c->set);
    c->fate = DT_NEW_ARRAY(c->arena, dt_fate, count + 1);
    if (!c->fate)
        return dt_fail_memory(err, sizeof *c->fate * count, "the list of tensors");
    for (size_t i = 0; i < count; i++) {
        bound key = {dt_stored_set_at(c->set, i), -1};
        const bound *hit = bsearch(&key, list, bound_count, sizeof *list, by_address);
        c->fate[i].external = hit ? hit->external : -1;
        if (!hit)
            DT_PASS(decide_fate(c, t, before, finder, key.stored, &c->fate[i], err));
    }
    return DT_OK;
}

dt_status dt_open_bind_names(dt_checkpoint *c, const dt_name_table *t, const char *before,
                             dt_fate_finder finder, dt_error *err)
{
    int count = dt_mapping_external_count(c->mapping);
    size_t skip = strlen(before);
    c->before = before;
    DT_PASS(dt_open_scales(c, err));
    bound *list = DT_NEW_ARRAY(c->arena, bound, count + 1);
    if (!list)
        return dt_fail_memory(err, sizeof *list * (size_t)count, "the list of tensors");
    for (int i = 0; i < count; i++) {
        const char *name = dt_mapping_external_at(c->mapping, i)->name;
        const dt_stored_tensor *s =
            dt_open_find(c, t, before, dt_starts_with(name, before) ? name + skip : name);
        if (!s)
            return dt_open_missing(c, i, err);
        DT_PASS(dt_open_bind(c, i, s, err));
        list[i] = (bound){s, i};
    }
    qsort(list, (size_t)count, sizeof *list, by_address);
    return account(c, t, before, finder, list, (size_t)count, err);
}
