/* bundle_fuzz.c - any bytes as a bundle: an error, or entries that lie inside it. */
#include "base/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_bundle *b = NULL;
    dt_error err = {0};
    const char *name;
    volatile uint8_t sum = 0;
    if (dt_bundle_of_memory(&b, data, bytes, &err) != DT_OK)
        return 0;
    for (size_t i = 0; (name = dt_bundle_name(b, i)); i++) {
        size_t length;
        const uint8_t *entry = dt_bundle_find(b, name, &length);
        if (length)
            sum ^= entry[0] ^ entry[length - 1];
    }
    (void)sum;
    dt_bundle_close(b);
    return 0;
}
