/* pickle_fuzz.c - any bytes as a pickle: an error, or a tree that can be walked, in memory of a bounded size. */
#include "formats/torch/pickle.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void walk(const dt_value *value, dt_arena *arena, int depth, size_t *steps)
{
    if (!value || depth == DT_PICKLE_DEPTH || ++*steps > 10000)
        return;
    dt_value_get(value, "key");
    dt_value_text(value, arena);
    switch (value->kind) {
    case DT_VALUE_LIST:
    case DT_VALUE_TUPLE:
    case DT_VALUE_SET:
    case DT_VALUE_DICT:
        for (uint32_t i = 0; i < value->list.count; i++)
            walk(value->list.item[i], arena, depth + 1, steps);
        break;
    case DT_VALUE_OBJECT:
        walk(value->object->args, arena, depth + 1, steps);
        walk(value->object->state, arena, depth + 1, steps);
        walk(value->object->items, arena, depth + 1, steps);
        break;
    case DT_VALUE_PERSISTENT:
        walk(value->persistent.id, arena, depth + 1, steps);
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_error err = {0};
    dt_pickle pickle;
    size_t steps = 0;
    dt_arena *arena = dt_arena_create();
    if (arena && dt_pickle_read(&pickle, arena, data, bytes, &err) == DT_OK)
        walk(pickle.root, arena, 0, &steps);
    if (arena && dt_arena_bytes(arena) > (64 << 20) + 256 * bytes)
        abort();
    dt_arena_destroy(arena);
    return 0;
}
