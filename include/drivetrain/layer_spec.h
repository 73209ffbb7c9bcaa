/**
 * layer_spec.h - the flesh on a model's bones: which functions build the parts of a transformer layer.
 *
 * A model's skeleton (embedding, stack, head) is fixed by its builder; each layer asks its spec for norms,
 * attention, MLP and residual. Two specs come ready and give the same numbers: `local` forbids every fusion and is
 * the readable truth, `fused` lets the backend fuse what it can (Megatron's Transformer Engine spec). Copy one,
 * replace a function, and hand it to dt_model_build_options to try a layer of your own:
 *
 *     static dt_tensor *my_mlp(dt_layer *l, dt_tensor *x) { ... }
 *     dt_layer_spec mine = *dt_layer_spec_local();
 *     mine.name = "mine";
 *     mine.mlp = my_mlp;
 */
#ifndef DRIVETRAIN_LAYER_SPEC_H
#define DRIVETRAIN_LAYER_SPEC_H

#include <drivetrain/config.h>
#include <drivetrain/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dt_layer dt_layer;

/** Which of a layer's norms is wanted; the place also decides its canonical name. */
typedef enum dt_norm_place {
    DT_NORM_INPUT,     /**< before self attention: self_attention.linear_qkv.layer_norm_{weight,bias} */
    DT_NORM_PRE_CROSS, /**< before cross attention: pre_cross_attn_layernorm.{weight,bias} */
    DT_NORM_PRE_MLP,   /**< before the MLP: mlp.linear_fc1.layer_norm_{weight,bias} */
    /* of the branch's result, where norm_placement is DT_NORM_BRANCH or DT_NORM_BOTH: */
    DT_NORM_POST_SELF,  /**< self_attention.linear_proj.post_layernorm.{weight,bias} */
    DT_NORM_POST_CROSS, /**< cross_attention.linear_proj.post_layernorm.{weight,bias} */
    DT_NORM_POST_MLP,   /**< mlp.linear_fc2.post_layernorm.{weight,bias} */
    /* of the sum, where norm_placement is DT_NORM_AFTER: */
    DT_NORM_SELF_SUM,  /**< x_self_attn_sum_layernorm.{weight,bias} */
    DT_NORM_CROSS_SUM, /**< x_cross_attn_sum_layernorm.{weight,bias} */
    DT_NORM_MLP_SUM    /**< x_mlp_sum_layernorm.{weight,bias} */
} dt_norm_place;

/** Each function takes and returns rows [T, H]. */
typedef struct dt_layer_spec {
    const char *name;
    unsigned fuse; /**< dt_fuse bits a backend may use on ops of this layer */
    dt_tensor *(*norm)(dt_layer *layer, dt_tensor *x, dt_norm_place place);
    dt_tensor *(*self_attention)(dt_layer *layer, dt_tensor *x);
    dt_tensor *(*cross_attention)(dt_layer *layer, dt_tensor *x);
    dt_tensor *(*mlp)(dt_layer *layer, dt_tensor *x);
    dt_tensor *(*residual)(dt_layer *layer, dt_tensor *x, dt_tensor *branch);
} dt_layer_spec;

const dt_layer_spec *dt_layer_spec_local(void);
const dt_layer_spec *dt_layer_spec_fused(void);

/* ---- what the functions of a spec build with ---- */

dt_graph *dt_layer_graph(dt_layer *layer);
const dt_model_config *dt_layer_config(const dt_layer *layer);
const char *dt_layer_prefix(const dt_layer *layer); /**< "decoder.layers.3" */
int dt_layer_number(const dt_layer *layer);         /**< from 0, within its stack */

/** PREFIX.NAME.weight [out, in] (and .bias [out] when `bias`) applied to x [T, in] → [T, out]. */
dt_tensor *dt_layer_linear(dt_layer *layer, dt_tensor *x, const char *name, int64_t in, int64_t out,
                           dt_split split, bool bias);
/** The configured norm over the last dimension, parameters PREFIX.STEMweight and PREFIX.STEMbias, `size` long. */
dt_tensor *dt_layer_norm_of(dt_layer *layer, dt_tensor *x, const char *stem, int64_t size);
/** Rotate q or k [T, heads·D] when the model has rotary positions; else return it as it is. */
dt_tensor *dt_layer_rotate(dt_layer *layer, dt_tensor *x, int64_t heads);
/** Attention of this layer's rows over themselves, and over its KV cache when there is one. */
dt_tensor *dt_layer_self_core(dt_layer *layer, dt_tensor *q, dt_tensor *k, dt_tensor *v);
/** The encoder's output rows [S, H], or NULL when cross keys and values were stored before. */
dt_tensor *dt_layer_memory(dt_layer *layer);
/** Attention of this layer's rows over the encoder's; k, v NULL when they are read from the cross cache. */
dt_tensor *dt_layer_cross_core(dt_layer *layer, dt_tensor *q, dt_tensor *k, dt_tensor *v);

#ifdef __cplusplus
}
#endif
#endif
