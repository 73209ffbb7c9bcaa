/*
 * helper.c (trtllm) - writes a TensorRT-LLM checkpoint: chooses the class, checks before anything is written, then streams
 * each rank's file. Nothing is kept but the buffer of one tensor.
 *
 * Names are layer_names.c's, shares weights.c's, config.json model_config.c's, what becomes of weights that are quantised
 * quantize.c's. What the format has no words for (the real vocabulary, which gelu, token ids) goes as hints into the
 * metadata of the ranks' files, where TensorRT-LLM does not look.
 */
#include "base/json.h"
#include "base/output.h"
#include "base/say.h"
#include "base/text.h"
#include "formats/megatron/megatron.h"
#include "formats/trtllm/quantize.h"
#include "models/build.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

/* A whole export. */
typedef struct job {
    const dt_checkpoint *from;
    const dt_export_options *options;
    dt_arena *arena;
    dt_model_config config;
    dt_trtllm_plan plan;
    dt_dtype dtype;
    const dt_param_spec *spec;
    int spec_count;
    dt_trtllm_scales *scales;
    dt_trtllm_file *file; /* of each part's ranks */
    int file_count;
    char *hints;
} job;

/* ---- what is asked ---- */

/* Weights of all ranks have one type: as the embedding is stored. */
static dt_status choose_dtype(job *j, dt_error *err)
{
    static const struct {
        dt_dtype dtype;
        const char *word;
    } words[] = {{DT_BF16, "bfloat16"}, {DT_F16, "float16"}, {DT_F32, "float32"}};
    int index;
    DT_PASS(dt_mapping_get(j->from->mapping, "embedding.word_embeddings.weight", &index, err));
    j->dtype = j->options->cast ? j->options->dtype : dt_mapping_stored_type(j->from->mapping, index);
    for (int i = 0; i < 3; i++)
        if (words[i].dtype == j->dtype) {
            j->plan.dtype = words[i].word;
            return DT_OK;
        }
    return dt_fail(err, DT_UNSUPPORTED,
                   "weights are %s; TensorRT-LLM takes bf16, f16 and f32: choose one with --dtype",
                   dt_dtype_name(j->dtype));
}

