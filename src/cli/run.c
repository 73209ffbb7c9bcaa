/*
 * run.c - `drivetrain run`: prompts in, answers out.
 */
#include "cli/common.h"
#include "cli/fill.h"
#include "cli/labels.h"
#include "cli/pictures.h"
#include "cli/prompts.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const option_spec options[] = {
    PROMPT_OPTIONS,
    PICTURE_OPTIONS,
    LABEL_OPTIONS,
    {"max-tokens", 'n', OPTION_INT, "N", "new tokens at most [256, or what generation_config.json says]"},
    {"temperature", 0, OPTION_REAL, "T", "0 = greedy [0]"},
    {"top-k", 0, OPTION_INT, "K", "sample among the K likeliest [off]"},
    {"top-p", 0, OPTION_REAL, "P", "sample within the likeliest that make up P [off]"},
    {"min-p", 0, OPTION_REAL, "P", "drop tokens less likely than P times the likeliest [off]"},
    {"repetition-penalty", 0, OPTION_REAL, "R", "divide the scores of tokens seen before [1]"},
    {"seed", 0, OPTION_INT, "S", "the same seed gives the same answer [0]"},
    {"beams", 0, OPTION_INT, "N", "beam search [1]"},
    {"length-penalty", 0, OPTION_REAL, "X", "beams: score / length^X [1]"},
    {"early-stopping", 0, OPTION_TEXT, "WHEN", "beams: false, true or never [false]"},
    {"stop", 0, OPTION_LIST, "TEXT", "end the answer before TEXT (repeatable)"},
    {"logprobs", 0, OPTION_INT, "N", "log-probabilities, with the N best alternatives"},
    {"ignore-eos", 0, OPTION_FLAG, NULL, "do not stop at the end token"},
    {"jsonl", 0, OPTION_FLAG, NULL, "one JSON object a line for each answer, in input order"},
    {"stream", 0, OPTION_SWITCH, NULL, "print tokens as they come [on a terminal]"},
    DTYPE_OPTION,
    {"tokenizer", 0, OPTION_TEXT, "PATH", "tokenizer, where the model's folder lacks one"},
    MODEL_OPTIONS,
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

/* ---- options ---- */

static bool generate_options_of(const command_line *line, dt_generate_options *o)
{
    const char *early = text_of(line, "early-stopping");
    o->max_tokens = int_of(line, "max-tokens", o->max_tokens);
    o->temperature = real_of(line, "temperature", o->temperature);
    o->top_k = int_of(line, "top-k", o->top_k);
    o->top_p = real_of(line, "top-p", o->top_p);
    o->min_p = real_of(line, "min-p", o->min_p);
    o->repetition_penalty = real_of(line, "repetition-penalty", o->repetition_penalty);
    o->seed = (uint64_t)int_of(line, "seed", (int64_t)o->seed);
    o->beams = int_of(line, "beams", o->beams);
    o->length_penalty = real_of(line, "length-penalty", o->length_penalty);
    o->logprobs = int_of(line, "logprobs", -1);
    o->cache_bytes = (uint64_t)option_of(line, "max-memory")->number / 4; /* 0 without a limit */
    o->ignore_eos = flag(line, "ignore-eos");
    if (early)
        o->early_stopping = strcmp(early, "true") == 0 ? 1 : strcmp(early, "never") == 0 ? 2 : 0;
    if (early && !o->early_stopping && strcmp(early, "false") != 0)
        return usage_error(line, "--early-stopping \"%s\": expected false, true or never", early), false;
    if (o->max_tokens < -1 || o->temperature < 0 || o->top_k < 0 || o->beams < 1 ||
        o->repetition_penalty <= 0)
        return usage_error(line,
                           "--max-tokens, --temperature and --top-k are not negative, --beams at least 1, "
                           "--repetition-penalty above 0"),
               false;
    return true;
}

/* ---- output ---- */

static bool print_piece(void *user, size_t row, const char *piece, size_t bytes)
{
    bool *streamed = user;
    (void)row;
    *streamed = true;
    fwrite(piece, 1, bytes, stdout);
    fflush(stdout);
    return !interrupted();
}

static bool keep_going(void *user, size_t row, const char *piece, size_t bytes)
{
    (void)user, (void)row, (void)piece, (void)bytes;
    return !interrupted();
}

static const char *finish_name(dt_finish finish)
{
    return finish == DT_FINISH_EOS ? "eos" : finish == DT_FINISH_STOP ? "stop" : "length";
}

