/**
 * inference.h - drive a model: load it, feed it tokens, get tokens.
 *
 * Three layers, each usable alone:
 *   dt_model      a checkpoint with its weights packed for a backend; immutable, shared by any number of sessions
 *   dt_wrapper    Megatron's inference wrapper: prep, context window, one forward step (logits)
 *   dt_generate   prompts to answers: KV cache, packed ragged batches, sampling, beams, streaming
 *
 *     dt_model *m;
 *     dt_model_open(&m, "t5-g2p", NULL, &err);
 *     dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
 *     dt_generation *g;
 *     dt_generate(&g, m, 1, &(dt_prompt){.tokens = ids, .count = n}, &o, &err);
 *     dt_generation_row(g, 0)->tokens ...
 */
#ifndef DRIVETRAIN_INFERENCE_H
#define DRIVETRAIN_INFERENCE_H

#include <drivetrain/checkpoint.h>
#include <drivetrain/image.h>
#include <drivetrain/layer_spec.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dt_model dt_model;

typedef struct dt_model_options {
    const char *backend;       /**< "cpu" (NULL) or "reference" */
    const char *dtype;         /**< products and weights: "f32" "bf16" "f16" "q8_0"; NULL = as stored */
    const char *isa;           /**< NULL = the best of this machine (dt_backend_find) */
    int threads;               /**< 0 = as many as the cores it may use */
    const dt_layer_spec *spec; /**< NULL = fused */
    dt_open_options open;
} dt_model_options;

/**
 * Open a checkpoint and make it ready to run. Weights are packed when a graph first needs them.
 *
 * Dtypes   "as stored" is the type that most bytes of the model's tensors have: f32, bf16, f16 and q8_0 are computed
 *          with as they are, f64 as f32, f8 as bf16 (which holds every f8 number).
 * Threads  calls on one model take turns: a generation, or one step of a wrapper, runs at a time.
 */
dt_status dt_model_open(dt_model **out, const char *path, const dt_model_options *options, dt_error *err);
/** The same from an open checkpoint, which is borrowed and must outlive the model. */
dt_status dt_model_from_checkpoint(dt_model **out, const dt_checkpoint *checkpoint,
                                   const dt_model_options *options, dt_error *err);
void dt_model_close(dt_model *model); /**< NULL is fine */

const dt_model_config *dt_model_get_config(const dt_model *model);
const dt_checkpoint *dt_model_checkpoint(const dt_model *model);

/** A picture as a vision tower reads it, preprocessed as the model was trained (dt_image_process); borrowed. */
typedef struct dt_planes {
    const float *pixels; /**< [num_channels, height, width] */
    int64_t height, width;
} dt_planes;

/* ---- the wrapper of Megatron's shape ---- */

/**
 * Megatron Core's AbstractModelInferenceWrapper and its GPT, T5 and VLM children, with the same meaning:
 * prep_inference_input, get_batch_for_context_window, run_one_forward_step. `batch_times_seqlen_threshold` chooses
 * between one forward and a loop of micro-batches of max(1, threshold / seqlen) rows when B·S exceeds it (-1: never).
 * What Megatron lacks: T5's encoder runs once and its cross-attention keys and values are kept.
 */
typedef struct dt_wrapper dt_wrapper;

typedef struct dt_wrapper_config {
    int64_t hidden_size;                            /**< from the model when 0 */
    int64_t padded_vocab_size;                      /**< from the model when 0 */
    int64_t inference_batch_times_seqlen_threshold; /**< -1 = never split */
    int64_t inference_max_requests;                 /**< rows; default 8 */
    int64_t inference_max_seq_length;               /**< positions; default 2560 */
    bool fp32_residual_connection;                  /**< the residual stream is f32 in any case */
    bool materialize_only_last_token_logits;        /**< of a window; Megatron's context has true, too */
    bool local_masks; /**< also make the masks that Megatron's local attention reads */
} dt_wrapper_config;
#define DT_WRAPPER_CONFIG_DEFAULT                                                                            \
    {                                                                                                        \
        .inference_batch_times_seqlen_threshold = -1, .inference_max_requests = 8,                           \
        .inference_max_seq_length = 2560, .materialize_only_last_token_logits = true                         \
    }

