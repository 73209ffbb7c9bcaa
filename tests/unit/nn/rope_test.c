/* rope_test.c - rotary frequencies follow their formulas, scalings included. */
#include "unit.h"

#include "graph/ir.h"
#include "nn/layer.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rope__plain_frequencies_are_powers_of_the_base),
        cmocka_unit_test(rope__part_of_a_head_rotates_by_its_own_size),
        cmocka_unit_test(rope__linear_scaling_divides_every_frequency),
        cmocka_unit_test(rope__llama3_keeps_short_waves_and_slows_long_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
