/*
 * Vectors of pictures: recorded towers are the truth, and a picture's vector has the same bits in any company.
 */
#include "models.h"

#include <drivetrain/embed.h>

#include <math.h>

enum { MOST = 32 };

/* A recording's pictures. */
typedef struct pictures {
    tensors file;
    size_t count;
    float *pixels;
    dt_planes planes[MOST];
} pictures;

static pictures open_pictures(const char *folder, const char *name)
{
    int64_t dim[5] = {0};
    pictures p = {.file = open_tensors(in_folder(folder, name))};
    p.pixels = read_tensor(p.file, "in.pixels", DT_F32, dim);
    assert_non_null(p.pixels);
    assert_in_range(dim[0], 1, MOST);
    p.count = (size_t)dim[0];
    for (int64_t i = 0; i < dim[0]; i++)
        p.planes[i] = (dt_planes){p.pixels + i * dim[1] * dim[2] * dim[3], dim[2], dim[3]};
    return p;
}

static void close_pictures(pictures *p)
{
    dt_stored_set_destroy(p->file.set);
    free(p->pixels);
}

static dt_embeddings *embed(dt_model *model, const dt_planes *planes, size_t count, dt_embed_options o)
{
    dt_error err = {0};
    dt_embeddings *e;
    assert_ok(dt_embed_pictures(&e, model, count, planes, &o, &err), err);
    return e;
}

static void assert_near(const float *ours, const float *truth, int64_t n)
{
    double large = 0;
    for (int64_t i = 0; i < n; i++)
        large = fmax(large, fabs((double)truth[i]));
    assert_true(largest_difference(ours, truth, n) <= 1e-5 * (large + 1e-6)); /* recording.md's, doubled */
}

/* Every picture's rows against a point of the recording [count, …, width]. */
static void assert_point(dt_model *model, pictures *p, dt_pooling pooling, const char *point)
{
    int64_t dim[5] = {0};
    float *truth = read_tensor(p->file, point, DT_F32, dim);
    assert_non_null(truth);
    dt_embeddings *e = embed(model, p->planes, p->count, (dt_embed_options){.pooling = pooling});
    int64_t width = dt_embeddings_width(e), each = pooling == DT_POOLING_NONE ? dim[1] * dim[2] : dim[1];
    for (size_t i = 0; i < p->count; i++) {
        assert_int_equal(dt_embeddings_at(e, i).rows * width, each);
        assert_near(dt_embeddings_at(e, i).values, truth + (int64_t)i * each, each);
    }
    dt_embeddings_destroy(e);
    free(truth);
}

static void embed_pictures__towers_give_their_recorded_points(void **state)
{
    static const struct {
        const char *folder, *point;
        dt_pooling pooling;
    } row[] = {
        {"hf/clip-vision", "out.image_features", DT_POOLING_PROJECTION},
        {"hf/clip-vision", "out.pooled", DT_POOLING_POOLER},
        {"hf/clip-vision", "out.hidden", DT_POOLING_NONE},
        {"hf/clip-vision-large-patch", "out.image_features", DT_POOLING_PROJECTION},
        {"hf/siglip-vision", "out.pooled", DT_POOLING_POOLER},
        {"hf/dinov2", "out.pooled", DT_POOLING_POOLER},
        {"hf/internvl-vision", "out.hidden", DT_POOLING_NONE},
        {"megatron/radio", "out.hidden", DT_POOLING_NONE},
    };
    int checked = 0;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const char *folder = fixture(row[i].folder);
        if (!folder)
            continue;
        pictures p = open_pictures(folder, "recording.safetensors");
        dt_model *model = open_model(folder, "cpu", "f32", 2);
        dt_embed_options o;
        dt_error err = {0};
        assert_point(model, &p, row[i].pooling, row[i].point);
        assert_ok(dt_embed_options_of(model, &o, &err), err);
        assert_int_equal(o.pooling, row[i].pooling == DT_POOLING_NONE ? o.pooling
                                    : strstr(row[i].folder, "clip")   ? DT_POOLING_PROJECTION
                                                                      : DT_POOLING_POOLER);
        dt_model_close(model);
        close_pictures(&p);
        checked++;
    }
    assert_true(checked >= 1); /* radio is in tests/golden */
}

