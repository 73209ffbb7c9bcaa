/*
 * step.c - makes a session's plans once, and runs steps on them: rows packed, tables filled, counts set, run.
 *
 * Which rows go into a step is the caller's choice (generate.c, wrappers/); what a row computes does not depend on it.
 */
#include "inference/step.h"

#include "inference/context.h"

#include "base/text.h"
#include "models/build.h"

#include <stdlib.h>
#include <string.h>

/* A planned graph with the arrays that its inputs are bound to. */
typedef struct run_plan {
    dt_graph *graph;
    dt_executor *executor;
} run_plan;

struct dt_session {
    dt_model *model;
    dt_arena *arena; /* everything but plans and caches' pages */
    dt_session_capacity capacity;
    run_plan step, encode;
    dt_context *history, *cross;           /* cross: NULL without an encoder */
    dt_block_table *slot, *memory, *spare; /* spare: as many as slots, empty between calls */
    int64_t *attached;                     /* memory of each slot */
    int64_t slot_blocks, memory_blocks;    /* table widths */
    /* this step */
    int64_t rows, sequences, outputs;
    int64_t *member; /* slot of each sequence in the step */
    int32_t *tokens, *positions, *rope_lengths, *cu_seqlens, *past, *block_table, *output_rows;
    int32_t *memory_lengths, *memory_block_table;
    int32_t *source_tokens, *source_positions, *source_cu_seqlens, *memory_past, *source_block_table;
    int64_t seen; /* rows of pictures in the step */
    int32_t
        *merged; /* merged_rows: of each row itself, or -1 - a picture's; NULL: no pictures are planned for */
    float *picture_rows; /* image_rows */
    const float *logits;
    int64_t logits_width;
};

static int64_t blocks_of(int64_t positions)
{
    return (positions + DT_KV_BLOCK - 1) / DT_KV_BLOCK;
}

/* ---- making ---- */

static bool new_tables(dt_arena *arena, dt_block_table **out, int64_t count, int64_t width)
{
    int32_t *blocks = DT_NEW_ARRAY(arena, int32_t, count * width);
    *out = DT_NEW_ARRAY(arena, dt_block_table, count);
    for (int64_t i = 0; *out && blocks && i < count; i++)
        (*out)[i].block = blocks + i * width;
    return *out && blocks;
}

static bool new_ints(dt_arena *arena, int32_t **out, int64_t count)
{
    return (*out = DT_NEW_ARRAY(arena, int32_t, count)) != NULL;
}

static bool new_step_arrays(dt_session *s)
{
    const dt_session_capacity *c = &s->capacity;
    dt_arena *a = s->arena;
    s->member = DT_NEW_ARRAY(a, int64_t, c->sequences);
    s->attached = DT_NEW_ARRAY(a, int64_t, c->sequences);
    return s->member && s->attached && new_tables(a, &s->slot, c->sequences, s->slot_blocks) &&
           new_tables(a, &s->spare, c->sequences, s->slot_blocks) && new_ints(a, &s->tokens, c->tokens) &&
           new_ints(a, &s->positions, c->tokens) && new_ints(a, &s->rope_lengths, c->tokens) &&
           new_ints(a, &s->cu_seqlens, c->sequences + 1) && new_ints(a, &s->past, c->sequences) &&
           new_ints(a, &s->block_table, c->sequences * s->slot_blocks) &&
           new_ints(a, &s->output_rows, c->output_rows);
}

static bool new_picture_arrays(dt_session *s)
{
    s->picture_rows = DT_NEW_ARRAY(s->arena, float, s->capacity.tokens * s->model->config->hidden_size);
    return s->picture_rows && new_ints(s->arena, &s->merged, s->capacity.tokens);
}

static bool new_memory_arrays(dt_session *s)
{
    const dt_session_capacity *c = &s->capacity;
    dt_arena *a = s->arena;
    return new_tables(a, &s->memory, c->memories, s->memory_blocks) &&
           new_ints(a, &s->memory_lengths, c->sequences) &&
           new_ints(a, &s->memory_block_table, c->sequences * s->memory_blocks) &&
           new_ints(a, &s->source_tokens, c->source_tokens) &&
           new_ints(a, &s->source_positions, c->source_tokens) &&
           new_ints(a, &s->source_cu_seqlens, c->memories + 1) && new_ints(a, &s->memory_past, c->memories) &&
           new_ints(a, &s->source_block_table, c->memories * s->memory_blocks);
}

