/*
 * common.c (gguf) - what the architectures of decoders start from.
 */
#include "formats/gguf/family.h"

#include <stdio.h>

dt_status dt_gguf_written(int failed, dt_error *err)
{
    return failed ? dt_fail_memory(err, 256, "metadata") : DT_OK;
}

void dt_gguf_decoder_defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "gpt");
    c->add_bias_linear = false;
    c->bos_token_id = c->pad_token_id = -1;
    c->eos_count = 0;
}

void dt_gguf_llama_defaults(dt_model_config *c)
{
    dt_gguf_decoder_defaults(c);
    c->normalization = DT_NORM_RMSNORM;
    c->activation_func = DT_ACT_SILU;
    c->gated_linear_unit = true;
    c->position_embedding_type = DT_POSITION_ROPE;
}
