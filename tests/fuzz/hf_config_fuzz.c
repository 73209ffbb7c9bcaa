/*
 * hf_config_fuzz.c - any bytes as Hugging Face's config.json: an error, or a configuration whose names can be mapped
 * and that reads back as it was written. The first byte chooses what the weights are said to hold.
 */
#include "base/json.h"
#include "formats/hf/family.h"
#include "models/build.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Small enough to list its parameters many thousand times. */
static bool is_small(const dt_model_config *c)
{
    if (c->vision && !is_small(c->vision))
        return false;
    return c->num_layers <= 3 && c->encoder_num_layers <= 3 && c->decoder_num_layers <= 3 &&
           c->num_query_groups <= 64 && c->num_attention_heads <= 64;
}

static void map_names(const dt_hf_family *family, const dt_model_config *c)
{
    const dt_param_spec *spec = NULL;
    const dt_name_table *names = NULL;
    dt_mapping *mapping = NULL;
    int count = 0;
    dt_arena *arena = dt_arena_create();
    if (arena && dt_model_parameters(c, arena, &spec, &count, NULL) == DT_OK &&
        dt_mapping_create(&mapping, arena, spec, count, NULL) == DT_OK &&
        dt_hf_names(family, c, 0, arena, &names, NULL) == DT_OK &&
        dt_names_map(mapping, names, c, NULL) == DT_OK && dt_mapping_external_count(mapping) < count)
        abort(); /* fewer of theirs than of ours: no family joins across canonical tensors */
    dt_arena_destroy(arena);
}

/* What is written is read as the same numbers. */
static void write_and_read(const dt_hf_family *family, const dt_model_config *c)
{
    const char *key = NULL;
    dt_hf_obstacle(family, c, &key, NULL); /* writes it and reads it back */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    json_t *json = NULL;
    const dt_hf_family *family = NULL;
    dt_model_config config;
    dt_config_parts parts;
    dt_error err = {0};
    if (bytes == 0)
        return 0;
    dt_hf_evidence tower = {.projection = data[0] & 4, .attention_pooling = data[0] & 8};
    dt_hf_evidence evidence = {.head = data[0] & 1,
                               .decoder = data[0] & 2,
                               .projection = data[0] & 4,
                               .attention_pooling = data[0] & 8,
                               .text_projection = data[0] & 4,
                               .classifier = data[0] & 16,
                               .pooler = data[0] & 32,
                               .vision = &tower};
    if (dt_json_parse(&json, (const char *)data + 1, bytes - 1, "input", &err) == DT_OK &&
        dt_hf_family_of(json, &family, &err) == DT_OK &&
        dt_hf_read_config(family, json, json, &evidence, &config, &parts, &err) == DT_OK) {
        dt_config_derive(&config);
        if (config.vision)
            dt_config_derive(&parts.vision);
        if (config.projection)
            dt_config_derive(&parts.projection);
        if (dt_config_check(&config, &err) == DT_OK && is_small(&config)) {
            map_names(family, &config);
            write_and_read(family, &config);
        }
    }
    json_decref(json);
    return 0;
}
