/*
 * rope_test.c - rotary frequencies follow their formulas, scalings included: numbers that transformers 5.23 printed, and
 * the angles of megatron-core 0.16.1 (fixtures/megatron/training).
 */
#include "unit.h"

#include "backend/rope_table.h"
#include "graph/ir.h"
#include "inference/models.h"
#include "nn/layer.h"

#include <jansson.h>
#include <math.h>

static dt_model_config rotary(dt_rope_scaling scaling)
{
    dt_model_config c;
    dt_config_init(&c);
    c.kv_channels = 64;
    c.rotary_base = 500000;
    c.rope_scaling_type = scaling;
    c.rope_scaling_factor = 8;
    c.position_embedding_type = DT_POSITION_ROPE;
    return c;
}

static const float *frequencies(dt_graph *g, const dt_model_config *c)
{
    double magnitude;
    dt_tensor *t = dt_rope_frequencies(g, c, &magnitude);
    assert_true(magnitude == 1);
    assert_int_equal(t->dim[0].n, (int64_t)((double)c->kv_channels * c->rotary_percent) / 2);
    return t->constant;
}

static void rope__plain_frequencies_are_powers_of_the_base(void **state)
{
    dt_graph *g = dt_graph_create(NULL);
    dt_model_config c = rotary(DT_ROPE_PLAIN);
    const float *inv = frequencies(g, &c);
    for (int i = 0; i < 32; i++)
        assert_true(fabs(inv[i] / pow(500000, -2.0 * i / 64) - 1) < 1e-6);
    dt_graph_destroy(g);
}

static void rope__part_of_a_head_rotates_by_its_own_size(void **state)
{
    dt_graph *g = dt_graph_create(NULL);
    dt_model_config c = rotary(DT_ROPE_PLAIN);
    c.rotary_percent = 0.5;
    const float *inv = frequencies(g, &c);
    for (int i = 0; i < 16; i++)
        assert_true(fabs(inv[i] / pow(500000, -2.0 * i / 32) - 1) < 1e-6);
    dt_graph_destroy(g);
}

static void rope__linear_scaling_divides_every_frequency(void **state)
{
    dt_graph *g = dt_graph_create(NULL);
    dt_model_config c = rotary(DT_ROPE_LINEAR);
    const float *inv = frequencies(g, &c);
    for (int i = 0; i < 32; i++)
        assert_true(fabs(inv[i] * 8 / pow(500000, -2.0 * i / 64) - 1) < 1e-6);
    dt_graph_destroy(g);
}

/* Llama 3: wavelengths beyond 8192 are slowed eightfold, those below 2048 kept, those between lie between. */
static void rope__llama3_keeps_short_waves_and_slows_long_ones(void **state)
{
    dt_graph *g = dt_graph_create(NULL);
    dt_model_config c = rotary(DT_ROPE_LLAMA3);
    const float *inv = frequencies(g, &c);
    int kept = 0, slowed = 0, between = 0;
    for (int i = 0; i < 32; i++) {
        double plain = pow(500000, -2.0 * i / 64), wave = 2 * M_PI / plain, ratio = inv[i] / plain;
        if (wave < 2048)
            kept += fabs(ratio - 1) < 1e-6;
        else if (wave > 8192)
            slowed += fabs(ratio - 0.125) < 1e-6;
        else
            between += ratio > 0.125 && ratio < 1;
    }
    assert_int_equal(kept + slowed + between, 32);
    assert_true(kept > 0 && slowed > 0 && between > 0);
    dt_graph_destroy(g);
}

/* ---- as transformers has them: 16 dimensions, base 10000, trained on 64 positions ---- */

enum { PAIRS = 8 };

static dt_model_config small(dt_rope_scaling scaling)
{
    dt_model_config c = rotary(scaling);
    c.kv_channels = 2 * PAIRS;
    c.rotary_base = 10000;
    c.max_sequence_length = 64;
    return c;
}

