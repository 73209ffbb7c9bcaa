/*
 * continuations.c - generates a recording's texts again: out.greedy and out.beam4, token by token the same.
 */
#include "verify/report.h"

#include <string.h>

enum { AFTER_END = -1 }; /* fills a recorded row past its end token */

/*
 * Prompts as the makers gave them: GPT continues its row, T5's decoder begins with its first token, a text with pictures is
 * told by its tokens and theirs.
 */
static dt_prompt *prompts_of(dt_arena *arena, const dt_replay_inputs *in)
{
    const dt_row_batch *side = in->source.batch ? &in->source : in->words.batch ? &in->words : &in->target;
    dt_prompt *prompt = DT_NEW_ARRAY(arena, dt_prompt, side->batch);
    const dt_pixels *shown = in->shown;
    for (int64_t b = 0; prompt && b < side->batch; b++) {
        if (in->words.batch) {
            prompt[b].pictures = shown;
            prompt[b].picture_count = (size_t)in->shown_count[b];
            shown += in->shown_count[b];
        }
        prompt[b].tokens = side->tokens + side->cu_seqlens[b];
        prompt[b].count = (size_t)(side->cu_seqlens[b + 1] - side->cu_seqlens[b]);
        if (in->source.batch) {
            prompt[b].decoder_tokens = in->target.tokens + in->target.cu_seqlens[b];
            prompt[b].decoder_count = 1;
        }
    }
    return prompt;
}

/* The end token belongs to a recorded row; what follows it is AFTER_END. */
static bool same_row(const dt_generated *row, const int32_t *recorded, int64_t length)
{
    int64_t count = (int64_t)row->count;
    for (int64_t i = 0; i < length; i++) {
        int32_t ours = i < count                           ? row->tokens[i]
                       : i == count && row->end_token >= 0 ? row->end_token
                                                           : AFTER_END;
        if (ours != recorded[i])
            return false;
    }
    return count <= length;
}

static dt_status compare(dt_report *report, dt_model *model, const dt_recording *r,
                         const dt_replay_inputs *in, const char *name, dt_generate_options *options,
                         dt_verify_text *result, dt_error *err)
{
    int32_t *recorded;
    dt_shape shape;
    dt_generation *generation;
    DT_PASS(dt_recording_ints(r, name, report->arena, &recorded, &shape, err));
    if (!recorded)
        return DT_OK;
    if (shape.rank != 2 || shape.dim[0] != in->target.batch)
        return dt_fail(err, DT_FORMAT, "%s is %s, expected %lld rows", name, dt_shape_print(&shape).text,
                       (long long)in->target.batch);
    const dt_prompt *prompt = prompts_of(report->arena, in);
    if (!prompt)
        return dt_fail_memory(err, 0, "prompts");
    options->max_tokens = shape.dim[1];
    dt_error reason = {0};
    dt_status status = dt_generate(&generation, model, (size_t)in->target.batch, prompt, options, &reason);
    if (status == DT_INVALID) { /* NaN logits and the like: a verdict, not a failure of the check */
        *result = (dt_verify_text){
            .present = true, .rows = shape.dim[0], .remark = dt_report_text(report, reason.line[0])};
        return DT_OK;
    }
    if (status != DT_OK) {
        if (err)
            *err = reason;
        dt_error_while(err, "while generating %s again", name);
        return status;
    }
    *result = (dt_verify_text){.present = true, .match = true, .rows = shape.dim[0], .first_difference = -1};
    for (int64_t b = 0; b < shape.dim[0] && result->match; b++)
        if (!same_row(dt_generation_row(generation, (size_t)b), recorded + b * shape.dim[1], shape.dim[1])) {
            result->match = false;
            result->first_difference = b;
        }
    dt_generation_destroy(generation);
    return DT_OK;
}

dt_status dt_verify_continuations(dt_report *report, dt_model *model, const dt_recording *r,
                                  const dt_replay_inputs *in, dt_error *err)
{
    dt_generate_options options = DT_GENERATE_OPTIONS_DEFAULT;
    DT_PASS(dt_generate_options_of(model, &options, err));
    options.temperature = 0;
    options.beams = 1;
    if (r->eos_count) {
        options.eos_count = r->eos_count;
        options.eos_ids = r->eos;
    } else {
        options.ignore_eos = true;
    }
    DT_PASS(compare(report, model, r, in, "out.greedy", &options, &report->shown.greedy, err));
    options.beams = r->beams.num_beams;
    options.length_penalty = r->beams.length_penalty;
    options.early_stopping = r->beams.early_stopping;
    if (options.beams < 1)
        return DT_OK;
    return compare(report, model, r, in, "out.beam4", &options, &report->shown.beam4, err);
}
