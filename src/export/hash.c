/*
 * hash.c - SHA-256 of files, by nettle, in a buffer of a megabyte.
 */
#include "base/fail.h"
#include "export/parity.h"

#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUFFER_BYTES = 1 << 20 };

static dt_status hash_stream(FILE *file, const char *path, uint8_t *buffer, char out[65], dt_error *err)
{
    struct sha256_ctx hash;
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_init(&hash);
    for (size_t bytes; (bytes = fread(buffer, 1, BUFFER_BYTES, file)) > 0;)
        sha256_update(&hash, bytes, buffer);
    if (ferror(file))
        return dt_fail_errno(err, "cannot read", path);
    sha256_digest(&hash, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return DT_OK;
}

dt_status dt_hash_file(const char *path, char out[65], dt_error *err)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return dt_fail_errno(err, "cannot open", path);
    uint8_t *buffer = malloc(BUFFER_BYTES);
    dt_status status =
        buffer ? hash_stream(file, path, buffer, out, err) : dt_fail_memory(err, BUFFER_BYTES, "a buffer");
    free(buffer);
    fclose(file);
    return status;
}
