/*
 * export.c - the converter: checks a request against its target, streams the tensors (formats/), proves the result.
 *
 * How a format lies is formats/' business; what its consumers accept is targets.def's; the distance from the source
 * is measured by verify/ and written down by parity.c.
 */
#include "export/engine.h"
#include "export/parity.h"
#include "export/trtllm.h"
#include "export/types.h"
#include "export/peer.h"

#include "base/fail.h"
#include "base/text.h"
#include "models/build.h"
#include "formats/engine/engine.h"
#include "formats/open.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- before anything is written ---- */

/* Layout options that the target would ignore are refused, not ignored. */
static dt_status check_layout(const dt_target *target, const dt_export_options *o, dt_error *err)
{
    const struct {
        const char *name;
        bool given;
    } option[] = {{"tp", o->tensor_parallel > 1},
                  {"pp", o->pipeline_parallel > 1},
                  {"vp", o->virtual_pipeline > 1},
                  {"ep", o->expert_parallel > 1},
                  {"vocab-size-divisible-by", o->vocab_divisible_by > 0},
                  {"shard-bytes", o->shard_bytes > 0},
                  {"spec", o->local_names},
                  {"opset", o->opset != 0},
                  {"parallel-embedding", o->parallel_embedding},
                  {"kv-cache-dtype", o->fp8_kv_cache},
                  {"model-type", o->model_type != NULL}};
    for (size_t i = 0; i < sizeof option / sizeof option[0]; i++)
        if (option[i].given && !dt_target_takes(target->options, option[i].name))
            return dt_fail(err, DT_UNSUPPORTED, "option \"%s\" says nothing to %s, which heeds: %s",
                           option[i].name, target->name, target->options[0] ? target->options : "none");
    return DT_OK;
}

/* Runtimes of words take no tower or projector alone, and some no model with eyes at all: who does instead. */
static dt_status check_eyes(const dt_target *target, const dt_model_config *c, dt_error *err)
{
    static const struct {
        const char *target, *alone, *whole;
    } row[] = {
        {"gguf", "llama.cpp reads a tower and its projector together, beside a language model", NULL},
        {"trtllm", "TensorRT-LLM takes a tower as an ONNX graph", NULL},
        {"ctranslate2", "CTranslate2 computes words alone", "CTranslate2 computes words alone"},
    };
    bool alone = !dt_config_reads(c);
    for (size_t i = 0; (alone || c->vision) && i < sizeof row / sizeof row[0]; i++) {
        const char *reason = alone ? row[i].alone : row[i].whole;
        if (strcmp(row[i].target, target->name) != 0 || !reason)
            continue;
        dt_fail(err, DT_UNSUPPORTED, "%s holds no %s: %s", target->name, c->family, reason);
        dt_error_try(err, "%s", alone ? "--to onnx" : "--part language, or --to onnx");
        return DT_UNSUPPORTED;
    }
    return DT_OK;
}

static dt_status plan(const dt_checkpoint *from, const dt_export_request *request, dt_export_options *write,
                      dt_error *err)
{
    const dt_target *target;
    const dt_peer *peer;
    if (request->ask_peer)
        DT_PASS(dt_peer_find(request->target, &peer, err));
    if (request->ask_peer && dt_checkpoint_config(from)->vision) {
        dt_fail(err, DT_UNSUPPORTED, "runtimes are asked about words or pictures, not about both at once");
        dt_error_try(err,
                     "--part tower or --part language with --check peer; make interop asks about the whole");
        return DT_UNSUPPORTED;
    }
    DT_PASS(dt_target_find(request->target, &target, err));
    *write = request->write;
    write->format = target->name;
    write->cast = false;
    write->model_type = request->model_type;
    if (request->type)
        DT_PASS(dt_data_type_apply(target, request->type, write, err));
    if (request->build)
        DT_PASS(dt_trtllm_builder(NULL, 0, err));
    DT_PASS(check_layout(target, write, err));
    DT_PASS(check_eyes(target, dt_checkpoint_config(from), err));
    if (!write->model_type && dt_target_takes(target->options, "model-type"))
        write->model_type = dt_model_type_of_export(dt_checkpoint_config(from));
    return DT_OK;
}

/* ---- proof ---- */

/* Both models computed in f32 take eight bytes a parameter. */
static bool too_large_to_compute(const dt_export_request *request, const dt_checkpoint *from)
{
    double machine = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double room = request->proof_memory ? (double)request->proof_memory : machine / 4;
    return 8.0 * (double)dt_checkpoint_describe(from).parameters > room;
}

/* What norms are written in. */
static dt_dtype norm_type(const dt_export_options *write, const dt_checkpoint *from)
{
    dt_dtype stored = DT_F32;
    dt_error ignored = {0};
    if (write->cast)
        return write->dtype;
    dt_checkpoint_shape(from, "decoder.final_layernorm.weight", NULL, NULL, &stored, &ignored);
    return stored;
}

