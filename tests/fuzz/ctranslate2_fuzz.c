/* ctranslate2_fuzz.c - any bytes as a model.bin: an error, or tensors that can be read and a configuration. */
#include "formats_fuzz.h"

#include "formats/ctranslate2/ctranslate2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_stored_set *set = NULL;
    const dt_map *map = NULL;
    dt_ct2_file file = {0};
    dt_model_config config;
    dt_error err = {0};
    if (dt_stored_set_create(&set, &err) == DT_OK &&
        dt_stored_set_memory(set, "model.bin", data, bytes, &map, &err) == DT_OK &&
        dt_ct2_read_map(set, map, &file, &err) == DT_OK) {
        read_all(set);
        dt_ct2_configure(set, &file, &config, &err);
    }
    json_decref(file.scalars);
    dt_stored_set_destroy(set);
    return 0;
}
