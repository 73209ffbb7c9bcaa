/*
 * ranks.h - how a model's tensors are dealt out to tensor-, pipeline- and expert-parallel ranks, and what the parts
 * are called: the layout of one file a rank, which torch_dist's boxes follow too.
 *
 * A rank's tensor is named "mp_rank_01_002.model0.NAME" in a mapping: its folder, the chunk of a virtual pipeline
 * ("model" where there is one), its name in the file. Layers are numbered from 0 in each chunk, experts in each
 * expert-parallel rank.
 */
#ifndef DT_FORMATS_RANKS_H
#define DT_FORMATS_RANKS_H

#include "formats/megatron/megatron.h"

enum {
    DT_RANKS_NAME = 512,
    DT_RANKS_TENSOR = 99, /* what two and three digits can say */
    DT_RANKS_PIPELINE = 999,
    DT_RANKS_EXPERT = 999,
    DT_RANKS_CHUNKS = 64,
    DT_RANKS_STACKS = 2 /* encoder, decoder */
};

/* Layers [first, first + count) of a stack lie in one chunk of one stage, there numbered from 0. */
typedef struct dt_stage_layers {
    int64_t first, count;
} dt_stage_layers;

typedef struct dt_ranks {
    int tensor, pipeline, chunks, expert; /* how many of each */
    dt_stage_layers *layers;              /* [stack][chunk][stage] */
} dt_ranks;

typedef struct dt_rank {
    int tensor, stage, expert;
} dt_rank;

/* Where a canonical tensor lies, and its name there: spelled, with its layer's local number, of all experts together. */
typedef struct dt_rank_place {
    int stage, chunk;
    dt_expert_form form;
    char name[DT_RANKS_NAME];
} dt_rank_place;

extern const char *const dt_ranks_stack[DT_RANKS_STACKS];
/* The stack that a layer's name belongs to; -1: a tower's, which is not dealt out to stages. */
int dt_ranks_stack_of(const char *name, const dt_megatron_layer *layer);
dt_stage_layers *dt_ranks_layers(const dt_ranks *ranks, int stack, int chunk, int stage);

/* An empty layout's table of layers, in `arena`. */
dt_status dt_ranks_create(dt_ranks *ranks, dt_arena *arena, dt_error *err);
/* Once every count is set: number the layers, chunk by chunk, and in each stage by stage. */
void dt_ranks_number(dt_ranks *ranks);
/* Deal out `layers` of a stack evenly. Errors: DT_UNSUPPORTED they do not divide. */
dt_status dt_ranks_deal(dt_ranks *ranks, int stack, int64_t layers, dt_error *err);

/* "mp_rank_01_002_003": the stage and the expert-parallel rank where there are several. */
void dt_ranks_folder(const dt_ranks *ranks, dt_rank rank, char *out, size_t bytes);
void dt_ranks_name(const dt_ranks *ranks, dt_rank rank, int chunk, const char *name, char *out, size_t bytes);

/* A rank's tensor taken apart. */
typedef struct dt_rank_tensor {
    dt_rank rank;
    int chunk;
    const char *name;
} dt_rank_tensor;
bool dt_ranks_parse(const dt_ranks *ranks, const char *stored, dt_rank_tensor *out);

/* Stage, chunk and local name of a layer's tensor; false when it belongs to no layer that there is. */
bool dt_ranks_place_layer(const dt_ranks *ranks, const char *canonical, dt_rank_place *out);

/* Add the parts of the mapping's current parameter. Errors: DT_MISMATCH the ranks cannot share it. */
dt_status dt_ranks_map(const dt_ranks *ranks, const dt_canonical *to, const dt_rank_place *place,
                       dt_mapping *mapping, dt_error *err);

#endif
