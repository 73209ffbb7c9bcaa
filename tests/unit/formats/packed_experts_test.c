/*
 * packed_experts_test.c - GroupedMLP's experts: weight1 and weight2 hold each expert's [in, out] one behind another, whatever
 * their own shapes say. The tests pack a fixture's experts so, by that rule alone, and open what they wrote.
 */
#include "unit.h"

#include "formats/folders.h"
#include "formats/open.h"

#include <inttypes.h>

enum { HEADER = 1 << 16 };

typedef struct writing {
    char header[HEADER];
    size_t used;
    int64_t elements;
    FILE *data;
} writing;

/* One more tensor, whose shape is [rows, cols], or [rows] where cols is 0. */
static void put_tensor(writing *w, const char *name, int64_t rows, int64_t cols, const float *data)
{
    int64_t count = rows * (cols ? cols : 1);
    char shape[64];
    snprintf(shape, sizeof shape, cols ? "%" PRId64 ",%" PRId64 : "%" PRId64, rows, cols);
    w->used += (size_t)snprintf(
        w->header + w->used, HEADER - w->used,
        "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}",
        w->used > 1 ? "," : "", name, shape, 4 * w->elements, 4 * (w->elements + count));
    assert_true(w->used < HEADER - 1);
    assert_int_equal(fwrite(data, 4, (size_t)count, w->data), count);
    w->elements += count;
}

/* Blocks [out, in] of a canonical tensor become blocks [in, out]. */
static void put_packed(writing *w, const dt_param_spec *spec, const float *x)
{
    char name[256];
    int64_t experts = spec->experts, out = spec->dim[0] / experts, in = spec->dim[1];
    bool first = strstr(spec->name, "linear_fc1") != NULL;
    float *packed = malloc(sizeof *packed * (size_t)(experts * out * in));
    assert_non_null(packed);
    for (int64_t e = 0; e < experts; e++)
        for (int64_t i = 0; i < in; i++)
            for (int64_t o = 0; o < out; o++)
                packed[(e * in + i) * out + o] = x[(e * out + o) * in + i];
    snprintf(name, sizeof name, "%.*sexperts.weight%d", (int)(strstr(spec->name, "experts.") - spec->name),
             spec->name, first ? 1 : 2);
    put_tensor(w, name, first ? in : experts * in, first ? experts * out : out, packed);
    free(packed);
}

/* The fixture as a state folder with packed experts. */
static void write_packed(const dt_checkpoint *c, const char *source, const char *folder)
{
    writing w = {.header = "{", .used = 1, .data = tmpfile()};
    assert_non_null(w.data);
    for (int i = 0; i < dt_mapping_count(c->mapping); i++) {
        const dt_param_spec *spec = dt_mapping_at(c->mapping, i)->spec;
        int64_t n;
        float *x = read_all(c, spec->name, &n);
        if (spec->experts)
            put_packed(&w, spec, x);
        else
            put_tensor(&w, spec->name, spec->dim[0], spec->rank == 2 ? spec->dim[1] : 0, x);
        free(x);
    }
    w.header[w.used++] = '}';
    size_t bytes = 8 + w.used + 4 * (size_t)w.elements;
    char *file = malloc(bytes), config[65536];
    uint64_t header = w.used;
    assert_non_null(file);
    memcpy(file, &header, 8);
    memcpy(file + 8, w.header, w.used);
    rewind(w.data);
    assert_int_equal(fread(file + 8 + w.used, 4, (size_t)w.elements, w.data), w.elements);
    put_file(in_folder(folder, "state.safetensors"), file, bytes);
    FILE *from = fopen(in_folder(source, "config.json"), "rb");
    assert_non_null(from);
    put_file(in_folder(folder, "config.json"), config, fread(config, 1, sizeof config, from));
    fclose(from), fclose(w.data), free(file);
}

static void packed_experts__are_read_as_the_weights_they_are(void **state)
{
    const char *source = require_model("megatron/gpt_moe");
    dt_checkpoint *plain = open_model(source, NULL);
    write_packed(plain, source, *state);
    dt_checkpoint *packed = open_model(*state, NULL);
    int experts = 0;
    for (int i = 0; i < dt_mapping_count(plain->mapping); i++) {
        const dt_param_spec *spec = dt_mapping_at(plain->mapping, i)->spec;
        int64_t n, m;
        float *x = read_all(plain, spec->name, &n), *y = read_all(packed, spec->name, &m);
        assert_int_equal(n, m);
        assert_memory_equal(x, y, sizeof *x * (size_t)n);
        experts += spec->experts > 0;
        free(x), free(y);
    }
    assert_true(experts > 0);
    dt_checkpoint_close(packed);
    dt_checkpoint_close(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(packed_experts__are_read_as_the_weights_they_are, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
