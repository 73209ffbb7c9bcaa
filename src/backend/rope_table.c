/*
 * rope_table.c - dynamic NTK and longrope: which frequencies a sequence of some length rotates by.
 *
 * Peer     transformers modeling_rope_utils.py `_compute_dynamic_ntk_parameters`, `longrope_frequency_update`
 * Numbers  f32 in the maker's order: there the length is a tensor, so the base is computed in f32 as well.
 */
#include "backend/rope_table.h"

#include <math.h>

int64_t dt_rope_pairs(const dt_rope_spec *spec, int64_t count)
{
    return spec->growth == DT_ROPE_TWO_TABLES ? count / 2 : count;
}

const float *dt_rope_table(const dt_rope_spec *spec, const float *inv_freq, int64_t pairs, int64_t length,
                           float *room)
{
    bool grown = spec->growth != DT_ROPE_CONSTANT && length > spec->trained;
    if (!grown)
        return inv_freq;
    if (spec->growth == DT_ROPE_TWO_TABLES)
        return inv_freq + pairs;
    double size = 2.0 * (double)pairs;
    float stretch = (float)spec->factor * (float)length / (float)spec->trained - (float)(spec->factor - 1);
    float base = (float)spec->base * powf(stretch, (float)(size / (size - 2)));
    for (int64_t i = 0; i < pairs; i++)
        room[i] = 1.0f / powf(base, (float)(2 * i) / (float)size);
    return room;
}
