/*
 * projector.h - from a tower's width to a language model's, inside a graph.
 */
#ifndef DT_MODELS_PROJECTOR_H
#define DT_MODELS_PROJECTOR_H

#include "models/inputs.h"

/* features [P, input_size] → [P, hidden_size]; parameters below `prefix` ("" or "vision_projection."). */
dt_tensor *dt_projector_build(dt_graph *g, const dt_model_config *projector, const dt_build_options *options,
                              const char *prefix, dt_tensor *features);

#endif
