/* safetensors_fuzz.c - any bytes as a .safetensors file: an error, or tensors that can be read. */
#include "formats_fuzz.h"
#include "wrapped.h"

#include "formats/safetensors/safetensors.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t limit, unsigned seed)
{
    return mutate_wrapped(data, bytes, limit, seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_stored_set *set = NULL;
    const dt_map *map = NULL;
    dt_error err = {0};
    if (dt_stored_set_create(&set, &err) == DT_OK &&
        dt_stored_set_memory(set, "input", data, bytes, &map, &err) == DT_OK &&
        dt_safetensors_read_map(set, map, &err) == DT_OK)
        read_all(set);
    dt_stored_set_destroy(set);
    return 0;
}