/* Casts may move weights, nothing else may: what is allowed, and why. */
static double tolerance_of(const dt_export_options *write, const dt_checkpoint *from, const char **reason)
{
    bool exact = !write->cast || write->dtype == DT_F32;
    if (dt_checkpoint_config(from)->layernorm_zero_centered_gamma && strcmp(write->format, "trtllm") == 0) {
        dt_dtype type = norm_type(write, from);
        *reason = "norms' weights are stored plus 1, in steps of the type there";
        return type == DT_F32 ? 1e-5 : type == DT_BF16 ? 0.3 : 4e-2;
    }
    *reason = "the same weights, computed alike in f32: only the order of tensors in memory may differ";
    if (exact)
        return 0;
    if (write->dtype == DT_BF16) {
        *reason = "weights were rounded to bf16, eight significant bits: ten times their own distance";
        return 4e-2;
    }
    *reason = "weights were rounded to f16, eleven significant bits: thirty times their own distance, which "
              "experts and gated units are seen to need";
    return 1.5e-2;
}

/* Quantising moves values by design, which is no matter of a tolerance: the file must be whole and free of NaN. */
static dt_status reload(const char *output, const dt_export_request *request, dt_error *err)
{
    dt_checkpoint *c;
    DT_PASS(dt_checkpoint_open(&c, output, &(dt_open_options){.log = request->open.log}, err));
    dt_status status = dt_checkpoint_check(c, err);
    const char *problem = status == DT_OK ? dt_checkpoint_problem_at(c, 0) : NULL;
    if (problem)
        status = dt_fail(err, DT_MISMATCH, "%s", problem);
    dt_checkpoint_close(c);
    return status;
}

/*
 * What a type may lose: some ten times what published models of billions of parameters do, which small ones exceed; a scale or an order of
 * codes that is wrong costs whole nats.
 */
