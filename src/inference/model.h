/*
 * model.h - a loaded model from the inside: what the rest of this floor, and verify above it, run graphs with.
 */
#ifndef DT_INFERENCE_MODEL_H
#define DT_INFERENCE_MODEL_H

#include "backend/backend.h"
#include "base/arena.h"

#include <drivetrain/inference.h>

#include <pthread.h>

/* generation_config.json, read once, when first asked for. */
typedef struct dt_generation_defaults {
    bool known;
    dt_generate_options options;
} dt_generation_defaults;

/*
 * Owners: `arena` the names and defaults; `owned` the checkpoint when the model opened it; `weights` the packed
 * parameters, which every executor made here shares. Plans and caches belong to the sessions that made them.
 */
struct dt_model {
    dt_arena *arena;
    dt_checkpoint *owned; /* NULL when the checkpoint is the caller's */
    const dt_checkpoint *checkpoint;
    const dt_model_config *config;
    const dt_layer_spec *spec;
    const dt_backend *backend;
    dt_log log;
    dt_pool *pool;
    dt_weight_source source;
    dt_weights *weights;
    pthread_mutex_t *turn; /* the pool runs one thing at a time; taken once a call, never within a step */
    dt_generation_defaults *defaults;
};

const dt_layer_spec *dt_model_layer_spec(const dt_model *model);

/* Make a finished graph ready to run on the model's weights and team. The graph must outlive the executor. */
dt_status dt_model_executor(dt_model *model, dt_graph *graph, const dt_executor_options *options,
                            dt_executor **out, dt_error *err);

/* A new array [count] of the arena, bound to the input of that name where the graph has one: positions are none of some models'. */
dt_status dt_model_bind_array(dt_arena *arena, const dt_graph *graph, dt_executor *executor, const char *name,
                              int32_t **array, int64_t count, dt_error *err);

/* Keys and values are kept in the type of the products; those of quantised products in f16. */
dt_dtype dt_model_kv_dtype(const dt_model *model);

bool dt_model_has_encoder(const dt_model *model);

/* Most positions of one sequence; INT64_MAX where the model's positions have no end (T5's relative ones). */
int64_t dt_model_positions(const dt_model *model);

size_t dt_model_weight_bytes(const dt_model *model);

/* Every kernel and form that the model's graphs will ask for, each perhaps often; nothing is packed. */
dt_status dt_model_forms(const dt_model *model, dt_form_user use, void *user, dt_error *err);

void dt_model_enter(dt_model *model); /* wait for one's turn */
void dt_model_leave(dt_model *model);

#endif