/**
 * Tensors handed in and out are dense, row-major, [B, S] i32; masks u8, 1 = masked, as Megatron's. Masks of S x S
 * are for the caller's eyes: attention itself never reads one. They are NULL unless `local_masks`.
 */
typedef struct dt_wrapper_input {
    int64_t batch, length;   /**< of tokens (T5: decoder tokens) */
    int32_t *tokens;         /**< [B, S] */
    int32_t *position_ids;   /**< [B, S]; NULL for T5 */
    uint8_t *attention_mask; /**< GPT [1,1,S,S]; T5: decoder [B,S], token == pad */
    int64_t encoder_length;  /**< T5 only, else 0 */
    int32_t *encoder_tokens; /**< [B, Se] */
    uint8_t *encoder_mask;   /**< [B, Se], token == pad */
    /** VLM, else zeros: rows that the pictures take, positions of a merged sequence at most. */
    int64_t num_img_embeddings, decoder_seq_length;
} dt_wrapper_input;

/** Pictures of a VLM's input, one for each image token, in the order of rows and tokens; each of some tiles of one size. */
typedef struct dt_wrapper_images {
    const float *pixels; /**< [tiles of all, 3, height, width] */
    int64_t height, width;
    int64_t count;            /**< pictures */
    const int32_t *num_tiles; /**< [count] */
    int64_t num_img_embeddings_per_tile;
    int64_t decoder_seq_length;
} dt_wrapper_images;

/** One context window [start, end): what the model is called with. */
typedef struct dt_wrapper_window {
    int64_t batch, start, end;
    int32_t *tokens, *position_ids; /**< GPT [B, end-start]; T5 tokens [B, end], no position_ids */
    uint8_t *attention_mask;        /**< GPT [1,1,end-start,end]; T5 decoder [B,1,end,end] */
    int64_t encoder_length;
    int32_t *encoder_tokens;       /**< [B, Se] */
    uint8_t *encoder_mask;         /**< [B,1,Se,Se] */
    uint8_t *encoder_decoder_mask; /**< [B,1,end,Se] */
} dt_wrapper_window;

dt_status dt_wrapper_create(dt_wrapper **out, dt_model *model, const dt_wrapper_config *config,
                            dt_error *err);
void dt_wrapper_destroy(dt_wrapper *wrapper);

/** Eval mode and an empty context: forgets every cached key. */
dt_status dt_wrapper_prep_model_for_inference(dt_wrapper *wrapper, dt_error *err);
/** encoder_tokens: T5 only ([B, Se], already padded with pad_token_id); NULL for GPT. *out is the wrapper's. */
dt_status dt_wrapper_prep_inference_input(dt_wrapper *wrapper, int64_t batch, int64_t length,
                                          const int32_t *tokens, int64_t encoder_length,
                                          const int32_t *encoder_tokens, const dt_wrapper_input **out,
                                          dt_error *err);
/**
 * The same for a VLM (llava): the pictures are looked at here, once; `images` may be NULL for words alone.
 *
 * Errors   DT_MISMATCH  image tokens and pictures, or num_img_embeddings_per_tile and what the model makes of a tile,
 *                       differ: names both
 *          DT_LIMIT     with its pictures a row has more than decoder_seq_length, or the context's, positions
 */
dt_status dt_wrapper_prep_vlm_inference_input(dt_wrapper *wrapper, int64_t batch, int64_t length,
                                              const int32_t *tokens, const dt_wrapper_images *images,
                                              const dt_wrapper_input **out, dt_error *err);
