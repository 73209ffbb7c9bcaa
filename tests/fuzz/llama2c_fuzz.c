/* llama2c_fuzz.c - any bytes as a llama2.c model: an error, or tensors that can be read and a configuration. */
#include "formats_fuzz.h"

#include "formats/llama2c/llama2c.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_stored_set *set = NULL;
    const dt_map *map = NULL;
    dt_model_config config;
    dt_error err = {0};
    if (dt_stored_set_create(&set, &err) == DT_OK &&
        dt_stored_set_memory(set, "model.bin", data, bytes, &map, &err) == DT_OK) {
        if (dt_llama2c_read(set, map, &config, &err) == DT_OK) {
            assert(dt_llama2c_header(data, bytes));
            dt_config_derive(&config);
        }
        read_all(set);
    }
    dt_stored_set_destroy(set);
    return 0;
}
