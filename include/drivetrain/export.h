/**
 * export.h - one bridge from a checkpoint to every engine, with proof.
 *
 * A target is a format and the releases of its consumers that take it (dt_target_at). An export checks that the model
 * and what is asked fit the target before anything is written, streams the tensors, loads what was written again
 * and leaves a report of how far it is from its source: parity.json, and parity.txt for people.
 *
 *     dt_exported done;
 *     if (dt_export(&done, checkpoint, "t5.gguf", &(dt_export_request){.target = "gguf", ...}, &err) == DT_OK)
 *         printf("%s\n", done.proof->pass ? "yes" : "NO");
 *     dt_exported_release(&done);
 */
#ifndef DRIVETRAIN_EXPORT_H
#define DRIVETRAIN_EXPORT_H

#include <drivetrain/verify.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A row of the target table. Everything is static. */
typedef struct dt_target {
    const char *name;     /**< "hf": what --to takes */
    const char *releases; /**< the consumers' releases that take what is written */
    const char *types;    /**< data types it can hold, words: "f32 bf16 f16" */
    const char *options;  /**< of the export's options those that it heeds, words: "tp pp" */
    const char *about;
} dt_target;

const dt_target *dt_target_at(int index); /**< NULL past the end */
/** Errors: DT_UNSUPPORTED lists the targets and the nearest name. */
dt_status dt_target_find(const char *name, const dt_target **out, dt_error *err);
/** Is a word among a target's types or options? */
bool dt_target_takes(const char *words, const char *word);

typedef struct dt_export_request {
    const char *target; /**< a row's name */
    const char *type;   /**< data type to store; NULL = as the source stores */
    const char
        *model_type; /**< what it is exported as ("llama"); NULL = what the source or its family says */
    bool build;      /**< trtllm: build the engine, too, by trtllm-build of PATH, in OUTPUT/engine */
    dt_export_options
        write;            /**< layout, names, progress; format, cast and dtype are filled in from the above */
    dt_open_options open; /**< how the source is opened */
    bool unproved;        /**< do not load the result again */
    const char *check_text; /**< quantised: the text to judge on; NULL = rows that the source writes */
    bool ask_peer;          /**< the target's own runtime must answer alike, too */
    const char *python;     /**< that runs runtimes; NULL = python3 of PATH */
    const char *peers;      /**< the folder of their scripts (share/drivetrain/peers) */
    uint64_t
        proof_memory; /**< bytes that computing both models may take; more: tensors alone. 0 = a quarter of the machine */
} dt_export_request;

/** What an export did. */
typedef struct dt_exported {
    dt_export_result written;
    dt_verify_report *proof; /**< NULL when unproved */
    dt_verify_report
        *peer; /**< the artefact against its target's own runtime; NULL when that was not asked */
    const char *peer_reason; /**< why the peer's tolerance is what it is; static, or NULL */
    const char *note;        /**< what the proof cannot show, or what the output lacks; static, or NULL */
    const char *reason;      /**< why the proof's tolerance is what it is; static */
    double seconds;          /**< of writing, without the proof */
} dt_exported;

/**
 * Write the model to `output`.
 *
 * Errors   DT_UNSUPPORTED  the target cannot hold this model, type or layout: names the constraint and the nearest
 *                          choice that works; nothing was written
 *          DT_NOT_FOUND    the runtime to ask is not installed: says what to install; the model is written. To build an
 *                          engine the builder is looked for before: nothing is written without it
 *          others as dt_checkpoint_export; a failed proof is no error but a verdict (proof->pass, peer->pass)
 */
dt_status dt_export(dt_exported *out, const dt_checkpoint *from, const char *output,
                    const dt_export_request *request, dt_error *err);
void dt_exported_release(dt_exported *exported);

#ifdef __cplusplus
}
#endif
#endif
