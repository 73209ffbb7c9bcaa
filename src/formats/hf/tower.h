/*
 * tower.h (hf) - what the vision towers of Hugging Face have in common.
 */
#ifndef DT_FORMATS_HF_TOWER_H
#define DT_FORMATS_HF_TOWER_H

#include "formats/hf/family.h"

/* A ViT-B of `patch` pixels at 224: what most classes start from. */
void dt_hf_tower_defaults(dt_model_config *config, int64_t patch);

/* "image_size" and "patch_size": one number, or [height, width]; patches are square. */
dt_status dt_hf_read_picture_sizes(dt_model_config *config, const json_t *json, dt_error *err);
/* Written as lists, or as one number: then only square pictures have a place. */
dt_status dt_hf_write_picture_sizes(const dt_model_config *config, json_t *json, bool lists, dt_error *err);

/* The MLP's width from "mlp_ratio"; of a gated one two thirds, in eights. And back: DT_UNSUPPORTED where no ratio makes it. */
int64_t dt_hf_mlp_width(const dt_model_config *config, double ratio);
dt_status dt_hf_mlp_ratio(const dt_model_config *config, json_t **out, dt_error *err);

/* Biases of q, k and v behind a switch (add_qkv_bias, read before); all other layers have theirs. */
void dt_hf_tower_biases(dt_model_config *config);

#endif