static dt_agreement_bounds bounds_of(dt_dtype type)
{
    static const struct {
        dt_dtype type;
        dt_agreement_bounds bounds;
    } row[] = {{DT_I8, {0.05, 0.10}},   {DT_Q8_0, {0.01, 0.03}}, {DT_Q6_K, {0.03, 0.05}},
               {DT_Q5_K, {0.10, 0.10}}, {DT_Q5_1, {0.10, 0.10}}, {DT_Q5_0, {0.15, 0.10}},
               {DT_Q4_K, {0.40, 0.20}}, {DT_Q4_1, {0.50, 0.20}}, {DT_Q4_0, {0.70, 0.20}}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        if (row[i].type == type)
            return row[i].bounds;
    return (dt_agreement_bounds){1, 0.4};
}

static dt_status prove_quantised(dt_exported *out, const dt_checkpoint *from, const char *output,
                                 const dt_export_request *request, const dt_export_options *write,
                                 dt_error *err)
{
    dt_model_options model = {.dtype = "f32", .open = request->open};
    dt_agreement_bounds bounds = bounds_of(write->dtype);
    DT_PASS(reload(output, request, err));
    out->reason = "it reloads whole, and its values are quantised";
    bool computed = !too_large_to_compute(request, from) && !dt_checkpoint_config(from)->encoder_only &&
                    strcmp(dt_checkpoint_config(from)->model_type, "bert") != 0;
    if (!computed || dt_model_computes(dt_checkpoint_config(from), NULL) != DT_OK)
        return DT_OK;
    out->reason = "weights were quantised: what the type may lose, ten times what large published models do "
                  "(mean KL divergence, nats a token)";
    DT_PASS(dt_verify_agreement(&out->proof, output, dt_checkpoint_describe(from).path, request->check_text,
                                &bounds, &model, err));
    return dt_parity_write(out, from, output, request->target, err);
}

static bool is_engine(const dt_export_request *request)
{
    return strcmp(request->target, "engine") == 0;
}

/* An engine's weights cannot be read by name: it and its source compute, in the type it was made for. */
static dt_status prove_engine(dt_exported *out, const dt_checkpoint *from, const char *output,
                              const dt_export_request *request, dt_error *err)
{
    dt_verify_options o = {.model = {.dtype = request->type, .open = request->open}, .numbers_only = true};
    dt_checkpoint *made;
    dt_engine_about about;
    DT_PASS(dt_checkpoint_open(&made, output, NULL, err));
    if (dt_checkpoint_engine(made, &about))
        o.model.dtype = dt_dtype_name(about.dtype);
    dt_checkpoint_close(made);
    out->reason =
        "the same weights in the same forms: the source, packed at run time, computes the same bits";
    o.tolerance = 1e-30; /* none */
    DT_PASS(dt_verify_models(&out->proof, output, dt_checkpoint_describe(from).path, &o, err));
    return dt_parity_write(out, from, output, request->target, err);
}

/* A graph is run by others: drivetrain reads its weights back, and computes with them by itself. */
static const char *unproved_part(const dt_export_request *request)
{
    bool graphs = strcmp(request->target, "onnx") == 0;
    return graphs && !request->ask_peer ? "numbers are drivetrain's own on the weights read back; --check "
                                          "peer lets onnxruntime run the graphs"
                                        : NULL;
}

static dt_status prove(dt_exported *out, const dt_checkpoint *from, const char *output,
                       const dt_export_request *request, const dt_export_options *write, dt_error *err)
{
    dt_verify_options o = {.model = {.dtype = "f32"}, .tensors_only = too_large_to_compute(request, from)};
    const char *source = dt_checkpoint_describe(from).path;
    const dt_peer *peer;
    if (request->ask_peer) {
        DT_PASS(dt_peer_find(request->target, &peer, err));
        DT_PASS(dt_peer_ask(&out->peer, &out->peer_reason, peer, dt_checkpoint_config(from), output, request,
                            err));
    }
    if (is_engine(request))
        return prove_engine(out, from, output, request, err);
    if (write->quantize && strcmp(write->quantize, "int4") == 0) {
        out->reason = "not checked: int4 in TensorRT-LLM's order is not read back";
        return DT_OK;
    }
    if (write->quantize && strcmp(write->quantize, "fp8") == 0) {
        out->reason = "it reloads whole; its values are quantised: compare with drivetrain verify";
        return reload(output, request, err);
    }
    if (write->cast && (dt_dtype_block_elements(write->dtype) > 1 || write->dtype == DT_I8))
        return prove_quantised(out, from, output, request, write, err);
    o.tolerance = tolerance_of(write, from, &out->reason);
    if (write->cast && write->dtype != DT_F32 && dt_checkpoint_config(from)->num_moe_experts) {
        out->reason = "weights were rounded, and with them may go which experts a token takes: tensors alone "
                      "are compared";
        o.tensors_only = true;
    }
    out->note = unproved_part(request);
    o.model.open = request->open;
    DT_PASS(dt_verify_models(&out->proof, output, source, &o, err));
    return dt_parity_write(out, from, output, request->target, err);
}

static dt_status export_one(dt_exported *out, const dt_checkpoint *from, const char *output,
                            const dt_export_request *request, dt_error *err)
{
    dt_export_options write;
    DT_TRY(plan(from, request, &write, err), err, "cannot export %s as %s", dt_checkpoint_describe(from).path,
           request->target);
    double started = seconds_now();
    if (is_engine(request))
        DT_PASS(dt_engine_write(from, output, &write, request->type, &out->written, err));
    else
        DT_PASS(dt_checkpoint_export(from, output, &write, &out->written, err));
    out->seconds = seconds_now() - started;
    if (request->build)
        DT_TRY(dt_trtllm_build(output, err), err, "while building the engine of %s, which is written",
               output);
    if (request->unproved)
        return DT_OK;
    dt_status status = prove(out, from, output, request, &write, err);
    if (status != DT_OK) {
        dt_error_while(err, "while proving %s, which is written", output);
        dt_exported_release(out);
    }
    return status;
}

/* TensorRT-LLM's checkpoint is of what reads; what sees is built from a graph of its own. */
static dt_status export_words(dt_exported *out, const dt_checkpoint *from, const char *output,
                              const dt_export_request *request, dt_error *err)
{
    dt_checkpoint words = *from;
    dt_export_request own = *request;
    own.open.part = "language";
    DT_PASS(dt_open_part(&words, own.open.part, err));
    DT_PASS(export_one(out, &words, output, &own, err));
    out->note =
        "this is the language model; TensorRT builds the tower from its ONNX graph: export --part tower "
        "--to onnx, and --part projector";
    return DT_OK;
}

dt_status dt_export(dt_exported *out, const dt_checkpoint *from, const char *output,
                    const dt_export_request *request, dt_error *err)
{
    const dt_model_config *c = dt_checkpoint_config(from);
    *out = (dt_exported){0};
    if (strcmp(request->target, "trtllm+hf") == 0)
        return dt_trtllm_and_hf(out, from, output, request, err);
    if (strcmp(request->target, "trtllm") == 0 && c->vision && dt_config_is_gpt(c))
        return export_words(out, from, output, request, err);
    return export_one(out, from, output, request, err);
}

void dt_exported_release(dt_exported *exported)
{
    dt_verify_report_destroy(exported->proof);
    dt_verify_report_destroy(exported->peer);
    exported->proof = exported->peer = NULL;
}
