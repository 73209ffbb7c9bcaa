/*
 * chat_template.c - finds a model's chat templates and renders conversations with them. The language is data/jinja/'s.
 */
#include "base/arena.h"
#include "base/gguf.h"
#include "base/bundle.h"
#include "base/json.h"
#include "base/map.h"
#include "base/output.h"
#include "data/jinja/jinja.h"

#include <drivetrain/chat.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

enum { TEMPLATE_LIMIT = 64, CONFIG_BYTES = 64 << 20 };

typedef struct named_template {
    const char *name;
    dt_jinja *jinja;
} named_template;

struct dt_chat_template {
    dt_arena *arena;
    const char *source;
    json_t *tokens; /* {"bos_token": "<s>", …} */
    named_template template[TEMPLATE_LIMIT];
    size_t count;
};

static const char *const token_keys[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                         "pad_token", "cls_token", "mask_token"};

/* ---- collecting templates ---- */

static dt_status add(dt_chat_template *c, const char *name, const char *text, size_t bytes, const char *file,
                     dt_error *err)
{
    if (c->count == TEMPLATE_LIMIT)
        return dt_fail(err, DT_LIMIT, "%s: more than %d chat templates", file, TEMPLATE_LIMIT);
    named_template *t = &c->template[c->count];
    if (!(t->name = dt_arena_text(c->arena, name)))
        return dt_fail_memory(err, strlen(name), "a chat template");
    DT_TRY(dt_jinja_parse(&t->jinja, text, bytes, err), err, "while reading the chat template \"%s\" of %s",
           name, file);
    c->count++;
    return DT_OK;
}

static dt_status add_file(dt_chat_template *c, const char *name, const char *path, dt_error *err)
{
    dt_map map;
    DT_PASS(dt_map_open(&map, path, err));
    dt_status status = add(c, name, map.size ? (const char *)map.data : "", map.size, path, err);
    dt_map_close(&map);
    return status;
}

/* A "chat_template": one text, or a list of {"name", "template"}. */
static dt_status add_json(dt_chat_template *c, const json_t *value, const char *file, dt_error *err)
{
    size_t i;
    json_t *one;
    if (json_is_string(value))
        return add(c, "default", json_string_value(value), json_string_length(value), file, err);
    if (json_is_object(value)) {
        const char *name;
        json_object_foreach((json_t *)(uintptr_t)value, name, one)
        {
            if (!json_is_string(one))
                return dt_fail(err, DT_FORMAT, "%s: chat_template \"%s\" is no text", file, name);
            DT_PASS(add(c, name, json_string_value(one), json_string_length(one), file, err));
        }
        return DT_OK;
    }
    if (!json_is_array(value))
        return dt_fail(err, DT_FORMAT, "%s: chat_template is neither a text nor a list", file);
    json_array_foreach(value, i, one)
    {
        const json_t *text = dt_json_get(one, "template");
        const char *name = NULL;
        DT_PASS(dt_json_string(one, "name", &name, err));
        if (!name || !json_is_string(text))
            return dt_fail(err, DT_FORMAT, "%s: chat_template %zu has no \"name\" or no \"template\"", file,
                           i);
        DT_PASS(add(c, name, json_string_value(text), json_string_length(text), file, err));
    }
    return DT_OK;
}

/* ---- special tokens ---- */

/* The spelling of a token that a file gives as a string or as {"content"}; the first file that names it wins. */
static void take_tokens(dt_chat_template *c, const json_t *from)
{
    for (size_t i = 0; i < sizeof token_keys / sizeof *token_keys; i++) {
        json_t *value = dt_json_get(from, token_keys[i]);
        json_t *content = json_is_object(value) ? dt_json_get(value, "content") : value;
        if (json_is_string(content) && !json_object_get(c->tokens, token_keys[i]))
            json_object_set(c->tokens, token_keys[i], content);
    }
}

/* ---- folders ---- */

static const char *file_in(const dt_chat_template *c, const char *folder, const char *name)
{
    const char *path = dt_arena_printf(c->arena, "%s/%s", folder, name);
    return path && dt_is_file(path) ? path : NULL;
}

static dt_status load_if_there(const char *path, json_t **out, dt_error *err)
{
    *out = NULL;
    return path ? dt_json_load(out, path, CONFIG_BYTES, err) : DT_OK;
}

