/*
 * peer.h - an export's second opinion: the target's own runtime answers, and drivetrain compares.
 */
#ifndef DT_EXPORT_PEER_H
#define DT_EXPORT_PEER_H

#include <drivetrain/export.h>

typedef struct dt_peer {
    const char *target, *script;
    double tolerance, reduced; /* of logits, where the runtime computes in f32 and in 16 bits */
    const char *install;       /* what makes the runtime be there */
} dt_peer;

/* Errors: DT_UNSUPPORTED lists the targets that have a peer. */
dt_status dt_peer_find(const char *target, const dt_peer **out, dt_error *err);

/*
 * Ask the target's runtime about the artefact and replay its answer; *reason (static) says why the tolerance is what it is.
 * Errors: DT_NOT_FOUND says what to install; DT_MISMATCH the runtime refuses the artefact, with its last words.
 */
dt_status dt_peer_ask(dt_verify_report **out, const char **reason, const dt_peer *peer,
                      const dt_model_config *config, const char *output, const dt_export_request *request,
                      dt_error *err);

#endif