/* Frequencies of a sequence of this length, and what cosines are multiplied by. */
static void expect(const dt_model_config *c, int64_t length, const double *inv, double magnitude)
{
    double found;
    float room[PAIRS];
    dt_graph *g = dt_graph_create(NULL);
    dt_tensor *t = dt_rope_frequencies(g, c, &found);
    dt_rope_spec spec = dt_rope_spec_of(c, 1, found);
    int64_t pairs = dt_rope_pairs(&spec, t->dim[0].n);
    const float *table = dt_rope_table(&spec, t->constant, pairs, length, room);
    assert_int_equal(pairs, PAIRS);
    assert_true(fabs(found / magnitude - 1) < 1e-12);
    for (int i = 0; i < PAIRS; i++)
        if (!(fabs((double)table[i] / inv[i] - 1) < 1e-6))
            fail_msg("frequency %d is %.9g, expected %.9g", i, (double)table[i], inv[i]);
    dt_graph_destroy(g);
}

static void rope__llama3_is_that_of_transformers(void **state)
{
    static const double inv[] = {1,
                                 0.193922758,
                                 0.0376060307,
                                 0.00729266508,
                                 0.000524846022,
                                 3.42810235e-05,
                                 6.64786967e-06,
                                 1.28917316e-06};
    dt_model_config c = small(DT_ROPE_LLAMA3);
    c.rotary_base = 500000;
    expect(&c, 10, inv, 1);
}

static void rope__yarn_is_that_of_transformers(void **state)
{
    static const double inv[] = {1,
                                 0.079056941,
                                 0.0250000004,
                                 0.00790569466,
                                 0.00249999994,
                                 0.000790569466,
                                 0.000250000012,
                                 7.90569466e-05};
    static const double as_it_falls[] = {1,
                                         0.225418001,
                                         0.0508132726,
                                         0.00679495931,
                                         0.000456483918,
                                         1.8188337e-05,
                                         4.09997847e-06,
                                         9.24208962e-07};
    dt_model_config c = small(DT_ROPE_YARN);
    c.rope_scaling_factor = 4;
    c.rope_original_max_position = 16;
    expect(&c, 10, inv, 1.138629436111989);
    c.rotary_base = 150000;
    c.rope_scaling_factor = 32;
    c.rope_original_max_position = 4096;
    c.rope_no_truncate = true;
    expect(&c, 10, as_it_falls, 1.3465735902799727);
}

static void rope__dynamic_grows_its_base_beyond_the_trained_length(void **state)
{
    static const double within[] = {1,    0.316227764,   0.1,   0.0316227786,
                                    0.01, 0.00316227786, 0.001, 0.000316227786};
    static const double at_100[] = {1,           0.283945143,    0.0806248412,  0.0228930302, 0.00650036521,
                                    0.001845747, 0.000524090894, 0.000148813066};
    dt_model_config c = small(DT_ROPE_DYNAMIC);
    c.rope_scaling_factor = 2;
    expect(&c, 1, within, 1);
    expect(&c, 64, within, 1);
    expect(&c, 100, at_100, 1);
}

static void rope__longrope_changes_its_table_beyond_the_trained_length(void **state)
{
    static const double factor_short[] = {1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7};
    static const double factor_long[] = {1.5, 2, 3, 4, 5, 6, 7, 8};
    static const double inv_short[] = {1,
                                       0.287479758,
                                       0.0833333358,
                                       0.0243252143,
                                       0.00714285718,
                                       0.00210818532,
                                       0.000624999986,
                                       0.000186016332};
    static const double inv_long[] = {0.666666687,   0.158113882,   0.0333333351,   0.00790569466,
                                      0.00200000009, 0.00052704633, 0.000142857141, 3.95284733e-05};
    dt_model_config c = small(DT_ROPE_LONGROPE);
    c.rope_scaling_factor = 4;
    c.rope_original_max_position = 16;
    c.rope_factors = PAIRS;
    memcpy(c.rope_short_factor, factor_short, sizeof factor_short);
    memcpy(c.rope_long_factor, factor_long, sizeof factor_long);
    expect(&c, 16, inv_short, 1.224744871391589);
    expect(&c, 17, inv_long, 1.224744871391589);
}

