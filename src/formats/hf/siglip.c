/*
 * siglip.c (hf) - config.json of SigLIP, which is that of its towers (siglip_text.c, clip_vision.c); it has a bias of similarities.
 */
#include "formats/hf/clip.h"

#include <stdio.h>

#define NAMES "formats/hf/names_siglip.def"
#include "formats/hf/expand_names.h"

static void defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "clip");
    c->logit_bias = true;
}

static const struct dt_hf_compound members = {DT_HF_TWO_TOWERS("siglip_text_model", "siglip_vision_model")};

extern const dt_hf_family dt_hf_siglip_family;
const dt_hf_family dt_hf_siglip_family = {.model_type = "siglip",
                                          .architecture = "SiglipModel",
                                          .names = &names,
                                          .compound = &members,
                                          .defaults = defaults};