static bool is_cross(const char *state)
{
    return dt_ends_with(state, "cross_k_cache") || dt_ends_with(state, "cross_v_cache");
}

/* Bytes of one position in a state [blocks, DT_KV_BLOCK, width]. */
static size_t slot_bytes(const dt_tensor *state)
{
    return (size_t)(state->dim[2].n / dt_dtype_block_elements(state->dtype) *
                    dt_dtype_block_bytes(state->dtype));
}

/* Give every state of the plan's graph its buffer, made when a first graph asks for it. */
static dt_status bind_states(dt_session *s, run_plan *plan, dt_error *err)
{
    for (int i = 0; i < plan->graph->tensor_count; i++) {
        const dt_tensor *t = plan->graph->tensor[i];
        if (t->kind != DT_TENSOR_STATE)
            continue;
        dt_context *context = is_cross(t->name) ? s->cross : s->history;
        void *data = dt_context_find(context, t->name);
        if (!data)
            DT_PASS(dt_context_add(context, t->name, slot_bytes(t), &data, err));
        DT_PASS(dt_executor_bind(plan->executor, t->name, data, err));
    }
    return DT_OK;
}

typedef struct binding {
    const char *name;
    int32_t *data;
} binding;

/* Inputs that the model has no use for are not in its graph. */
static dt_status bind_inputs(run_plan *plan, const binding *input, size_t count, dt_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (dt_graph_find(plan->graph, input[i].name))
            DT_PASS(dt_executor_bind(plan->executor, input[i].name, input[i].data, err));
    return DT_OK;
}

static dt_status make_plan(dt_session *s, run_plan *plan, dt_build_mode mode, dt_error *err)
{
    const dt_session_capacity *c = &s->capacity;
    dt_build_options options = {.mode = mode,
                                .spec = dt_model_layer_spec(s->model),
                                .tokens = c->tokens,
                                .source_tokens = c->source_tokens,
                                .sequences = mode == DT_BUILD_ENCODE ? c->memories : c->sequences,
                                .output_rows = c->output_rows,
                                .image_rows = c->pictures ? c->tokens : 0,
                                .kv_blocks = c->blocks,
                                .sequence_blocks = s->slot_blocks,
                                .memory_blocks = c->cross_blocks,
                                .memory_sequence_blocks = s->memory_blocks,
                                .kv_dtype = dt_model_kv_dtype(s->model)};
    if (!(plan->graph = dt_graph_create(err)))
        return DT_NO_MEMORY;
    DT_PASS(dt_model_build(plan->graph, s->model->config, &options, err));
    DT_PASS(dt_model_executor(s->model, plan->graph, NULL, &plan->executor, err));
    return bind_states(s, plan, err);
}

static dt_status make_step(dt_session *s, dt_error *err)
{
    const binding input[] = {{"tokens", s->tokens},
                             {"positions", s->positions},
                             {"rope_lengths", s->rope_lengths},
                             {"cu_seqlens", s->cu_seqlens},
                             {"past", s->past},
                             {"block_table", s->block_table},
                             {"output_rows", s->output_rows},
                             {"memory_lengths", s->memory_lengths},
                             {"memory_block_table", s->memory_block_table}};
    DT_PASS(make_plan(s, &s->step, DT_BUILD_STEP, err));
    DT_PASS(bind_inputs(&s->step, input, sizeof input / sizeof input[0], err));
    if (!s->capacity.pictures)
        return DT_OK;
    DT_PASS(dt_executor_bind(s->step.executor, "merged_rows", s->merged, err));
    return dt_executor_bind(s->step.executor, "image_rows", s->picture_rows, err);
}

static dt_status make_encode(dt_session *s, dt_error *err)
{
    const binding input[] = {{"encoder_tokens", s->source_tokens},
                             {"encoder_positions", s->source_positions},
                             {"encoder_cu_seqlens", s->source_cu_seqlens},
                             {"memory_past", s->memory_past},
                             {"memory_block_table", s->source_block_table}};
    DT_PASS(make_plan(s, &s->encode, DT_BUILD_ENCODE, err));
    return bind_inputs(&s->encode, input, sizeof input / sizeof input[0], err);
}