/* The mean is over patches alone, and a normalised vector has length 1. */
static void embed_pictures__a_mean_leaves_class_tokens_out(void **state)
{
    const char *folder = fixture("megatron/radio");
    need(folder);
    pictures p = open_pictures(folder, "recording.safetensors");
    dt_model *model = open_model(folder, "cpu", "f32", 1);
    int64_t own = dt_model_get_config(model)->class_token_len;
    dt_embeddings *all = embed(model, p.planes, p.count, (dt_embed_options){.pooling = DT_POOLING_NONE});
    dt_embeddings *first = embed(model, p.planes, p.count, (dt_embed_options){.pooling = DT_POOLING_CLS});
    dt_embeddings *mean =
        embed(model, p.planes, p.count, (dt_embed_options){.pooling = DT_POOLING_MEAN, .normalize = true});
    int64_t width = dt_embeddings_width(all);
    assert_true(own > 0);
    for (size_t i = 0; i < p.count; i++) {
        dt_embedded rows = dt_embeddings_at(all, i);
        const float *m = dt_embeddings_at(mean, i).values;
        double dot = 0, squares = 0, length = 0;
        for (int64_t h = 0; h < width; h++) {
            double sum = 0;
            for (int64_t r = own; r < rows.rows; r++)
                sum += (double)rows.values[r * width + h];
            dot += sum * (double)m[h];
            squares += sum * sum;
            length += (double)m[h] * (double)m[h];
        }
        assert_true(fabs(length - 1) < 1e-6 && fabs(dot - sqrt(squares)) < 1e-6 * sqrt(squares));
        assert_memory_equal(dt_embeddings_at(first, i).values, rows.values, (size_t)width * sizeof(float));
    }
    dt_embeddings_destroy(all);
    dt_embeddings_destroy(first);
    dt_embeddings_destroy(mean);
    dt_model_close(model);
    close_pictures(&p);
}

/* Pictures of all recorded sizes in one call, in steps of any size, have the bits that each has alone. */
static void embed_pictures__mixed_sizes_have_the_bits_of_each_alone(void **state)
{
    static const char *const name[] = {"recording.safetensors", "recording_16x24.safetensors",
                                       "recording_24x8.safetensors", "recording_48x40.safetensors"};
    const char *folder = fixture("megatron/radio");
    need(folder);
    pictures file[4];
    dt_planes mixed[MOST];
    size_t count = 0, files = 0;
    for (size_t i = 0; i < 4; i++) {
        if (access(in_folder(folder, name[i]), R_OK) != 0)
            continue;
        file[files] = open_pictures(folder, name[i]);
        for (size_t k = 0; k < file[files].count && count < MOST; k++)
            mixed[count++] = file[files].planes[k];
        files++;
    }
    dt_model *model = open_model(folder, "cpu", "f32", 2);
    static const int64_t budget[] = {0, 1, 70};
    for (size_t b = 0; b < 3; b++) {
        const dt_embed_options o = {.pooling = DT_POOLING_NONE, .max_batch = budget[b]};
        dt_embeddings *together = embed(model, mixed, count, o);
        for (size_t i = 0; i < count; i++) {
            dt_embeddings *alone = embed(model, &mixed[i], 1, o);
            dt_embedded t = dt_embeddings_at(together, i), a = dt_embeddings_at(alone, 0);
            assert_int_equal(t.rows, a.rows);
            assert_memory_equal(t.values, a.values,
                                (size_t)(a.rows * dt_embeddings_width(alone)) * sizeof(float));
            dt_embeddings_destroy(alone);
        }
        dt_embeddings_destroy(together);
    }
    dt_model_close(model);
    for (size_t i = 0; i < files; i++)
        close_pictures(&file[i]);
}

static void embed_pictures__what_cannot_be_is_refused_by_name(void **state)
{
    dt_error err = {0};
    dt_embeddings *e;
    const char *folder = fixture("megatron/radio"), *words = "examples/t5-g2p";
    need(folder);
    pictures p = open_pictures(folder, "recording.safetensors");
    dt_model *model = open_model(folder, "cpu", "f32", 1), *reader = open_model(words, "cpu", "f32", 1);
    const dt_planes none = {NULL, 32, 32};
    const dt_embed_options pooler = {.pooling = DT_POOLING_POOLER},
                           shared = {.pooling = DT_POOLING_PROJECTION};
    assert_fails(dt_embed_pictures(&e, model, 1, &none, NULL, &err), DT_INVALID, err, "picture 0");
    assert_fails(dt_embed_pictures(&e, model, 1, p.planes, &pooler, &err), DT_UNSUPPORTED, err, "no pooler");
    assert_fails(dt_embed_pictures(&e, model, 1, p.planes, &shared, &err), DT_UNSUPPORTED, err,
                 "no projection");
    assert_fails(dt_embed_pictures(&e, reader, 1, p.planes, NULL, &err), DT_UNSUPPORTED, err,
                 "sees no pictures");
    assert_fails(
        dt_embed(&e, reader, 1, &(dt_embed_input){.tokens = (int32_t[]){5}, .count = 1}, &shared, &err),
        DT_UNSUPPORTED, err, "no projection");
    assert_ok(dt_embed_pictures(&e, model, 0, NULL, NULL, &err), err);
    dt_embeddings_destroy(e);
    dt_model_close(model);
    dt_model_close(reader);
    close_pictures(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embed_pictures__towers_give_their_recorded_points),
        cmocka_unit_test(embed_pictures__a_mean_leaves_class_tokens_out),
        cmocka_unit_test(embed_pictures__mixed_sizes_have_the_bits_of_each_alone),
        cmocka_unit_test(embed_pictures__what_cannot_be_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