static dt_status add_additional(dt_chat_template *c, const char *folder, dt_error *err)
{
    const char *path = dt_arena_printf(c->arena, "%s/additional_chat_templates", folder);
    DIR *list = path ? opendir(path) : NULL;
    dt_status status = DT_OK;
    for (struct dirent *entry; list && status == DT_OK && (entry = readdir(list));) {
        if (!dt_ends_with(entry->d_name, ".jinja"))
            continue;
        char *name = dt_arena_text_n(c->arena, entry->d_name, strlen(entry->d_name) - strlen(".jinja"));
        const char *file = file_in(c, path, entry->d_name);
        if (name && file)
            status = add_file(c, name, file, err);
    }
    if (list)
        closedir(list);
    return status;
}

/* A JSON file's "chat_template", where nothing before it had one. */
static dt_status add_of_json(dt_chat_template *c, const json_t *json, const char *path, dt_error *err)
{
    const json_t *value = c->count ? NULL : dt_json_get(json, "chat_template");
    if (!value)
        return DT_OK;
    c->source = path;
    return add_json(c, value, path, err);
}

static dt_status read_folder(dt_chat_template *c, const char *folder, dt_error *err)
{
    const char *jinja = file_in(c, folder, "chat_template.jinja"),
               *config = file_in(c, folder, "tokenizer_config.json"),
               *map = file_in(c, folder, "special_tokens_map.json"),
               *legacy = file_in(c, folder, "chat_template.json");
    json_t *json;
    if (jinja) {
        c->source = jinja;
        DT_PASS(add_file(c, "default", jinja, err));
    }
    DT_PASS(add_additional(c, folder, err));
    const char *const files[] = {config, map, legacy};
    for (int i = 0; i < 3; i++) {
        DT_PASS(load_if_there(files[i], &json, err));
        take_tokens(c, json);
        dt_status status = add_of_json(c, json, files[i], err);
        json_decref(json);
        DT_PASS(status);
    }
    if (c->count)
        return DT_OK;
    dt_fail(err, DT_NOT_FOUND,
            "no chat template in %s: looked for chat_template.jinja, \"chat_template\" in "
            "tokenizer_config.json, and chat_template.json",
            folder);
    return DT_NOT_FOUND;
}

/* ---- files ---- */

static void take_gguf_token(dt_chat_template *c, const dt_gguf_vocabulary *v, const char *key, int64_t id)
{
    if (id >= 0 && (uint64_t)id < v->token_count)
        json_object_set_new(c->tokens, key, json_stringn(v->token[id].data, v->token[id].bytes));
}

static dt_status read_gguf(dt_chat_template *c, const char *path, dt_error *err)
{
    dt_gguf *g;
    dt_gguf_vocabulary v;
    DT_PASS(dt_gguf_open(&g, path, err));
    dt_status status = dt_gguf_vocabulary_of(g, &v, err);
    if (status == DT_OK && !v.chat_template)
        status =
            dt_fail(err, DT_NOT_FOUND, "no chat template in %s: it has no tokenizer.chat_template", path);
    if (status == DT_OK) {
        take_gguf_token(c, &v, "bos_token", v.bos);
        take_gguf_token(c, &v, "eos_token", v.eos);
        take_gguf_token(c, &v, "unk_token", v.unknown);
        take_gguf_token(c, &v, "pad_token", v.pad);
        status = add(c, "default", v.chat_template, strlen(v.chat_template), path, err);
    }
    dt_gguf_close(g);
    return status;
}

static dt_status read_json_file(dt_chat_template *c, const char *path, dt_error *err)
{
    json_t *json;
    DT_PASS(dt_json_load(&json, path, CONFIG_BYTES, err));
    take_tokens(c, json);
    dt_status status = add_of_json(c, json, path, err);
    json_decref(json);
    if (status == DT_OK && c->count == 0)
        status = dt_fail(err, DT_NOT_FOUND, "no chat template in %s: it has no \"chat_template\"", path);
    return status;
}

static dt_status read_path(dt_chat_template *c, const char *path, dt_error *err)
{
    if (!(c->source = dt_arena_text(c->arena, path)))
        return dt_fail_memory(err, strlen(path), "a path");
    if (dt_is_folder(path) || dt_bundle_is(path))
        return read_folder(c, c->source, err);
    if (dt_gguf_detect(path))
        return read_gguf(c, path, err);
    return dt_ends_with(path, ".json") ? read_json_file(c, c->source, err)
                                       : add_file(c, "default", path, err);
}

dt_status dt_chat_template_open(dt_chat_template **out, const char *path, dt_error *err)
{
    dt_chat_template *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c || !(c->arena = dt_arena_create()) || !(c->tokens = json_object())) {
        dt_chat_template_close(c);
        return dt_fail_memory(err, sizeof *c, "chat templates");
    }
    dt_status status = read_path(c, path, err);
    if (status == DT_OK)
        *out = c;
    else
        dt_chat_template_close(c);
    return status;
}

