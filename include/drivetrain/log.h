/**
 * log.h - what the library would like to say, handed to the caller.
 *
 * The library never prints. A caller who wants progress and warnings passes a dt_log; a NULL one, or one whose
 * `write` is NULL, is silence.
 *
 *     static void print(void *user, dt_log_level level, const char *text) { fprintf(stderr, "%s\n", text); }
 *     dt_log log = {.write = print};
 */
#ifndef DRIVETRAIN_LOG_H
#define DRIVETRAIN_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum dt_log_level { DT_LOG_WARNING, DT_LOG_INFO, DT_LOG_DETAIL } dt_log_level;

/** Threads: `write` may be called from any thread, one call at a time for one dt_log. */
typedef struct dt_log {
    void (*write)(void *user, dt_log_level level, const char *text); /**< one line, no newline */
    void *user;
    dt_log_level verbosity; /**< lines above this level are not sent */
} dt_log;

#ifdef __cplusplus
}
#endif
#endif
