/*
 * wrapper.h - what the GPT, T5 and VLM wrappers fill in of the abstract one.
 */
#ifndef DT_INFERENCE_WRAPPERS_WRAPPER_H
#define DT_INFERENCE_WRAPPERS_WRAPPER_H

#include "inference/see.h"
#include "inference/step.h"

/* New tokens of one row of a window, without its pads. */
typedef struct dt_wrapper_row {
    const int32_t *tokens, *positions; /* [count] */
    const int32_t *place;              /* [count]: row of the window's logits, ascending */
    int64_t count;
    const float *const *seen; /* [count]: a picture's row, or NULL; NULL: no pictures */
    bool ends;                /* the last token is the window's last */
} dt_wrapper_row;

/* Rows of logits that a step gives for tokens [first, first + count) of row `row`, from `output` on. */
typedef struct dt_wrapper_delivery {
    int64_t row, first, count, output;
} dt_wrapper_delivery;

typedef struct dt_wrapper_kind {
    /* Fill wrapper->input from checked tokens; encoder_tokens NULL for GPT. */
    dt_status (*prep)(dt_wrapper *w, const int32_t *tokens, const int32_t *encoder_tokens, dt_error *err);
    /* Fill wrapper->window, whose batch, start and end are set. */
    dt_status (*cut)(dt_wrapper *w, dt_error *err);
    /* A window at 0 begins: what must happen once a prompt (T5's encoder). NULL = nothing. */
    dt_status (*begin)(dt_wrapper *w, const dt_wrapper_window *window, dt_error *err);
    /* The new tokens of row b of a window; arrays live until the next call. */
    dt_status (*row)(dt_wrapper *w, const dt_wrapper_window *window, int64_t b, dt_wrapper_row *out,
                     dt_error *err);
    /* Rows of logits of a window; NULL = as many as it has tokens. */
    int64_t (*rows)(const dt_wrapper *w, const dt_wrapper_window *window);
} dt_wrapper_kind;

extern const dt_wrapper_kind dt_wrapper_gpt, dt_wrapper_t5, dt_wrapper_vlm;

/* What was seen of a VLM's pictures: rows [rows_at[images], hidden_size]. */
typedef struct dt_wrapper_sight {
    int64_t images;
    int64_t *rows_at; /* [images + 1] */
    float *rows;
} dt_wrapper_sight;

struct dt_wrapper {
    dt_arena *arena;                      /* all but the two below */
    dt_arena *input_arena, *window_arena; /* replaced by each prep and each window */
    dt_model *model;
    const dt_wrapper_kind *kind;
    dt_wrapper_config config; /* resolved: no zeros */
    dt_session_capacity capacity;
    dt_session *session;
    dt_wrapper_input input;
    dt_eyes *eyes;          /* VLM */
    dt_wrapper_sight sight; /* of the input, in input_arena */
    const float **row_seen; /* [capacity.length] */
    int64_t logit_rows;     /* of the step */
    dt_wrapper_window window;
    int32_t pad;
    int32_t *row_tokens, *row_positions, *row_place; /* [capacity.length] */
    dt_wrapper_delivery *delivery;                   /* [capacity.sequences], of the step being packed */
    int64_t deliveries;
    int64_t stored; /* positions of the context so far */
    int64_t micro_batches;
    float *logits;
    size_t logits_bytes;
};

/* Every id of tokens [batch, length] within the vocabulary; the error names row, id and limit. */
dt_status dt_wrapper_check_ids(const dt_wrapper *w, const char *what, const int32_t *tokens, int64_t batch,
                               int64_t length, dt_error *err);

/* vlm.c: look at the pictures of the prepared input; NULL: there are none. */
dt_status dt_wrapper_look(dt_wrapper *w, const dt_wrapper_images *images, dt_error *err);

int32_t *dt_wrapper_copy(dt_arena *arena, const int32_t *tokens, int64_t count);

#endif
