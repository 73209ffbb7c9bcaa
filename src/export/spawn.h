/*
 * spawn.h - run another program and wait for it.
 */
#ifndef DT_EXPORT_SPAWN_H
#define DT_EXPORT_SPAWN_H

#include <drivetrain/status.h>

/*
 * Run argv[0] (looked for in PATH) with these arguments as they are: no shell reads them. Its standard output and
 * error go to the file `log`. *code: its exit code, or 128 + the signal that ended it.
 * Errors: DT_NOT_FOUND there is no such program; DT_IO it could not be started.
 */
dt_status dt_spawn(const char *const argv[], const char *log, int *code, dt_error *err);

#endif
