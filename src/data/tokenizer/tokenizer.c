/*
 * tokenizer.c - the public face: open, encode, decode, ask.
 *
 * Owns lifetimes and nothing else: the parts are in their files (parts.h has the map), finding and reading files
 * is folder.c's.
 */
#include "data/tokenizer/parts.h"

#include <string.h>

/* ---- open and close ----------------------------------------------------------------------------------------- */

dt_status dt_own_regex(dt_tokenizer *t, const dt_regex **out, const char *pattern, size_t bytes,
                       dt_error *err)
{
    if (t->regex_count == t->regex_capacity) {
        size_t old = (size_t)t->regex_capacity * sizeof *t->regex;
        dt_regex **grown = dt_arena_grow(t->arena, t->regex, old, old * 2 + 8 * sizeof *t->regex);
        if (grown == NULL)
            return dt_fail_memory(err, old, "a list of regexes");
        t->regex = grown;
        t->regex_capacity = t->regex_capacity * 2 + 8;
    }
    DT_PASS(dt_regex_create(&t->regex[t->regex_count], pattern, bytes, err));
    *out = t->regex[t->regex_count++];
    return DT_OK;
}

void dt_tokenizer_close(dt_tokenizer *t)
{
    if (t == NULL)
        return;
    for (int i = 0; i < t->regex_count; i++)
        dt_regex_destroy(t->regex[i]);
    dt_arena_destroy(t->arena); /* `t` lives in it */
}

dt_tokenizer *dt_tokenizer_blank(void)
{
    dt_arena *arena = dt_arena_create();
    dt_tokenizer *t = arena == NULL ? NULL : DT_NEW(arena, dt_tokenizer);
    if (t == NULL) {
        dt_arena_destroy(arena);
        return NULL;
    }
    t->arena = arena;
    t->model.unk = -1;
    t->vocab.max_id = t->added.vocab.max_id = -1;
    for (int i = 0; i < 4; i++)
        t->special[i] = -1;
    return t;
}

dt_status dt_tokenizer_open(dt_tokenizer **out, const char *path, dt_error *err)
{
    return dt_tokenizer_open_with(out, path, NULL, err);
}

dt_status dt_tokenizer_open_with(dt_tokenizer **out, const char *path, const dt_tokenizer_options *options,
                                 dt_error *err)
{
    *out = NULL;
    dt_tokenizer *t = dt_tokenizer_blank();
    if (t == NULL)
        return dt_fail_memory(err, sizeof *t, "a tokenizer");
    if (options != NULL)
        t->options = *options;
    dt_status status = dt_tokenizer_read_path(t, path, err);
    if (status == DT_OK)
        status = dt_added_finish(t, err);
    if (status != DT_OK) {
        dt_error_while(err, "while opening the tokenizer %s", path);
        dt_tokenizer_close(t);
        return status;
    }
    t->options = (dt_tokenizer_options){0}; /* its texts are the caller's */
    *out = t;
    return DT_OK;
}

/* ---- encode ------------------------------------------------------------------------------------------------- */

void *dt_block_need(dt_work *work, dt_block *block, size_t bytes)
{
    if (block->bytes >= bytes && block->data != NULL)
        return block->data;
    size_t grown = bytes + bytes / 2 + 256;
    block->data = dt_arena_alloc(work->arena, grown);
    block->bytes = block->data != NULL ? grown : 0;
    return block->data;
}

dt_status dt_work_no_memory(const dt_work *work)
{
    return dt_fail_memory(work->err, work->regex.scale, "encoding a text");
}

static void work_free(dt_work *work)
{
    dt_text_free(&work->ids);
    dt_text_free(&work->word);
    dt_text_free(&work->normal[0]);
    dt_text_free(&work->normal[1]);
    for (int i = 0; i < DT_PART_LIMIT; i++)
        dt_text_free(&work->stage[i]);
    dt_regex_space_free(&work->regex);
    dt_arena_destroy(work->arena);
}

static dt_status encode_repaired(dt_work *work, const char *text, size_t bytes)
{
    if (work->tokenizer->raw_bytes || dt_utf8_valid(text, bytes))
        return dt_added_encode(work, text, bytes);
    dt_text repaired = {0};
    dt_status status = DT_OK;
    if (!dt_utf8_repair(&repaired, text, bytes))
        status = dt_work_no_memory(work);
    else
        status = dt_added_encode(work, repaired.data, repaired.bytes);
    dt_text_free(&repaired);
    return status;
}

dt_status dt_tokenizer_encode(const dt_tokenizer *t, const char *text, size_t bytes,
                              const dt_encode_options *options, int32_t **ids, size_t *count, dt_error *err)
{
    static const dt_encode_options plain = {0};
    if (options == NULL)
        options = &plain;
    *ids = NULL;
    *count = 0;
    dt_work work = {
        .tokenizer = t, .err = err, .plain_special = options->plain_special, .arena = dt_arena_create()};
    work.regex.scale = bytes;
    dt_text all = {0};
    dt_status status = work.arena == NULL ? dt_work_no_memory(&work) : DT_OK;
    if (status == DT_OK)
        status = encode_repaired(&work, text != NULL ? text : "", bytes);
    if (status == DT_OK)
        status = dt_post_apply(t, &work.ids, options->no_special, &all, err);
    if (status == DT_OK && all.bytes > 0) {
        *ids = (int32_t *)(void *)all.data;
        *count = all.bytes / sizeof(int32_t);
    } else {
        dt_text_free(&all);
    }
    work_free(&work);
    return status;
}