void dt_chat_template_close(dt_chat_template *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->count; i++)
        dt_jinja_destroy(c->template[i].jinja);
    json_decref(c->tokens);
    dt_arena_destroy(c->arena);
    free(c);
}

const char *dt_chat_template_source(const dt_chat_template *c)
{
    return c->source;
}

const char *dt_chat_template_name(const dt_chat_template *c, size_t index)
{
    return index < c->count ? c->template[index].name : NULL;
}

/* ---- rendering ---- */

static const dt_jinja *find(const dt_chat_template *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->template[i].name, name) == 0)
            return c->template[i].jinja;
    return NULL;
}

static dt_status choose(const dt_chat_template *c, const dt_chat_options *o, const dt_jinja **out,
                        dt_error *err)
{
    char names[256] = "";
    *out = o->name ? find(c, o->name) : o->tools ? find(c, "tool_use") : NULL;
    if (!*out && !o->name)
        *out = find(c, "default");
    if (*out)
        return DT_OK;
    for (size_t i = 0, at = 0; i < c->count && at < sizeof names; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", c->template[i].name);
    return dt_fail(err, DT_INVALID, "%s has no chat template \"%s\"; it has: %s", c->source,
                   o->name ? o->name : "default", names);
}

/* transformers gives reasoning under each name that templates read it by. */
static void alias_reasoning(json_t *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    json_t *found = NULL;
    for (int i = 0; i < 3 && !found; i++)
        found = json_object_get(message, names[i]);
    if (!found)
        return;
    if (!json_object_get(message, "thinking"))
        json_object_set(message, "thinking", found);
    json_object_set(message, "reasoning_content", found);
}

/* The messages as templates are shown them: keys that are null left out, reasoning under all of its names. */
static dt_status clean(json_t *messages, dt_error *err)
{
    size_t i;
    json_t *message, *value;
    const char *key;
    void *next;
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return dt_fail(err, DT_INVALID, "a conversation is a list of at least one message");
    json_array_foreach(messages, i, message)
    {
        if (!json_is_object(message))
            return dt_fail(err, DT_FORMAT, "message %zu is no object with \"role\" and \"content\"", i);
        json_object_foreach_safe(message, next, key, value) if (json_is_null(value))
            json_object_del(message, key);
        alias_reasoning(message);
    }
    return DT_OK;
}

static dt_status set_json(json_t *variables, const char *key, const char *text, dt_error *err)
{
    json_t *value = json_null();
    if (text)
        DT_PASS(dt_json_parse(&value, text, strlen(text), key, err));
    return json_object_set_new(variables, key, value) == 0 ? DT_OK : dt_fail_memory(err, 0, "a conversation");
}

static dt_status gather(const dt_chat_template *c, const char *messages, const dt_chat_options *o,
                        json_t *variables, dt_error *err)
{
    json_t *more = NULL;
    json_object_update(variables, c->tokens);
    if (o->variables) {
        DT_PASS(dt_json_parse(&more, o->variables, strlen(o->variables), "variables", err));
        bool fine = json_is_object(more) && json_object_update(variables, more) == 0;
        json_decref(more);
        if (!fine)
            return dt_fail(err, DT_FORMAT, "a template's variables are a JSON object");
    }
    DT_PASS(set_json(variables, "messages", messages, err));
    DT_PASS(clean(json_object_get(variables, "messages"), err));
    DT_PASS(set_json(variables, "tools", o->tools, err));
    DT_PASS(set_json(variables, "documents", o->documents, err));
    json_object_set_new(variables, "add_generation_prompt", json_boolean(o->add_generation_prompt));
    return DT_OK;
}

dt_status dt_chat_render(const dt_chat_template *c, const char *messages, const dt_chat_options *options,
                         char **text, size_t *bytes, dt_error *err)
{
    static const dt_chat_options usual = {.add_generation_prompt = true};
    const dt_chat_options *o = options ? options : &usual;
    const dt_jinja *jinja;
    dt_text out = {0};
    *text = NULL;
    *bytes = 0;
    DT_PASS(choose(c, o, &jinja, err));
    json_t *variables = json_object();
    if (!variables)
        return dt_fail_memory(err, 0, "a conversation");
    dt_status status = gather(c, messages, o, variables, err);
    if (status == DT_OK)
        status = dt_jinja_render(jinja, variables, &(dt_jinja_options){.now = (time_t)o->now}, &out, err);
    json_decref(variables);
    if (status == DT_OK && !out.data && !dt_text_put(&out, ""))
        status = dt_fail_memory(err, 1, "a conversation");
    if (status == DT_OK && (*text = out.data ? out.data : strdup("")))
        *bytes = out.bytes;
    else
        dt_text_free(&out);
    return status;
}