dt_status dt_wrapper_get_batch_for_context_window(dt_wrapper *wrapper, int64_t start, int64_t end,
                                                  const dt_wrapper_window **out, dt_error *err);
/**
 * Run the window through the model: *logits [B, rows, padded_vocab] f32, the wrapper's until the next call;
 * rows = end - start, or 1 with materialize_only_last_token_logits. Windows must follow one another from 0 (the
 * context keeps what came before); a window that starts at 0 begins anew, and there T5's encoder runs.
 * T5: a pad in the decoder's tokens is no key for later rows, and its own logits are zeros.
 * VLM: windows are counted in tokens; an image token has as many rows of logits as its picture takes, and rows is the longest
 * row's (dt_wrapper_logit_rows); behind a shorter one are zeros.
 */
dt_status dt_wrapper_run_one_forward_step(dt_wrapper *wrapper, const dt_wrapper_window *window,
                                          const float **logits, dt_error *err);
int64_t dt_wrapper_logit_rows(const dt_wrapper *wrapper); /**< rows of the last step's logits */
/** How the last step ran: the number of micro-batches (1 = plain forward). */
int64_t dt_wrapper_micro_batches(const dt_wrapper *wrapper);

/* ---- generation ---- */

typedef struct dt_prompt {
    const int32_t *tokens; /**< GPT: what to continue. T5: the encoder's input */
    size_t count;
    const int32_t *decoder_tokens; /**< T5: how the answer starts; NULL = the decoder start token */
    size_t decoder_count;
    /** LLaVA: pictures in the order of their places among the tokens (picture.h says how these are told); borrowed. */
    const dt_pixels *pictures;
    size_t picture_count;
} dt_prompt;

typedef struct dt_generate_options {
    int64_t max_tokens; /**< new tokens; 0 = none (to score a prompt); -1 = as max_length says */
    int64_t min_tokens; /**< an end token is banned before this many */
    int64_t
        max_length; /**< with max_tokens -1: tokens in all, a GPT's prompt and T5's start token included */
    int64_t min_length;        /**< the same count for min_tokens; the longer of the two holds */
    double temperature;        /**< 0 = greedy */
    int64_t top_k;             /**< 0 = off; tokens as likely as the k-th stay */
    double top_p, min_p;       /**< 0 = off (top_p 1 too) */
    double repetition_penalty; /**< 1 = off */
    int64_t no_repeat_ngram;   /**< 0 = off */
    uint64_t seed; /**< row r of a call draws from stream r: answers do not depend on neighbours */
    int64_t beams; /**< 1 = no beam search */
    double length_penalty;
    int early_stopping;   /**< 0 false, 1 true, 2 "never", as transformers' beam search */
    int64_t logprobs;     /**< -1 none; n = the token's and the n best alternatives', as the model gives them:
                                    before penalties, bans and temperature */
    bool prompt_logprobs; /**< also of the prompt's tokens */
    bool ignore_eos;
    int eos_count; /**< 0 = the model's */
    const int32_t *eos_ids;
    int32_t forced_bos, forced_eos; /**< -1 = none */
    int32_t
        decoder_start; /**< T5: what an answer starts from where its prompt does not say; -1 = the model's */
    int banned_count, begin_banned_count, bad_words_count;
    const int32_t *banned;       /**< ids never produced (suppress_tokens) */
    const int32_t *begin_banned; /**< ids that are not the first new token (begin_suppress_tokens) */
    const dt_prompt *bad_words;  /**< sequences never completed (.tokens, .count) */
    /* What a call works on at once. None of these changes a bit of an answer. */
    int64_t chunk;        /**< rows of a step, of prompts and answers together; 0 = 512 */
    int64_t max_batch;    /**< prompts answered at once (times beams); 0 = as many as a step has rows */
    uint64_t cache_bytes; /**< keys and values of them all; 0 = as the weights, 256 MB at least. The longest
                               prompt is answered even if it alone needs more */
    /** Called for each new token of row `row` (not with beams); return false to stop that row (finish "stop"). */
    bool (*on_token)(void *user, int64_t row, int32_t token);
    void *user;
} dt_generate_options;
#define DT_GENERATE_OPTIONS_DEFAULT                                                                          \
    {                                                                                                        \
        .max_tokens = 256, .repetition_penalty = 1, .beams = 1, .length_penalty = 1, .logprobs = -1,         \
        .forced_bos = -1, .forced_eos = -1, .decoder_start = -1                                              \
    }

