/*
 * fail.h - how library code starts, extends and passes on an error's story.
 */
#ifndef DT_BASE_FAIL_H
#define DT_BASE_FAIL_H

#include <drivetrain/status.h>

#if defined(__GNUC__)
#define DT_PRINTF(string, first) __attribute__((format(printf, string, first)))
#else
#define DT_PRINTF(string, first)
#endif

/* Start a story (replacing any older one in `err`) and return `status`. `err` may be NULL. */
dt_status dt_fail(dt_error *err, dt_status status, const char *format, ...) DT_PRINTF(3, 4);

/* Add what the caller was doing: "while reading tensor …". Extra lines beyond DT_ERROR_LINES are dropped. */
void dt_error_while(dt_error *err, const char *format, ...) DT_PRINTF(2, 3);

/* Name the command or action that would help. The last hint given wins. */
void dt_error_try(dt_error *err, const char *format, ...) DT_PRINTF(2, 3);

/* "out of memory (N bytes for WHAT)". */
dt_status dt_fail_memory(dt_error *err, size_t bytes, const char *what);

/* "WHAT: strerror(errno)" as DT_IO, or DT_NOT_FOUND for ENOENT, DT_NO_MEMORY for ENOMEM. */
dt_status dt_fail_errno(dt_error *err, const char *what, const char *path);

/* Return the status when `call` failed, adding a line: DT_TRY(read(x), err, "while reading %s", path). */
#define DT_TRY(call, err, ...)                                                                               \
    do {                                                                                                     \
        dt_status dt_try_status_ = (call);                                                                   \
        if (dt_try_status_ != DT_OK) {                                                                       \
            dt_error_while((err), __VA_ARGS__);                                                              \
            return dt_try_status_;                                                                           \
        }                                                                                                    \
    } while (0)

/* Return the status when `call` failed, adding nothing. */
#define DT_PASS(call)                                                                                        \
    do {                                                                                                     \
        dt_status dt_pass_status_ = (call);                                                                  \
        if (dt_pass_status_ != DT_OK)                                                                        \
            return dt_pass_status_;                                                                          \
    } while (0)

/* The same for functions with one exit: sets `status` and jumps to `done`. */
#define DT_GO(status, call)                                                                                  \
    do {                                                                                                     \
        if (((status) = (call)) != DT_OK)                                                                    \
            goto done;                                                                                       \
    } while (0)

#endif
