/*
 * tokenize.c - `drivetrain tokenize`: text to ids and back.
 */
#include "cli/common.h"

#include "base/json.h"
#include "base/text.h"

#include <drivetrain/chat.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const option_spec options[] = {
    {"decode", 'd', OPTION_TEXT, "IDS", "ids (1,2,3) back to text"},
    {"input", 'i', OPTION_TEXT, "FILE", "one JSON string a line; prints one JSON array of ids a line"},
    {"chat", 0, OPTION_TEXT, "FILE",
     "render a conversation (a JSON list of messages; - is stdin) with the chat template"},
    {"tools", 0, OPTION_TEXT, "FILE", "with --chat: a JSON list of function schemas"},
    {"template", 0, OPTION_TEXT, "PATH",
     "with --chat: chat template (.jinja, or a folder), where the model lacks one"},
    {"template-name", 0, OPTION_TEXT, "NAME", "with --chat: which of several templates [default]"},
    {"variables", 0, OPTION_TEXT, "JSON", "with --chat: further variables of the template, an object"},
    {"generation-prompt", 0, OPTION_SWITCH, NULL, "with --chat: end with what begins an answer [on]"},
    {"no-special", 0, OPTION_FLAG, NULL, "leave out what the model's tokenizer would add (BOS, EOS, ...)"},
    {"no-lowercase", 0, OPTION_FLAG, NULL, "a vocab.txt of cased text [told from its tokens]"},
    {"split", 0, OPTION_TEXT, "NAME", "how ranks of tiktoken split text, e.g. cl100k [told from the file]"},
    {"tokenizer", 0, OPTION_TEXT, "PATH", "tokenizer, where the model's folder lacks one"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

static json_t *ids_json(const int32_t *ids, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(ids[i]));
    return list;
}

static dt_exit print_ids(const command_line *line, const dt_tokenizer *t, const int32_t *ids, size_t count)
{
    if (flag(line, "json")) {
        json_t *tokens = json_array();
        for (size_t i = 0; i < count; i++) {
            json_t *token = json_string(dt_tokenizer_token(t, ids[i]));
            json_array_append_new(tokens, token ? token : json_null());
        }
        print_json(json_pack("{s:o, s:o}", "ids", ids_json(ids, count), "tokens", tokens));
        return DT_EXIT_DONE;
    }
    for (size_t i = 0; i < count; i++)
        if (flag(line, "verbose"))
            printf("%8d  %s\n", ids[i], dt_tokenizer_token(t, ids[i]));
        else
            printf("%s%d", i ? "," : "", ids[i]);
    printf(flag(line, "verbose") ? "" : "\n");
    return DT_EXIT_DONE;
}

static dt_exit encode(const command_line *line, const dt_tokenizer *t, const char *text, size_t bytes)
{
    dt_error err = {0};
    dt_encode_options o = {.no_special = flag(line, "no-special")};
    int32_t *ids;
    size_t count;
    if (dt_tokenizer_encode(t, text, bytes, &o, &ids, &count, &err) != DT_OK)
        return report_failure(&err);
    dt_exit code = print_ids(line, t, ids, count);
    dt_free(ids);
    return code;
}

static dt_exit decode(const command_line *line, const dt_tokenizer *t, const char *list)
{
    dt_error err = {0};
    int32_t *ids;
    size_t count, bytes;
    char *text;
    if (!parse_ids(list, &ids, &count))
        return usage_error(line, "--decode \"%s\": expected ids such as 1,2,3", list);
    dt_status status = dt_tokenizer_decode(t, ids, count, false, &text, &bytes, &err);
    if (status == DT_OK && flag(line, "json"))
        print_json(json_pack("{s:o, s:s%}", "ids", ids_json(ids, count), "text", text, bytes));
    else if (status == DT_OK)
        printf("%.*s\n", (int)bytes, text);
    free(ids);
    if (status != DT_OK)
        return report_failure(&err);
    dt_free(text);
    return DT_EXIT_DONE;
}

/* One line of --input: a JSON string to a line of ids. */
static dt_status encode_line(const command_line *line, const dt_tokenizer *t, const char *text, size_t bytes,
                             dt_error *err)
{
    json_error_t where;
    json_t *string = json_loadb(text, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &where);
    dt_encode_options o = {.no_special = flag(line, "no-special")};
    int32_t *ids;
    size_t count;
    if (!json_is_string(string)) {
        json_decref(string);
        return dt_fail(err, DT_FORMAT, "expected one JSON string a line");
    }
    dt_status status =
        dt_tokenizer_encode(t, json_string_value(string), json_string_length(string), &o, &ids, &count, err);
    json_decref(string);
    if (status != DT_OK)
        return status;
    printf("[");
    for (size_t i = 0; i < count; i++)
        printf("%s%d", i ? "," : "", ids[i]);
    printf("]\n");
    dt_free(ids);
    return DT_OK;
}

