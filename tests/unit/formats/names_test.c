/* names_test.c - tables of names composed of tables: each part's below its own prefixes, and by its own sizes. */
#include "unit.h"

#include "base/arena.h"
#include "formats/names.h"

static const dt_name_row tower_rows[] = {
    {DT_WHEN_gated, DT_MAP_join, "mlp.{}.fc1", {"vit.mlp.{}.gate", "vit.mlp.{}.up"}},
    {DT_WHEN_always, DT_MAP_direct, "mlp.{}.fc1", {"vit.mlp.{}.fc1"}},
    {DT_WHEN_always, DT_MAP_kernel, "conv1", {"vit.patch"}},
};
static const dt_name_copy tower_copies[] = {{"vit.again.{}", "vit.mlp.{}.fc1"}};
static const dt_name_skip tower_skips[] = {{"*.position_ids", "position numbers"}};
static const dt_name_table tower = {.prefix = "vit.",
                                    .row = tower_rows,
                                    .row_count = 3,
                                    .copy = tower_copies,
                                    .copy_count = 1,
                                    .skip = tower_skips,
                                    .skip_count = 1};
static const dt_name_row own_rows[] = {{DT_WHEN_always, DT_MAP_direct, "language_model.head", {"head"}}};
static const dt_name_table own = {.prefix = "", .row = own_rows, .row_count = 1};
static const dt_name_row text_rows[] = {{DT_WHEN_always, DT_MAP_direct, "head", {"text.head"}},
                                        {DT_WHEN_always, DT_MAP_direct, "mlp.{}.fc1", {"text.mlp.{}"}}};
static const dt_name_table text = {.prefix = "text.", .row = text_rows, .row_count = 2};

static const dt_name_part parts[] = {
    {.canonical = "", .external = "", .table = &own},
    {.canonical = "vision_model.", .external = "tower.", .table = &tower},
    {.canonical = "language_model.", .external = "lm.", .table = &text, .bare = true}};

typedef struct fixture {
    dt_arena *arena;
    dt_name_table table;
    dt_model_config config, vision;
} fixture;

static void begin(fixture *f)
{
    dt_error err = {0};
    dt_config_init(&f->config);
    dt_config_init(&f->vision);
    f->config.vision = &f->vision;
    assert_non_null(f->arena = dt_arena_create());
    assert_ok(dt_names_compose(&f->table, f->arena, parts, 3, &err), err);
}

static const dt_name_row *row_of(const fixture *f, const char *canonical)
{
    int64_t numbers[2];
    int count;
    return dt_names_row(&f->table, canonical, &f->config, numbers, &count);
}

static void names__parts_are_told_below_their_prefixes(void **state)
{
    fixture f;
    begin(&f);
    assert_int_equal(f.table.row_count, 6);
    assert_string_equal(row_of(&f, "vision_model.conv1")->external[0], "tower.vit.patch");
    assert_string_equal(row_of(&f, "language_model.mlp.7.fc1")->external[0], "lm.mlp.{}");
    assert_string_equal(row_of(&f, "language_model.head")->external[0], "head"); /* the first part's wins */
    assert_null(row_of(&f, "conv1"));
    assert_string_equal(f.table.copy[0].name, "tower.vit.again.{}");
    assert_string_equal(f.table.copy[0].of, "tower.vit.mlp.{}.fc1");
    assert_true(dt_names_fit(f.table.skip[0].pattern, "tower.vit.x.position_ids"));
    assert_false(dt_names_fit(f.table.skip[0].pattern, "lm.x.position_ids"));
    dt_arena_destroy(f.arena);
}

static void names__a_parts_own_configuration_decides(void **state)
{
    fixture f;
    begin(&f);
    f.config.gated_linear_unit = true;
    assert_null(row_of(&f, "vision_model.mlp.0.fc1")->external[1]);
    f.vision.gated_linear_unit = true;
    assert_string_equal(row_of(&f, "vision_model.mlp.0.fc1")->external[1], "tower.vit.mlp.{}.up");
    assert_ptr_equal(dt_names_config(&f.config, "vision_model.conv1"), &f.vision);
    assert_ptr_equal(dt_names_config(&f.config, "vision_projection.encoder.weight"), &f.config);
    dt_arena_destroy(f.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names__parts_are_told_below_their_prefixes),
        cmocka_unit_test(names__a_parts_own_configuration_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