static dt_status make(dt_session *s, dt_error *err)
{
    dt_session_capacity *c = &s->capacity;
    const dt_model_config *config = s->model->config;
    bool encoder = dt_model_has_encoder(s->model);
    int64_t layers = encoder ? config->decoder_num_layers : config->num_layers;
    s->slot_blocks = blocks_of(c->length);
    s->memory_blocks = blocks_of(c->memory_length);
    c->blocks = c->blocks ? c->blocks : c->sequences * s->slot_blocks;
    c->cross_blocks = c->cross_blocks ? c->cross_blocks : c->memories * s->memory_blocks;
    if (!(s->arena = dt_arena_create()) || !new_step_arrays(s) || (encoder && !new_memory_arrays(s)) ||
        (c->pictures && !new_picture_arrays(s)))
        return dt_fail_memory(err, 0, "a session's tables");
    DT_PASS(dt_context_create(&s->history, s->arena, c->blocks, (int)(2 * layers), err));
    if (encoder)
        DT_PASS(dt_context_create(&s->cross, s->arena, c->cross_blocks, (int)(2 * layers), err));
    DT_PASS(make_step(s, err));
    return encoder ? make_encode(s, err) : DT_OK;
}

dt_status dt_session_create(dt_session **out, dt_model *model, const dt_session_capacity *capacity,
                            dt_error *err)
{
    dt_session *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return dt_fail_memory(err, sizeof *s, "a session");
    s->model = model;
    s->capacity = *capacity;
    dt_status status = make(s, err);
    if (status != DT_OK) {
        dt_error_while(err, "while planning for %lld sequences of %lld positions",
                       (long long)capacity->sequences, (long long)capacity->length);
        dt_session_destroy(s);
        return status;
    }
    *out = s;
    return DT_OK;
}

static void destroy_plan(run_plan *plan)
{
    dt_executor_destroy(plan->executor);
    dt_graph_destroy(plan->graph);
}

void dt_session_destroy(dt_session *s)
{
    if (!s)
        return;
    destroy_plan(&s->step);
    destroy_plan(&s->encode);
    dt_context_destroy(s->history);
    dt_context_destroy(s->cross);
    dt_arena_destroy(s->arena);
    free(s);
}

size_t dt_session_bytes(const dt_session *s)
{
    size_t bytes =
        dt_executor_bytes(s->step.executor) + dt_context_peak_bytes(s->history) + dt_arena_bytes(s->arena);
    if (s->cross)
        bytes += dt_executor_bytes(s->encode.executor) + dt_context_peak_bytes(s->cross);
    return bytes;
}

/* ---- encoding ---- */

static void put_span(int32_t *tokens, int32_t *positions, const dt_span *span, int64_t first)
{
    for (int64_t i = 0; i < span->count; i++) {
        tokens[i] = span->tokens[i];
        positions[i] = span->positions ? span->positions[i] : (int32_t)(first + i);
    }
}

dt_status dt_session_encode(dt_session *s, int64_t count, const int64_t *memory, const dt_span *prompt,
                            dt_error *err)
{
    int64_t rows = 0;
    for (int64_t i = 0; i < count; i++) {
        dt_block_table *m = &s->memory[memory[i]];
        dt_context_clear(s->cross, m);
        DT_PASS(dt_context_extend(s->cross, m, prompt[i].count, err));
        m->length = prompt[i].count;
        put_span(s->source_tokens + rows, s->source_positions + rows, &prompt[i], 0);
        memcpy(s->source_block_table + i * s->memory_blocks, m->block, (size_t)m->count * sizeof *m->block);
        rows += prompt[i].count;
        s->source_cu_seqlens[i + 1] = (int32_t)rows;
    }
    DT_PASS(dt_executor_count(s->encode.executor, "source_tokens", rows, err));
    DT_PASS(dt_executor_count(s->encode.executor, "sequences", count, err));
    return dt_executor_run(s->encode.executor, err);
}

void dt_session_forget(dt_session *s, int64_t memory)
{
    dt_context_clear(s->cross, &s->memory[memory]);
}

void dt_session_attach(dt_session *s, int64_t slot, int64_t memory)
{
    s->attached[slot] = memory;
}

/* ---- steps ---- */

void dt_session_begin(dt_session *s)
{
    s->rows = s->sequences = s->outputs = s->seen = 0;
}

int64_t dt_session_room(const dt_session *s)
{
    return s->sequences < s->capacity.sequences ? s->capacity.tokens - s->rows : 0;
}

int64_t dt_session_output_room(const dt_session *s)
{
    return s->capacity.output_rows - s->outputs;
}

