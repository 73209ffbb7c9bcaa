/*
 * open.c (trtllm) - reads a TensorRT-LLM checkpoint back: config.json and every rank's file, or those below encoder/ and
 * decoder/. What ranks repeat must be equal; fp8 weights count times their scales.
 */
#include "base/json.h"
#include "base/output.h"
#include "base/text.h"
#include "formats/megatron/megatron.h"
#include "formats/safetensors/safetensors.h"
#include "formats/trtllm/trtllm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096, CONFIG_LIMIT = 16 << 20, SNIFF_BYTES = 1 << 20 };

static const dt_name_skip skips[] = {
    {"*rank{}:*_scaling_factor", "scale"},
    {"*rank{}:transformer.layers.{}.attention.dense.bias", "zeros beside a bias of q, k, v"},
    {"*rank{}:transformer.layers.{}.self_attention.rel_attn_table", "copy of the stack's table"},
};

static const dt_name_table names = {
    .prefix = "", .skip = skips, .skip_count = (int)(sizeof skips / sizeof skips[0])};

/* ---- detection ---- */

static bool path_of(char *out, const char *folder, const char *below, const char *name)
{
    return snprintf(out, PATH_BYTES, "%s/%s%s", folder, below, name) < PATH_BYTES;
}

static bool has_ranks(const char *folder, const char *below)
{
    char path[PATH_BYTES], config[PATH_BYTES];
    return path_of(path, folder, below, "rank0.safetensors") &&
           path_of(config, folder, below, "config.json") && dt_is_file(path) && dt_is_file(config);
}

bool dt_trtllm_detect(const char *path)
{
    return has_ranks(path, "") || (has_ranks(path, "encoder/") && has_ranks(path, "decoder/"));
}

/* ---- scales ---- */

/* fp8 weights are their bytes times one scale, which lies beside them. */
static dt_status apply_scale(dt_checkpoint *c, size_t index, const dt_stored_tensor *t, dt_error *err)
{
    char name[DT_TRTLLM_NAME];
    float scale;
    snprintf(name, sizeof name, "%.*s.weights_scaling_factor", (int)(strlen(t->name) - strlen(".weight")),
             t->name);
    const dt_stored_tensor *s = dt_stored_set_find(c->set, name);
    if (!s)
        return dt_fail(err, DT_NOT_FOUND, "tensor \"%s\" is %s without a scale beside it (\"%s\")", t->name,
                       dt_dtype_name(t->dtype), name);
    if (s->unsupported || s->dtype != DT_F32 || s->shape.rank != 1 || s->shape.dim[0] != 1)
        return dt_fail(err, DT_FORMAT, "tensor \"%s\" is not one f32", name);
    DT_PASS(dt_stored_read(s, NULL, DT_F32, &scale, NULL, err));
    if (!(scale > 0))
        return dt_fail(err, DT_FORMAT, "tensor \"%s\" holds %g", name, (double)scale);
    float *kept = DT_NEW(c->arena, float);
    if (!kept)
        return dt_fail_memory(err, sizeof *kept, "a scale");
    *kept = 1 / scale;
    dt_stored_set_divide(c->set, index, kept, 1);
    return DT_OK;
}

static dt_status apply_scales(dt_checkpoint *c, dt_error *err)
{
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++) {
        const dt_stored_tensor *t = dt_stored_set_at(c->set, i);
        if (t->unsupported || !dt_ends_with(t->name, ".weight"))
            continue;
        if (t->dtype == DT_I8)
            return dt_fail(err, DT_UNSUPPORTED,
                           "tensor \"%s\" is quantised to integers, which are written for TensorRT-LLM and "
                           "not read back",
                           t->name);
        if (t->dtype == DT_F8E4M3 && t->shape.rank == 2)
            DT_PASS(apply_scale(c, i, t, err));
    }
    return DT_OK;
}

/* ---- copies ---- */

