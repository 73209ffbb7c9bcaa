/* agreement_test.c - quantised exports are judged by what they say: sound ones pass, a damaged one does not. */
#include "unit.h"

#include "base/map.h"
#include "base/output.h"

#include <drivetrain/export.h>

static const char *fixture(char path[4096], const char *name)
{
    const char *root = getenv("DT_FIXTURES");
    snprintf(path, 4096, "%s/hf/%s", root ? root : "", name);
    return dt_is_folder(path) ? path : NULL;
}

static dt_exported quantised(const char *source, const char *out, const char *type)
{
    dt_error err = {0};
    dt_checkpoint *c;
    dt_exported done;
    dt_export_request request = {.target = "gguf", .type = type, .write = {.replace = true}};
    assert_ok(dt_checkpoint_open(&c, source, NULL, &err), err);
    assert_ok(dt_export(&done, c, out, &request, &err), err);
    dt_checkpoint_close(c);
    return done;
}

static double distance(const dt_verify_report *r, const char *name)
{
    for (int i = 0; i < r->point_count; i++)
        if (strcmp(r->points[i].name, name) == 0)
            return r->points[i].max_rel;
    fail_msg("no point %s", name);
    return 0;
}

static void agreement__coarser_types_lose_more_and_pass(void **state)
{
    static const char *const types[] = {"q8_0", "q6_K", "q4_K", "q4_0"};
    char source[4096];
    double before = 0;
    if (!fixture(source, "llama-medium"))
        skip();
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        dt_exported done = quantised(source, in_folder(*state, "m.gguf"), types[i]);
        assert_true(done.proof && done.proof->pass);
        double kl = distance(done.proof, "agree.kl");
        assert_true(kl > before);
        before = kl;
        dt_exported_release(&done);
    }
    dt_map map;
    dt_error err = {0};
    assert_ok(dt_map_open(&map, in_folder(*state, "m.gguf.parity.txt"), &err), err);
    assert_non_null(memmem(map.data, map.size, "agree.kl", 8));
    assert_non_null(memmem(map.data, map.size, "rows that the source writes", 27));
    dt_map_close(&map);
}

/* An encoder-decoder is asked for what it writes of random sources. */
static void agreement__encoder_decoders_are_judged(void **state)
{
    char source[4096];
    if (!fixture(source, "t5-medium"))
        skip();
    dt_exported done = quantised(source, in_folder(*state, "t5.gguf"), "q8_0");
    assert_true(done.proof && done.proof->pass);
    dt_exported_release(&done);
}

static void agreement__a_damaged_file_is_found(void **state)
{
    static const char zeros[1 << 20];
    char source[4096];
    dt_error err = {0};
    dt_verify_report *report;
    const dt_agreement_bounds bounds = {0.01, 0.03};
    const dt_model_options model = {.dtype = "f32"};
    if (!fixture(source, "llama-medium"))
        skip();
    const char *path = in_folder(*state, "m.gguf");
    dt_exported done = quantised(source, path, "q8_0");
    dt_exported_release(&done);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 6 << 20, SEEK_SET), 0);
    assert_int_equal(fwrite(zeros, 1, sizeof zeros, f), sizeof zeros);
    assert_int_equal(fclose(f), 0);
    assert_ok(dt_verify_agreement(&report, path, source, NULL, &bounds, &model, &err), err);
    assert_false(report->pass);
    assert_string_equal(report->first_divergence, "agree.kl");
    dt_verify_report_destroy(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(agreement__coarser_types_lose_more_and_pass, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(agreement__encoder_decoders_are_judged, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(agreement__a_damaged_file_is_found, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
