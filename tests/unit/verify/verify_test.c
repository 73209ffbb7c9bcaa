/* verify_test.c - the verdict is yes for the right model and no, with the place named, for a wrong one. */
#include "unit.h"

#include <drivetrain/layer_spec.h>
#include <drivetrain/verify.h>

static const char model[] = "examples/t5-g2p";
static const char recording[] = "examples/t5-g2p/recording.safetensors";

static void verify__the_trained_model_agrees_with_its_recording(void **state)
{
    dt_error err = {0};
    dt_verify_report *r;
    assert_ok(dt_verify(&r, model, recording, NULL, &err), err);
    assert_true(r->pass);
    assert_null(r->first_divergence);
    assert_true(r->greedy.present && r->greedy.match);
    assert_int_equal(r->unchecked_count, 0);
    for (int i = 0; i < r->node_count; i++)
        assert_false(r->nodes[i].fell_back);
    dt_verify_report_destroy(r);
}

/* `local` (no fusion) and `fused` are one model within the tolerance. */
static void verify__local_and_fused_specs_agree(void **state)
{
    dt_error err = {0};
    const dt_layer_spec *spec[] = {dt_layer_spec_local(), dt_layer_spec_fused()};
    for (int i = 0; i < 2; i++) {
        dt_verify_options o = {.model = {.spec = spec[i]}};
        dt_verify_report *r;
        assert_ok(dt_verify(&r, model, recording, &o, &err), err);
        assert_true(r->pass);
        dt_verify_report_destroy(r);
    }
}

/* A layer that forgets its residual must be caught at the layer where it first shows. */
static dt_tensor *forgetful(dt_layer *l, dt_tensor *x, dt_tensor *branch)
{
    return dt_layer_number(l) == 1 ? branch : dt_add(dt_layer_graph(l), x, branch);
}

static void verify__a_wrong_layer_is_named(void **state)
{
    dt_error err = {0};
    dt_layer_spec wrong = *dt_layer_spec_local();
    dt_verify_report *r;
    wrong.residual = forgetful;
    dt_verify_options o = {.model = {.spec = &wrong}};
    assert_ok(dt_verify(&r, model, recording, &o, &err), err);
    assert_false(r->pass);
    assert_string_equal(r->first_divergence, "out.encoder.layer.1");
    dt_verify_report_destroy(r);
}

/* A layer that overflows: a verdict that names the place, not an error of the check. */
static dt_tensor *overflowing(dt_layer *l, dt_tensor *x, dt_tensor *branch)
{
    dt_graph *g = dt_layer_graph(l);
    dt_tensor *sum = dt_add(g, x, branch);
    return dt_layer_number(l) == 1 ? dt_scale(g, dt_scale(g, sum, 1e30), 1e30) : sum;
}

static void verify__overflow_is_a_verdict(void **state)
{
    dt_error err = {0};
    dt_layer_spec wrong = *dt_layer_spec_local();
    dt_verify_report *r;
    wrong.residual = overflowing;
    dt_verify_options o = {.model = {.spec = &wrong}};
    assert_ok(dt_verify(&r, model, recording, &o, &err), err);
    assert_false(r->pass);
    assert_string_equal(r->first_divergence, "out.encoder.layer.1");
    assert_true(r->greedy.present && !r->greedy.match);
    assert_non_null(r->greedy.remark);
    dt_verify_report_destroy(r);
}

static void verify__a_tighter_tolerance_fails(void **state)
{
    dt_error err = {0};
    dt_verify_report *r;
    dt_verify_options o = {.tolerance = 1e-12};
    assert_ok(dt_verify(&r, model, recording, &o, &err), err);
    assert_false(r->pass);
    assert_non_null(r->first_divergence);
    dt_verify_report_destroy(r);
}

static void verify__two_openings_of_one_model_are_equal(void **state)
{
    dt_error err = {0};
    dt_verify_report *r;
    assert_ok(dt_verify_models(&r, model, model, NULL, &err), err);
    assert_true(r->pass);
    for (int i = 0; i < r->point_count; i++)
        assert_true(r->points[i].max_abs == 0);
    dt_verify_report_destroy(r);
}

/* A trace is a recording: what this backend wrote, the other confirms. */
static void verify__a_trace_verifies_on_the_other_backend(void **state)
{
    dt_error err = {0};
    dt_verify_report *r;
    int points;
    const char *path = in_folder(*state, "trace.safetensors");
    dt_trace_options t = {.gradients = false};
    assert_ok(dt_trace(model, recording, path, &t, &points, &err), err);
    assert_true(points > 10);
    dt_verify_options o = {.model = {.backend = "reference"}};
    assert_ok(dt_verify(&r, model, path, &o, &err), err);
    assert_true(r->pass);
    dt_verify_report_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verify__the_trained_model_agrees_with_its_recording),
        cmocka_unit_test(verify__local_and_fused_specs_agree),
        cmocka_unit_test(verify__a_wrong_layer_is_named),
        cmocka_unit_test(verify__overflow_is_a_verdict),
        cmocka_unit_test(verify__a_tighter_tolerance_fails),
        cmocka_unit_test(verify__two_openings_of_one_model_are_equal),
        cmocka_unit_test_setup_teardown(verify__a_trace_verifies_on_the_other_backend, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
