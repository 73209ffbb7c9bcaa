/*
 * megatron_config_fuzz.c - any bytes as Megatron's configuration, as JSON or (after a first byte 'y') as NeMo's YAML:
 * an error, or a configuration that means the same after being written and read again.
 */
#include "base/json.h"
#include "formats/megatron/megatron.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_same(const dt_model_config *a, const dt_model_config *b)
{
    if (strcmp(a->model_type, b->model_type) != 0 || a->hidden_size != b->hidden_size ||
        a->num_layers != b->num_layers || a->vocab_size != b->vocab_size ||
        a->activation_func != b->activation_func || a->normalization != b->normalization ||
        a->softmax_scale != b->softmax_scale || a->rope_scaling_type != b->rope_scaling_type ||
        a->eos_count != b->eos_count)
        abort();
}

static void write_and_read(dt_model_config *c)
{
    dt_model_config again;
    json_t *json = NULL;
    dt_config_derive(c);
    if (dt_config_check(c, NULL) == DT_OK && dt_megatron_write_config(c, &json, NULL) == DT_OK) {
        if (dt_megatron_read_config(json, "gpt", &again, NULL) != DT_OK)
            abort();
        dt_config_derive(&again);
        check_same(c, &again);
    }
    json_decref(json);
}

/* LLaVAModel's: three of them in one. */
static void read_llava(const json_t *json)
{
    dt_model_config config, again;
    dt_config_parts parts, other;
    json_t *written = NULL;
    if (dt_megatron_read_llava(json, &config, &parts, NULL) != DT_OK)
        return;
    dt_config_derive(&config);
    dt_config_derive(&parts.vision);
    dt_config_derive(&parts.projection);
    if (dt_config_check(&config, NULL) == DT_OK &&
        dt_megatron_write_config(&config, &written, NULL) == DT_OK) {
        if (!dt_megatron_is_llava(written) || dt_megatron_read_llava(written, &again, &other, NULL) != DT_OK)
            abort();
        dt_config_derive(&again);
        dt_config_derive(&other.vision);
        dt_config_derive(&other.projection);
        check_same(&config, &again);
        check_same(&parts.vision, &other.vision);
        check_same(&parts.projection, &other.projection);
        if (config.image_token_index != again.image_token_index ||
            config.pixel_shuffle != again.pixel_shuffle || config.feature_layers != again.feature_layers)
            abort();
    }
    json_decref(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const types[] = {"gpt", "t5", "bert"};
    json_t *json = NULL;
    dt_model_config config;
    dt_error err = {0};
    bool yaml = bytes && data[0] == 'y';
    if (bytes == 0)
        return 0;
    dt_status status = yaml ? dt_nemo_parse(&json, (const char *)data + 1, bytes - 1, &err)
                            : dt_json_parse(&json, (const char *)data + 1, bytes - 1, "input", &err);
    if (status == DT_OK && json && dt_megatron_is_llava(json))
        read_llava(json);
    else if (status == DT_OK && json &&
             dt_megatron_read_config(json, types[data[0] % 3], &config, &err) == DT_OK)
        write_and_read(&config);
    json_decref(json);
    return 0;
}
