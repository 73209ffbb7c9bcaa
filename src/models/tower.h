/*
 * tower.h - a vision tower inside a graph, alone or below a language model.
 */
#ifndef DT_MODELS_TOWER_H
#define DT_MODELS_TOWER_H

#include "models/inputs.h"

typedef struct dt_tower {
    dt_tensor *hidden; /* [T, H], T rows of all pictures: what the tower returns */
    dt_tensor *pooled; /* [N, H] a row a picture, or NULL */
} dt_tower;

/*
 * Build the tower that `tower` describes: parameters below `prefix` ("" or "vision_model."), points below `point`
 * ("out." or "out.vision."). Its inputs are those of pictures.h, over the axes patches, vision_tokens and images.
 */
dt_tower dt_tower_build(dt_graph *g, const dt_model_config *tower, const dt_build_options *options,
                        const char *prefix, const char *point);

/* What is pooled, projected where the tower has a projection ([N, projection_dim], else [N, H]). */
dt_tensor *dt_tower_project(dt_graph *g, const dt_model_config *tower, const char *prefix,
                            const dt_tower *built);

#endif
