/*
 * recording.c - opens a recording and reads its metadata; the tensors are read when they are asked for.
 */
#include "verify/recording.h"

#include "base/json.h"
#include "formats/safetensors/safetensors.h"

#include <string.h>

static dt_status read_end_tokens(dt_recording *r, const json_t *options, dt_error *err)
{
    json_t *list = dt_json_get(options, "eos_token_ids"), *item;
    size_t i;
    if (list && (!json_is_array(list) || json_array_size(list) > DT_RECORDING_MAX_EOS))
        return dt_fail(err, DT_FORMAT, "\"eos_token_ids\" is not a list of at most %d ids",
                       DT_RECORDING_MAX_EOS);
    json_array_foreach(list, i, item)
    {
        if (!json_is_integer(item) || json_integer_value(item) < 0 || json_integer_value(item) > INT32_MAX)
            return dt_fail(err, DT_FORMAT, "\"eos_token_ids\" holds something that is no id");
        r->eos[r->eos_count++] = (int32_t)json_integer_value(item);
    }
    return DT_OK;
}

static dt_status read_beams(dt_recording *r, const json_t *options, dt_error *err)
{
    const json_t *beams = dt_json_get(options, "beams");
    if (!beams)
        return DT_OK;
    r->beams.length_penalty = 1;
    DT_PASS(dt_json_int(beams, "num_beams", &r->beams.num_beams, err));
    DT_PASS(dt_json_int(beams, "max_new_tokens", &r->beams.max_new_tokens, err));
    DT_PASS(dt_json_real(beams, "length_penalty", &r->beams.length_penalty, err));
    const json_t *early = dt_json_get(beams, "early_stopping");
    r->beams.early_stopping = json_is_true(early) ? 1 : json_is_string(early) ? 2 : 0;
    return DT_OK;
}

/* A word of the options, which die before the recording does. */
static dt_status keep_text(dt_recording *r, const char *text, const char **out, dt_error *err)
{
    *out = text ? dt_arena_text(dt_stored_set_arena(r->tensors), text) : NULL;
    return text && !*out ? dt_fail_memory(err, strlen(text), "a recording's options") : DT_OK;
}

static dt_status read_options(dt_recording *r, const char *text, dt_error *err)
{
    json_t *options = NULL;
    const char *loss = NULL, *pixels = NULL;
    dt_status status;
    DT_GO(status, dt_json_parse(&options, text, strlen(text), "the metadata key \"options\"", err));
    DT_GO(status, dt_json_int(options, "new_tokens", &r->new_tokens, err));
    DT_GO(status, dt_json_bool(options, "loss_over_padded_vocab", &r->loss_over_padded_vocab, err));
    DT_GO(status, dt_json_bool(options, "sentence_order", &r->sentence_order, err));
    DT_GO(status, dt_json_string(options, "loss", &loss, err));
    DT_GO(status, dt_json_string(options, "pixels", &pixels, err));
    DT_GO(status, read_end_tokens(r, options, err));
    DT_GO(status, read_beams(r, options, err));
    DT_GO(status, keep_text(r, loss, &r->loss, err));
    DT_GO(status, keep_text(r, pixels, &r->pixels, err));
done:
    json_decref(options);
    return status;
}

static dt_status read_file(dt_recording *r, const char *path, dt_error *err)
{
    DT_PASS(dt_stored_set_create(&r->tensors, err));
    r->path = dt_arena_text(dt_stored_set_arena(r->tensors), path);
    if (!r->path)
        return dt_fail_memory(err, strlen(path), "a path");
    DT_PASS(dt_safetensors_read(r->tensors, path, err));
    const char *format = dt_stored_set_noted(r->tensors, "format");
    if (!format || strcmp(format, "drivetrain-recording/1") != 0)
        return dt_fail(err, DT_FORMAT, "metadata \"format\" is \"%s\", expected \"drivetrain-recording/1\"",
                       format ? format : "");
    r->source = dt_stored_set_noted(r->tensors, "source");
    r->dtype = dt_stored_set_noted(r->tensors, "dtype");
    const char *options = dt_stored_set_noted(r->tensors, "options");
    return options ? read_options(r, options, err) : DT_OK;
}

dt_status dt_recording_open(dt_recording *out, const char *path, dt_error *err)
{
    memset(out, 0, sizeof *out);
    dt_status status = read_file(out, path, err);
    if (status != DT_OK) {
        dt_error_while(err, "while opening the recording %s", path);
        dt_recording_close(out);
    }
    return status;
}

void dt_recording_close(dt_recording *recording)
{
    dt_stored_set_destroy(recording->tensors);
    memset(recording, 0, sizeof *recording);
}

static dt_status read_all(const dt_recording *r, const char *name, dt_dtype dtype, dt_arena *arena,
                          void **out, dt_shape *shape, dt_error *err)
{
    const dt_stored_tensor *t = dt_stored_set_find(r->tensors, name);
    size_t bytes;
    *out = NULL;
    *shape = (dt_shape){0};
    if (!t)
        return DT_OK;
    if (t->unsupported || !dt_shape_bytes(&t->shape, dtype, &bytes))
        return dt_fail(err, DT_FORMAT, "\"%s\" has a type or shape that no recording has", name);
    if (!(*out = dt_arena_alloc(arena, bytes ? bytes : 1)))
        return dt_fail_memory(err, bytes, name);
    *shape = t->shape;
    DT_TRY(dt_stored_read(t, NULL, dtype, *out, NULL, err), err, "while reading \"%s\" of %s", name, r->path);
    return DT_OK;
}

/* Labels are points too: whole numbers, which f32 holds up to 2²⁴, far beyond any vocabulary. */
static dt_status read_numbers(const dt_recording *r, const char *name, dt_arena *arena, float **out,
                              dt_shape *shape, dt_error *err)
{
    void *data;
    int64_t count;
    DT_PASS(read_all(r, name, DT_I32, arena, &data, shape, err));
    *out = data;
    for (int64_t i = dt_shape_elements(shape, &count) ? count : 0; i-- > 0;) {
        int32_t whole;
        memcpy(&whole, (char *)data + (size_t)i * sizeof whole, sizeof whole);
        (*out)[i] = (float)whole;
    }
    return DT_OK;
}

dt_status dt_recording_floats(const dt_recording *r, const char *name, dt_arena *arena, float **out,
                              dt_shape *shape, dt_error *err)
{
    void *data;
    const dt_stored_tensor *t = dt_stored_set_find(r->tensors, name);
    if (t && t->dtype == DT_I32)
        return read_numbers(r, name, arena, out, shape, err);
    dt_status status = read_all(r, name, DT_F32, arena, &data, shape, err);
    *out = data;
    return status;
}

dt_status dt_recording_ints(const dt_recording *r, const char *name, dt_arena *arena, int32_t **out,
                            dt_shape *shape, dt_error *err)
{
    void *data;
    dt_status status = read_all(r, name, DT_I32, arena, &data, shape, err);
    *out = data;
    return status;
}
