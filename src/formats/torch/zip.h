/*
 * zip.h - the zip archives that torch.save writes: stored entries, zip64, nothing else.
 *
 * Entries are borrowed ranges of the bytes given. Refused: compression, encryption, several disks, names that
 * repeat, climb or are absolute, entries that overlap, leave holes or disagree with their local header, a central
 * directory that is not exactly where the end record says. Nothing is ever unpacked, so there is nothing to bomb.
 */
#ifndef DT_FORMATS_ZIP_H
#define DT_FORMATS_ZIP_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dt_zip_entry {
    const char *name;
    const uint8_t *data;
    size_t bytes;
    uint32_t crc;
    size_t offset; /* of data in the archive */
} dt_zip_entry;

typedef struct dt_zip {
    const dt_zip_entry *entry; /* sorted by name */
    size_t count;
} dt_zip;

bool dt_zip_is(const uint8_t *data, size_t bytes); /* begins like one */
dt_status dt_zip_read(dt_zip *zip, dt_arena *arena, const uint8_t *data, size_t bytes, dt_error *err);
const dt_zip_entry *dt_zip_find(const dt_zip *zip, const char *name); /* NULL when absent */

/* Compare the entry's CRC-32 with its bytes. A CRC of 0 means that none was computed. DT_FORMAT names the entry. */
dt_status dt_zip_check(const dt_zip_entry *entry, dt_error *err);

#endif