dt_status dt_tokenizer_count_steps(const dt_tokenizer *t, const char *text, size_t bytes, uint64_t *steps,
                                   dt_error *err)
{
    dt_work work = {.tokenizer = t, .err = err, .arena = dt_arena_create()};
    work.regex.scale = bytes;
    dt_status status = work.arena == NULL ? dt_work_no_memory(&work) : encode_repaired(&work, text, bytes);
    *steps = work.steps + work.regex.steps;
    work_free(&work);
    return status;
}

/* ---- decode ------------------------------------------------------------------------------------------------- */

dt_status dt_tokenizer_decode(const dt_tokenizer *t, const int32_t *ids, size_t count, bool skip_special,
                              char **text, size_t *bytes, dt_error *err)
{
    *text = NULL;
    *bytes = 0;
    dt_decoding run = {.tokenizer = t};
    dt_status status = DT_OK;
    for (size_t i = 0; i < count && status == DT_OK; i++)
        if ((status = dt_decoding_push(&run, ids[i], skip_special, err)) != DT_OK)
            dt_error_while(err, "while decoding token %zu of %zu", i + 1, count);
    if (status == DT_OK)
        status = dt_decoding_finish(&run, err);
    if (status == DT_OK && run.out.data == NULL && !dt_text_append(&run.out, "", 0))
        status = dt_fail_memory(err, 1, "decoded text");
    if (status == DT_OK) {
        *text = run.out.data;
        *bytes = run.out.bytes;
        run.out = (dt_text){0};
    }
    dt_decoding_free(&run);
    return status;
}

struct dt_decode_stream {
    dt_arena *arena; /* it lives in it */
    dt_decoding run;
    bool skip_special;
};

dt_status dt_decode_stream_create(dt_decode_stream **out, const dt_tokenizer *t, bool skip_special,
                                  dt_error *err)
{
    dt_arena *arena = dt_arena_create();
    *out = arena == NULL ? NULL : DT_NEW(arena, dt_decode_stream);
    if (*out == NULL) {
        dt_arena_destroy(arena);
        return dt_fail_memory(err, sizeof **out, "a decode stream");
    }
    (*out)->arena = arena;
    (*out)->run.tokenizer = t;
    (*out)->skip_special = skip_special;
    return DT_OK;
}

static void hand_out(const dt_decode_stream *stream, const char **piece, size_t *bytes)
{
    *piece = stream->run.out.data != NULL ? stream->run.out.data : "";
    *bytes = stream->run.out.bytes;
}

dt_status dt_decode_stream_push(dt_decode_stream *stream, int32_t id, const char **piece, size_t *bytes,
                                dt_error *err)
{
    dt_text_clear(&stream->run.out);
    dt_status status = dt_decoding_push(&stream->run, id, stream->skip_special, err);
    hand_out(stream, piece, bytes);
    return status;
}

dt_status dt_decode_stream_finish(dt_decode_stream *stream, const char **piece, size_t *bytes, dt_error *err)
{
    dt_text_clear(&stream->run.out);
    dt_status status = dt_decoding_finish(&stream->run, err);
    hand_out(stream, piece, bytes);
    return status;
}

void dt_decode_stream_destroy(dt_decode_stream *stream)
{
    if (stream == NULL)
        return;
    dt_decoding_free(&stream->run);
    dt_arena_destroy(stream->arena);
}

/* ---- ask ---------------------------------------------------------------------------------------------------- */

const char *dt_tokenizer_kind(const dt_tokenizer *t)
{
    return t->model.kind;
}

const char *dt_tokenizer_source(const dt_tokenizer *t)
{
    return t->source;
}

int32_t dt_tokenizer_vocab_size(const dt_tokenizer *t)
{
    return (t->vocab.max_id > t->added.vocab.max_id ? t->vocab.max_id : t->added.vocab.max_id) + 1;
}

const char *dt_tokenizer_token(const dt_tokenizer *t, int32_t id)
{
    const dt_entry *entry = dt_vocab_entry(&t->added.vocab, id);
    if (entry == NULL)
        entry = dt_vocab_entry(&t->vocab, id);
    return entry == NULL ? NULL : entry->text;
}

int32_t dt_tokenizer_id(const dt_tokenizer *t, const char *token)
{
    int32_t id = dt_vocab_find(&t->added.vocab, token, strlen(token));
    return id >= 0 ? id : dt_vocab_find(&t->vocab, token, strlen(token));
}

bool dt_tokenizer_is_special(const dt_tokenizer *t, int32_t id)
{
    const dt_entry *entry = dt_vocab_entry(&t->added.vocab, id);
    if (entry != NULL && t->added.token[entry - t->added.vocab.entry].special)
        return true;
    if (t->piece_type == NULL || id < 0 || id >= t->piece_count)
        return false;
    return t->piece_type[id] == DT_PIECE_CONTROL || t->piece_type[id] == DT_PIECE_UNKNOWN;
}

int32_t dt_tokenizer_special(const dt_tokenizer *t, dt_special_token which)
{
    return (unsigned)which < 4 ? t->special[which] : -1;
}
