/*
 * recorded.h - a recording's prompts as prompts of dt_generate.
 */
#ifndef DT_UNIT_INFERENCE_RECORDED_H
#define DT_UNIT_INFERENCE_RECORDED_H

#include "models.h"

#include <jansson.h>

typedef struct recorded {
    tensors file;
    int32_t *tokens, *lengths, *starts;
    int64_t rows, width, start_width;
    json_t *options;
} recorded;

static inline bool open_recorded(recorded *r, const char *folder)
{
    int64_t dim[5] = {0};
    *r = (recorded){.file = open_tensors(in_folder(folder, "recording.safetensors"))};
    bool two_sided = dt_stored_set_find(r->file.set, "in.encoder_tokens") != NULL;
    r->tokens = read_tensor(r->file, two_sided ? "in.encoder_tokens" : "in.tokens", DT_I32, dim);
    r->rows = dim[0];
    r->width = dim[1];
    r->lengths = read_tensor(r->file, two_sided ? "in.encoder_lengths" : "in.lengths", DT_I32, dim);
    r->starts = two_sided ? read_tensor(r->file, "in.decoder_tokens", DT_I32, dim) : NULL;
    r->start_width = dim[1];
    const char *options = dt_stored_set_noted(r->file.set, "options");
    r->options = options ? json_loads(options, 0, NULL) : json_object();
    return r->tokens && r->lengths;
}

static inline void close_recorded(recorded *r)
{
    dt_stored_set_destroy(r->file.set);
    free(r->tokens);
    free(r->lengths);
    free(r->starts);
    json_decref(r->options);
}

static inline void set_prompts(const recorded *r, dt_prompt *prompt)
{
    for (int64_t b = 0; b < r->rows; b++) {
        prompt[b] = (dt_prompt){.tokens = r->tokens + b * r->width, .count = (size_t)r->lengths[b]};
        if (r->starts) {
            prompt[b].decoder_tokens = r->starts + b * r->start_width;
            prompt[b].decoder_count = 1;
        }
    }
}

static inline void set_ends(const recorded *r, dt_generate_options *o, int32_t ids[16])
{
    json_t *list = json_object_get(r->options, "eos_token_ids"), *id;
    size_t i;
    json_array_foreach(list, i, id) ids[i] = (int32_t)json_integer_value(id);
    o->eos_count = (int)json_array_size(list);
    o->eos_ids = ids;
    o->ignore_eos = o->eos_count == 0;
}

#endif
