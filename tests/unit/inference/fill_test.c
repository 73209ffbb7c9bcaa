/*
 * Masks filled: the words at a mask are those of the recorded logits, by transformers, at that token.
 */
#include "recorded.h"

#include <drivetrain/fill.h>

#include <math.h>

enum { BEST = 4 };

/* softmax(logits)[id], in f64 */
static double probability(const float *logits, int64_t vocab, int32_t id)
{
    double sum = 0;
    for (int64_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - (double)logits[id]);
    return 1 / sum;
}

static void check_place(const dt_fill_place *p, const float *logits, int64_t vocab)
{
    assert_int_equal(p->count, BEST);
    for (size_t i = 0; i < BEST; i++) {
        int64_t better = 0;
        for (int64_t v = 0; v < vocab; v++)
            better += logits[v] > logits[p->ids[i]];
        assert_int_equal(better, i);
        assert_true(fabs((double)p->probabilities[i] - probability(logits, vocab, p->ids[i])) < 1e-5);
    }
}

static void fill__words_are_those_of_the_recorded_logits(void **state)
{
    dt_error err = {0};
    recorded r;
    int64_t dim[5] = {0};
    const char *folder = fixture("hf/roberta"); /* one token type, so none has to be told */
    need(folder);
    assert_true(open_recorded(&r, folder));
    float *logits = read_tensor(r.file, "out.logits", DT_F32, dim);
    dt_model *model = open_model(folder, "reference", "f32", 1);
    for (int64_t b = 0; b < r.rows; b++) {
        const int32_t *row = r.tokens + b * r.width;
        dt_filled *f;
        size_t found = 0;
        int32_t mask = row[2]; /* any id may play the mask */
        assert_ok(dt_fill(&f, model, row, (size_t)r.lengths[b], mask, BEST, &err), err);
        for (int64_t i = 0; i < r.lengths[b]; i++)
            if (row[i] == mask) {
                const dt_fill_place *p = dt_filled_place(f, found++);
                assert_int_equal(p->position, i);
                check_place(p, logits + (b * r.width + i) * dim[2], dim[2]);
            }
        assert_int_equal(dt_filled_count(f), found);
        assert_null(dt_filled_place(f, found));
        dt_filled_destroy(f);
    }
    dt_model_close(model);
    free(logits);
    close_recorded(&r);
}

static void refuse(const char *folder, const int32_t *ids, size_t count, int32_t mask, const char *words)
{
    dt_error err = {0};
    dt_filled *f;
    char text[DT_ERROR_TEXT_BYTES];
    dt_model *model = open_model(folder, "reference", "f32", 1);
    assert_int_not_equal(dt_fill(&f, model, ids, count, mask, BEST, &err), DT_OK);
    assert_null(f);
    dt_error_format(&err, text, sizeof text);
    assert_non_null(strstr(text, words));
    dt_model_close(model);
}

static void fill__what_cannot_be_filled_is_refused(void **state)
{
    static const int32_t ids[] = {5, 6, 7}, beyond[] = {5, 1000000};
    static int32_t endless[100000];
    const char *folder = fixture("hf/roberta"), *headless = fixture("hf/bert-encoder"),
               *gpt = fixture("hf/llama");
    need(folder);
    refuse(folder, ids, 3, 8, "no mask (id 8)");
    refuse(folder, beyond, 2, 5, "token 1 has id 1000000");
    refuse(folder, endless, sizeof endless / sizeof *endless, 0, "positions");
    if (headless)
        refuse(headless, ids, 3, 6, "no head that names words");
    if (gpt)
        refuse(gpt, ids, 3, 6, "does not fill masks");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fill__words_are_those_of_the_recorded_logits),
        cmocka_unit_test(fill__what_cannot_be_filled_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