/**
 * Set *options to the defaults, and over them what `generation_config.json` beside the model asks for; without that
 * file the defaults alone. What drivetrain does not do (typical_p, …) is named in a warning to the model's log.
 *
 * Memory   arrays point into the model
 * Errors   DT_FORMAT  names the file and the key
 */
dt_status dt_generate_options_of(const dt_model *model, dt_generate_options *options, dt_error *err);

typedef enum dt_finish { DT_FINISH_EOS, DT_FINISH_STOP, DT_FINISH_LENGTH } dt_finish;

typedef struct dt_token_logprob {
    int32_t token;
    float logprob;
    int top_count;
    const int32_t *top_ids; /**< best first */
    const float *top_logprobs;
} dt_token_logprob;

typedef struct dt_generated {
    const int32_t *tokens; /**< new tokens only; the end token is not among them */
    size_t count;
    dt_finish finish;
    int32_t end_token;                /**< the end token met, or -1 */
    double score;                     /**< beams: sum of log-probabilities over length^penalty */
    const dt_token_logprob *logprobs; /**< [count], or NULL */
    const dt_token_logprob
        *prompt_logprobs; /**< of the prompt's tokens 1… (T5: of its decoder tokens), or NULL */
} dt_generated;

typedef struct dt_generation dt_generation;

/**
 * Answer prompts. Rows are packed raggedly; an answer has the same bits alone and in any batch.
 *
 * Errors   DT_INVALID  an empty prompt, an id outside the vocabulary, or a prompt longer than the model's
 *                      positions: names the row, the id and the limit
 *          DT_MISMATCH  more or fewer image tokens than pictures: names the row and both
 */
dt_status dt_generate(dt_generation **out, dt_model *model, size_t count, const dt_prompt *prompts,
                      const dt_generate_options *options, dt_error *err);
void dt_generation_destroy(dt_generation *generation);
const dt_generated *dt_generation_row(const dt_generation *generation, size_t row);

typedef struct dt_generation_timing {
    double prefill_seconds, decode_seconds;
    int64_t prefill_tokens, decode_tokens;
    uint64_t peak_bytes; /**< packed weights + caches + plans */
} dt_generation_timing;
dt_generation_timing dt_generation_timing_of(const dt_generation *generation);

/* ---- Megatron's sampling, by itself ---- */

/**
 * The distribution that Megatron's text generation controller draws from: logits / temperature, then the top k or
 * the nucleus, then softmax. top_k 1 puts all on the largest logit.
 *
 * Shapes   logits, probabilities [vocab]; they may be the same memory
 * Errors   DT_INVALID  both top_k and top_p; top_p above 1; top_k not below vocab (1 always is); temperature not above 0
 * Source   megatron-core 0.16 TextGenerationController._torch_sampling_func
 */
dt_status dt_megatron_sampling(const float *logits, int64_t vocab, double temperature, int64_t top_k,
                               double top_p, float *probabilities, dt_error *err);

/**
 * After a step of Megatron's static loop: rows that have begun and drew `termination_id` are done; those begun and not
 * done are one token longer.
 */
void dt_megatron_update_status(int64_t rows, const int32_t *sampled, const bool *started,
                               int32_t termination_id, bool *done, int64_t *lengths);

#ifdef __cplusplus
}
#endif
#endif
