/*
 * fill.c - `drivetrain run` on an encoder: the words it expects where a prompt has [MASK] or <mask>.
 */
#include "cli/fill.h"

#include "base/json.h"

#include <drivetrain/fill.h>

#include <stdio.h>
#include <string.h>

enum { DEFAULT_BEST = 5 };

static dt_status find_mask(const dt_tokenizer *tokenizer, int32_t *mask, dt_error *err)
{
    static const char *const spelling[] = {"[MASK]", "<mask>"};
    if (!tokenizer) {
        dt_fail(err, DT_NOT_FOUND, "no tokenizer says which id stands for a masked word");
        dt_error_try(err, "--tokenizer PATH; drivetrain embed MODEL TEXT tells vectors without one");
        return DT_NOT_FOUND;
    }
    for (size_t i = 0; i < sizeof spelling / sizeof spelling[0]; i++)
        if ((*mask = dt_tokenizer_id(tokenizer, spelling[i])) >= 0)
            return DT_OK;
    return dt_fail(err, DT_NOT_FOUND, "%s has neither [MASK] nor <mask>", dt_tokenizer_source(tokenizer));
}

/* What a token stands for in a text: "road", not "##road" or "Ġroad". Freed with dt_free; NULL when it has none. */
static char *word_of(const dt_tokenizer *tokenizer, int32_t id)
{
    char *text;
    size_t bytes;
    return dt_tokenizer_decode(tokenizer, &id, 1, false, &text, &bytes, NULL) == DT_OK ? text : NULL;
}

static json_t *place_json(const dt_tokenizer *tokenizer, const dt_fill_place *p)
{
    json_t *top = json_array();
    for (size_t i = 0; i < p->count; i++) {
        char *word = word_of(tokenizer, p->ids[i]);
        json_array_append_new(top, json_pack("{s:i, s:s?, s:f}", "token", p->ids[i], "text", word,
                                             "probability", (double)p->probabilities[i]));
        dt_free(word);
    }
    return json_pack("{s:I, s:o}", "position", (json_int_t)p->position, "top", top);
}

static void print_place(const dt_tokenizer *tokenizer, const dt_fill_place *p)
{
    for (size_t i = 0; i < p->count; i++) {
        char *word = word_of(tokenizer, p->ids[i]);
        printf("%.6f %8d  %s\n", (double)p->probabilities[i], p->ids[i], word ? word : "");
        dt_free(word);
    }
}

/* A result of --json is appended to `results`; without it the words are printed. */
static dt_status fill_prompt(dt_model *model, const dt_tokenizer *tokenizer, const dt_text_prompt *prompt,
                             int32_t mask, size_t best, json_t *results, dt_error *err)
{
    int32_t *encoded = NULL;
    const int32_t *ids = prompt->tokens;
    size_t count = prompt->count;
    dt_filled *f;
    if (!ids) {
        DT_PASS(
            dt_tokenizer_encode(tokenizer, prompt->text, strlen(prompt->text), NULL, &encoded, &count, err));
        ids = encoded;
    }
    dt_status status = dt_fill(&f, model, ids, count, mask, best, err);
    dt_free(encoded);
    DT_PASS(status);
    json_t *masks = results ? json_array() : NULL;
    for (size_t i = 0; i < dt_filled_count(f); i++) {
        if (results)
            json_array_append_new(masks, place_json(tokenizer, dt_filled_place(f, i)));
        else
            print_place(tokenizer, dt_filled_place(f, i));
        if (!results && i + 1 < dt_filled_count(f))
            printf("\n"); /* between masks */
    }
    if (results)
        json_array_append_new(results,
                              json_pack("{s:I, s:o}", "prompt_tokens", (json_int_t)count, "masks", masks));
    dt_filled_destroy(f);
    return DT_OK;
}

dt_exit fill_masks(const command_line *line, dt_model *model, const dt_tokenizer *tokenizer,
                   const prompt_list *prompts)
{
    dt_error err = {0};
    int32_t mask = -1;
    if (flag(line, "jsonl"))
        return usage_error(line, "--jsonl: the words of an encoder's masks are told by --json");
    int64_t best = int_of(line, "top-k", DEFAULT_BEST);
    json_t *results = flag(line, "json") ? json_array() : NULL;
    dt_status status = find_mask(tokenizer, &mask, &err);
    for (size_t i = 0; status == DT_OK && i < prompts->count; i++) {
        if (i > 0 && !results)
            printf("\n");
        status = fill_prompt(model, tokenizer, &prompts->prompt[i], mask,
                             best > 0 ? (size_t)best : DEFAULT_BEST, results, &err);
        if (status != DT_OK)
            dt_error_while(&err, "while filling the masks of prompt %zu", i);
    }
    if (status == DT_OK && results)
        print_json(json_pack("{s:O}", "results", results));
    json_decref(results);
    if (status == DT_OK)
        return DT_EXIT_DONE;
    if (tokenizer)
        dt_error_try(&err, "a prompt with %s, or drivetrain embed MODEL TEXT for its vectors",
                     mask >= 0 ? dt_tokenizer_token(tokenizer, mask) : "a mask");
    return report_failure(&err);
}