static int64_t up_to(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* Rows of the vocabulary: as the source pads it, or the real ones up to a multiple; with a head, cut into equal parts. */
static void choose_rows(job *j)
{
    const dt_export_options *o = j->options;
    dt_model_config *c = &j->config;
    int64_t T = j->plan.tensor;
    if (o->vocab_divisible_by > 0)
        c->padded_vocab_size = up_to(c->vocab_size, o->vocab_divisible_by * T);
    bool two = strcmp(c->model_type, "t5") == 0;
    bool head = !c->share_embeddings_and_output_weights || two;
    j->plan.head_rows = head ? up_to(c->padded_vocab_size, T) : 0;
}

static dt_status refuse_type(const job *j, const char *key, dt_error *err)
{
    dt_trtllm_plan other = j->plan;
    const char *holds = NULL, *obstacle;
    for (int i = 0; !holds && (other.type = dt_trtllm_type_at(i)); i++)
        if ((other.type->parts == 2) == (strcmp(j->config.model_type, "t5") == 0) &&
            dt_trtllm_obstacle(&j->config, &other, &obstacle, NULL) == DT_OK && !obstacle &&
            dt_trtllm_check_places(&j->config, &other, j->spec, j->spec_count, NULL) == DT_OK)
            holds = other.type->name;
    dt_fail(err, DT_UNSUPPORTED,
            "%s computes something else: \"%s\" of this model has no place in its configuration",
            j->plan.type->architecture, key);
    if (holds)
        dt_error_try(err, "--model-type %s", holds);
    else
        dt_error_try(err, "--to hf: TensorRT-LLM 1.3 and newer loads the Hugging Face folder");
    return DT_UNSUPPORTED;
}

static dt_status check_type(const job *j, dt_error *err)
{
    const char *key = NULL;
    DT_PASS(dt_trtllm_obstacle(&j->config, &j->plan, &key, err));
    return key ? refuse_type(j, key, err)
               : dt_trtllm_check_places(&j->config, &j->plan, j->spec, j->spec_count, err);
}

/* The type asked for, or the first whose class computes the same. */
static dt_status choose_type(job *j, dt_error *err)
{
    bool two = strcmp(j->config.model_type, "t5") == 0;
    const char *wanted = j->options->model_type;
    if (wanted) {
        DT_PASS(dt_trtllm_type_named(wanted, &j->plan.type, err));
        if ((j->plan.type->parts == 2) != two)
            return dt_fail(err, DT_UNSUPPORTED, "model type %s is %s, the model is %s", wanted,
                           two ? "a decoder alone" : "an encoder and a decoder",
                           two ? "an encoder and a decoder" : "not");
        return check_type(j, err);
    }
    for (int i = 0; (j->plan.type = dt_trtllm_type_at(i)); i++)
        if ((j->plan.type->parts == 2) == two && check_type(j, NULL) == DT_OK)
            return DT_OK;
    DT_PASS(dt_trtllm_type_named(two                                          ? "t5"
                                 : j->config.normalization == DT_NORM_RMSNORM ? "llama"
                                                                              : "gpt",
                                 &j->plan.type, err));
    return check_type(j, err);
}

static dt_status check_model(const job *j, dt_error *err)
{
    const dt_model_config *c = &j->config;
    bool plain = c->moe_router_score_function == DT_ROUTER_SOFTMAX && !c->moe_shared_expert_intermediate_size;
    if (strcmp(c->model_type, "gpt") != 0 && strcmp(c->model_type, "t5") != 0)
        return dt_fail(err, DT_UNSUPPORTED, "a model of type \"%s\"; gpt and t5 are written", c->model_type);
    if (c->encoder_only)
        return dt_fail(err, DT_UNSUPPORTED, "an encoder without a decoder has no class there");
    if (c->num_moe_experts && !plain)
        return dt_fail(err, DT_UNSUPPORTED, "its router or its shared expert has no place in \"moe\"");
    return DT_OK;
}

static dt_status make_plan(job *j, dt_error *err)
{
    const dt_export_options *o = j->options;
    j->config = j->from->config;
    j->plan.tensor = o->tensor_parallel > 0 ? o->tensor_parallel : 1;
    j->plan.pipeline = o->pipeline_parallel > 0 ? o->pipeline_parallel : 1;
    j->plan.parallel_embedding = o->parallel_embedding;
    j->plan.kv_cache = o->fp8_kv_cache ? "FP8" : NULL;
    DT_PASS(check_model(j, err));
    choose_rows(j);
    DT_PASS(choose_dtype(j, err));
    DT_PASS(dt_model_parameters(&j->config, j->arena, &j->spec, &j->spec_count, err));
    DT_PASS(choose_type(j, err));
    DT_PASS(dt_trtllm_check_ranks(&j->config, &j->plan, err));
    return dt_trtllm_scales_create(&j->scales, j->from, &j->config, &j->plan, o, j->arena, err);
}

/* ---- the files ---- */

static dt_status plan_file(job *j, int part, int rank, dt_trtllm_file *file, dt_error *err)
{
    const char *folder = j->plan.type->names[part]->folder;
    snprintf(file->name, sizeof file->name, "%srank%d.safetensors", folder, rank);
    DT_PASS(dt_trtllm_map_rank(&j->config, &j->plan, part, rank, j->spec, j->spec_count, j->arena,
                               &file->mapping, err));
    return dt_trtllm_list_entries(file, j->scales, j->dtype, j->arena, err);
}

static dt_status plan_files(job *j, dt_error *err)
{
    int ranks = j->plan.tensor * j->plan.pipeline;
    j->file_count = ranks * j->plan.type->parts;
    j->file = DT_NEW_ARRAY(j->arena, dt_trtllm_file, j->file_count);
    if (!j->file)
        return dt_fail_memory(err, sizeof *j->file * (size_t)j->file_count, "the ranks' files");
    for (int i = 0; i < j->file_count; i++)
        DT_PASS(plan_file(j, i / ranks, i % ranks, &j->file[i], err));
    return DT_OK;
}

static dt_status write_config(const job *j, const char *folder, int part, dt_error *err)
{
    char path[PATH_BYTES];
    json_t *json = NULL;
    const char *below = j->plan.type->names[part]->folder;
    if (snprintf(path, sizeof path, "%s/%sconfig.json", folder, below) >= PATH_BYTES)
        return dt_fail(err, DT_INVALID, "the path %s is too long", folder);
    dt_status status = dt_trtllm_write_config(&j->config, &j->plan, part, &json, err);
    if (status == DT_OK)
        status = dt_json_save(json, path, err);
    json_decref(json);
    return status;
}

static dt_status make_hints(job *j, dt_error *err)
{
    json_t *json = NULL;
    dt_status status = dt_megatron_write_config(&j->config, &json, err);
    if (status == DT_OK && !(j->hints = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS)))
        status = dt_fail_memory(err, 4096, "metadata");
    json_decref(json);
    return status;
}

