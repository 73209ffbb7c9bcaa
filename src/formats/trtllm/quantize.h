/*
 * quantize.h - what a rank's file holds: tensors as they are, those that are quantised with their scales, constants.
 */
#ifndef DT_FORMATS_TRTLLM_QUANTIZE_H
#define DT_FORMATS_TRTLLM_QUANTIZE_H

#include "formats/trtllm/trtllm.h"

/* What becomes of an external tensor on its way into the file. */
typedef enum dt_trtllm_form {
    DT_FORM_PLAIN,       /* converted */
    DT_FORM_FP8,         /* times `scale`, to e4m3, saturating */
    DT_FORM_INT4,        /* two rows a byte, the even one low */
    DT_FORM_INT4_SCALES, /* one for `group` columns of a row */
    DT_FORM_CONSTANT     /* `scale`, as often as the shape says */
} dt_trtllm_form;

typedef struct dt_trtllm_entry {
    const char *name;
    int external; /* -1: a constant */
    dt_trtllm_form form;
    dt_dtype dtype;
    dt_dtype base; /* of the weights that are not quantised */
    dt_shape shape;
    float scale;
    int64_t group;
} dt_trtllm_entry;

typedef struct dt_trtllm_file {
    char name[64]; /* below the output */
    dt_mapping *mapping;
    dt_trtllm_entry *entry;
    int count;
} dt_trtllm_file;

/*
 * The scales of an export: where it has none to make, an empty set. fp8's are those of fp8_scales.safetensors in the
 * source's folder, as Transformer Engine keeps them (MODULE.scale_fwd and .scale_inv_fwd, element 0 of the input, 1 of the
 * weight); without that file a weight's is its largest element over 448, an input's is 1. Sets plan->quant_algo and group.
 */
typedef struct dt_trtllm_scales dt_trtllm_scales;
dt_status dt_trtllm_scales_create(dt_trtllm_scales **out, const dt_checkpoint *from,
                                  const dt_model_config *config, dt_trtllm_plan *plan,
                                  const dt_export_options *options, dt_arena *arena, dt_error *err);
void dt_trtllm_scales_destroy(dt_trtllm_scales *scales); /* NULL is fine */

/* The entries of a file whose mapping is made. */
dt_status dt_trtllm_list_entries(dt_trtllm_file *file, dt_trtllm_scales *scales, dt_dtype dtype,
                                 dt_arena *arena, dt_error *err);
uint64_t dt_trtllm_stream_bytes(const dt_trtllm_file *file);
/* Write it below `root`; notes are two pairs. */
dt_status dt_trtllm_write_file(dt_export_run *run, const dt_trtllm_file *file, const char *root,
                               const char *const notes[4], dt_export_result *result, dt_error *err);

#endif
