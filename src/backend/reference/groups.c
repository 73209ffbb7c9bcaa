/*
 * groups.c (reference) - split_groups cuts columns group by group into parts; join_groups puts them back.
 *
 * A row holds for each group its parts side by side; part i of all groups is one output. An absent part is skipped
 * on the way out and zeros on the way in.
 */
#include "backend/reference/kernels.h"

#include <string.h>

void dt_reference_split_groups(const dt_kernel_call *call, int thread, int threads)
{
    int64_t groups = call->op->attr.split.groups, begin, end;
    dt_share(dt_reference_rows(&call->input[0]), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *from = dt_f32_row(&call->input[0], t);
        for (int64_t g = 0; g < groups; g++) {
            for (int i = 0; i < call->op->attr.split.parts; i++) {
                int64_t width = call->op->attr.split.width[i];
                if (call->output[i].data != NULL)
                    memcpy(dt_f32_row(&call->output[i], t) + g * width, from, (size_t)width * sizeof *from);
                from += width;
            }
        }
    }
}

void dt_reference_join_groups(const dt_kernel_call *call, int thread, int threads)
{
    int64_t groups = call->op->attr.split.groups, begin, end;
    dt_share(dt_reference_rows(&call->output[0]), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *to = dt_f32_row(&call->output[0], t);
        for (int64_t g = 0; g < groups; g++) {
            for (int i = 0; i < call->op->attr.split.parts; i++) {
                int64_t width = call->op->attr.split.width[i];
                if (call->input[i].data != NULL)
                    memcpy(to, dt_f32_row(&call->input[i], t) + g * width, (size_t)width * sizeof *to);
                else
                    memset(to, 0, (size_t)width * sizeof *to);
                to += width;
            }
        }
    }
}
