/*
 * makers.c - tensors under their makers' names, made from canonical ones: gradients, for those who know them by those names.
 *
 * First come the names of the checkpoint's own files; a model that was carried elsewhere is still known by those of
 * Megatron's modules (a file of torch_dist stacks layers, a module does not) and by its Hugging Face class's.
 */
#include "formats/hf/family.h"
#include "formats/megatron/megatron.h"
#include "formats/open.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct rows_source {
    dt_canonical_reader read;
    void *user;
} rows_source;

/* Whole rows from the caller, then the block out of them. */
static dt_status read_rows(void *user, const dt_canonical *canonical, const dt_block *b, const dt_window *t,
                           dt_error *err)
{
    const rows_source *source = user;
    size_t bytes = sizeof(float) * (size_t)(b->rows * canonical->cols);
    float *rows = malloc(bytes + 1);
    if (!rows)
        return dt_fail_memory(err, bytes, canonical->spec->name);
    dt_status status = source->read(source->user, canonical->spec->name, b->row, b->rows, rows, err);
    for (int64_t i = 0; status == DT_OK && i < b->rows; i++)
        for (int64_t j = 0; j < b->cols; j++)
            ((float *)t->out)[i * t->row_stride + j * t->col_stride] = rows[i * canonical->cols + b->col + j];
    free(rows);
    return status;
}

/* ---- whose names ---- */

/* CLASS and what follows: the ways in which transformers has spelt a class's names. */
typedef enum speech { MODULES, LOCAL_MODULES, CLASS, SPEECHES = CLASS + DT_HF_SPELLINGS } speech;

static dt_status spell(const dt_checkpoint *c, speech how, dt_arena *arena, dt_mapping *m, dt_error *err)
{
    const dt_name_table *names = NULL;
    const dt_hf_family *family = dt_hf_family_find(c->config.family);
    if (how >= CLASS && !family)
        return dt_fail(err, DT_NOT_FOUND, "a %s has no class of Hugging Face's", c->config.family);
    if (how < CLASS)
        return dt_megatron_map(&c->config, NULL, "", how == LOCAL_MODULES ? DT_SPELL_LOCAL : DT_SPELL_TE, m,
                               err);
    DT_PASS(dt_hf_names(family, &c->config, (int)(how - CLASS), arena, &names, err));
    return dt_names_map(m, names, &c->config, err);
}

/* The model's tensors under other names than its file's; everything lives in `arena`. */
static dt_status map_otherwise(const dt_checkpoint *c, speech how, dt_arena *arena, dt_mapping **out,
                               dt_error *err)
{
    int count = dt_mapping_count(c->mapping);
    dt_param_spec *spec = DT_NEW_ARRAY(arena, dt_param_spec, count + 1);
    if (!spec)
        return dt_fail_memory(err, sizeof *spec * (size_t)count, "names");
    for (int i = 0; i < count; i++)
        spec[i] = *dt_mapping_at(c->mapping, i)->spec;
    DT_PASS(dt_mapping_create(out, arena, spec, count, err));
    return spell(c, how, arena, *out, err);
}

static int external_of_name(const dt_checkpoint *c, const char *name)
{
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++)
        if (strcmp(dt_stored_set_at(c->set, i)->name, name) == 0)
            return c->fate[i].external;
    return dt_mapping_find_external(c->mapping, name);
}

/* ---- */

static dt_status assemble(const dt_mapping *m, int external, const rows_source *rows, float *out,
                          int64_t elements, dt_error *err)
{
    dt_canonical_source source = {read_rows, (void *)(uintptr_t)rows};
    const dt_external *e = dt_mapping_external_at(m, external);
    int64_t count, cols;
    dt_external_rows(e, &count, &cols);
    if (count * cols != elements)
        return dt_fail(err, DT_MISMATCH, "tensor \"%s\" has %" PRId64 " elements, %" PRId64 " were asked for",
                       e->name, count * cols, elements);
    return dt_mapping_assemble(m, external, 0, count, &source, DT_F32, out, err);
}

dt_status dt_checkpoint_external(const dt_checkpoint *c, const char *name, dt_canonical_reader read,
                                 void *user, float *out, int64_t elements, dt_error *err)
{
    const rows_source rows = {read, user};
    dt_status status = DT_NOT_FOUND;
    DT_PASS(dt_checkpoint_refuse_engine(c, err));
    int external = external_of_name(c, name);
    if (external >= 0)
        return assemble(c->mapping, external, &rows, out, elements, err);
    for (int i = 0; status == DT_NOT_FOUND && i < SPEECHES; i++) {
        dt_mapping *m;
        dt_arena *arena = dt_arena_create();
        if (!arena)
            return dt_fail_memory(err, 0, "names");
        if (map_otherwise(c, (speech)i, arena, &m, NULL) == DT_OK &&
            (external = dt_mapping_find_external(m, name)) >= 0)
            status = assemble(m, external, &rows, out, elements, err);
        dt_arena_destroy(arena);
    }
    return status != DT_NOT_FOUND
               ? status
               : dt_fail(err, DT_NOT_FOUND, "%s has no tensor \"%s\" that the model is made of", c->path,
                         name);
}
