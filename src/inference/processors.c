/*
 * processors.c - penalties, bans and forced tokens, in the order and with the meaning of transformers' processors.
 *
 * Peer  transformers generation/logits_process.py, generation/utils.py (_get_logits_processor)
 */
#include "inference/sampling.h"

#include <math.h>
#include <string.h>

bool dt_rules_is_end(const dt_rules *rules, int32_t token)
{
    for (int i = 0; i < rules->eos_count; i++)
        if (rules->eos[i] == token)
            return true;
    return false;
}

static void ban(const dt_rules *rules, float *score, int32_t token)
{
    if (token >= 0 && token < rules->vocab)
        score[token] = -INFINITY;
}

/* Each token seen so far, once: towards less likely, whatever its sign. */
static void penalise_repetition(const dt_rules *rules, const dt_row_so_far *row, float *score, uint8_t *seen)
{
    float penalty = (float)rules->options->repetition_penalty;
    for (int64_t i = 0; i < row->count; i++) {
        int32_t t = row->tokens[i];
        if (t < 0 || t >= rules->vocab || seen[t]) /* a picture's id may be below 0 */
            continue;
        seen[t] = 1;
        score[t] = score[t] < 0 ? score[t] * penalty : score[t] / penalty;
    }
    for (int64_t i = 0; i < row->count; i++)
        if (row->tokens[i] >= 0 && row->tokens[i] < rules->vocab)
            seen[row->tokens[i]] = 0;
}

/* Tokens that would complete an n-gram seen before. */
static void ban_repeated_ngrams(const dt_rules *rules, const dt_row_so_far *row, float *score)
{
    int64_t n = rules->options->no_repeat_ngram;
    size_t prefix_bytes = (size_t)(n - 1) * sizeof *row->tokens;
    if (row->count < n)
        return;
    const int32_t *prefix = row->tokens + row->count - (n - 1);
    for (int64_t i = 0; i + n <= row->count; i++)
        if (memcmp(row->tokens + i, prefix, prefix_bytes) == 0)
            ban(rules, score, row->tokens[i + n - 1]);
}

/* The last token of each bad word whose other tokens stand at the end. An end token alone is no bad word. */
static void ban_bad_words(const dt_rules *rules, const dt_row_so_far *row, float *score)
{
    for (int i = 0; i < rules->options->bad_words_count; i++) {
        const dt_prompt *word = &rules->options->bad_words[i];
        int64_t before = (int64_t)word->count - 1;
        if (before < 0 || before > row->count || (before == 0 && dt_rules_is_end(rules, word->tokens[0])))
            continue;
        if (memcmp(row->tokens + row->count - before, word->tokens, (size_t)before * sizeof *word->tokens) ==
            0)
            ban(rules, score, word->tokens[before]);
    }
}

static bool too_short(const dt_rules *rules, const dt_row_so_far *row)
{
    const dt_generate_options *o = rules->options;
    return rules->eos_count && (row->count - row->start < o->min_tokens || row->count < o->min_length);
}

/* The token that must come now, or -1. The end overrules the beginning. */
static int32_t forced(const dt_rules *rules, const dt_row_so_far *row)
{
    if (rules->options->forced_eos >= 0 && row->count == row->limit - 1)
        return rules->options->forced_eos;
    return row->count == 1 ? rules->options->forced_bos : -1;
}

static void force(const dt_rules *rules, float *score, int32_t token)
{
    for (int64_t i = 0; i < rules->vocab; i++)
        score[i] = -INFINITY;
    score[token] = 0;
}

/* begin_suppress_tokens holds for the first new token, or the second where the first is forced. */
static bool at_begin(const dt_rules *rules, const dt_row_so_far *row)
{
    bool after_forced = row->start <= 1 && rules->options->forced_bos >= 0;
    return row->count == row->start + after_forced;
}

static bool any_applies(const dt_rules *rules, const dt_row_so_far *row)
{
    const dt_generate_options *o = rules->options;
    return o->repetition_penalty != 1 || o->no_repeat_ngram > 0 || o->bad_words_count || o->banned_count ||
           too_short(rules, row) || forced(rules, row) >= 0 ||
           (o->begin_banned_count && at_begin(rules, row));
}

const float *dt_rules_apply(const dt_rules *rules, const dt_row_so_far *row, const float *scores,
                            dt_pick_scratch *scratch)
{
    const dt_generate_options *o = rules->options;
    float *score = scratch->score;
    if (!any_applies(rules, row))
        return scores;
    if (scores != score)
        memcpy(score, scores, (size_t)rules->vocab * sizeof *score);
    if (o->repetition_penalty != 1)
        penalise_repetition(rules, row, score, scratch->seen);
    if (o->no_repeat_ngram > 0)
        ban_repeated_ngrams(rules, row, score);
    ban_bad_words(rules, row, score);
    for (int i = 0; too_short(rules, row) && i < rules->eos_count; i++)
        ban(rules, score, rules->eos[i]);
    if (forced(rules, row) >= 0)
        force(rules, score, forced(rules, row));
    for (int i = 0; i < o->banned_count; i++)
        ban(rules, score, o->banned[i]);
    for (int i = 0; at_begin(rules, row) && i < o->begin_banned_count; i++)
        ban(rules, score, o->begin_banned[i]);
    return score;
}
