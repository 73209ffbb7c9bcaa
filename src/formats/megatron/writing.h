/*
 * writing.h - what the writers of ranks' files (legacy_write.c) and of torch_dist (dist_write.c) share: the layout that
 * is asked for, checked; the model's tensors dealt out to it; the arguments that describe the model; the folder.
 */
#ifndef DT_FORMATS_WRITING_H
#define DT_FORMATS_WRITING_H

#include "base/output.h"
#include "formats/megatron/ranks.h"
#include "formats/torch/pickle_write.h"

typedef struct dt_megatron_plan {
    const dt_checkpoint *from;
    const dt_export_options *options;
    dt_arena *arena;
    dt_model_config config; /* with the output's padded vocabulary */
    dt_ranks ranks;
    dt_mapping *mapping; /* externals are ranks' tensors; what is not cut lies in the first rank's alone */
    const dt_dtype *dtype;
    const dt_rank_place *place; /* of each canonical tensor */
    json_t *args;
    bool stock; /* a T5 that stock Megatron loads, which wants its modules under both their names */
} dt_megatron_plan;

/* `dist`: for a torch_dist folder. Errors: DT_UNSUPPORTED, DT_MISMATCH name what cannot be dealt out. */
/* The table of words in the plan's mapping; -1: there is none. */
int dt_megatron_plan_embedding(const dt_megatron_plan *plan);
dt_status dt_megatron_plan_create(dt_megatron_plan *plan, const dt_checkpoint *from,
                                  const dt_export_options *options, bool dist, dt_error *err);
void dt_megatron_plan_destroy(dt_megatron_plan *plan);

/* Experts of a canonical tensor in each expert-parallel rank; 1 for a tensor without. */
int64_t dt_megatron_plan_blocks(const dt_megatron_plan *plan, const dt_canonical *canonical);
/*
 * The tensor of a canonical one in a rank of its stage: its name in the file, and the external tensor that it is, the
 * first rank's where it is not cut. `block` counts experts from 0 in the rank.
 */
dt_status dt_megatron_plan_tensor(const dt_megatron_plan *plan, int canonical, dt_rank rank, int64_t block,
                                  char name[DT_RANKS_NAME], int *external, dt_error *err);
/* The second name of a T5's module, where it has one that files repeat; NULL. */
const char *dt_megatron_plan_alias(const dt_megatron_plan *plan, const char *canonical);

/* Put the run's arguments, an argparse.Namespace. */
void dt_megatron_put_args(dt_pickler *p, const dt_megatron_plan *plan);
/* The arguments as flat JSON: Megatron's names for what the configuration says, and the layout. */
dt_status dt_megatron_make_args(const dt_megatron_plan *plan, bool dist, json_t **out, dt_error *err);

/* The output folder with its tracker file and an empty folder for the iteration (or "release"); `path` receives it. */
dt_status dt_megatron_begin_folder(const dt_megatron_plan *plan, const char *path, dt_output_folder **out,
                                   char iteration[], size_t bytes, dt_error *err);

#endif