/* ---- as Megatron has them ---- */

static double number_of(const json_t *c, const char *key, double otherwise)
{
    return json_object_get(c, key) ? json_number_value(json_object_get(c, key)) : otherwise;
}

static dt_model_config config_of(const json_t *from)
{
    dt_model_config c = rotary(DT_ROPE_PLAIN);
    c.kv_channels = json_integer_value(json_object_get(from, "kv_channels"));
    c.rotary_percent = number_of(from, "rotary_percent", 1);
    c.rotary_base = number_of(from, "rotary_base", 10000);
    c.rope_scaling_factor = number_of(from, "rope_scaling_factor", 8);
    if (json_is_true(json_object_get(from, "rope_scaling")))
        c.rope_scaling_type = DT_ROPE_LLAMA3;
    if (json_object_get(from, "seq_len_interpolation_factor")) {
        c.rope_scaling_type = DT_ROPE_LINEAR;
        c.rope_scaling_factor = number_of(from, "seq_len_interpolation_factor", 1);
    }
    if (json_object_get(from, "scaling_factor")) {
        c.rope_scaling_type = DT_ROPE_YARN;
        c.rope_scaling_factor = number_of(from, "scaling_factor", 1);
        c.rope_original_max_position = (int64_t)number_of(from, "original_max_position_embeddings", 0);
        c.rope_beta_fast = number_of(from, "beta_fast", 0);
        c.rope_beta_slow = number_of(from, "beta_slow", 0);
    }
    return c;
}

/* Every angle of the table: position times frequency, for the first half of its columns (they repeat). */
static void check_angles(const json_t *from, const float *angles, int64_t positions, int64_t columns)
{
    double magnitude;
    dt_model_config c = config_of(from);
    bool turns = json_is_true(json_object_get(from, "rotary_interleaved"));
    dt_graph *g = dt_graph_create(NULL);
    dt_tensor *t = dt_rope_frequencies(g, &c, &magnitude);
    assert_int_equal(2 * t->dim[0].n, columns);
    assert_true(fabs(magnitude - number_of(from, "output_scale", 0)) < 1e-12);
    for (int64_t p = 0; p < positions; p++)
        for (int64_t i = 0; i < columns / 2; i++) {
            double expected = (double)angles[p * columns + (turns ? 2 * i : i)];
            if (!(fabs((double)p * (double)t->constant[i] - expected) <= 1e-6 * expected))
                fail_msg("angle %d of position %d is not %.9g", (int)i, (int)p, expected);
        }
    dt_graph_destroy(g);
}

static void rope__angles_are_megatrons(void **state)
{
    const char *folder = fixture("megatron/training");
    need(folder);
    tensors file = open_tensors(in_folder(folder, "rope.safetensors"));
    json_t *about = json_load_file(in_folder(folder, "rope.json"), 0, NULL), *one;
    size_t i;
    assert_true(json_array_size(json_object_get(about, "cases")) > 0);
    json_array_foreach(json_object_get(about, "cases"), i, one)
    {
        int64_t dim[5];
        char name[32];
        snprintf(name, sizeof name, "angles.%d", (int)i);
        float *angles = read_tensor(file, name, DT_F32, dim);
        assert_non_null(angles);
        check_angles(one, angles, dim[0], dim[1]);
        free(angles);
    }
    json_decref(about);
    dt_stored_set_destroy(file.set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rope__plain_frequencies_are_powers_of_the_base),
        cmocka_unit_test(rope__part_of_a_head_rotates_by_its_own_size),
        cmocka_unit_test(rope__linear_scaling_divides_every_frequency),
        cmocka_unit_test(rope__llama3_keeps_short_waves_and_slows_long_ones),
        cmocka_unit_test(rope__llama3_is_that_of_transformers),
        cmocka_unit_test(rope__yarn_is_that_of_transformers),
        cmocka_unit_test(rope__dynamic_grows_its_base_beyond_the_trained_length),
        cmocka_unit_test(rope__longrope_changes_its_table_beyond_the_trained_length),
        cmocka_unit_test(rope__angles_are_megatrons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