static void want_rows(dt_session *s, int64_t rows, dt_want want)
{
    int64_t first = want == DT_WANT_ALL ? 0 : want == DT_WANT_LAST ? rows - 1 : rows;
    for (int64_t i = first; i < rows; i++)
        s->output_rows[s->outputs++] = (int32_t)(s->rows + i);
}

static void put_memory(dt_session *s, int64_t slot)
{
    const dt_block_table *m = &s->memory[s->attached[slot]];
    s->memory_lengths[s->sequences] = (int32_t)m->length;
    memcpy(s->memory_block_table + s->sequences * s->memory_blocks, m->block,
           (size_t)m->count * sizeof *m->block);
}

/* Rows of pictures are copied into the step; what token stands there is nobody's. */
static void put_seen(dt_session *s, const dt_span *span)
{
    size_t width = (size_t)s->model->config->hidden_size;
    for (int64_t i = 0; i < span->count; i++) {
        const float *row = span->seen ? span->seen[i] : NULL;
        s->merged[s->rows + i] = (int32_t)(row ? -1 - s->seen : s->rows + i);
        if (!row)
            continue;
        s->tokens[s->rows + i] = 0;
        memcpy(s->picture_rows + (size_t)s->seen++ * width, row, width * sizeof *row);
    }
}

dt_status dt_session_add(dt_session *s, int64_t slot, const dt_span *span, dt_want want, int64_t *output,
                         dt_error *err)
{
    dt_block_table *t = &s->slot[slot];
    DT_PASS(dt_context_extend(s->history, t, t->length + span->count, err));
    *output = s->outputs;
    want_rows(s, span->count, want);
    put_span(s->tokens + s->rows, s->positions + s->rows, span, t->length);
    for (int64_t i = 0; i < span->count; i++)
        s->rope_lengths[s->rows + i] = (int32_t)(span->length ? span->length : t->length + span->count);
    memcpy(s->block_table + s->sequences * s->slot_blocks, t->block, (size_t)t->count * sizeof *t->block);
    s->past[s->sequences] = (int32_t)t->length;
    if (s->cross)
        put_memory(s, slot);
    if (s->merged)
        put_seen(s, span);
    s->member[s->sequences++] = slot;
    s->rows += span->count;
    s->cu_seqlens[s->sequences] = (int32_t)s->rows;
    return DT_OK;
}

dt_status dt_session_run(dt_session *s, dt_error *err)
{
    dt_data logits;
    DT_PASS(dt_executor_count(s->step.executor, "tokens", s->rows, err));
    DT_PASS(dt_executor_count(s->step.executor, "sequences", s->sequences, err));
    DT_PASS(dt_executor_count(s->step.executor, "output_rows", s->outputs, err));
    if (s->merged)
        DT_PASS(dt_executor_count(s->step.executor, "image_rows", s->seen, err));
    DT_PASS(dt_executor_run(s->step.executor, err));
    DT_PASS(dt_executor_read(s->step.executor, "out.logits", &logits, err));
    s->logits = logits.data;
    s->logits_width = logits.dim[1];
    for (int64_t i = 0; i < s->sequences; i++)
        s->slot[s->member[i]].length += s->cu_seqlens[i + 1] - s->cu_seqlens[i];
    return DT_OK;
}

const float *dt_session_logits(const dt_session *s, int64_t output)
{
    return s->logits + output * s->logits_width;
}

/* ---- slots ---- */

int64_t dt_session_length(const dt_session *s, int64_t slot)
{
    return s->slot[slot].length;
}

void dt_session_truncate(dt_session *s, int64_t slot, int64_t length)
{
    dt_context_truncate(s->history, &s->slot[slot], length);
}

void dt_session_release(dt_session *s, int64_t slot)
{
    dt_context_clear(s->history, &s->slot[slot]);
}

void dt_session_reorder(dt_session *s, int64_t count, int64_t slots, const int64_t *slot,
                        const int64_t *parent)
{
    for (int64_t i = 0; i < count; i++)
        dt_context_share(s->history, &s->slot[slot[parent[i]]], &s->spare[i]);
    for (int64_t i = 0; i < slots; i++)
        dt_session_release(s, slot[i]);
    for (int64_t i = 0; i < count; i++) {
        dt_block_table taken = s->slot[slot[i]];
        s->slot[slot[i]] = s->spare[i];
        s->spare[i] = taken;
    }
}
