/*
 * peer.c - `--check peer`: writes prompts down, lets the target's own runtime continue them, and replays its answer.
 *
 * The runtime is another program (peers.def, tools/peers/): it reads question.json and writes a recording
 * (docs/recording.md) of its logits and greedy tokens, which verify/ replays on the artefact as any other recording.
 */
#include "export/peer.h"

#include "base/fail.h"
#include "base/json.h"
#include "base/output.h"
#include "base/rng.h"
#include "base/text.h"
#include "export/spawn.h"
#include "verify/recording.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, ROWS = 3, NEW_TOKENS = 8, NOT_INSTALLED = 77, LOG_BYTES = 2048 };

static const dt_peer peers[] = {
#define PEER(target, script, tolerance, reduced, install) {target, script, tolerance, reduced, install},
#include "export/peers.def"
#undef PEER
};

enum { PEERS = sizeof peers / sizeof peers[0] };

dt_status dt_peer_find(const char *target, const dt_peer **out, dt_error *err)
{
    dt_text list = {0};
    for (int i = 0; i < PEERS; i++) {
        if (strcmp(peers[i].target, target) == 0) {
            *out = &peers[i];
            dt_text_free(&list);
            return DT_OK;
        }
        dt_text_printf(&list, "%s%s", i ? ", " : "", peers[i].target);
    }
    dt_fail(err, DT_UNSUPPORTED, "no runtime is known that could check %s; there is one for %s", target,
            list.data ? list.data : "");
    dt_text_free(&list);
    return DT_UNSUPPORTED;
}

/* ---- the question ---- */

/* Does the model give this id a meaning of its own? Runtimes take such tokens for padding, or for the end. */
static bool has_meaning(const dt_model_config *c, int64_t id)
{
    bool meant = id == c->pad_token_id || id == c->bos_token_id || id == c->decoder_start_token_id;
    for (int i = 0; i < c->eos_count; i++)
        meant = meant || id == c->eos_token_ids[i];
    return meant;
}

/* A row of ids drawn from the vocabulary, behind `first` when that is one. */
static json_t *row_of(const dt_model_config *c, int64_t first, int count, uint64_t stream)
{
    json_t *row = json_array();
    if (first >= 0)
        json_array_append_new(row, json_integer(first));
    for (uint64_t draw = 0; (int)json_array_size(row) < count && draw < 1000; draw++) {
        int64_t id = (int64_t)(dt_rng_uniform(&(dt_rng){3, stream}, draw) * (double)c->vocab_size);
        if (!has_meaning(c, id))
            json_array_append_new(row, json_integer(id));
    }
    return row;
}

static json_t *rows_of(const dt_model_config *c, int64_t first, const int counts[ROWS], uint64_t stream)
{
    json_t *rows = json_array();
    int64_t most = c->max_sequence_length > 0 ? c->max_sequence_length - NEW_TOKENS : INT32_MAX;
    for (int i = 0; i < ROWS; i++)
        json_array_append_new(rows, row_of(c, first,
                                           counts[i] < most ? counts[i]
                                           : most > 1       ? (int)most
                                                            : 1,
                                           stream + (uint64_t)i));
    return rows;
}

static json_t *words_question(const dt_model_config *c, const char *model)
{
    static const int prompt[ROWS] = {9, 5, 12}, answer[ROWS] = {4, 4, 4};
    bool two = strcmp(c->model_type, "t5") == 0 && !c->encoder_only;
    int64_t start = c->decoder_start_token_id >= 0 ? c->decoder_start_token_id : c->bos_token_id;
    json_t *q =
        json_pack("{s:s, s:s, s:s, s:I, s:i, s:o}", "model", model, "model_type",
                  c->encoder_only ? "encoder" : c->model_type, "family", c->family, "vocab_size",
                  (json_int_t)c->vocab_size, "new_tokens", NEW_TOKENS, "prompts", rows_of(c, -1, prompt, 0));
    if (q && two)
        json_object_set_new(q, "decoder_prompts", rows_of(c, start >= 0 ? start : 0, answer, ROWS));
    return q;
}

/* Two pictures, or two sets of features, that the runtime may paint itself: its answer holds them. */
static json_t *pixels_question(const dt_model_config *c, const char *model)
{
    enum { FEATURES = 5 };
    if (!dt_config_is_tower(c))
        return json_pack("{s:s, s:s, s:s, s:[i,i,I]}", "model", model, "model_type", c->model_type, "family",
                         c->family, "features", 2, FEATURES, (json_int_t)c->input_size);
    return json_pack("{s:s, s:s, s:s, s:[i,I,I,I]}", "model", model, "model_type", "tower", "family",
                     c->family, "pixels", 2, (json_int_t)c->num_channels, (json_int_t)c->img_h,
                     (json_int_t)c->img_w);
}

