/*
 * generation_config.c - obeys generation_config.json: end, forced and banned tokens, n-gram bans, length limits, beams,
 * and sampling when do_sample says so.
 *
 * Peer  transformers generation/configuration_utils.py. Absent and null keys leave drivetrain's defaults, but for
 *       sampling: there temperature 1 and top_k 50 are transformers' own.
 */
#include "inference/generation_config.h"

#include "base/output.h"
#include "base/say.h"
#include "inference/model.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MOST_BYTES = 16 << 20 };

static dt_status wrong_type(const char *key, const char *expected, dt_error *err)
{
    return dt_fail(err, DT_FORMAT, "\"%s\" is not %s", key, expected);
}

static bool is_id(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= INT32_MAX;
}

/* A list of ids, or one id that stands for a list of one. */
static dt_status read_ids(const json_t *value, const char *key, dt_arena *arena, int *count,
                          const int32_t **ids, dt_error *err)
{
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    int32_t *list = DT_NEW_ARRAY(arena, int32_t, n + 1);
    if (!list)
        return dt_fail_memory(err, n * sizeof *list, key);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        if (!is_id(id))
            return wrong_type(key, "an id or a list of ids", err);
        list[i] = (int32_t)json_integer_value(id);
    }
    *count = (int)n;
    *ids = list;
    return DT_OK;
}

static dt_status read_id_list(const json_t *document, const char *key, dt_arena *arena, int *count,
                              const int32_t **ids, dt_error *err)
{
    const json_t *value = dt_json_get(document, key);
    return value ? read_ids(value, key, arena, count, ids, err) : DT_OK;
}

/* One id; a list of one is taken, too. */
static dt_status read_id(const json_t *document, const char *key, dt_arena *arena, int32_t *out,
                         dt_error *err)
{
    int count = 0;
    const int32_t *ids = NULL;
    DT_PASS(read_id_list(document, key, arena, &count, &ids, err));
    if (count > 1)
        return dt_fail(err, DT_UNSUPPORTED, "\"%s\" has %d ids, and only one can be forced", key, count);
    *out = count ? ids[0] : *out;
    return DT_OK;
}

static dt_status read_bad_words(const json_t *document, dt_arena *arena, dt_generate_options *o,
                                dt_error *err)
{
    static const char key[] = "bad_words_ids";
    const json_t *value = dt_json_get(document, key);
    if (!value)
        return DT_OK;
    size_t n = json_array_size(value);
    dt_prompt *words = DT_NEW_ARRAY(arena, dt_prompt, n + 1);
    if (!words)
        return dt_fail_memory(err, n * sizeof *words, key);
    for (size_t i = 0; i < n; i++) {
        const json_t *word = json_array_get(value, i);
        int count;
        if (!json_is_array(word))
            return wrong_type(key, "a list of lists of ids", err);
        DT_PASS(read_ids(word, key, arena, &count, &words[i].tokens, err));
        words[i].count = (size_t)count;
    }
    if (!json_is_array(value))
        return wrong_type(key, "a list of lists of ids", err);
    o->bad_words = words;
    o->bad_words_count = (int)n;
    return DT_OK;
}

static dt_status read_tokens(const json_t *document, dt_arena *arena, dt_generate_options *o, dt_error *err)
{
    DT_PASS(read_id_list(document, "eos_token_id", arena, &o->eos_count, &o->eos_ids, err));
    DT_PASS(read_id_list(document, "suppress_tokens", arena, &o->banned_count, &o->banned, err));
    DT_PASS(read_id_list(document, "begin_suppress_tokens", arena, &o->begin_banned_count, &o->begin_banned,
                         err));
    DT_PASS(read_id(document, "forced_bos_token_id", arena, &o->forced_bos, err));
    DT_PASS(read_id(document, "forced_eos_token_id", arena, &o->forced_eos, err));
    DT_PASS(read_id(document, "decoder_start_token_id", arena, &o->decoder_start, err));
    DT_PASS(read_bad_words(document, arena, o, err));
    DT_PASS(dt_json_int(document, "no_repeat_ngram_size", &o->no_repeat_ngram, err));
    return dt_json_real(document, "repetition_penalty", &o->repetition_penalty, err);
}

/* max_new_tokens and min_new_tokens count new tokens, and go before max_length and min_length, which count all. */
static dt_status read_lengths(const json_t *document, dt_generate_options *o, dt_error *err)
{
    int64_t new_tokens = -1;
    DT_PASS(dt_json_int(document, "max_length", &o->max_length, err));
    DT_PASS(dt_json_int(document, "max_new_tokens", &new_tokens, err));
    DT_PASS(dt_json_int(document, "min_length", &o->min_length, err));
    DT_PASS(dt_json_int(document, "min_new_tokens", &o->min_tokens, err));
    if (o->max_length > 0)
        o->max_tokens = -1;
    if (new_tokens > 0)
        o->max_tokens = new_tokens;
    if (dt_json_get(document, "min_new_tokens"))
        o->min_length = 0;
    return DT_OK;
}

static dt_status read_early_stopping(const json_t *document, dt_generate_options *o, dt_error *err)
{
    const json_t *value = dt_json_get(document, "early_stopping");
    if (json_is_boolean(value))
        o->early_stopping = json_is_true(value);
    else if (json_is_string(value) && strcmp(json_string_value(value), "never") == 0)
        o->early_stopping = 2;
    else if (value)
        return wrong_type("early_stopping", "true, false or \"never\"", err);
    return DT_OK;
}