/* A stack's one table of relative positions, which its layers or stages repeat. */
static int find_table(const dt_checkpoint *c, const dt_stored_tensor *s, const char *rank, long number)
{
    static const char *const places[] = {"transformer.layers.0.attention.rel_attn_table",
                                         "transformer.layers.0.self_attention.rel_attn_table",
                                         "rel_attn_table"};
    int external = -1;
    for (int i = 0; i < 3 && external < 0; i++) {
        char name[DT_TRTLLM_NAME];
        snprintf(name, sizeof name, "%.*srank%ld:%s", (int)(rank - s->name), s->name, number, places[i]);
        external = dt_mapping_find_external(c->mapping, name);
    }
    return external;
}

/* The same tensor of the first rank of the stage, or of the other part and of the head where they are tied. */
static dt_status find_copy(dt_checkpoint *c, const dt_stored_tensor *s, dt_fate *fate, dt_error *err)
{
    const char *colon = strchr(s->name, ':'), *rank = strstr(s->name, "rank");
    char name[DT_TRTLLM_NAME];
    if (!colon || !rank)
        return DT_OK;
    long number = strtol(rank + 4, NULL, 10), T = (long)c->tensor_parallel;
    snprintf(name, sizeof name, "%.*srank%ld:%s", (int)(rank - s->name), s->name, number / T * T, colon + 1);
    int external = dt_mapping_find_external(c->mapping, name);
    bool bias = dt_ends_with(s->name, ".attention.dense.bias");
    if (external < 0 && !bias && dt_ends_with(s->name, "rel_attn_table"))
        external = find_table(c, s, rank, number % T);
    bool words = dt_ends_with(s->name, ":transformer.vocab_embedding.weight");
    for (int i = 0; i < 4 && external < 0 && words; i++) { /* whole on every rank, or each rank's rows */
        snprintf(name, sizeof name, "%s/rank%ld:%s", i / 2 ? "decoder" : "encoder",
                 i % 2 ? number / T * T : number, colon + 1);
        external = dt_mapping_find_external(c->mapping, name);
    }
    return external >= 0 ? dt_open_copy(c, s, external, false, fate, err) : DT_OK;
}

static dt_status find_fate(dt_checkpoint *c, const dt_stored_tensor *s, dt_fate *fate, dt_error *err)
{
    DT_PASS(find_copy(c, s, fate, err));
    if (fate->external < 0 && c->config.share_embeddings_and_output_weights &&
        dt_ends_with(s->name, ":lm_head.weight"))
        fate->rule = "tied head";
    return DT_OK;
}

/* ---- opening ---- */

typedef struct files {
    json_t *json[2]; /* one, or the encoder's and the decoder's */
    const char *below[2];
    int parts;
} files;

static dt_status load_configs(dt_checkpoint *c, const dt_open_options *options, files *f, dt_error *err)
{
    bool two = !has_ranks(c->path, "");
    f->parts = two ? 2 : 1;
    f->below[0] = two ? "encoder/" : "";
    f->below[1] = "decoder/";
    for (int i = 0; i < f->parts; i++) {
        char path[PATH_BYTES];
        if (!path_of(path, c->path, f->below[i], "config.json"))
            return dt_fail(err, DT_INVALID, "the path %s is too long", c->path);
        c->config_file = dt_arena_text(c->arena, options->config && !two ? options->config : path);
        if (!c->config_file)
            return dt_fail_memory(err, PATH_BYTES, "a path");
        DT_PASS(dt_json_load(&f->json[i], c->config_file, CONFIG_LIMIT, err));
    }
    return DT_OK;
}

