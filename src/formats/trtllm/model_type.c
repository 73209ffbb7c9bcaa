/*
 * model_type.c (trtllm) - the table of model types (model_types.def).
 */
#include "base/text.h"
#include "formats/trtllm/trtllm.h"

#include <string.h>

static const dt_trtllm_type types[] = {
#define TYPE(name, architecture, names, keys)                                                                \
    {#name, architecture, {&dt_trtllm_##names##_names}, 1, dt_trtllm_write_##keys, dt_trtllm_read_##keys},
#define PAIR(name, architecture, first, second, keys)                                                        \
    {#name, architecture,           {&dt_trtllm_##first##_names, &dt_trtllm_##second##_names},               \
     2,     dt_trtllm_write_##keys, dt_trtllm_read_##keys},
#include "formats/trtllm/model_types.def"
#undef TYPE
#undef PAIR
};

enum { TYPES = sizeof types / sizeof types[0] };

const dt_trtllm_type *dt_trtllm_type_at(int index)
{
    return index >= 0 && index < TYPES ? &types[index] : NULL;
}

dt_status dt_trtllm_type_named(const char *name, const dt_trtllm_type **out, dt_error *err)
{
    const char *names[TYPES];
    dt_text list = {0};
    for (int i = 0; i < TYPES; i++) {
        if (strcmp(types[i].name, name) == 0) {
            *out = &types[i];
            return DT_OK;
        }
        names[i] = types[i].name;
    }
    for (int i = 0; i < TYPES; i++)
        dt_text_printf(&list, "%s%s", i ? ", " : "", names[i]);
    const char *near = dt_nearest(name, names, TYPES);
    dt_fail(err, DT_UNSUPPORTED, "no model type \"%s\"; TensorRT-LLM's are %s%s%s%s", name,
            list.data ? list.data : "", near ? " (nearest: " : "", near ? near : "", near ? ")" : "");
    dt_text_free(&list);
    return DT_UNSUPPORTED;
}

dt_status dt_trtllm_type_of(const char *architecture, const dt_trtllm_type **out, dt_error *err)
{
    dt_text list = {0};
    for (int i = 0; i < TYPES; i++)
        if (strcmp(types[i].architecture, architecture) == 0) {
            *out = &types[i];
            return DT_OK;
        }
    for (int i = 0; i < TYPES; i++)
        if (!i || strcmp(types[i].architecture, types[i - 1].architecture) != 0)
            dt_text_printf(&list, "%s%s", i ? ", " : "", types[i].architecture);
    dt_fail(err, DT_UNSUPPORTED, "\"architecture\" is \"%s\"; drivetrain reads %s", architecture,
            list.data ? list.data : "");
    dt_text_free(&list);
    return DT_UNSUPPORTED;
}