/* A folder's path as the runtime sees it, whatever its working folder. */
static dt_status save_question(const dt_model_config *c, const char *output, const char *path, dt_error *err)
{
    char *real = realpath(output, NULL);
    if (!real)
        return dt_fail_errno(err, "cannot find", output);
    json_t *q = dt_config_reads(c) ? words_question(c, real) : pixels_question(c, real);
    free(real);
    dt_status status = q ? dt_json_save(q, path, err) : dt_fail_memory(err, 4096, "a question");
    json_decref(q);
    return status;
}

/* ---- the answer ---- */

/* The last line that the runtime wrote: where Python names an exception. */
static void last_words(const char *log, char out[LOG_BYTES + 1])
{
    FILE *file = fopen(log, "rb");
    char *line = out, *last = out;
    out[0] = 0;
    if (!file)
        return;
    if (fseek(file, -LOG_BYTES, SEEK_END) != 0)
        rewind(file);
    out[fread(out, 1, LOG_BYTES, file)] = 0;
    fclose(file);
    for (char *rest = out; (line = strtok_r(rest, "\r\n", &rest));)
        last = line;
    memmove(out, last, strlen(last) + 1);
}

static dt_status refused(const dt_peer *peer, int code, const char *log, dt_error *err)
{
    if (code == NOT_INSTALLED) {
        dt_fail(err, DT_NOT_FOUND, "the runtime that checks %s is not installed", peer->target);
        dt_error_try(err, "%s, for the python3 in PATH or the one that --python names", peer->install);
        return DT_NOT_FOUND;
    }
    char words[LOG_BYTES + 1];
    last_words(log, words);
    return dt_fail(err, DT_MISMATCH, "%s ended with code %d: %.400s", peer->script, code, words);
}

/* What the runtime's own arithmetic may cost, by the type that its recording names. */
static dt_status choose_tolerance(const dt_peer *peer, const char *answer, double *tolerance,
                                  const char **reason, dt_error *err)
{
    dt_recording recording = {0};
    DT_PASS(dt_recording_open(&recording, answer, err));
    const char *type = recording.dtype ? recording.dtype : "f32";
    bool half = strcmp(type, "f16") == 0, reduced = half || strcmp(type, "bf16") == 0;
    *tolerance = reduced ? peer->reduced : peer->tolerance;
    *reason = half      ? "the runtime computes in f16, eleven significant bits a step"
              : reduced ? "the runtime computes in bf16, eight significant bits a step"
                        : "the runtime computes in f32, with sums in its own order and functions of its own";
    dt_recording_close(&recording);
    return DT_OK;
}

static dt_status ask(const dt_peer *peer, const dt_model_config *c, const char *output, const char *folder,
                     const dt_export_request *request, dt_verify_report **out, const char **reason,
                     dt_error *err)
{
    char question[PATH_BYTES], answer[PATH_BYTES], log[PATH_BYTES], script[PATH_BYTES];
    const char *argv[] = {request->python ? request->python : "python3", script, question, answer, NULL};
    dt_verify_options o = {.model = {.dtype = "f32", .open.log = request->open.log}};
    int code = 0;
    snprintf(question, sizeof question, "%s/question.json", folder);
    snprintf(answer, sizeof answer, "%s/recording.safetensors", folder);
    snprintf(log, sizeof log, "%s/log", folder);
    if (snprintf(script, sizeof script, "%s/%s", request->peers ? request->peers : "", peer->script) >=
            PATH_BYTES ||
        !dt_is_file(script)) {
        dt_fail(err, DT_NOT_FOUND, "there is no %s", script);
        dt_error_try(err, "DRIVETRAIN_PEERS=FOLDER, the folder share/drivetrain/peers of an installation");
        return DT_NOT_FOUND;
    }
    DT_PASS(save_question(c, output, question, err));
    DT_PASS(dt_spawn(argv, log, &code, err));
    if (code)
        return refused(peer, code, log, err);
    DT_PASS(choose_tolerance(peer, answer, &o.tolerance, reason, err));
    return dt_verify(out, output, answer, &o, err);
}

dt_status dt_peer_ask(dt_verify_report **out, const char **reason, const dt_peer *peer,
                      const dt_model_config *config, const char *output, const dt_export_request *request,
                      dt_error *err)
{
    char folder[PATH_BYTES / 2];
    const char *parent = getenv("TMPDIR");
    *out = NULL;
    snprintf(folder, sizeof folder, "%s/drivetrain-peer-XXXXXX", parent && parent[0] ? parent : "/tmp");
    if (!mkdtemp(folder))
        return dt_fail_errno(err, "cannot make", folder);
    dt_status status = ask(peer, config, output, folder, request, out, reason, err);
    dt_error ignored = {0};
    dt_remove_tree(folder, &ignored);
    DT_TRY(status, err, "while asking the runtime of %s about %s", peer->target, output);
    return DT_OK;
}
