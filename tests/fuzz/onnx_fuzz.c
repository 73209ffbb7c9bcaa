/* onnx_fuzz.c - any bytes as a model.onnx: an error, or initializers that can be read. */
#include "formats_fuzz.h"

#include "formats/onnx/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_stored_set *set = NULL;
    const dt_map *map = NULL;
    const char *config = NULL;
    dt_error err = {0};
    if (dt_stored_set_create(&set, &err) == DT_OK &&
        dt_stored_set_memory(set, "model.onnx", data, bytes, &map, &err) == DT_OK &&
        dt_onnx_read_map(set, NULL, map, &config, &err) == DT_OK)
        read_all(set);
    dt_stored_set_destroy(set);
    return 0;
}
