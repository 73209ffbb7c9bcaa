/**
 * status.h - how drivetrain reports failure: a code, and a story.
 *
 * Every call that can fail returns a dt_status; DT_OK is 0. Where a call takes a `dt_error *` (always the last
 * argument, may be NULL) a failure also leaves there what went wrong, told from the outside in. The library
 * never prints, exits, or aborts, and keeps no "last error" of its own.
 *
 *     dt_error err = {0};
 *     if (dt_model_open(&model, "t5-small", NULL, &err)) {
 *         char text[DT_ERROR_TEXT_BYTES];
 *         dt_error_format(&err, text, sizeof text);
 *         fprintf(stderr, "program: %s\n", text);
 *     }
 */
#ifndef DRIVETRAIN_STATUS_H
#define DRIVETRAIN_STATUS_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** X(NAME, number, text): name, number and text in one row, so that they cannot drift. */
#define DT_STATUS_TABLE(X)                                                                                   \
    X(OK, 0, "done")                                                                                         \
    X(NO_MEMORY, 1, "out of memory")                                                                         \
    X(NOT_FOUND, 2, "not found")                                                                             \
    X(FORMAT, 3, "malformed file")                                                                           \
    X(UNSUPPORTED, 4, "not supported")                                                                       \
    X(INVALID, 5, "invalid argument")                                                                        \
    X(IO, 6, "input or output failed")                                                                       \
    X(MISMATCH, 7, "things that must agree do not")                                                          \
    X(LIMIT, 8, "a limit was exceeded")                                                                      \
    X(CANCELLED, 9, "cancelled by the caller")                                                               \
    X(INTERNAL, 10, "drivetrain broke a promise of its own; please report it")

typedef enum dt_status {
#define X(name, number, text) DT_##name = number,
    DT_STATUS_TABLE(X)
#undef X
} dt_status;

/** The code as text ("malformed file"); never NULL. */
const char *dt_status_text(dt_status status);

enum { DT_ERROR_LINES = 8, DT_ERROR_LINE_BYTES = 384, DT_ERROR_TEXT_BYTES = 4096 };

/**
 * A failure's story. Zero-initialise it; one may be reused after dt_error_clear.
 *
 * Memory   fixed size, owns nothing: a report must not fail for want of memory.
 * Threads  belongs to one thread at a time.
 */
typedef struct dt_error {
    dt_status status;
    int line_count;                                 /**< line[0] is the innermost: what happened */
    char line[DT_ERROR_LINES][DT_ERROR_LINE_BYTES]; /**< then each caller's "while …" */
    char hint[DT_ERROR_LINE_BYTES];                 /**< a command that would help; "" when there is none */
} dt_error;

void dt_error_clear(dt_error *err);

/**
 * The whole story as text: outermost line first, each inner one indented by two more spaces, then "try: …".
 * Returns the length it needed (like snprintf); always terminates when `bytes` > 0.
 */
size_t dt_error_format(const dt_error *err, char *text, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
