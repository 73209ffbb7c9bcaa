/*
 * names.h - name tables: which of a maker's tensors each canonical one is made of, and by which transform.
 *
 * A table is data (hf/names_*.def): rows, optional copies and skip rules. dt_names_map expands it for one model
 * into a mapping. In patterns "{}" is a layer number, the same ones on both sides, or last an expert's number; in skip rules "*" is anything.
 */
#ifndef DT_FORMATS_NAMES_H
#define DT_FORMATS_NAMES_H

#include "formats/mapping.h"

#include <drivetrain/config.h>

/*
 * How a canonical tensor's rows are made of external ones. All but `vocab` and `norm` permute whole rows, or rows of the
 * transposed tensor; so each is undone exactly by reading the same pieces the other way.
 */
typedef enum dt_transform {
    DT_MAP_direct,               /* the same tensor */
    DT_MAP_vocab,                /* rows of the real vocabulary; canonical rows beyond are zero */
    DT_MAP_vocab_row,            /* the same for a vector that is stored [1, vocabulary] */
    DT_MAP_transpose,            /* [out, in] is stored [in, out] */
    DT_MAP_qkv,                  /* q, k, v → for each query group its q heads, k, v */
    DT_MAP_kv,                   /* k, v → for each head k, v */
    DT_MAP_join,                 /* gate, up → gate rows, then up rows */
    DT_MAP_fused_qkv,            /* one tensor with rows q | k | v → as qkv */
    DT_MAP_fused_qkv_transposed, /* the same, stored [in, out] */
    DT_MAP_expert,  /* one tensor an expert, one below another; the pattern's last {} is its number */
    DT_MAP_experts, /* all experts in one tensor [E, out, in], or [E, out] */
    DT_MAP_experts_transposed,       /* … [E, in, out] */
    DT_MAP_experts_turns,            /* … [E, out], where rows of gate and of up take turns */
    DT_MAP_experts_turns_transposed, /* … [E, in, out] */
    DT_MAP_expert_join,              /* gate, up of each expert → its gate rows, then its up rows */
    DT_MAP_fused_kv,                 /* one tensor with rows k | v → as kv */
    DT_MAP_experts_join, /* gate, up tensors [E, out, in] → each expert's gate rows, then its up rows */
    DT_MAP_norm,         /* the same; with zero-centred norms, 1 added to each element */
    DT_MAP_flat,         /* a matrix of one row is stored as a vector */
    DT_MAP_qkv_turned,   /* qkv, where row 2i + s of each head of q and k is row i + s * D / 2 of ours */
    DT_MAP_kernel,       /* [out, channels · size · size] is stored [out, channels, size, size] */
    DT_MAP_row,          /* [1, n] is stored [n] */
    DT_MAP_batch,        /* [m, n] is stored [1, m, n] */
    DT_MAP_scalar,       /* [1] is stored without axes */
    DT_MAP_stacked_q,    /* of one tensor with rows q | k | v, q */
    DT_MAP_stacked_kv,   /* … k and v → as kv */
    DT_MAP_positions, /* position 0 lies in row x_position_offset of ours; the rows before it are nobody's */
    DT_MAP_buckets,   /* T5's table of relative positions, rows repeated (buckets.h): a decoder's */
    DT_MAP_buckets_both, /* … an encoder's, of both directions */
} dt_transform;

typedef enum dt_when {
    DT_WHEN_always,
    DT_WHEN_gated,
    DT_WHEN_plain,     /* the MLP has no gate */
    DT_WHEN_shared,    /* encoder and decoder share a table of tokens */
    DT_WHEN_apart,     /* each has its own */
    DT_WHEN_tied,      /* the head is the embedding */
    DT_WHEN_untied,    /* the head is one of its own */
    DT_WHEN_two_norms, /* parallel branches, each below its own norm */
    DT_WHEN_one_norm,  /* … both below one */
} dt_when;

enum { DT_NAME_PARTS = 3 };

typedef struct dt_name_row {
    dt_when when;
    dt_transform transform;
    const char *canonical;
    const char *external[DT_NAME_PARTS];
} dt_name_row;

typedef struct dt_name_copy {
    const char *name, *of; /* `name`, where a file has it, repeats `of`; either may stand for both */
} dt_name_copy;

typedef struct dt_name_skip {
    const char *pattern, *rule;
} dt_name_skip;

typedef struct dt_name_table {
    const char *prefix; /* files may leave it out; "" when there is none */
    const dt_name_row *row;
    int row_count;
    const dt_name_copy *copy;
    int copy_count;
    const dt_name_skip *skip;
    int skip_count;
} dt_name_table;

/*
 * The table of a part in a larger model: before its canonical names comes `canonical` ("vision_model."), before the maker's
 * `external` ("vision_tower."); `bare`: those without the table's own prefix. Names that have not that prefix (a head's) have
 * `outside` before them; NULL: the same.
 */
typedef struct dt_name_part {
    const char *canonical, *external, *outside;
    const dt_name_table *table;
    bool bare;
} dt_name_part;

/* One table of several, in `arena`: rows of the first parts win. Its prefix is "". */
dt_status dt_names_compose(dt_name_table *out, dt_arena *arena, const dt_name_part *part, int count,
                           dt_error *err);

/* Whose sizes a canonical tensor has: the tower's ("vision_model."), the projector's ("vision_projection."), the model's. */
const dt_model_config *dt_names_config(const dt_model_config *config, const char *canonical);

/*
 * Add the pieces of every parameter to a fresh mapping, and finish it.
 * Errors: DT_UNSUPPORTED names the canonical tensor that the table has no row for.
 */
dt_status dt_names_map(dt_mapping *mapping, const dt_name_table *table, const dt_model_config *config,
                       dt_error *err);

/* The first row for a canonical name under this configuration, with the numbers in the name; NULL when there is none. */
const dt_name_row *dt_names_row(const dt_name_table *table, const char *canonical,
                                const dt_model_config *config, int64_t *numbers, int *count);
/* pattern with its "{}" replaced by numbers in order. false: does not fit. */
bool dt_names_fill(char *out, size_t bytes, const char *pattern, const int64_t *numbers, int count);
/* Does `name` fit a pattern of literal text, "*" and "{}"? */
bool dt_names_fit(const char *pattern, const char *name);

#endif