/* All ranks' files; how many is what the configuration says. */
static dt_status read_ranks(dt_checkpoint *c, const files *f, dt_error *err)
{
    const json_t *main = f->json[f->parts - 1], *mapping = dt_json_get(main, "mapping");
    int64_t tensor = 1, pipeline = 1;
    DT_PASS(dt_json_int(mapping ? mapping : main, "tp_size", &tensor, err));
    DT_PASS(dt_json_int(mapping ? mapping : main, "pp_size", &pipeline, err));
    if (tensor < 1 || pipeline < 1 || tensor > DT_TRTLLM_RANKS || pipeline > DT_TRTLLM_RANKS / tensor)
        return dt_fail(err, DT_UNSUPPORTED, "\"tp_size\" is %lld and \"pp_size\" %lld", (long long)tensor,
                       (long long)pipeline);
    c->tensor_parallel = tensor;
    c->pipeline_parallel = pipeline;
    for (int i = 0; i < f->parts; i++)
        for (int64_t r = 0; r < tensor * pipeline; r++) {
            char path[PATH_BYTES], name[64], before[64];
            snprintf(name, sizeof name, "rank%lld.safetensors", (long long)r);
            snprintf(before, sizeof before, "%srank%lld:", f->below[i], (long long)r);
            if (!path_of(path, c->path, f->below[i], name))
                return dt_fail(err, DT_INVALID, "the path %s is too long", c->path);
            DT_PASS(dt_safetensors_read_as(c->set, path, before, err));
        }
    return DT_OK;
}

/* Is there a head of its own on the last stage? */
static bool has_head(const dt_checkpoint *c, const files *f)
{
    char name[128];
    snprintf(name, sizeof name, "%srank%lld:lm_head.weight", f->parts == 2 ? "decoder/" : "",
             (long long)((c->pipeline_parallel - 1) * c->tensor_parallel));
    return dt_stored_set_find(c->set, name) != NULL;
}

static dt_status read_hints(const dt_checkpoint *c, dt_model_config *said, bool *found, dt_error *err)
{
    const char *text = dt_stored_set_noted(c->set, "drivetrain");
    json_t *json = NULL;
    *found = text != NULL;
    if (!text)
        return DT_OK;
    DT_PASS(dt_json_parse(&json, text, strlen(text), "the note \"drivetrain\"", err));
    dt_status status = dt_megatron_read_config(json, "gpt", said, err);
    json_decref(json);
    if (status == DT_OK)
        dt_config_derive(said);
    else
        dt_error_while(err, "while reading the note \"drivetrain\" of a rank's file");
    return status;
}

static void note_facts(dt_checkpoint *c, const json_t *json)
{
    static const char *const keys[] = {"hidden_size", "num_hidden_layers",      "num_attention_heads",
                                       "vocab_size",  "intermediate_size",      "num_key_value_heads",
                                       "head_size",   "max_position_embeddings"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (json_is_integer(json_object_get(json, keys[i])))
            dt_open_fact(c, keys[i], json_integer_value(json_object_get(json, keys[i])));
}

static dt_status open_model(dt_checkpoint *c, const files *f, dt_error *err)
{
    dt_model_config said;
    dt_trtllm_plan plan;
    bool hinted;
    DT_PASS(read_ranks(c, f, err));
    DT_PASS(read_hints(c, &said, &hinted, err));
    DT_TRY(dt_trtllm_read_config((const json_t *const *)f->json, hinted ? &said : NULL, has_head(c, f),
                                 &c->config, &plan, err),
           err, "while reading %s", c->config_file);
    note_facts(c, f->json[f->parts - 1]);
    DT_PASS(dt_open_parameters(c, err));
    DT_TRY(dt_trtllm_check_ranks(&c->config, &plan, err), err, "while checking %s", c->config_file);
    DT_PASS(apply_scales(c, err));
    DT_PASS(dt_trtllm_map(&c->config, &plan, c->arena, c->mapping, err));
    return dt_open_bind_names(c, &names, "", find_fate, err);
}

dt_status dt_trtllm_open(dt_checkpoint *c, const dt_open_options *options, dt_error *err)
{
    files f = {0};
    dt_status status = load_configs(c, options, &f, err);
    if (status == DT_OK)
        status = open_model(c, &f, err);
    json_decref(f.json[0]);
    json_decref(f.json[1]);
    return status;
}