static dt_status make_folders(const job *j, const char *root, dt_error *err)
{
    for (int part = 0; part < j->plan.type->parts; part++) {
        char path[PATH_BYTES];
        const char *below = j->plan.type->names[part]->folder;
        if (!below[0])
            continue;
        snprintf(path, sizeof path, "%s/%.*s", root, (int)strlen(below) - 1, below);
        DT_PASS(dt_make_folder(path, err));
    }
    return DT_OK;
}

static dt_status write_files(job *j, const char *root, dt_export_result *result, dt_error *err)
{
    const char *notes[] = {"format", "pt", "drivetrain", j->hints};
    dt_export_run run = {.from = j->from, .options = j->options};
    dt_status status = DT_OK;
    for (int i = 0; i < j->file_count; i++)
        run.total += dt_trtllm_stream_bytes(&j->file[i]);
    for (int i = 0; status == DT_OK && i < j->file_count; i++) {
        status = dt_trtllm_write_file(&run, &j->file[i], root, notes, result, err);
        if (status != DT_OK)
            dt_error_while(err, "while writing %s", j->file[i].name);
    }
    dt_export_run_end(&run);
    for (int part = 0; status == DT_OK && part < j->plan.type->parts; part++, result->files++)
        status = write_config(j, root, part, err);
    return status;
}

static void warn(const job *j)
{
    if (j->config.window_left >= 0)
        dt_say(j->options->log, DT_LOG_WARNING,
               "a window of %" PRId64
               " keys is no part of this format: TensorRT-LLM takes it when it runs, as "
               "--max_attention_window_size",
               j->config.window_left + 1);
    if (j->config.activation_func == DT_ACT_GELU)
        dt_say(j->options->log, DT_LOG_WARNING,
               "TensorRT-LLM computes gelu by tanh, this model by erf: they differ by up to 5e-4");
}

dt_status dt_trtllm_write(const dt_checkpoint *from, const char *path, const dt_export_options *o,
                          dt_export_result *result, dt_error *err)
{
    job j = {.from = from, .options = o, .arena = dt_arena_create()};
    dt_output_folder *folder = NULL;
    dt_status status = j.arena ? DT_OK : dt_fail_memory(err, 4096, "an export");
    if (status != DT_OK)
        return status;
    DT_GO(status, make_plan(&j, err));
    DT_GO(status, plan_files(&j, err));
    DT_GO(status, make_hints(&j, err));
    warn(&j);
    DT_GO(status, dt_output_folder_create(&folder, path, o->replace, err));
    DT_GO(status, make_folders(&j, dt_output_folder_path(folder), err));
    DT_GO(status, write_files(&j, dt_output_folder_path(folder), result, err));
    DT_GO(status, dt_export_tokenizer(from, dt_output_folder_path(folder), result, err));
    status = dt_output_folder_commit(folder, err);
    folder = NULL;
done:
    dt_output_folder_discard(folder);
    dt_trtllm_scales_destroy(j.scales);
    free(j.hints);
    dt_arena_destroy(j.arena);
    return status;
}