static dt_status read_search(const json_t *document, dt_generate_options *o, dt_error *err)
{
    bool sample = false;
    DT_PASS(dt_json_int(document, "num_beams", &o->beams, err));
    DT_PASS(dt_json_real(document, "length_penalty", &o->length_penalty, err));
    DT_PASS(read_early_stopping(document, o, err));
    DT_PASS(dt_json_bool(document, "do_sample", &sample, err));
    if (!sample)
        return DT_OK;
    o->temperature = 1;
    o->top_k = 50;
    DT_PASS(dt_json_real(document, "temperature", &o->temperature, err));
    DT_PASS(dt_json_int(document, "top_k", &o->top_k, err));
    DT_PASS(dt_json_real(document, "top_p", &o->top_p, err));
    return dt_json_real(document, "min_p", &o->min_p, err);
}

static dt_status check_ranges(const dt_generate_options *o, dt_error *err)
{
    const struct {
        const char *key, *expected;
        bool sound;
    } rule[] = {{"num_beams", "1 or more", o->beams >= 1},
                {"repetition_penalty", "more than 0", o->repetition_penalty > 0},
                {"no_repeat_ngram_size", "0 (off) or more", o->no_repeat_ngram >= 0},
                {"temperature", "0 (greedy) or more", o->temperature >= 0},
                {"top_k", "0 (off) or more", o->top_k >= 0}};
    for (size_t i = 0; i < sizeof rule / sizeof rule[0]; i++)
        if (!rule[i].sound)
            return dt_fail(err, DT_FORMAT, "\"%s\" is out of range, expected %s", rule[i].key,
                           rule[i].expected);
    return DT_OK;
}

/* Keys that would change answers and that nothing here does, with the value at which they do not. */
static const struct {
    const char *key;
    double neutral; /* NAN: none but null, false or an empty list */
} not_done[] = {
    {"typical_p", 1},
    {"epsilon_cutoff", 0},
    {"eta_cutoff", 0},
    {"top_h", NAN},
    {"diversity_penalty", 0},
    {"num_beam_groups", 1},
    {"penalty_alpha", 0},
    {"encoder_repetition_penalty", 1},
    {"encoder_no_repeat_ngram_size", 0},
    {"exponential_decay_length_penalty", NAN},
    {"sequence_bias", NAN},
    {"guidance_scale", 1},
    {"renormalize_logits", NAN},
    {"constraints", NAN},
    {"force_words_ids", NAN},
    {"stop_strings", NAN},
    {"num_return_sequences", 1},
    {"watermarking_config", NAN},
    {"dola_layers", NAN},
};

static bool is_neutral(const json_t *value, double neutral)
{
    if (json_is_number(value))
        return json_number_value(value) == neutral;
    return !value || json_is_false(value) || (json_is_array(value) && json_array_size(value) == 0);
}

static void warn_of_not_done(const json_t *document, const dt_log *log)
{
    for (size_t i = 0; i < sizeof not_done / sizeof not_done[0]; i++)
        if (!is_neutral(dt_json_get(document, not_done[i].key), not_done[i].neutral))
            dt_say(log, DT_LOG_WARNING,
                   "the generation settings ask for \"%s\", which drivetrain does not do", not_done[i].key);
}

dt_status dt_generation_config_read(const json_t *document, dt_arena *arena, const dt_log *log,
                                    dt_generate_options *o, dt_error *err)
{
    if (!json_is_object(document))
        return dt_fail(err, DT_FORMAT, "the document is not an object");
    DT_PASS(read_tokens(document, arena, o, err));
    DT_PASS(read_lengths(document, o, err));
    DT_PASS(read_search(document, o, err));
    DT_PASS(check_ranges(o, err));
    warn_of_not_done(document, log);
    return DT_OK;
}

/* ---- beside a model ---- */

/*
 * Where the settings stand: in generation_config.json, else, as models of before that file have them and transformers
 * still reads them, in a Hugging Face folder's config.json. NULL in *path: nowhere.
 */
static dt_status find_document(const dt_model *m, char **path, dt_error *err)
{
    dt_checkpoint_about about = dt_checkpoint_describe(m->checkpoint);
    const char *const names[] = {"generation_config.json",
                                 strcmp(about.format, "hf") == 0 ? "config.json" : NULL};
    for (size_t i = 0; i < sizeof names / sizeof names[0] && about.path && names[i]; i++) {
        *path = dt_arena_printf(m->arena, "%s/%s", about.path, names[i]);
        if (!*path)
            return dt_fail_memory(err, 0, "a path");
        if (dt_is_file(*path))
            return DT_OK;
    }
    *path = NULL;
    return DT_OK;
}

static dt_status load(const dt_model *m, dt_generate_options *o, dt_error *err)
{
    char *path = NULL;
    json_t *document;
    DT_PASS(find_document(m, &path, err));
    if (!path)
        return DT_OK;
    DT_PASS(dt_json_load(&document, path, MOST_BYTES, err));
    dt_status status = dt_generation_config_read(document, m->arena, &m->log, o, err);
    json_decref(document);
    DT_TRY(status, err, "while reading %s", path);
    return DT_OK;
}

dt_status dt_generate_options_of(const dt_model *m, dt_generate_options *options, dt_error *err)
{
    static const dt_generate_options plain = DT_GENERATE_OPTIONS_DEFAULT;
    dt_status status = DT_OK;
    *options = plain;
    pthread_mutex_lock(m->turn);
    if (!m->defaults->known) {
        m->defaults->options = plain;
        status = load(m, &m->defaults->options, err);
        m->defaults->known = status == DT_OK;
    }
    if (status == DT_OK)
        *options = m->defaults->options;
    pthread_mutex_unlock(m->turn);
    return status;
}
