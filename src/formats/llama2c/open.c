/*
 * open.c (llama2c) - opens a llama2.c file as a checkpoint.
 */
#include "formats/llama2c/llama2c.h"

#include "base/text.h"
#include "formats/open.h"

#include <stdio.h>
#include <string.h>

#define NAMES "formats/llama2c/names.def"
#include "formats/hf/expand_names.h"

bool dt_llama2c_detect(const char *path)
{
    uint8_t head[256];
    FILE *file = dt_ends_with(path, ".bin") ? fopen(path, "rb") : NULL;
    size_t bytes = file ? fread(head, 1, sizeof head, file) : 0;
    if (file)
        fclose(file);
    return dt_llama2c_header(head, bytes);
}

dt_status dt_llama2c_open(dt_checkpoint *c, const dt_open_options *options, dt_error *err)
{
    const dt_map *map = NULL;
    const char *slash = strrchr(c->path, '/');
    if (options->config)
        return dt_fail(err, DT_UNSUPPORTED,
                       "a llama2.c file has its configuration inside; --config does not apply");
    c->config_file = c->path;
    c->root = slash ? dt_arena_text_n(c->arena, c->path, (size_t)(slash - c->path) + 1) : "";
    if (!c->root)
        return dt_fail_memory(err, strlen(c->path), "a path");
    DT_PASS(dt_stored_set_map(c->set, c->path, &map, err));
    DT_PASS(dt_llama2c_read(c->set, map, &c->config, err));
    DT_PASS(dt_open_parameters(c, err));
    DT_PASS(dt_names_map(c->mapping, &names, &c->config, err));
    return dt_open_bind_names(c, &names, "", NULL, err);
}
