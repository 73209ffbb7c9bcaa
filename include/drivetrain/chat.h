/**
 * chat.h - conversations as the text that a model was trained to see: its own chat template, rendered.
 *
 * Templates are found where makers put them and render as transformers' apply_chat_template does, within limits on
 * work, depth, memory and output; nothing is executed but the template language itself, over the data given.
 *
 *     dt_chat_template *t;
 *     if (dt_chat_template_open(&t, "qwen2/", &err)) ...
 *     char *text; size_t bytes;
 *     dt_chat_render(t, "[{\"role\":\"user\",\"content\":\"Hello\"}]", NULL, &text, &bytes, &err);
 *     ...
 *     dt_free(text);
 *     dt_chat_template_close(t);
 */
#ifndef DRIVETRAIN_CHAT_H
#define DRIVETRAIN_CHAT_H

#include <drivetrain/memory.h>
#include <drivetrain/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The templates of one model, parsed, and the special tokens they name. Immutable: any number of threads may render. */
typedef struct dt_chat_template dt_chat_template;

/**
 * Open a model's templates. `path` is a folder (chat_template.jinja with additional_chat_templates/, else
 * tokenizer_config.json's, one or a list of named ones, else chat_template.json), a GGUF file
 * (tokenizer.chat_template), a .jinja file, or a JSON file that holds a chat_template.
 *
 * Errors   DT_NOT_FOUND  there is none (the error lists what was looked for)
 *          DT_FORMAT     no template language; names the file and the line
 */
dt_status dt_chat_template_open(dt_chat_template **out, const char *path, dt_error *err);
void dt_chat_template_close(dt_chat_template *chat); /**< NULL is fine */

/** The file that the templates came from. */
const char *dt_chat_template_source(const dt_chat_template *chat);
/** Names in the order of the files ("default", "tool_use", …); NULL past the last. */
const char *dt_chat_template_name(const dt_chat_template *chat, size_t index);

typedef struct dt_chat_options {
    bool add_generation_prompt; /**< end with what begins an answer */
    const char *name;  /**< which template; NULL = "tool_use" with tools where there is one, else "default" */
    const char *tools; /**< JSON: a list of function schemas, or NULL */
    const char *documents; /**< JSON: a list of {"title", "text"}, or NULL */
    const char *variables; /**< JSON: an object of further variables ("enable_thinking"), or NULL */
    int64_t now;           /**< seconds since 1970 that strftime_now tells; 0 = the clock */
} dt_chat_options;

/**
 * Render a conversation: `messages` is a JSON list of objects ("role", "content", …), as the OpenAI API has them.
 * Keys that are null are left out, as apply_chat_template does. The text holds the special tokens already: encode it
 * with dt_encode_options.no_special.
 *
 * Memory   *text is the caller's, terminated, freed with dt_free.
 * Errors   DT_INVALID  no messages, no such template, or the template refuses them (innermost line: its own words)
 *          DT_FORMAT   JSON that is none, or messages that are not what the template takes them for
 *          DT_LIMIT    a template that does not end
 */
dt_status dt_chat_render(const dt_chat_template *chat, const char *messages, const dt_chat_options *options,
                         char **text, size_t *bytes, dt_error *err);

#ifdef __cplusplus
}
#endif
#endif
