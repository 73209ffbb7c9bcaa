/*
 * scores.c - the largest, the best few, and the normaliser of a row of logits.
 */
#include "inference/scores.h"

#include <math.h>
#include <stdbool.h>

int32_t dt_scores_largest(const float *score, int64_t n)
{
    int64_t at = -1;
    float most = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        if (score[i] > most) {
            most = score[i];
            at = i;
        }
    return (int32_t)at;
}

/* Does a rank below b? Of equal scores the higher index does. */
static bool below(const float *score, int32_t a, int32_t b)
{
    return score[a] != score[b] ? score[a] < score[b] : a > b;
}

/* Restore the heap below `root`; the lowest ranked is on top. */
static void sift(const float *score, int32_t *heap, int64_t count, int64_t root)
{
    int32_t moving = heap[root];
    for (int64_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && below(score, heap[child + 1], heap[child]))
            child++;
        if (!below(score, heap[child], moving))
            break;
        heap[root] = heap[child];
    }
    heap[root] = moving;
}

int64_t dt_scores_best(const float *score, int64_t n, int64_t k, int32_t *index)
{
    int64_t count = 0, i = 0;
    for (; i < n && count < k; i++)
        if (score[i] > -INFINITY)
            index[count++] = (int32_t)i;
    for (int64_t root = count / 2 - 1; root >= 0; root--)
        sift(score, index, count, root);
    for (; i < n && count > 0; i++)
        if (score[i] > score[index[0]]) { /* an equal one of a higher index ranks below */
            index[0] = (int32_t)i;
            sift(score, index, count, 0);
        }
    for (int64_t left = count - 1; left > 0; left--) { /* lowest to the end: best first */
        int32_t lowest = index[0];
        index[0] = index[left];
        index[left] = lowest;
        sift(score, index, left, 0);
    }
    return count;
}

double dt_scores_log_sum(const float *score, int64_t n)
{
    int32_t largest = dt_scores_largest(score, n);
    if (largest < 0)
        return -INFINITY;
    double most = score[largest], sum = 0;
    if (isinf(most))
        return most;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)score[i] - most);
    return most + log(sum);
}
