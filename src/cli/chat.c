/*
 * chat.c - `drivetrain chat`: a conversation in the terminal, in the words of the model's own chat template.
 *
 * What the model computed for earlier turns is kept (dt_conversation). Lines come from libedit on a terminal, where
 * it was built in, and from plain stdin otherwise. The history is the OpenAI API's list of messages; pictures are content
 * items {"type": "image", "path": FILE}, as transformers' templates know them, before their message's text.
 */
#include "cli/shown.h"

#include "base/json.h"
#include "base/text.h"
#include "inference/stops.h"

#include <drivetrain/chat.h>
#include <drivetrain/conversation.h>
#include <drivetrain/text.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef DT_HAVE_EDIT
#include <editline/readline.h>
#endif

static const option_spec options[] = {
    {"system", 's', OPTION_TEXT, "TEXT", "what the model is told before the conversation"},
    {"load", 0, OPTION_TEXT, "FILE", "go on with a conversation that /save wrote"},
    PICTURE_OPTIONS,
    {"template", 0, OPTION_TEXT, "PATH", "chat template (.jinja, or a folder), where the model lacks one"},
    {"max-tokens", 'n', OPTION_INT, "N",
     "new tokens of an answer at most [256, or what generation_config.json says]"},
    {"temperature", 0, OPTION_REAL, "T", "0 = greedy [0]"},
    {"top-k", 0, OPTION_INT, "K", "sample among the K likeliest [off]"},
    {"top-p", 0, OPTION_REAL, "P", "sample within the likeliest that make up P [off]"},
    {"min-p", 0, OPTION_REAL, "P", "drop tokens less likely than P times the likeliest [off]"},
    {"repetition-penalty", 0, OPTION_REAL, "R", "divide the scores of tokens seen before [1]"},
    {"seed", 0, OPTION_INT, "S", "the same seed gives the same answers [0]"},
    {"stop", 0, OPTION_LIST, "TEXT", "end an answer before TEXT (repeatable)"},
    DTYPE_OPTION,
    {"tokenizer", 0, OPTION_TEXT, "PATH", "tokenizer, where the model's folder lacks one"},
    MODEL_OPTIONS,
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

typedef struct chat {
    const command_line *line;
    dt_model *model;
    dt_tokenizer *tokenizer;
    dt_chat_template *template; /* NULL: the plain fall-back */
    dt_conversation *conversation;
    dt_generate_options generate;
    json_t *messages;
    shown_pictures shown;
    bool terminal; /* somebody types */
} chat;

/* ---- Ctrl-C: stops an answer; at the prompt it drops the line ---- */

static volatile sig_atomic_t stopped;

static void on_interrupt(int number)
{
    (void)number;
    stopped = 1;
}

static void catch_stops(void)
{
    struct sigaction action = {.sa_handler = on_interrupt}; /* no SA_RESTART: a read at the prompt returns */
    sigaction(SIGINT, &action, NULL);
}

/* ---- lines ---- */

/* The next line without its end, freed with free; NULL at the end of the input. */
static char *plain_line(const char *prompt)
{
    char *text = NULL;
    size_t capacity = 0;
    if (prompt) {
        fputs(prompt, stderr);
        fflush(stderr);
    }
    ssize_t length = getline(&text, &capacity, stdin);
    if (length < 0) {
        free(text);
        return NULL;
    }
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
        text[--length] = '\0';
    return text;
}

static char *next_line(const chat *c)
{
    for (;;) {
        stopped = 0;
        errno = 0;
#ifdef DT_HAVE_EDIT
        char *text = c->terminal ? readline("> ") : plain_line(NULL);
        if (text && *text && c->terminal)
            add_history(text);
#else
        char *text = plain_line(c->terminal ? "> " : NULL);
#endif
        if (text || !stopped)
            return text;
        clearerr(stdin);
        fputc('\n', stderr);
    }
}

/* ---- the conversation as text ---- */

static bool add_message(chat *c, const char *role, const char *text)
{
    json_t *message = json_pack("{s:s, s:s}", "role", role, "content", text);
    return message && json_array_append_new(c->messages, message) == 0;
}

/* The user's message, with the pictures that wait for it. */
static dt_status add_shown(chat *c, const char *text, dt_error *err)
{
    json_t *content;
    DT_PASS(show_waiting(c->line, c->model, &c->shown, text, &content, err));
    json_t *message = json_pack("{s:s, s:o}", "role", "user", "content", content);
    return json_array_append_new(c->messages, message) == 0 ? DT_OK : dt_fail_memory(err, 0, "a message");
}

static void put_content(const chat *c, const json_t *content, dt_text *out)
{
    const char *spelling = dt_text_image_token(c->model, c->tokenizer);
    size_t i;
    json_t *part;
    if (json_is_string(content))
        dt_text_put(out, json_string_value(content));
    json_array_foreach((json_t *)(uintptr_t)content, i, part)
    {
        const char *text = json_string_value(json_object_get(part, "text"));
        const char *type = json_string_value(json_object_get(part, "type"));
        if (text)
            dt_text_put(out, text);
        else if (type && strcmp(type, "image") == 0 && spelling)
            dt_text_printf(out, "%s\n", spelling);
    }
}

/* Without a template: "User: …", "Assistant: …" on lines of their own. */
static char *plain_text(const chat *c)
{
    dt_text out = {0};
    size_t i;
    json_t *message;
    json_array_foreach(c->messages, i, message)
    {
        const char *role = json_string_value(json_object_get(message, "role"));
        const char *name = !role || strcmp(role, "user") == 0 ? "User: "
                           : strcmp(role, "system") == 0      ? ""
                                                              : "Assistant: ";
        dt_text_put(&out, name);
        put_content(c, json_object_get(message, "content"), &out);
        dt_text_put(&out, "\n");
    }
    dt_text_put(&out, "Assistant:");
    return out.data;
}

static dt_status render(const chat *c, char **text, size_t *bytes, dt_error *err)
{
    if (!c->template) {
        *text = plain_text(c);
        *bytes = *text ? strlen(*text) : 0;
        return *text ? DT_OK : dt_fail_memory(err, 0, "a conversation");
    }
    char *messages = json_dumps(c->messages, 0);
    dt_chat_options o = {.add_generation_prompt = true};
    dt_status status = messages ? dt_chat_render(c->template, messages, &o, text, bytes, err)
                                : dt_fail_memory(err, 0, "a conversation");
    free(messages);
    return status;
}

/* ---- an answer ---- */

typedef struct answer {
    const chat *chat;
    dt_decode_stream *stream;
    dt_text text;
    size_t shown; /* bytes of it on the screen: what may begin a stop string waits */
    bool
        turned; /* the model began to speak for the user, which only the plain fall-back lets it, or met a stop */
    dt_status status;
    dt_error failure;
} answer;

/* What is certain goes to the screen; a stop string and what follows it are no part of the answer. */
static void show(answer *a, const char *piece, size_t bytes, bool last)
{
    const option_value *stop = option_of(a->chat->line, "stop");
    dt_stops stops = {(const char *const *)stop->list, stop->list_count};
    size_t from = a->text.bytes;
    if (a->text.bytes == 0 && !a->chat->template)
        while (bytes && *piece == ' ') {
            piece++;
            bytes--;
        }
    dt_text_append(&a->text, piece, bytes);
    int64_t end = dt_stops_find(stops, a->text.data, a->text.bytes, from);
    if (end >= 0) {
        a->text.bytes = (size_t)end;
        a->text.data[end] = '\0';
        a->turned = true;
    }
    size_t waiting = last || a->turned ? 0 : dt_stops_held(stops, a->text.data, a->text.bytes);
    size_t certain = a->text.bytes - waiting;
    if (certain > a->shown)
        fwrite(a->text.data + a->shown, 1, certain - a->shown, stdout);
    a->shown = certain > a->shown ? certain : a->shown;
    fflush(stdout);
}

static bool take_token(void *user, int64_t row, int32_t token)
{
    answer *a = user;
    const char *piece;
    size_t bytes;
    (void)row;
    a->status = dt_decode_stream_push(a->stream, token, &piece, &bytes, &a->failure);
    if (a->status != DT_OK)
        return false;
    const char *end = a->chat->template ? NULL : memchr(piece, '\n', bytes);
    a->turned = end != NULL;
    show(a, piece, end ? (size_t)(end - piece) : bytes, false);
    return !a->turned && !stopped;
}

/* The decoder is shown the prompt first, so that the answer's text begins where the prompt's ended. */
static dt_status begin_stream(answer *a, const int32_t *ids, size_t count, dt_error *err)
{
    const char *piece;
    size_t bytes;
    DT_PASS(dt_decode_stream_create(&a->stream, a->chat->tokenizer, true, err));
    int64_t image = a->chat->shown.files.count ? dt_model_get_config(a->chat->model)->image_token_index : -1;
    for (size_t i = 0; i < count; i++)
        if (ids[i] != image || image == -1)
            DT_PASS(dt_decode_stream_push(a->stream, ids[i], &piece, &bytes, err));
    return DT_OK;
}

static dt_status generate(chat *c, answer *a, const int32_t *ids, size_t count, dt_error *err)
{
    dt_generation *g;
    dt_generate_options o = c->generate;
    const char *piece;
    size_t bytes;
    DT_PASS(begin_stream(a, ids, count, err));
    o.on_token = take_token;
    o.user = a;
    dt_pixels *pictures = all_pictures(&c->shown);
    if (!pictures)
        return dt_fail_memory(err, c->shown.files.count * sizeof *pictures, "pictures");
    const dt_prompt prompt = {
        .tokens = ids, .count = count, .pictures = pictures, .picture_count = c->shown.files.count};
    dt_status status = dt_conversation_answer(&g, c->conversation, &prompt, &o, err);
    free(pictures);
    DT_PASS(status);
    if (a->status == DT_OK && !a->turned && dt_decode_stream_finish(a->stream, &piece, &bytes, err) == DT_OK)
        show(a, piece, bytes, true);
    printf("\n");
    dt_generation_timing t = dt_generation_timing_of(g);
    if (flag(c->line, "verbose"))
        fprintf(stderr, "%zu tokens in the conversation; computed %lld of the prompt, %lld of the answer\n",
                count + further_positions(c->model, &c->shown), (long long)t.prefill_tokens,
                (long long)t.decode_tokens);
    dt_generation_destroy(g);
    if (a->status == DT_OK)
        return DT_OK;
    *err = a->failure;
    dt_error_while(err, "while decoding the answer");
    return a->status;
}

/* One turn: the user's message is kept only with its answer. */
static dt_status answer_message(chat *c, const char *text, dt_error *err)
{
    answer a = {.chat = c};
    char *prompt = NULL;
    int32_t *ids = NULL;
    size_t bytes, count, before = json_array_size(c->messages), seen = c->shown.files.count;
    dt_status status = DT_OK;
    if (c->shown.waiting.count)
        status = add_shown(c, text, err);
    else if (!add_message(c, "user", text))
        status = dt_fail(err, DT_FORMAT, "the message is not valid UTF-8");
    if (status == DT_OK)
        status = render(c, &prompt, &bytes, err);
    dt_encode_options o = {.no_special = c->template != NULL}; /* a template writes them itself */
    if (status == DT_OK)
        status = dt_text_encode(c->model, c->tokenizer, prompt, bytes, &o, &ids, &count, err);
    if (status == DT_OK)
        status = generate(c, &a, ids, count, err);
    if (status != DT_OK || !add_message(c, "assistant", a.text.data ? a.text.data : "")) {
        while (json_array_size(c->messages) > before)
            json_array_remove(c->messages, json_array_size(c->messages) - 1);
        forget_pictures(&c->shown, seen);
    }
    dt_decode_stream_destroy(a.stream);
    dt_text_free(&a.text);
    dt_free(ids);
    free(prompt);
    return status;
}

/* ---- commands ---- */

static bool has_system(const chat *c)
{
    const char *role = json_string_value(json_object_get(json_array_get(c->messages, 0), "role"));
    return role && strcmp(role, "system") == 0;
}

static dt_status set_system(chat *c, const char *text, dt_error *err)
{
    json_t *message = json_pack("{s:s, s:s}", "role", "system", "content", text);
    if (has_system(c))
        json_array_remove(c->messages, 0);
    if (!message)
        return dt_fail(err, DT_FORMAT, "the system message is not valid UTF-8");
    if (*text)
        json_array_insert_new(c->messages, 0, message);
    else
        json_decref(message);
    return DT_OK;
}

static dt_status reset(chat *c, const char *argument, dt_error *err)
{
    (void)argument, (void)err;
    while (json_array_size(c->messages) > (has_system(c) ? 1U : 0U))
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
    forget_pictures(&c->shown, 0);
    free_picture_list(&c->shown.waiting);
    return DT_OK;
}

static dt_status show_picture(chat *c, const char *argument, dt_error *err)
{
    if (!*argument)
        return dt_fail(err, DT_INVALID, "/image needs a file's name");
    DT_PASS(check_eyes(c->model, err));
    dt_image *image;
    DT_PASS(dt_image_open(&image, argument, NULL, err)); /* a mistake is told at once */
    dt_image_close(image);
    DT_PASS(add_picture_file(&c->shown.waiting, argument, err));
    if (c->terminal)
        fprintf(stderr, "%s goes with the next message\n", argument);
    return DT_OK;
}

static dt_status save(chat *c, const char *argument, dt_error *err)
{
    if (!*argument)
        return dt_fail(err, DT_INVALID, "/save needs a file's name");
    DT_PASS(dt_json_save(c->messages, argument, err));
    fprintf(stderr, "%zu messages in %s\n", json_array_size(c->messages), argument);
    return DT_OK;
}

static dt_status load(chat *c, const char *argument, dt_error *err)
{
    enum { LIMIT = 64 << 20 };
    json_t *messages, *message;
    size_t i;
    if (!*argument)
        return dt_fail(err, DT_INVALID, "/load needs a file's name");
    DT_PASS(dt_json_load(&messages, argument, LIMIT, err));
    bool fine = json_is_array(messages);
    json_array_foreach(messages, i, message) fine &= json_is_string(json_object_get(message, "role"));
    if (!fine) {
        json_decref(messages);
        return dt_fail(err, DT_FORMAT, "%s: expected a list of messages, each with a \"role\"", argument);
    }
    json_decref(c->messages);
    c->messages = messages;
    DT_TRY(show_messages(c->line, c->model, &c->shown, messages, err), err,
           "while reading the pictures of %s", argument);
    fprintf(stderr, "%zu messages from %s\n", json_array_size(messages), argument);
    return DT_OK;
}

static dt_status help(chat *c, const char *argument, dt_error *err);

static const struct {
    const char *name, *argument, *help;
    dt_status (*run)(chat *c, const char *argument, dt_error *err);
} commands[] = {
    {"/reset", "", "forget the conversation, not the system message", reset},
    {"/system", " TEXT", "tell the model TEXT before everything else; no TEXT: nothing", set_system},
    {"/image", " FILE", "show a picture with the next message", show_picture},
    {"/save", " FILE", "write the conversation as JSON", save},
    {"/load", " FILE", "go on with a conversation that was saved", load},
    {"/help", "", "this list", help},
    {"/exit", "", "leave; so does Ctrl-D", NULL},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static dt_status help(chat *c, const char *argument, dt_error *err)
{
    (void)c, (void)argument, (void)err;
    for (int i = 0; i < COMMANDS; i++)
        fprintf(stderr, "  %-7s%-6s %s\n", commands[i].name, commands[i].argument, commands[i].help);
    fprintf(stderr, "  Ctrl-C        stop the answer; the conversation goes on\n");
    return DT_OK;
}

/* Obey a line that begins with "/"; *over after /exit. */
static dt_status obey(chat *c, const char *line, bool *over, dt_error *err)
{
    size_t n = strcspn(line, " ");
    const char *argument = line + n + strspn(line + n, " ");
    for (int i = 0; i < COMMANDS; i++)
        if (strlen(commands[i].name) == n && memcmp(commands[i].name, line, n) == 0) {
            *over = !commands[i].run;
            return *over ? DT_OK : commands[i].run(c, argument, err);
        }
    return dt_fail(err, DT_INVALID, "no command %.*s; /help lists them", (int)(n < 60 ? n : 60), line);
}

/* ---- the whole ---- */

/* On a terminal a mistake is told and the talk goes on; a script ends at its first. */
static dt_exit converse(chat *c)
{
    bool over = false;
    char *text;
    while (!over && (text = next_line(c))) {
        dt_error err = {0};
        dt_status status = DT_OK;
        if (*text == '/')
            status = obey(c, text, &over, &err);
        else if (*text)
            status = answer_message(c, text, &err);
        free(text);
        if (status != DT_OK && report_failure(&err) && !c->terminal)
            return DT_EXIT_FAILED;
    }
    if (c->terminal && !over)
        fputc('\n', stderr);
    return DT_EXIT_DONE;
}

static dt_status open_template(chat *c, const char *model, dt_error *err)
{
    const char *given = text_of(c->line, "template");
    dt_status status = dt_chat_template_open(&c->template, given ? given : model, err);
    if (status != DT_NOT_FOUND || given)
        return status;
    fprintf(
        stderr,
        "%s has no chat template: turns are written as \"User: ...\" and \"Assistant: ...\", which the model "
        "may not know; --template PATH gives one\n",
        model);
    dt_error_clear(err);
    return DT_OK;
}

static dt_status open_all(chat *c, const dt_model_options *o, dt_error *err)
{
    const char *path = c->line->positional[0], *system = text_of(c->line, "system"),
               *from = text_of(c->line, "load");
    DT_PASS(open_tokenizer(c->line, path, true, &c->tokenizer, err));
    DT_PASS(open_template(c, path, err));
    DT_PASS(dt_model_open(&c->model, path, o, err));
    DT_PASS(dt_conversation_create(&c->conversation, c->model, 0, err));
    DT_PASS(dt_generate_options_of(c->model, &c->generate, err));
    if (from)
        DT_PASS(load(c, from, err));
    DT_PASS(list_pictures(c->line, false, &c->shown.waiting, err));
    return system ? set_system(c, system, err) : DT_OK;
}

static void take_options(const command_line *line, dt_generate_options *o)
{
    o->max_tokens = int_of(line, "max-tokens", o->max_tokens);
    o->temperature = real_of(line, "temperature", o->temperature);
    o->top_k = int_of(line, "top-k", o->top_k);
    o->top_p = real_of(line, "top-p", o->top_p);
    o->min_p = real_of(line, "min-p", o->min_p);
    o->repetition_penalty = real_of(line, "repetition-penalty", o->repetition_penalty);
    o->seed = (uint64_t)int_of(line, "seed", (int64_t)o->seed);
    o->beams = 1;
}

static dt_exit run(const command_line *line)
{
    dt_error err = {0};
    dt_model_options o;
    dt_exit code;
    chat c = {.line = line, .messages = json_array(), .terminal = isatty(STDIN_FILENO)};
    if (flag(line, "json"))
        return json_decref(c.messages),
               usage_error(line, "--json: a conversation is no document; /save FILE writes it as JSON");
    if (!model_options_of(line, &o)) {
        json_decref(c.messages);
        return DT_EXIT_USAGE;
    }
    if (open_all(&c, &o, &err) != DT_OK)
        code = report_failure(&err);
    else {
        take_options(line, &c.generate);
        catch_stops();
        if (c.terminal && !flag(line, "quiet"))
            fprintf(stderr, "/help lists commands; Ctrl-C stops an answer, Ctrl-D leaves\n");
        code = converse(&c);
    }
    close_shown(&c.shown);
    dt_conversation_destroy(c.conversation);
    dt_model_close(c.model);
    dt_chat_template_close(c.template);
    dt_tokenizer_close(c.tokenizer);
    json_decref(c.messages);
    return code;
}

static const char *const positional[] = {"MODEL", "directory or file; its format is found from its content",
                                         NULL};
static const char *const examples[] = {"chat qwen2/", "chat llama/ --system \"Be brief.\" --temperature 0.7",
                                       "chat gpt2/ < questions.txt", "chat llava/ --image cat.jpg", NULL};

const command_spec command_chat = {
    .name = "chat",
    .summary = "talk with a model in the terminal",
    .usage = "MODEL [options]",
    .about =
        "Each line is a message; answers go to stdout as they come. The model's own chat template is used.\n"
        "In the conversation: /reset, /system TEXT, /image FILE, /save FILE, /load FILE, /help, /exit.",
    .positional_min = 1,
    .positional_max = 1,
    .positional = positional,
    .options = options,
    .examples = examples,
    .fact = "What earlier turns computed is kept: the tenth turn costs what it adds.",
    .run = run,
};
