/*
 * parity.h - the proof of an export, written down: parity.json, and parity.txt for people.
 */
#ifndef DT_EXPORT_PARITY_H
#define DT_EXPORT_PARITY_H

#include <drivetrain/export.h>

/* In the folder that was written, or beside the file as FILE.parity.json and FILE.parity.txt. */
dt_status dt_parity_write(const dt_exported *exported, const dt_checkpoint *from, const char *output,
                          const char *target, dt_error *err);

/* SHA-256 of a file, in hexadecimal. */
dt_status dt_hash_file(const char *path, char out[65], dt_error *err);

#endif
