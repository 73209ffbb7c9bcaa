/*
 * similarity_test.c - pictures and texts in one space: the recorded features and logits of CLIP and SigLIP come out of
 * dt_embed, dt_embed_pictures and dt_similarities, and texts have the same bits in any company.
 */
#include "models.h"

#include <drivetrain/embed.h>

#include <math.h>

enum { MOST = 8, POSITIONS = 64 };

static const char *const folders[] = {"hf/clip", "hf/siglip"};

/* A recording of two towers, its pictures and texts. */
typedef struct recorded {
    tensors file;
    float *pixels;
    int32_t *tokens, *lengths;
    size_t pictures, texts;
    dt_planes planes[MOST];
    dt_embed_input input[MOST];
    int64_t positions;
} recorded;

static recorded open_recorded(const char *folder)
{
    int64_t p[5], t[5], n[5];
    recorded r = {.file = open_tensors(in_folder(folder, "recording.safetensors"))};
    r.pixels = read_tensor(r.file, "in.pixels", DT_F32, p);
    r.tokens = read_tensor(r.file, "in.tokens", DT_I32, t);
    r.lengths = read_tensor(r.file, "in.lengths", DT_I32, n);
    assert_true(p[0] <= MOST && t[0] <= MOST);
    r.pictures = (size_t)p[0];
    r.texts = (size_t)t[0];
    r.positions = t[1];
    for (int64_t i = 0; i < p[0]; i++)
        r.planes[i] = (dt_planes){r.pixels + i * p[1] * p[2] * p[3], p[2], p[3]};
    for (int64_t i = 0; i < t[0]; i++)
        r.input[i] = (dt_embed_input){.tokens = r.tokens + i * t[1], .count = (size_t)r.lengths[i]};
    return r;
}

static void close_recorded(recorded *r)
{
    dt_stored_set_destroy(r->file.set);
    free(r->pixels);
    free(r->tokens);
    free(r->lengths);
}

static void assert_recorded(const recorded *r, const char *point, const float *ours, int64_t first,
                            int64_t count)
{
    int64_t dim[5];
    float *truth = read_tensor(r->file, point, DT_F32, dim);
    double large = 0;
    for (int64_t i = 0; i < count; i++)
        large = fmax(large, fabs((double)truth[first + i]));
    assert_true(largest_difference(ours, truth + first, count) <= 1e-5 * (large + 1e-6));
    free(truth);
}

static void similarity__features_and_logits_are_the_recorded_ones(void **state)
{
    int checked = 0;
    for (int f = 0; f < 2; f++) {
        const char *folder = fixture(folders[f]);
        if (!folder)
            continue;
        recorded r = open_recorded(folder);
        dt_model *m = open_model(folder, "cpu", "f32", 2);
        dt_embed_options o;
        dt_embeddings *pictures, *texts;
        dt_error err = {0};
        float logits[MOST * MOST], shares[MOST], sum = 0;
        assert_ok(dt_embed_options_of(m, &o, &err), err);
        assert_int_equal(o.pooling, DT_POOLING_PROJECTION);
        assert_ok(dt_embed_pictures(&pictures, m, r.pictures, r.planes, NULL, &err), err);
        assert_ok(dt_embed(&texts, m, r.texts, r.input, &o, &err), err);
        int64_t width = dt_embeddings_width(texts);
        assert_int_equal(dt_embeddings_width(pictures), width);
        for (size_t i = 0; i < r.pictures; i++)
            assert_recorded(&r, "out.image_features", dt_embeddings_at(pictures, i).values,
                            (int64_t)i * width, width);
        for (size_t i = 0; i < r.texts; i++)
            assert_recorded(&r, "out.text_features", dt_embeddings_at(texts, i).values, (int64_t)i * width,
                            width);
        assert_ok(dt_similarities(m, pictures, texts, logits, r.pictures * r.texts, &err), err);
        assert_recorded(&r, "out.logits", logits, 0, (int64_t)(r.pictures * r.texts));
        dt_similarity_probabilities(m, logits, (int64_t)r.texts, shares);
        for (size_t i = 0; i < r.texts; i++)
            sum += shares[i];
        if (f == 0)
            assert_true(fabsf(sum - 1) < 1e-6f);
        else
            assert_true(fabs((double)shares[0] - 1 / (1 + exp(-(double)logits[0]))) < 1e-6);
        assert_int_equal(dt_similarities(m, pictures, texts, logits, 1, &err), DT_INVALID);
        dt_error_clear(&err);
        dt_embeddings_destroy(pictures);
        dt_embeddings_destroy(texts);
        dt_model_close(m);
        close_recorded(&r);
        checked++;
    }
    if (!checked)
        skip();
}

