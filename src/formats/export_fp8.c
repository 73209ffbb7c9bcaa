/*
 * export_fp8.c - which tensors of an export are written as 8-bit floats (e4m3), and the scales beside them: one a row, so
 * that a row's bytes depend on that row alone, as those of every other type do.
 *
 * The matrices of layers are; embeddings, norms, heads, routers, experts and what lies transposed stay in 16 bits.
 * export_make.c makes the bytes and the scales, scales.c reads them back.
 */
#include "base/text.h"
#include "formats/open.h"

#include <string.h>

/* Is all of it rows of linear layers' weights, as they are? */
static bool is_quantised(const dt_mapping *to, int external)
{
    const dt_external *e = dt_mapping_external_at(to, external);
    if (e->axes != 2 || e->shape.rank != 2 || e->reshaped || !dt_ends_with(e->name, "weight"))
        return false;
    for (int i = 0; i < e->piece_count; i++)
        if (dt_mapping_piece_at(to, e->piece[i])->transposed)
            return false;
    return e->canonical && strstr(e->canonical, ".layers.") && strstr(e->canonical, ".linear_") &&
           dt_ends_with(e->canonical, ".weight") && !strstr(e->canonical, ".experts.");
}

dt_status dt_export_fp8(const dt_export_options *options, dt_arena *arena, dt_export_plan *plan,
                        dt_error *err)
{
    int count = dt_mapping_external_count(plan->mapping), entries = plan->entry_count;
    if (!options->quantize || strcmp(options->quantize, "fp8") != 0)
        return DT_OK;
    dt_dtype *type = DT_NEW_ARRAY(arena, dt_dtype, count + 1);
    dt_export_entry *entry = DT_NEW_ARRAY(arena, dt_export_entry, 2 * entries + 1);
    if (!type || !entry)
        return dt_fail_memory(err, sizeof *entry * (size_t)entries, "the tensors to write");
    for (int i = 0; i < count; i++)
        type[i] = is_quantised(plan->mapping, i) ? DT_F8E4M3 : plan->dtype[i];
    plan->entry_count = 0;
    for (int i = 0; i < entries; i++) {
        entry[plan->entry_count++] = plan->entry[i];
        if (type[plan->entry[i].external] != DT_F8E4M3)
            continue;
        const char *name = dt_arena_printf(arena, "%s_scale", plan->entry[i].name);
        if (!name)
            return dt_fail_memory(err, 256, "a scale's name");
        entry[plan->entry_count - 1].form = DT_MAKE_FP8;
        entry[plan->entry_count++] = (dt_export_entry){name, plan->entry[i].external, DT_MAKE_FP8_SCALES};
    }
    plan->dtype = type;
    plan->entry = entry;
    return DT_OK;
}
