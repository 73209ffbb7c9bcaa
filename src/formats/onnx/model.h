/*
 * model.h - the ONNX graphs that a model becomes, how its parameters lie in their data file, and reading that back.
 */
#ifndef DT_FORMATS_ONNX_MODEL_H
#define DT_FORMATS_ONNX_MODEL_H

#include "formats/mapping.h"
#include "formats/onnx/lower.h"
#include "models/build.h"

enum { DT_ONNX_GRAPHS = 3, DT_ONNX_OPSET = 18, DT_ONNX_NEWEST_OPSET = 26 };

#define DT_ONNX_DATA "model.onnx.data"
#define DT_ONNX_CONFIG                                                                                       \
    "drivetrain.config"              /* key of metadata_props: the configuration, as megatron-state has it */
#define DT_ONNX_CONSTANT "constant." /* names of initializers that are no parameters */

/* A file of the target, and the graph that it holds. */
typedef struct dt_onnx_file {
    const char *name;
    dt_build_mode mode;
    dt_onnx_frame frame;
} dt_onnx_file;

/* The files of a model. Errors: DT_UNSUPPORTED for a model that is none of those. */
dt_status dt_onnx_files(const dt_model_config *config, const dt_onnx_file **out, int *count, dt_error *err);
/* Is it a name of one of them? NULL past the end. */
const char *dt_onnx_file_name(int index);

/* A file's graph, built and lowered. Everything but the texts of `onnx` and `graph` is in the arena given. */
typedef struct dt_onnx_model {
    const dt_onnx_file *file;
    dt_graph *graph;
    dt_onnx onnx;
    bool *used; /* parameters, by tensor of the graph */
} dt_onnx_model;
dt_status dt_onnx_lower(dt_onnx_model *out, const dt_onnx_file *file, const dt_model_config *config,
                        const dt_mapping *mapping, dt_arena *arena, int opset, dt_dtype type, dt_error *err);
void dt_onnx_model_release(dt_onnx_model *model);

/* Fill a mapping of the model's parameters: each an initializer of its own name, laid out for the ops that read it. */
dt_status dt_onnx_map(const dt_model_config *config, dt_mapping *mapping, dt_error *err);

/* Add the initializers of a file to the set, and keep its configuration's text (NULL: it has none). `data` folder. */
dt_status dt_onnx_read(dt_stored_set *set, const char *folder, const char *path, const char **config,
                       dt_error *err);
/* The same of bytes in memory, whose data files are not looked at when folder is NULL. */
dt_status dt_onnx_read_map(dt_stored_set *set, const char *folder, const dt_map *map, const char **config,
                           dt_error *err);

#endif