/* The pooled row and all rows of a text, too, and none of them change with who stands beside it. */
static void similarity__a_text_has_the_same_bits_in_any_company(void **state)
{
    const char *folder = fixture("hf/clip");
    need(folder);
    recorded r = open_recorded(folder);
    dt_model *m = open_model(folder, "cpu", "f32", 1);
    dt_error err = {0};
    const dt_pooling pooling[] = {DT_POOLING_PROJECTION, DT_POOLING_POOLER, DT_POOLING_NONE};
    for (int k = 0; k < 3; k++) {
        dt_embed_options o = {.pooling = pooling[k]}, narrow = {.pooling = pooling[k], .max_batch = 1};
        dt_embeddings *all, *steps;
        assert_ok(dt_embed(&all, m, r.texts, r.input, &o, &err), err);
        assert_ok(dt_embed(&steps, m, r.texts, r.input, &narrow, &err), err);
        for (size_t i = 0; i < r.texts; i++) {
            dt_embeddings *alone;
            dt_embedded a = dt_embeddings_at(all, i), b = dt_embeddings_at(steps, i), c;
            assert_ok(dt_embed(&alone, m, 1, &r.input[i], &o, &err), err);
            c = dt_embeddings_at(alone, 0);
            size_t bytes = sizeof(float) * (size_t)(a.rows * dt_embeddings_width(all));
            assert_int_equal(a.rows, pooling[k] == DT_POOLING_NONE ? (int64_t)r.input[i].count : 1);
            assert_memory_equal(a.values, b.values, bytes);
            assert_memory_equal(a.values, c.values, bytes);
            dt_embeddings_destroy(alone);
        }
        if (k == 1)
            assert_recorded(&r, "out.text.pooled", dt_embeddings_at(all, 0).values, 0,
                            dt_embeddings_width(all));
        dt_embeddings_destroy(all);
        dt_embeddings_destroy(steps);
    }
    dt_model_close(m);
    close_recorded(&r);
}

/* SigLIP reads texts of one length: a short one is what it is with padding behind it, and no longer one loses its end. */
static void similarity__siglips_texts_are_padded(void **state)
{
    const char *folder = fixture("hf/siglip");
    need(folder);
    recorded r = open_recorded(folder);
    dt_model *m = open_model(folder, "cpu", "f32", 1);
    dt_error err = {0};
    int32_t padded[POSITIONS];
    size_t positions = (size_t)dt_model_get_config(m)->max_sequence_length;
    assert_true(positions <= POSITIONS);
    for (size_t i = 0; i < positions; i++)
        padded[i] = i < 4 ? r.input[0].tokens[i] : (int32_t)dt_model_get_config(m)->pad_token_id;
    const dt_embed_input input[] = {{.tokens = padded, .count = 4}, {.tokens = padded, .count = positions}};
    const dt_embed_options o = {.pooling = DT_POOLING_PROJECTION};
    dt_embeddings *e;
    assert_ok(dt_embed(&e, m, 2, input, &o, &err), err);
    assert_memory_equal(dt_embeddings_at(e, 0).values, dt_embeddings_at(e, 1).values,
                        sizeof(float) * (size_t)dt_embeddings_width(e));
    dt_embeddings_destroy(e);
    dt_model_close(m);
    close_recorded(&r);
}

static void similarity__one_tower_compares_nothing(void **state)
{
    const char *folder = fixture("hf/clip-vision");
    need(folder);
    dt_model *m = open_model(folder, "cpu", "f32", 1);
    dt_embeddings *none;
    dt_error err = {0};
    char story[DT_ERROR_TEXT_BYTES];
    float logits[1];
    assert_ok(dt_embed_pictures(&none, m, 0, NULL, NULL, &err), err);
    assert_int_equal(dt_similarities(m, none, none, logits, 0, &err), DT_UNSUPPORTED);
    dt_error_format(&err, story, sizeof story);
    assert_non_null(strstr(story, "no two towers"));
    dt_embeddings_destroy(none);
    dt_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(similarity__features_and_logits_are_the_recorded_ones),
        cmocka_unit_test(similarity__a_text_has_the_same_bits_in_any_company),
        cmocka_unit_test(similarity__siglips_texts_are_padded),
        cmocka_unit_test(similarity__one_tower_compares_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
