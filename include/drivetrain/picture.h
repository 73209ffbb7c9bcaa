/**
 * picture.h - pictures among words: what one takes of a sequence, and prompts in which they stand.
 *
 * In a prompt each picture has a place: an image token (dt_model_config.image_token_index: <image>, or Megatron's -200). A
 * picture becomes many positions there, as many as the model's projector makes rows of it.
 *
 *     dt_pixels cat;                                      // of dt_image_process, with the model's own processor
 *     int32_t *ids; size_t count;
 *     dt_picture_expand(model, prompt, n, &cat, 1, &ids, &count, &err);
 *     ...
 *     dt_free(ids);
 */
#ifndef DRIVETRAIN_PICTURE_H
#define DRIVETRAIN_PICTURE_H

#include <drivetrain/image.h>
#include <drivetrain/inference.h>
#include <drivetrain/memory.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Positions that a picture takes in a sequence: patches of all its tiles, as the model's projector leaves them; LLaVA-NeXT:
 * the overview's, then those of the tiles put together that show the picture and not its padding, and one behind each line.
 *
 * Errors   DT_UNSUPPORTED  the model sees no pictures
 *          DT_MISMATCH     tiles whose size the tower does not take, or that do not make up their grid
 * Source   transformers 5.23 LlavaProcessor, LlavaNextProcessor; megatron-core 0.16 LLaVAModel (img_seq_len · tiles)
 */
dt_status dt_picture_tokens(const dt_model *model, const dt_pixels *picture, int64_t *tokens, dt_error *err);

/**
 * Give every picture its positions: each image token becomes as many as its picture takes. A prompt that has them all
 * already (as transformers' processors write it) is copied as it is.
 *
 * Memory   *expanded is the caller's, freed with dt_free
 * Errors   DT_MISMATCH  image tokens that are neither one a picture nor all of theirs: names both numbers
 */
dt_status dt_picture_expand(const dt_model *model, const int32_t *tokens, size_t count,
                            const dt_pixels *pictures, size_t picture_count, int32_t **expanded,
                            size_t *expanded_count, dt_error *err);

#ifdef __cplusplus
}
#endif
#endif
