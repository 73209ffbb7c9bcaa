/*
 * open.c (onnx) - opens a folder of ONNX graphs that drivetrain wrote: their weights, and the configuration in their
 * metadata. Graphs of other makers name their weights as they like, and cannot be opened.
 */
#include "base/json.h"
#include "base/output.h"
#include "formats/megatron/megatron.h"
#include "formats/onnx/model.h"
#include "formats/open.h"

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

static bool has(const char *folder, const char *name)
{
    char path[PATH_BYTES];
    return snprintf(path, sizeof path, "%s/%s", folder, name) < PATH_BYTES && dt_is_file(path);
}

bool dt_onnx_detect(const char *path)
{
    return has(path, "model.onnx") || has(path, "encoder_model.onnx") || has(path, "vision_encoder.onnx");
}

static dt_status read_files(dt_checkpoint *c, const char **config, dt_error *err)
{
    const char *name;
    for (int i = 0; (name = dt_onnx_file_name(i)); i++) {
        const char *path = dt_open_path(c, c->path, name);
        if (!path)
            return dt_fail_memory(err, PATH_BYTES, "a path");
        if (!dt_is_file(path))
            continue;
        c->config_file = path;
        DT_TRY(dt_onnx_read(c->set, c->path, path, config, err), err, "while reading %s", path);
    }
    return DT_OK;
}

static dt_status use_config(dt_checkpoint *c, const char *text, dt_error *err)
{
    json_t *json = NULL;
    if (!text) {
        dt_fail(err, DT_UNSUPPORTED,
                "%s was not written by drivetrain: weights in other graphs have no known names", c->path);
        dt_error_try(err, "the checkpoint that the graph was made from");
        return DT_UNSUPPORTED;
    }
    DT_TRY(dt_json_parse(&json, text, strlen(text), DT_ONNX_CONFIG, err), err, "while reading %s",
           c->config_file);
    bool sees =
        dt_megatron_is_llava(json); /* … and says all: weights that lie transposed are not to be asked */
    dt_status status = sees ? dt_megatron_read_llava(json, &c->config, &c->parts, err)
                            : dt_megatron_use_config(c, json, err);
    json_decref(json);
    return status;
}

dt_status dt_onnx_open(dt_checkpoint *c, const dt_open_options *options, dt_error *err)
{
    static const dt_name_table plain = {.prefix = ""};
    const char *config = NULL;
    (void)options;
    DT_PASS(read_files(c, &config, err));
    DT_PASS(use_config(c, config, err));
    DT_PASS(dt_open_parameters(c, err));
    DT_PASS(dt_onnx_map(&c->config, c->mapping, err));
    return dt_open_bind_names(c, &plain, "", NULL, err);
}
