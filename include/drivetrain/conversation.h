/**
 * conversation.h - one sequence kept warm: what a prompt shares with what was computed before is not computed again.
 *
 *     dt_conversation *c;
 *     dt_conversation_create(&c, model, 0, &err);
 *     dt_conversation_answer(&g, c, &(dt_prompt){.tokens = ids, .count = n}, &o, &err);    // the whole prompt, each turn
 *     ... dt_generation_row(g, 0)->tokens ...
 *     dt_generation_destroy(g);
 *     dt_conversation_destroy(c);
 *
 * An answer has the bits that dt_generate gives for the same prompt and options.
 */
#ifndef DRIVETRAIN_CONVERSATION_H
#define DRIVETRAIN_CONVERSATION_H

#include <drivetrain/inference.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dt_conversation dt_conversation;

/**
 * A conversation of at most `positions` tokens (0 = as many as the model has, 32768 at most). The model is borrowed.
 *
 * Memory   grows with what is kept, up to the positions' keys and values
 * Errors   DT_UNSUPPORTED  the model encodes its prompts (T5): nothing of them could be kept
 */
dt_status dt_conversation_create(dt_conversation **out, dt_model *model, int64_t positions, dt_error *err);
void dt_conversation_destroy(dt_conversation *conversation); /**< NULL is fine */

/**
 * Answer a prompt: the whole conversation so far, rendered and encoded anew. on_token is called with row 0; when it
 * stops the answer, what was computed stays. Beams and log-probabilities are dt_generate's.
 *
 * Errors   those of dt_generate; DT_UNSUPPORTED for beams and log-probabilities; DT_LIMIT when the prompt fills the
 *          conversation's positions
 */
dt_status dt_conversation_answer(dt_generation **out, dt_conversation *conversation, const dt_prompt *prompt,
                                 const dt_generate_options *options, dt_error *err);

int64_t
dt_conversation_kept(const dt_conversation *conversation); /**< tokens whose keys and values are stored */

#ifdef __cplusplus
}
#endif
#endif
