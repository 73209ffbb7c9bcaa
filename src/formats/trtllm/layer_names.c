/*
 * layer_names.c (trtllm) - what each class calls its tensors, and which of ours they are (names_*.def):
 *
 *   NAME(when, stage, cut, canonical, name [, second name])   AGAIN(…): the same, of a tensor that is read elsewhere
 *
 * {} is a layer's number, on the right within its stage. Every row that fits a canonical tensor makes it a home.
 */
#include "base/text.h"
#include "formats/trtllm/trtllm.h"

#include <string.h>

#define ROW(when, stage, cut, canonical, again, ...)                                                         \
    {DT_HAS_##when, DT_STAGE_##stage, DT_CUT_##cut, canonical, {__VA_ARGS__}, again},
#define NAME(when, stage, cut, canonical, ...)  ROW(when, stage, cut, canonical, false, __VA_ARGS__)
#define AGAIN(when, stage, cut, canonical, ...) ROW(when, stage, cut, canonical, true, __VA_ARGS__)

static const dt_trtllm_name gpt_rows[] = {
#include "formats/trtllm/names_gpt.def"
};
static const dt_trtllm_name llama_rows[] = {
#include "formats/trtllm/names_llama.def"
};
static const dt_trtllm_name qwen_rows[] = {
#include "formats/trtllm/names_qwen.def"
};
static const dt_trtllm_name gemma2_rows[] = {
#include "formats/trtllm/names_gemma2.def"
};
static const dt_trtllm_name falcon_rows[] = {
#include "formats/trtllm/names_falcon.def"
};
static const dt_trtllm_name deci_rows[] = {
#include "formats/trtllm/names_deci.def"
};
static const dt_trtllm_name encoder_rows[] = {
#include "formats/trtllm/names_encoder.def"
};
static const dt_trtllm_name decoder_rows[] = {
#include "formats/trtllm/names_decoder.def"
};
static const dt_trtllm_name implicit_rows[] = {
#include "formats/trtllm/names_implicit.def"
};

#define NAMES(class)                                                                                         \
    const dt_trtllm_names dt_trtllm_##class##_names = {folder_of_##class, class##_rows,                      \
                                                       (int)(sizeof class##_rows / sizeof class##_rows[0])};
#define folder_of_gpt      ""
#define folder_of_llama    ""
#define folder_of_qwen     ""
#define folder_of_gemma2   ""
#define folder_of_falcon   ""
#define folder_of_deci     ""
#define folder_of_encoder  "encoder/"
#define folder_of_decoder  "decoder/"
#define folder_of_implicit "decoder/"
#include "formats/trtllm/layer_names.def"

static bool applies(dt_trtllm_when when, const dt_model_config *c)
{
    switch (when) {
    case DT_HAS_gate:
        return c->gated_linear_unit;
    case DT_HAS_no_gate:
        return !c->gated_linear_unit;
    case DT_HAS_tied:
        return c->share_embeddings_and_output_weights;
    case DT_HAS_shared_words:
        return c->encoder_vocab_size <= 0;
    case DT_HAS_lone_qkv_bias:
        return c->add_qkv_bias && !c->add_bias_linear && !c->attention_output_bias;
    case DT_HAS_always:
        break;
    }
    return true;
}

bool dt_trtllm_names_fit(const dt_trtllm_name *row, const char *canonical, const dt_model_config *config,
                         int64_t *layer)
{
    int64_t number[1];
    int count = 0;
    if (!applies(row->when, config) || !dt_match_numbers(row->canonical, canonical, number, 1, &count))
        return false;
    *layer = count ? number[0] : -1;
    return true;
}
