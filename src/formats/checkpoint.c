/*
 * checkpoint.c - the public calls on checkpoints: open by content, describe, list, read, make the makers' tensors.
 *
 * Readers and writers of formats are rows of formats.def; bind.c ties names to files; export.c writes; check.c reads
 * every byte.
 */
#include "base/output.h"
#include "base/text.h"
#include "formats/open.h"
#include "tensor/convert.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const dt_format formats[] = {
#define FORMAT(name, description, detect, open, writes, write) {name, description, detect, open, write},
#include "formats/formats.def"
#undef FORMAT
};

static const dt_format_about about_formats[] = {
#define FORMAT(name, description, detect, open, writes, write) {name, description, true, writes},
#include "formats/formats.def"
#undef FORMAT
};

enum { FORMAT_COUNT = sizeof formats / sizeof formats[0] };

const dt_format_about *dt_format_at(int index)
{
    return index >= 0 && index < FORMAT_COUNT ? &about_formats[index] : NULL;
}

const dt_format *dt_format_named(const char *name)
{
    for (int i = 0; i < FORMAT_COUNT; i++)
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    return NULL;
}

/* ---- opening ---- */

dt_status dt_format_unknown(const char *name, dt_error *err)
{
    const char *names[FORMAT_COUNT];
    dt_text list = {0};
    for (int i = 0; i < FORMAT_COUNT; i++) {
        names[i] = formats[i].name;
        dt_text_printf(&list, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = dt_nearest(name, names, FORMAT_COUNT);
    dt_fail(err, DT_UNSUPPORTED, "no checkpoint format \"%s\"; there are %s", name,
            list.data ? list.data : "");
    if (near)
        dt_error_try(err, "%s", near);
    dt_text_free(&list);
    return DT_UNSUPPORTED;
}

static dt_status find_format(const char *path, const char *wanted, const dt_format **out, dt_error *err)
{
    *out = wanted ? dt_format_named(wanted) : NULL;
    if (wanted)
        return *out ? DT_OK : dt_format_unknown(wanted, err);
    if (!dt_is_folder(path) && !dt_is_file(path))
        return dt_fail(err, DT_NOT_FOUND, "there is no file or folder %s", path);
    for (int i = 0; i < FORMAT_COUNT && !*out; i++)
        if (formats[i].detect(path))
            *out = &formats[i];
    if (*out)
        return DT_OK;
    dt_fail(err, DT_FORMAT, "%s holds no checkpoint that drivetrain knows", path);
    if (dt_is_file(path))
        dt_error_try(err, "the folder that the file is in");
    else
        dt_error_try(err,
                     "a folder with config.json and *.safetensors (or pytorch_model.bin), config.json and "
                     "state.safetensors, mp_rank_*/model_optim_rng.pt, or .metadata and *.distcp");
    return DT_FORMAT;
}

/* Weights in f32 are their own masters; rounded ones mean that the reader found none. */
static dt_status check_masters(const dt_checkpoint *c, dt_error *err)
{
    for (int i = 0; i < dt_mapping_external_count(c->mapping); i++) {
        const dt_stored_tensor *s = dt_mapping_external_at(c->mapping, i)->stored;
        if (s->dtype != DT_F32)
            return dt_fail(
                err, DT_NOT_FOUND,
                "unrounded masters were asked for, but \"%s\" is stored as %s and no master by that name "
                "lies beside it",
                s->name, dt_dtype_name(s->dtype));
    }
    return DT_OK;
}

dt_status dt_checkpoint_open(dt_checkpoint **out, const char *path, const dt_open_options *options,
                             dt_error *err)
{
    static const dt_open_options plain = {0};
    const dt_format *format = NULL;
    dt_arena *arena;
    *out = NULL;
    if (!options)
        options = &plain;
    DT_TRY(find_format(path, options->format, &format, err), err, "cannot open %s", path);
    if (!(arena = dt_arena_create()))
        return dt_fail_memory(err, sizeof(dt_checkpoint), "a checkpoint");
    dt_checkpoint *c = DT_NEW(arena, dt_checkpoint);
    if (!c || !(c->path = dt_arena_text(arena, path))) {
        dt_arena_destroy(arena);
        return dt_fail_memory(err, sizeof *c, "a checkpoint");
    }
    c->arena = arena;
    c->root = c->path;
    c->config_file = "the configuration";
    c->format = format;
    c->log = options->log;
    c->iteration = -1;
    c->tensor_parallel = c->pipeline_parallel = c->virtual_pipeline = c->expert_parallel = 1;
    dt_config_init(&c->config);
    dt_status status = dt_stored_set_create(&c->set, err);
    if (status == DT_OK)
        status = format->open(c, options, err);
    if (status == DT_OK && options->part)
        status = dt_open_part(c, options->part, err);
    if (status == DT_OK && options->master_weights)
        status = check_masters(c, err);
    if (status != DT_OK) {
        dt_error_while(err, "cannot open %s as %s", path, format->name);
        dt_checkpoint_close(c);
        return status;
    }
    *out = c;
    return DT_OK;
}

void dt_checkpoint_close(dt_checkpoint *c)
{
    if (!c)
        return;
    dt_stored_set_destroy(c->set);
    dt_bundle_close(c->bundle);
    dt_arena_destroy(c->arena); /* holds *c itself */
}

/* ---- describing ---- */

const dt_model_config *dt_checkpoint_config(const dt_checkpoint *c)
{
    return &c->config;
}

static int listed_count(const dt_checkpoint *c)
{
    return (int)(dt_stored_set_count(c->set) + dt_stored_set_object_count(c->set));
}

dt_checkpoint_about dt_checkpoint_describe(const dt_checkpoint *c)
{
    dt_checkpoint_about about = {.path = c->path,
                                 .format = c->format->name,
                                 .tensor_parallel = c->tensor_parallel,
                                 .pipeline_parallel = c->pipeline_parallel,
                                 .virtual_pipeline = c->virtual_pipeline,
                                 .expert_parallel = c->expert_parallel,
                                 .iteration = c->iteration,
                                 .tensor_count = listed_count(c),
                                 .problem_count = c->problem_count};
    for (int i = 0; i < dt_mapping_count(c->mapping); i++) {
        const dt_canonical *t = dt_mapping_at(c->mapping, i);
        about.parameters += t->rows * t->cols;
    }
    for (int i = 0; i < dt_mapping_external_count(c->mapping); i++)
        about.bytes += dt_stored_bytes(dt_mapping_external_at(c->mapping, i)->stored);
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++)
        about.skipped_count += c->fate[i].rule != NULL;
    about.skipped_count += (int)dt_stored_set_object_count(c->set);
    about.bytes += c->engine_bytes;
    return about;
}

static const char *relative_file(const dt_checkpoint *c, const char *file)
{
    size_t n = strlen(c->root);
    if (!file || strncmp(file, c->root, n) != 0)
        return file;
    for (file += n; *file == '/'; file++)
        ;
    return file;
}

static void object_at(const dt_checkpoint *c, size_t index, dt_checkpoint_tensor *out)
{
    const dt_stored_object *o = dt_stored_set_object_at(c->set, index);
    *out = (dt_checkpoint_tensor){.name = o->name,
                                  .rule = dt_format_object_rule(o->name),
                                  .file = relative_file(c, o->map ? o->map->path : NULL),
                                  .dtype = DT_U8,
                                  .rank = 1,
                                  .dim = {(int64_t)o->bytes},
                                  .bytes = o->bytes};
}

bool dt_checkpoint_tensor_at(const dt_checkpoint *c, int index, dt_checkpoint_tensor *out)
{
    if (index < 0 || index >= listed_count(c))
        return false;
    size_t tensors = dt_stored_set_count(c->set);
    if ((size_t)index >= tensors) {
        object_at(c, (size_t)index - tensors, out);
        return true;
    }
    const dt_stored_tensor *s = dt_stored_set_at(c->set, (size_t)index);
    const dt_fate *fate = &c->fate[index];
    const dt_external *e = dt_mapping_external_at(c->mapping, fate->external);
    *out = (dt_checkpoint_tensor){.name = s->name,
                                  .canonical = e && !fate->rule ? e->canonical : NULL,
                                  .rule = fate->rule,
                                  .file = relative_file(c, s->box_count ? s->box[0].file : NULL),
                                  .dtype = s->dtype,
                                  .rank = s->shape.rank,
                                  .bytes = dt_stored_bytes(s)};
    memcpy(out->dim, s->shape.dim, sizeof out->dim);
    return true;
}

const char *dt_checkpoint_problem_at(const dt_checkpoint *c, int index)
{
    return index >= 0 && index < c->problem_count ? c->problem[index] : NULL;
}

/* ---- reading ---- */

dt_status dt_checkpoint_shape(const dt_checkpoint *c, const char *canonical, int *rank, int64_t dim[5],
                              dt_dtype *stored, dt_error *err)
{
    int index;
    DT_PASS(dt_mapping_get(c->mapping, canonical, &index, err));
    const dt_param_spec *spec = dt_mapping_at(c->mapping, index)->spec;
    if (rank)
        *rank = spec->rank;
    for (int i = 0; dim && i < 5; i++)
        dim[i] = i < spec->rank ? spec->dim[i] : 0;
    if (stored)
        *stored = dt_mapping_stored_type(c->mapping, index);
    return DT_OK;
}

bool dt_checkpoint_shifted(const dt_checkpoint *c, const char *canonical)
{
    int index = dt_mapping_find(c->mapping, canonical);
    const dt_canonical *tensor = index >= 0 ? dt_mapping_at(c->mapping, index) : NULL;
    for (int i = 0; tensor && i < tensor->count; i++)
        if (dt_mapping_piece_at(c->mapping, tensor->first + i)->shift != 0)
            return true;
    return false;
}

/* An engine's weights lie as kernels read them, and nothing else can be made of them. */
dt_status dt_checkpoint_refuse_engine(const dt_checkpoint *c, dt_error *err)
{
    if (!c->bundle)
        return DT_OK;
    dt_fail(err, DT_UNSUPPORTED, "%s is an engine: it runs, but its weights cannot be read by name", c->path);
    dt_error_try(err, "the model that it was made from");
    return DT_UNSUPPORTED;
}

dt_status dt_checkpoint_read(const dt_checkpoint *c, const char *canonical, int64_t row, int64_t rows,
                             dt_dtype dtype, void *out, dt_error *err)
{
    int index;
    DT_PASS(dt_checkpoint_refuse_engine(c, err));
    DT_PASS(dt_mapping_get(c->mapping, canonical, &index, err));
    int64_t cols = dt_mapping_at(c->mapping, index)->cols;
    dt_block block = {row, 0, rows, cols};
    dt_window window = {dtype, out, cols, 1};
    return dt_mapping_read(c->mapping, index, &block, &window, err);
}

const void *dt_checkpoint_direct(const dt_checkpoint *c, const char *canonical, dt_dtype dtype)
{
    int index = dt_mapping_find(c->mapping, canonical);
    const dt_canonical *t = dt_mapping_at(c->mapping, index);
    if (!t || t->count != 1 || !t->covered)
        return NULL;
    const dt_piece *p = dt_mapping_piece_at(c->mapping, t->first);
    const dt_external *e = dt_mapping_external_at(c->mapping, p->external);
    int64_t rows, cols;
    dt_external_rows(e, &rows, &cols);
    if (p->transposed || p->shift != 0 || p->col || p->cols != cols || e->stored->dtype != dtype)
        return NULL;
    const char *data = dt_stored_dense(e->stored);
    int64_t in_plane = e->shape.dim[e->shape.rank - e->axes];
    int64_t skipped = (p->plane * in_plane + p->row) * cols;
    return data ? data + skipped / dt_dtype_block_elements(dtype) * dt_dtype_block_bytes(dtype) : NULL;
}

void dt_checkpoint_drop(const dt_checkpoint *c, const char *canonical)
{
    int index = dt_mapping_find(c->mapping, canonical);
    if (index >= 0)
        dt_mapping_drop(c->mapping, index);
}

/* ---- writing ---- */

dt_status dt_checkpoint_export(const dt_checkpoint *c, const char *path, const dt_export_options *options,
                               dt_export_result *result, dt_error *err)
{
    dt_export_result ignored;
    if (!result)
        result = &ignored;
    *result = (dt_export_result){0};
    DT_PASS(dt_checkpoint_refuse_engine(c, err));
    const dt_format *format = dt_format_named(options->format);
    if (!format)
        return dt_format_unknown(options->format, err);
    if (!format->write)
        return dt_fail(err, DT_UNSUPPORTED, "format \"%s\" can be read, but not written yet", format->name);
    DT_TRY(format->write(c, path, options, result, err), err, "cannot export %s as %s", c->path,
           format->name);
    return DT_OK;
}
