/*
 * zip_write.h - the bytes of an archive as torch.save lays it out, to the byte: stored entries, each one's data at
 * a multiple of 64, checksums behind the data, zip64 where numbers need it.
 *
 * The layout follows from names and sizes alone, so every entry's place is known before its data; torch's readers
 * compute these places too, without looking. Nothing here writes to a file: the caller puts the pieces in place.
 *
 *     header | data | footer | header | data | footer | … | directory
 */
#ifndef DT_FORMATS_ZIP_WRITE_H
#define DT_FORMATS_ZIP_WRITE_H

#include "base/text.h"

typedef struct dt_zip_part {
    const char *name;    /* with its folder: "archive/data/0" */
    uint64_t bytes;      /* of its data */
    uint32_t crc;        /* of its data; the footer and the directory need it */
    uint64_t header, at; /* where its header and its data begin; dt_zip_lay_out sets them */
} dt_zip_part;

/*
 * Place the parts one after another; *directory is where the directory begins, *bytes the archive's size.
 * DT_INVALID: a name beyond 65535 bytes; a size beyond 2^62.
 */
dt_status dt_zip_lay_out(dt_zip_part *part, size_t count, uint64_t *directory, uint64_t *bytes,
                         dt_error *err);

/* Append these pieces to `text`. The header is part->at - part->header bytes long; an empty part has no footer. */
void dt_zip_put_header(dt_text *text, const dt_zip_part *part);
void dt_zip_put_footer(dt_text *text, const dt_zip_part *part);
void dt_zip_put_directory(dt_text *text, const dt_zip_part *part, size_t count, uint64_t directory);

uint32_t dt_zip_crc(uint32_t crc, const void *data, size_t bytes); /* start with 0 */

#endif
