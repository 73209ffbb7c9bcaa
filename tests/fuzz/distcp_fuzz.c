/*
 * distcp_fuzz.c - any bytes as a torch_dist folder: an error, or tensors that can be read. The input is four bytes,
 * the little-endian length of .metadata, then .metadata, then the one data file __0_0.distcp.
 */
#include "formats_fuzz.h"

#include "formats/megatron/distcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_stored_set *set = NULL;
    const dt_map *map = NULL;
    const dt_value *common = NULL;
    dt_error err = {0};
    if (bytes < 4)
        return 0;
    size_t metadata = data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16;
    data += 4, bytes -= 4;
    if (metadata > bytes)
        metadata = bytes;
    if (dt_stored_set_create(&set, &err) == DT_OK &&
        dt_stored_set_memory(set, "no-folder/.metadata", data, metadata, &map, &err) == DT_OK &&
        dt_stored_set_memory(set, "no-folder/__0_0.distcp", data + metadata, bytes - metadata, &map, &err) ==
            DT_OK &&
        dt_distcp_read(set, "no-folder", &common, &err) == DT_OK) {
        read_all(set);
        for (size_t i = 0; i < dt_stored_set_object_count(set); i++)
            dt_distcp_object(set, dt_stored_set_object_at(set, i), &common, &err);
    }
    dt_stored_set_destroy(set);
    return 0;
}