static json_t *logprobs_json(const dt_generated *g)
{
    json_t *list = json_array();
    for (size_t i = 0; i < g->count; i++) {
        const dt_token_logprob *l = &g->logprobs[i];
        json_t *top = json_array();
        for (int k = 0; k < l->top_count; k++)
            json_array_append_new(top, json_pack("[i, f]", l->top_ids[k], (double)l->top_logprobs[k]));
        json_array_append_new(
            list, json_pack("{s:i, s:f, s:o}", "token", l->token, "logprob", (double)l->logprob, "top", top));
    }
    return list;
}

static json_t *row_json(const dt_text_answer_row *row)
{
    json_t *tokens = json_array();
    for (size_t i = 0; i < row->generated->count; i++)
        json_array_append_new(tokens, json_integer(row->generated->tokens[i]));
    json_t *json = json_pack("{s:s?, s:o, s:s, s:I}", "text", row->text, "tokens", tokens, "finish_reason",
                             finish_name(row->finish), "prompt_tokens", (json_int_t)row->prompt_tokens);
    if (row->generated->logprobs)
        json_object_set_new(json, "logprobs", logprobs_json(row->generated));
    return json;
}

static double rate(int64_t tokens, double seconds)
{
    return seconds > 0 ? (double)tokens / seconds : 0;
}

static void print_answers_json(const dt_text_answers *answers, size_t count, double load)
{
    dt_generation_timing t = dt_text_answers_timing(answers);
    json_t *results = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(results, row_json(dt_text_answer(answers, i)));
    print_json(json_pack("{s:o, s:{s:f, s:f, s:f}, s:{s:f, s:f}, s:I}", "results", results, "seconds", "load",
                         load, "prefill", t.prefill_seconds, "decode", t.decode_seconds, "tokens_per_second",
                         "prefill", rate(t.prefill_tokens, t.prefill_seconds), "decode",
                         rate(t.decode_tokens, t.decode_seconds), "peak_bytes", (json_int_t)t.peak_bytes));
}

/* The results of --json alone, each on a line of its own: a text may hold line ends, and a batch be long. */
static void print_answers_lines(const dt_text_answers *answers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        json_t *row = row_json(dt_text_answer(answers, i));
        json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        fputc('\n', stdout);
        json_decref(row);
    }
}

static void print_logprobs(const dt_generated *g)
{
    for (size_t i = 0; g->logprobs && i < g->count; i++) {
        printf("%8d %10.6f ", g->logprobs[i].token, (double)g->logprobs[i].logprob);
        for (int k = 0; k < g->logprobs[i].top_count; k++)
            printf(" %d:%.6f", g->logprobs[i].top_ids[k], (double)g->logprobs[i].top_logprobs[k]);
        printf("\n");
    }
}

static void print_answers(const dt_text_answers *answers, size_t count, bool streamed)
{
    for (size_t i = 0; i < count; i++) {
        const dt_text_answer_row *row = dt_text_answer(answers, i);
        if (row->text && !streamed)
            printf("%s", row->text);
        for (size_t k = 0; !row->text && k < row->generated->count; k++)
            printf("%s%d", k ? "," : "", row->generated->tokens[k]);
        printf("\n");
        print_logprobs(row->generated);
    }
}

static void print_timing(const dt_text_answers *answers, double load)
{
    dt_generation_timing t = dt_text_answers_timing(answers);
    fprintf(stderr, "load %.2f s; prefill %lld tokens, %.0f/s; decode %lld tokens, %.0f/s\n", load,
            (long long)t.prefill_tokens, rate(t.prefill_tokens, t.prefill_seconds),
            (long long)t.decode_tokens, rate(t.decode_tokens, t.decode_seconds));
}

/* ---- the run ---- */

static dt_exit answer(const command_line *line, dt_model *model, const dt_tokenizer *tokenizer,
                      const prompt_list *prompts, double load)
{
    dt_error err = {0};
    dt_text_answers *answers;
    dt_text_options o = {.generate = DT_GENERATE_OPTIONS_DEFAULT};
    const option_value *stop = option_of(line, "stop"), *stream = option_of(line, "stream");
    bool json = flag(line, "json"), lines = flag(line, "jsonl"), streamed = false;
    if (dt_generate_options_of(model, &o.generate, &err) != DT_OK)
        return report_failure(&err);
    if (!generate_options_of(line, &o.generate))
        return DT_EXIT_USAGE;
    o.stop = stop->list;
    o.stop_count = stop->list_count;
    bool wanted = stream->given ? stream->on : isatty(STDOUT_FILENO);
    o.on_text = wanted && !json && !lines && prompts->count == 1 ? print_piece : keep_going;
    o.user = &streamed;
    catch_interrupt();
    if (dt_generate_text(&answers, model, tokenizer, prompts->count, prompts->prompt, &o, &err) != DT_OK)
        return report_failure(&err);
    if (json)
        print_answers_json(answers, prompts->count, load);
    else if (lines)
        print_answers_lines(answers, prompts->count);
    else
        print_answers(answers, prompts->count, streamed);
    if (flag(line, "verbose"))
        print_timing(answers, load);
    dt_text_answers_destroy(answers);
    return interrupted() ? DT_EXIT_FAILED : DT_EXIT_DONE;
}

