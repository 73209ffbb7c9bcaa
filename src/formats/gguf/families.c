/*
 * families.c (gguf) - which family an architecture is, and which architecture holds a model.
 */
#include "formats/gguf/family.h"

#include "base/json.h"
#include "base/text.h"

#include <string.h>

bool dt_gguf_has(const json_t *metadata, const char *tensor)
{
    return json_object_get(json_object_get(metadata, "tensors"), tensor) != NULL;
}

int dt_gguf_put_tensor(json_t *metadata, const char *tensor)
{
    json_t *list = json_object_get(metadata, "tensors");
    if (!list && json_object_set_new(metadata, "tensors", list = json_object()))
        return -1;
    return json_object_set_new(list, tensor, json_true());
}

static bool has_experts(const json_t *metadata)
{
    return json_integer_value(json_object_get(metadata, "expert_count")) > 0;
}

static bool has_no_experts(const json_t *metadata)
{
    return !has_experts(metadata);
}

static bool has_window(const json_t *metadata)
{
    return json_object_get(metadata, "drivetrain.sliding_window") != NULL;
}

static bool has_bias_per_layer(const json_t *metadata)
{
    return dt_gguf_has(metadata, "enc.blk.1.attn_rel_b.weight");
}

static const dt_gguf_family families[] = {
#define ROW(label, architecture, fits) {architecture, &dt_gguf_##label##_family, fits},
#include "formats/gguf/families.def"
#undef ROW
};

enum { COUNT = sizeof families / sizeof families[0] };

dt_status dt_gguf_family_of(const char *architecture, const json_t *metadata, const dt_gguf_family **out,
                            dt_error *err)
{
    const char *names[COUNT];
    dt_text list = {0};
    for (int i = 0; i < COUNT; i++) {
        *out = &families[i];
        names[i] = families[i].architecture;
        if (strcmp(names[i], architecture) == 0 && (!families[i].fits || families[i].fits(metadata)))
            return DT_OK;
    }
    for (int i = 0; i < COUNT; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            dt_text_printf(&list, "%s%s", i ? ", " : "", names[i]);
    const char *near = dt_nearest(architecture, names, COUNT);
    dt_fail(err, DT_UNSUPPORTED, "\"general.architecture\" is \"%s\"; drivetrain reads %s%s%s%s",
            architecture, list.data ? list.data : "", near ? " (nearest: " : "", near ? near : "",
            near ? ")" : "");
    dt_text_free(&list);
    return DT_UNSUPPORTED;
}

/* The first row of those asked for that holds the model; the first of its kind that does not is *nearest, and *why says why. */
static dt_status search(const dt_model_config *c, bool own, const dt_gguf_family **out,
                        const dt_gguf_family **nearest, const char **why, dt_error *err)
{
    *out = NULL;
    for (int i = 0; i < COUNT; i++) {
        const char *key = NULL;
        if ((strcmp(families[i].model->model_type, c->family) == 0) != own)
            continue;
        dt_status status = dt_hf_obstacle(families[i].model, c, &key, err);
        if (status == DT_NO_MEMORY)
            return status;
        if (status == DT_OK && !key) {
            *out = &families[i];
            return DT_OK;
        }
        if (status == DT_OK && (!*nearest || (strcmp(*why, "model_type") == 0 && strcmp(key, *why) != 0))) {
            *nearest = &families[i];
            *why = key;
        }
        dt_error_clear(err);
    }
    return DT_OK;
}

dt_status dt_gguf_family_for(const dt_model_config *c, const dt_gguf_family **out, dt_error *err)
{
    const dt_gguf_family *nearest = NULL;
    const char *key = "model_type";
    DT_PASS(search(c, true, out, &nearest, &key, err)); /* a Qwen2 could pass for a Llama with biases */
    if (!*out)
        DT_PASS(search(c, false, out, &nearest, &key, err));
    if (*out)
        return DT_OK;
    dt_fail(err, DT_UNSUPPORTED,
            "no GGUF architecture that drivetrain writes computes this %s; of \"%s\", \"%s\" is in the way",
            c->family, nearest ? nearest->architecture : "llama", key);
    dt_error_try(err, "--to hf, or --to megatron-state, which holds every model");
    return DT_UNSUPPORTED;
}
