/*
 * say.h - formats a line for the caller's log (drivetrain/log.h).
 */
#ifndef DT_BASE_SAY_H
#define DT_BASE_SAY_H

#include "base/fail.h"

#include <drivetrain/log.h>

void dt_say(const dt_log *log, dt_log_level level, const char *format, ...) DT_PRINTF(3, 4);

#endif
