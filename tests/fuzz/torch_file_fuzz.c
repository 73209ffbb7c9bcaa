/* torch_file_fuzz.c - any bytes as a file of torch.save, either format: an error, or tensors that can be read. */
#include "formats_fuzz.h"
#include "wrapped.h"

#include "formats/torch/torch.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t limit, unsigned seed)
{
    return mutate_wrapped(data, bytes, limit, seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_stored_set *set = NULL;
    const dt_map *map = NULL;
    dt_torch_file *file = NULL;
    dt_error err = {0};
    if (dt_stored_set_create(&set, &err) == DT_OK &&
        dt_stored_set_memory(set, "input", data, bytes, &map, &err) == DT_OK &&
        dt_torch_open(&file, set, "input", &err) == DT_OK) {
        dt_torch_flatten(file, dt_torch_root(file), "t", set, &err);
        read_all(set);
    }
    dt_stored_set_destroy(set);
    return 0;
}