/* Prompts are read once the model is known: to a tower, nobody writes. */
static dt_exit run_on_text(const command_line *line, dt_model *model, double started)
{
    dt_error err = {0};
    dt_tokenizer *tokenizer = NULL;
    prompt_list prompts = {0};
    dt_exit code;
    const dt_model_config *config = dt_model_get_config(model);
    dt_status status = DT_OK;
    if (text_of(line, "labels"))
        status = dt_fail(&err, DT_UNSUPPORTED, "this %s compares nothing with --labels: CLIP and SigLIP do",
                         config->family);
    else if (has_pictures(line) && !config->vision)
        status = dt_fail(&err, DT_UNSUPPORTED, "this %s sees no pictures: it reads text", config->family);
    if (status == DT_OK)
        status = collect_prompts(line, &prompts, &err);
    if (status == DT_OK)
        status = open_tokenizer(line, line->positional[0], prompts_are_text(line), &tokenizer, &err);
    if (status == DT_OK)
        status = place_pictures(line, config, dt_text_image_token(model, tokenizer), &prompts, &err);
    if (status != DT_OK)
        code = report_failure(&err);
    else if (strcmp(config->model_type, "bert") == 0)
        code = fill_masks(line, model, tokenizer, &prompts);
    else
        code = answer(line, model, tokenizer, &prompts, seconds_now() - started);
    dt_tokenizer_close(tokenizer);
    free_prompts(&prompts);
    return code;
}

static dt_exit run(const command_line *line)
{
    dt_error err = {0};
    dt_model_options o;
    dt_model *model = NULL;
    double started = seconds_now();
    if (!model_options_of(line, &o))
        return DT_EXIT_USAGE;
    if (dt_model_open(&model, line->positional[0], &o, &err) != DT_OK)
        return report_failure(&err);
    dt_exit code = labels_pictures(dt_model_get_config(model)) ? label_pictures(line, model)
                                                               : run_on_text(line, model, started);
    dt_model_close(model);
    return code;
}

static const char *const positional[] = {"MODEL", "directory or file; its format is found from its content",
                                         "PROMPT", "text; - or nothing: stdin", NULL};
static const char *const examples[] = {
    "run t5-small/ \"translate English to German: Hello\"",
    "run gpt2/ \"Once upon a time\" -n 40 --temperature 0.8 --seed 7",
    "run llama/ --tokens 1,306,763 --logprobs 5 --json",
    "run bert-base-uncased/ \"The road is [MASK].\"",
    "run vit-base-patch16-224/ --image cat.jpg --image dog.png",
    "run llava/ --image cat.jpg \"USER: <image>\\nWhat is this? ASSISTANT:\"",
    "run clip-vit/ --image cat.jpg --labels \"a cat,a dog\"",
    "run llama/ --batch questions.txt --jsonl > answers.jsonl",
    NULL};

const command_spec command_run = {
    .name = "run",
    .summary = "generate: continue a prompt, answer one (T5), fill its masks (BERT), or tell of pictures",
    .usage = "MODEL [PROMPT] [options]",
    .about = "generation_config.json is obeyed (end tokens, forced and banned tokens, n-gram bans, length "
             "limits);\n"
             "options override it. An encoder (BERT) tells the --top-k [5] likeliest words at each [MASK] or "
             "<mask>,\n"
             "a classifier (ViT) the --top-k [5] likeliest classes of each --image; its --batch FILE names a "
             "picture a line.\n"
             "LLaVA answers about its pictures, which are where the prompt says <image>, else before it.\n"
             "CLIP and SigLIP tell how well each of --labels (or of --batch, one a line) fits each --image.",
    .positional_min = 1,
    .positional_max = 2,
    .positional = positional,
    .options = options,
    .examples = examples,
    .fact = "An answer has the same bits alone and in any batch, with any number of threads.",
    .run = run,
};