static dt_exit encode_file(const command_line *line, const dt_tokenizer *t, const char *path)
{
    dt_error err = {0};
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char *text = NULL;
    size_t capacity = 0;
    ssize_t length;
    int number = 0;
    dt_status status = DT_OK;
    if (!file) {
        dt_fail_errno(&err, "opening the input", path);
        return report_failure(&err);
    }
    while (status == DT_OK && (length = getline(&text, &capacity, file)) > 0) {
        number++;
        if (strspn(text, " \t\r\n") < (size_t)length)
            status = encode_line(line, t, text, (size_t)length, &err);
    }
    if (status != DT_OK)
        dt_error_while(&err, "while reading line %d of %s", number, path);
    free(text);
    if (file != stdin)
        fclose(file);
    return status == DT_OK ? DT_EXIT_DONE : report_failure(&err);
}

static dt_exit encode_argument(const command_line *line, const dt_tokenizer *t)
{
    dt_error err = {0};
    char *text;
    size_t bytes;
    if (line->positional_count > 1 && strcmp(line->positional[1], "-") != 0)
        return encode(line, t, line->positional[1], strlen(line->positional[1]));
    if (read_stream(stdin, &text, &bytes, &err) != DT_OK)
        return report_failure(&err);
    dt_exit code = encode(line, t, text, bytes);
    free(text);
    return code;
}

/* ---- --chat ---- */

static dt_status read_named(const char *path, char **text, dt_error *err)
{
    size_t bytes;
    *text = NULL;
    if (!path)
        return DT_OK;
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!file)
        return dt_fail_errno(err, "opening", path);
    dt_status status = read_stream(file, text, &bytes, err);
    if (status != DT_OK)
        *text = NULL;
    if (file != stdin)
        fclose(file);
    return status;
}

static dt_status render(const command_line *line, char **text, size_t *bytes, dt_error *err)
{
    const char *path = text_of(line, "template") ? text_of(line, "template") : line->positional[0];
    const option_value *prompt = option_of(line, "generation-prompt");
    dt_chat_template *template;
    char *messages, *tools = NULL;
    DT_PASS(dt_chat_template_open(&template, path, err));
    dt_status status = read_named(text_of(line, "chat"), &messages, err);
    if (status == DT_OK)
        status = read_named(text_of(line, "tools"), &tools, err);
    dt_chat_options o = {.add_generation_prompt = !prompt->given || prompt->on,
                         .name = text_of(line, "template-name"),
                         .variables = text_of(line, "variables"),
                         .tools = tools};
    if (status == DT_OK)
        status = dt_chat_render(template, messages, &o, text, bytes, err);
    free(messages);
    free(tools);
    dt_chat_template_close(template);
    return status;
}

/* The text as it is, or with --json and -v the ids it becomes. */
static dt_exit render_chat(const command_line *line)
{
    dt_error err = {0};
    dt_tokenizer *t;
    char *text;
    size_t bytes, count;
    int32_t *ids;
    if (render(line, &text, &bytes, &err) != DT_OK)
        return report_failure(&err);
    dt_exit code = DT_EXIT_DONE;
    if (!flag(line, "json") && !flag(line, "verbose")) {
        fwrite(text, 1, bytes, stdout);
    } else if (open_tokenizer(line, line->positional[0], true, &t, &err) != DT_OK) {
        code = report_failure(&err);
    } else {
        dt_encode_options o = {.no_special = true};
        if (dt_tokenizer_encode(t, text, bytes, &o, &ids, &count, &err) != DT_OK) {
            code = report_failure(&err);
        } else {
            code = print_ids(line, t, ids, count);
            dt_free(ids);
        }
        dt_tokenizer_close(t);
    }
    dt_free(text);
    return code;
}

static dt_exit run(const command_line *line)
{
    if (text_of(line, "chat"))
        return render_chat(line);
    dt_error err = {0};
    dt_tokenizer *t;
    dt_exit code;
    if (open_tokenizer(line, line->positional[0], true, &t, &err) != DT_OK)
        return report_failure(&err);
    if (text_of(line, "decode"))
        code = decode(line, t, text_of(line, "decode"));
    else if (text_of(line, "input"))
        code = encode_file(line, t, text_of(line, "input"));
    else
        code = encode_argument(line, t);
    dt_tokenizer_close(t);
    return code;
}

static const char *const positional[] = {
    "MODEL", "model folder, or a tokenizer file (tokenizer.json, *.model, *.tiktoken, *.gguf)", "TEXT",
    "what to encode; - or nothing: stdin", NULL};
static const char *const examples[] = {"tokenize t5-small/ \"the house\"", "tokenize gpt2/ --decode 464,2156",
                                       "tokenize qwen2/ --chat messages.json", NULL};

const command_spec command_tokenize = {
    .name = "tokenize",
    .summary = "text to ids and back, as the model's own tokenizer does it",
    .usage = "MODEL [TEXT] [options]",
    .about = "",
    .positional_min = 1,
    .positional_max = 2,
    .positional = positional,
    .options = options,
    .examples = examples,
    .fact = "-v lists each id with its token; --json prints both.",
    .run = run,
};
