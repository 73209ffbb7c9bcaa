/* zip_fuzz.c - any bytes as a zip archive: an error, or entries inside it that do not overlap. */
#include "formats/torch/zip.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_zip zip;
    dt_error err = {0};
    dt_arena *arena = dt_arena_create();
    size_t total = 0;
    if (arena && dt_zip_read(&zip, arena, data, bytes, &err) == DT_OK) {
        for (size_t i = 0; i < zip.count; i++) {
            total += zip.entry[i].bytes;
            dt_zip_check(&zip.entry[i], &err);
            if (dt_zip_find(&zip, zip.entry[i].name) != &zip.entry[i])
                abort();
        }
        if (total > bytes)
            abort();
    }
    dt_arena_destroy(arena);
    return 0;
}
