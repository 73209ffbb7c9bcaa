/*
 * clip.h (hf) - what CLIP and SigLIP have in common: two towers that are families of their own, under the names that they have
 * alone.
 */
#ifndef DT_FORMATS_HF_CLIP_H
#define DT_FORMATS_HF_CLIP_H

#include "formats/hf/compound.h"

#define DT_HF_TWO_TOWERS(text_type, vision_type)                                                             \
    .text = {.key = "text_config",                                                                           \
             .model_type = text_type,                                                                        \
             .only = true,                                                                                   \
             .kind = "clip",                                                                                 \
             .canonical = "",                                                                                \
             .probe = "text_model.embedding.word_embeddings.weight",                                         \
             .place = {{"", "", false}}},                                                                    \
    .vision = {.key = "vision_config",                                                                       \
               .model_type = vision_type,                                                                    \
               .only = true,                                                                                 \
               .canonical = "vision_model.",                                                                 \
               .probe = "conv1.weight",                                                                      \
               .place = {{"", "", false}}},                                                                  \
    .own = {                                                                                                 \
        .canonical = "",                                                                                     \
        .probe = "x_logit_scale",                                                                            \
        .place = {{"", "", false}},                                                                          \
    }

#endif
