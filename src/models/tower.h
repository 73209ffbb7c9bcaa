/*
 * tower.h - a vision tower inside a graph, alone or below a language model.
 */
#ifndef DT_MODELS_TOWER_H
#define DT_MODELS_TOWER_H

#include "models/inputs.h"

typedef struct dt_tower {
    dt_tensor *
        hidden; /* [T, H], T rows of all pictures: what the tower returns; NULL when it was not built to its end */
    dt_tensor *pooled;  /* [N, H] a row a picture, or NULL */
    dt_tensor **stream; /* [layers + 1]: the rows before each layer that was built, and behind the last */
} dt_tower;

/*
 * Build the tower that `tower` describes: parameters below `prefix` ("" or "vision_model."), points below `point`
 * ("out." or "out.vision."). Its inputs are those of pictures.h, over the axes patches, vision_tokens and images.
 */
dt_tower dt_tower_build(dt_graph *g, const dt_model_config *tower, const dt_build_options *options,
                        const char *prefix, const char *point);
/* The same, of its first `layers` alone: for who wants no more of it than the rows between them. */
dt_tower dt_tower_build_part(dt_graph *g, const dt_model_config *tower, const dt_build_options *options,
                             const char *prefix, const char *point, int64_t layers);

/* What is pooled, projected where the tower has a projection ([N, projection_dim], else [N, H]). */
dt_tensor *dt_tower_project(dt_graph *g, const dt_model_config *tower, const char *prefix,
                            const dt_tower *built);

#endif
