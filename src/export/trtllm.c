/*
 * trtllm.c (export) - runs trtllm-build on what was written, and writes for old and new releases into one folder.
 */
#include "export/trtllm.h"

#include "base/fail.h"
#include "base/output.h"
#include "export/spawn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

/* ---- the builder ---- */

dt_status dt_trtllm_builder(char *path, size_t bytes, dt_error *err)
{
    const char *at = getenv("PATH");
    while (at && *at) {
        char candidate[PATH_BYTES];
        size_t length = strcspn(at, ":");
        if (length &&
            snprintf(candidate, sizeof candidate, "%.*s/trtllm-build", (int)length, at) < PATH_BYTES &&
            access(candidate, X_OK) == 0) {
            if (path)
                snprintf(path, bytes, "%s", candidate);
            return DT_OK;
        }
        at += length + (at[length] == ':');
    }
    dt_fail(err, DT_NOT_FOUND, "there is no trtllm-build in PATH; TensorRT-LLM up to 1.2 has it");
    dt_error_try(
        err,
        "without --build, then trtllm-build --checkpoint_dir DIR --output_dir ENGINE where it is installed");
    return DT_NOT_FOUND;
}

/* One checkpoint folder into one engine folder. An encoder has no cache to page; masks of T5's kind are not fused. */
static dt_status build_one(const char *checkpoint, const char *engine, const char *part, dt_error *err)
{
    char log[PATH_BYTES + 16];
    const char *argv[16] = {"trtllm-build", "--checkpoint_dir", checkpoint, "--output_dir", engine};
    int count = 5, code = 0;
    if (part) {
        argv[count++] = "--context_fmha";
        argv[count++] = "disable";
        argv[count++] = strcmp(part, "encoder") == 0 ? "--paged_kv_cache" : "--max_input_len";
        argv[count++] = strcmp(part, "encoder") == 0 ? "disable" : "1";
    }
    DT_PASS(dt_make_folder(engine, err));
    snprintf(log, sizeof log, "%s/build.log", engine);
    DT_PASS(dt_spawn(argv, log, &code, err));
    return code == 0 ? DT_OK : dt_fail(err, DT_IO, "trtllm-build ended with %d; %s has its words", code, log);
}

dt_status dt_trtllm_build(const char *output, dt_error *err)
{
    static const char *const parts[] = {"encoder", "decoder"};
    char engine[PATH_BYTES], from[PATH_BYTES], to[PATH_BYTES];
    if (snprintf(engine, sizeof engine, "%s/engine", output) >= PATH_BYTES)
        return dt_fail(err, DT_INVALID, "the path %s is too long", output);
    snprintf(from, sizeof from, "%s/encoder", output);
    if (!dt_is_folder(from))
        return build_one(output, engine, NULL, err);
    DT_PASS(dt_make_folder(engine, err));
    for (int i = 0; i < 2; i++) {
        if (snprintf(from, sizeof from, "%s/%s", output, parts[i]) >= PATH_BYTES ||
            snprintf(to, sizeof to, "%s/%s", engine, parts[i]) >= PATH_BYTES)
            return dt_fail(err, DT_INVALID, "the path %s is too long", output);
        DT_PASS(build_one(from, to, parts[i], err));
    }
    return DT_OK;
}

/* ---- both ---- */

/* The request for one of the two: options that the other heeds alone are taken back. */
static dt_export_request half(const dt_export_request *request, bool hf)
{
    dt_export_request r = *request;
    r.target = hf ? "hf" : "trtllm";
    r.write.replace = false;
    if (hf) {
        r.build = false;
        r.model_type = NULL;
        r.write.tensor_parallel = r.write.pipeline_parallel = 1;
        r.write.vocab_divisible_by = 0;
        r.write.parallel_embedding = r.write.fp8_kv_cache = false;
    } else {
        r.write.shard_bytes = 0;
        r.ask_peer = false;
    }
    return r;
}

static dt_status export_half(dt_exported *out, const dt_checkpoint *from, const char *folder,
                             const dt_export_request *request, bool hf, dt_error *err)
{
    char path[PATH_BYTES];
    dt_exported one;
    dt_export_request r = half(request, hf);
    if (snprintf(path, sizeof path, "%s/%s", folder, r.target) >= PATH_BYTES)
        return dt_fail(err, DT_INVALID, "the path %s is too long", folder);
    DT_PASS(dt_export(&one, from, path, &r, err));
    out->written.tensors += one.written.tensors;
    out->written.files += one.written.files;
    out->written.bytes += one.written.bytes;
    out->seconds += one.seconds;
    out->reason = one.reason;
    out->note = out->note ? out->note : one.note;
    if (out->proof && !out->proof->pass) { /* the one that failed is told */
        dt_exported_release(&one);
        return DT_OK;
    }
    dt_exported_release(out);
    out->proof = one.proof;
    out->peer = one.peer;
    out->peer_reason = one.peer_reason;
    return DT_OK;
}

dt_status dt_trtllm_and_hf(dt_exported *out, const dt_checkpoint *from, const char *output,
                           const dt_export_request *request, dt_error *err)
{
    dt_output_folder *folder = NULL;
    dt_status status = DT_OK;
    DT_GO(status, dt_output_folder_create(&folder, output, request->write.replace, err));
    DT_GO(status, export_half(out, from, dt_output_folder_path(folder), request, false, err));
    DT_GO(status, export_half(out, from, dt_output_folder_path(folder), request, true, err));
    status = dt_output_folder_commit(folder, err);
    folder = NULL;
done:
    dt_output_folder_discard(folder);
    if (status != DT_OK)
        dt_exported_release(out);
    return status;
}
