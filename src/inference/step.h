/*
 * step.h - a session: sequences in slots, each with its cached history; steps that append ragged rows to many of them.
 *
 * One plan serves every step, from a chunk of a prompt to one token of each row, mixed as they come. A step
 * allocates nothing, takes no lock and never plans again. An encoder-decoder's prompts are encoded once into
 * "memories", which slots attach to.
 */
#ifndef DT_INFERENCE_STEP_H
#define DT_INFERENCE_STEP_H

#include "inference/model.h"

typedef struct dt_session dt_session;

typedef struct dt_session_capacity {
    int64_t tokens;      /* rows of one step */
    int64_t sequences;   /* slots, any of which may be in a step */
    int64_t output_rows; /* rows of one step whose logits are wanted */
    int64_t length;      /* positions of the longest sequence */
    int64_t blocks;      /* of all sequences together; 0: each may grow to `length` */
    int64_t memories, memory_length,
        source_tokens;    /* encoded prompts, the longest of them, rows encoded at once */
    int64_t cross_blocks; /* of all memories together; 0: each may be the longest */
    bool pictures;        /* a span may have seen rows; else words alone are planned for */
} dt_session_capacity;

/*
 * Tokens of one sequence. positions NULL: they follow what is stored. `length` is the sequence's length once all that
 * is read together is stored (a prompt, of which this is a chunk), for models whose rotary frequencies follow from it;
 * 0: this span is all.
 */
typedef struct dt_span {
    const int32_t *tokens, *positions;
    int64_t count, length;
    const float *const
        *seen; /* [count]: a picture's row [hidden_size] in place of a token's, or NULL; NULL: no pictures */
} dt_span;

typedef enum dt_want { DT_WANT_NONE, DT_WANT_LAST, DT_WANT_ALL } dt_want;

dt_status dt_session_create(dt_session **out, dt_model *model, const dt_session_capacity *capacity,
                            dt_error *err);
void dt_session_destroy(dt_session *session);       /* NULL is fine */
size_t dt_session_bytes(const dt_session *session); /* plans, and the cache at its fullest */

/* Encode prompts (together at most source_tokens rows) into memories memory[i], replacing what was there. */
dt_status dt_session_encode(dt_session *session, int64_t count, const int64_t *memory, const dt_span *prompt,
                            dt_error *err);
void dt_session_forget(dt_session *session, int64_t memory); /* nobody is attached to it any more */
void dt_session_attach(dt_session *session, int64_t slot, int64_t memory);

void dt_session_begin(dt_session *session);         /* a new step, empty */
int64_t dt_session_room(const dt_session *session); /* rows that still fit into it */
int64_t dt_session_output_room(const dt_session *session);

/*
 * Append a span to a slot, which must not be in this step yet. *output is the number of its first row of logits.
 * The span's arrays are read at once. The caller has asked for room.
 */
dt_status dt_session_add(dt_session *session, int64_t slot, const dt_span *span, dt_want want,
                         int64_t *output, dt_error *err);
dt_status dt_session_run(dt_session *session, dt_error *err);
const float *dt_session_logits(const dt_session *session,
                               int64_t output); /* [padded vocabulary], until the next run */

int64_t dt_session_length(const dt_session *session, int64_t slot); /* positions stored */
/* Forget positions from `length` on. */
void dt_session_truncate(dt_session *session, int64_t slot, int64_t length);
void dt_session_release(dt_session *session, int64_t slot);

/* slot[i] takes over the history of what was in slot[parent[i]], i < count; slots that nobody takes over are emptied.
 * At most `sequences` slots. */
void dt_session_reorder(dt_session *session, int64_t count, int64_t slots, const int64_t *slot,
                        const int64_t *parent);

#endif
