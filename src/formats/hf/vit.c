/*
 * vit.c (hf) - config.json of ViT, with a classifier, a pooler or neither.
 */
#include "base/json.h"
#include "formats/hf/tower.h"

#define NAMES "formats/hf/names_vit.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_vision.def"
    KEY(INT, "intermediate_size", ffn_hidden_size) KEY(ACTIVATION, "hidden_act", activation_func)
        KEY(BOOL, "qkv_bias", add_qkv_bias)};

static void defaults(dt_model_config *c)
{
    dt_hf_tower_defaults(c, 16);
    c->layernorm_epsilon = 1e-12;
    c->add_qkv_bias = true;
}

/* As many classes as have a label; two where none is named. */
static dt_status read_classes(dt_model_config *c, const json_t *json, dt_error *err)
{
    c->num_classes = 2;
    DT_PASS(dt_json_int(json, "num_labels", &c->num_classes, err));
    const json_t *labels = dt_json_get(json, "id2label");
    if (json_is_object(labels))
        c->num_classes = (int64_t)json_object_size(labels);
    return DT_OK;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    DT_PASS(dt_hf_read_picture_sizes(c, json, err));
    dt_hf_tower_biases(c);
    c->use_mask_token = evidence->mask_token;
    c->pooler = evidence->pooler;
    c->vision_pooling = evidence->pooler || evidence->classifier ? DT_POOL_CLASS : DT_POOL_NONE;
    return evidence->classifier ? read_classes(c, json, err) : DT_OK;
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    const char *class = c->num_classes ? "ViTForImageClassification" : "ViTModel";
    int failed = json_object_set_new(json, "architectures", json_pack("[s]", class));
    if (c->num_classes)
        failed |= json_object_set_new(json, "num_labels", json_integer(c->num_classes));
    return failed ? dt_fail_memory(err, 256, "config.json") : dt_hf_write_picture_sizes(c, json, false, err);
}

DT_HF_FAMILY(vit, "ViTForImageClassification", defaults, read, write)
