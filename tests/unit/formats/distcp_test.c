/* distcp_test.c - torch_dist folders: boxes of many ranks are one tensor; metadata that lies is refused by name. */
#include "formats/build.h"

#include "formats/megatron/distcp.h"
#include "formats/safetensors/safetensors.h"

#include <glob.h>

/* One part of a tensor "w" as .metadata and the data file have it; the two may be made to disagree. */
typedef struct part {
    int64_t at[2], size[2]; /* in .metadata's chunk */
    int64_t stored[2];      /* what the file holds; 0: the same */
    const char *storage;    /* NULL: FloatStorage */
    bool unplaced;          /* no entry in storage_data */
    bool shares;            /* placed in the bytes of the part before it */
    float first;            /* the file's values count from here */
} part;

typedef struct folder {
    int64_t size[2];
    part part[4];
    int parts;
    const char *dtype, *file, *transform;
    int64_t shift;          /* of every offset into the data file */
    const char *more;       /* instructions that add entries to state_dict_metadata's dict (key, value …) */
    const char *more_place; /* the same for storage_data */
} folder;

static folder two_halves(void)
{
    return (folder){
        .size = {4, 3},
        .parts = 2,
        .part = {{.at = {0, 0}, .size = {2, 3}, .first = 0}, {.at = {2, 0}, .size = {2, 3}, .first = 6}},
        .dtype = "float32",
        .file = "__0_0.distcp",
        .transform = "N"};
}

static void pk_new(dt_text *t, const char *module, const char *name)
{
    pk_global(t, module, name);
    pk(t, ")\x81");
}

#define METADATA "torch.distributed.checkpoint.metadata"

static void pk_sizes_of(dt_text *t, const char *key, const int64_t *sizes)
{
    pk_string(t, key);
    pk_global(t, "torch", "Size");
    pk_sizes(t, 2, sizes);
    pk(t, "\x85R");
}

static void put_item(dt_text *data, const part *p)
{
    dt_text pickle = {0};
    int64_t rows = p->stored[0] ? p->stored[0] : p->size[0],
            columns = p->stored[1] ? p->stored[1] : p->size[1];
    fake_tensor f = {
        p->storage ? p->storage : "FloatStorage", "0", rows * columns, 0, 2, {rows, columns}, {columns, 1}};
    float value[64];
    for (int i = 0; i < 64; i++)
        value[i] = p->first + (float)i;
    pk_tensor(&pickle, &f);
    pk(&pickle, ".");
    torch_build(data, &pickle, value, (size_t)(rows * columns) * 4);
    dt_text_free(&pickle);
}

static void put_chunks(dt_text *t, const folder *f)
{
    pk_string(t, "chunks");
    pk(t, "](");
    for (int i = 0; i < f->parts; i++) {
        pk_new(t, METADATA, "ChunkStorageMetadata");
        pk(t, "}(");
        pk_sizes_of(t, "offsets", f->part[i].at);
        pk_sizes_of(t, "sizes", f->part[i].size);
        pk(t, "ub");
    }
    pk(t, "e");
}

static void put_tensor(dt_text *t, const folder *f)
{
    pk_string(t, "w");
    pk_new(t, METADATA, "TensorStorageMetadata");
    pk(t, "}(");
    pk_string(t, "properties");
    pk_new(t, METADATA, "TensorProperties");
    pk(t, "(");
    pk_global(t, "torch", f->dtype);
    pk(t, "N\x89N\x89tb");
    pk_sizes_of(t, "size", f->size);
    put_chunks(t, f);
    pk(t, "ub");
}

static void put_place(dt_text *t, const folder *f, const part *p, uint64_t offset, uint64_t bytes)
{
    pk_new(t, METADATA, "MetadataIndex");
    pk(t, "}(");
    pk_string(t, "fqn");
    pk_string(t, "w");
    pk_sizes_of(t, "offset", p->at);
    pk(t, "ub");
    pk_new(t, "torch.distributed.checkpoint.filesystem", "_StorageInfo");
    pk(t, "}(");
    pk_string(t, "relative_path");
    pk_string(t, f->file);
    pk_string(t, "offset");
    pk_int(t, (int64_t)offset + f->shift);
    pk_string(t, "length");
    pk_int(t, (int64_t)bytes);
    pk_string(t, "transform_descriptors");
    dt_text_put(t, f->transform);
    pk(t, "ub");
}

static void build(const folder *f, dt_text *metadata, dt_text *data)
{
    dt_text places = {0};
    size_t start = 0;
    for (int i = 0; i < f->parts; i++) {
        start = f->part[i].shares ? start : data->bytes;
        if (!f->part[i].shares)
            put_item(data, &f->part[i]);
        if (!f->part[i].unplaced)
            put_place(&places, f, &f->part[i], start, data->bytes - start);
    }
    pk_new(metadata, METADATA, "Metadata");
    pk(metadata, "}(");
    pk_string(metadata, "state_dict_metadata");
    pk(metadata, "}(");
    put_tensor(metadata, f);
    dt_text_put(metadata, f->more ? f->more : "");
    pk(metadata, "u");
    pk_string(metadata, "storage_data");
    pk(metadata, "}(");
    put_text(metadata, &places);
    dt_text_put(metadata, f->more_place ? f->more_place : "");
    pk(metadata, "uub.");
    dt_text_free(&places);
}

typedef struct built {
    dt_stored_set *set;
    dt_text metadata, data;
    const dt_value *common;
} built;

static dt_status read_folder(built *b, const folder *f, dt_error *err)
{
    *b = (built){.set = new_set()};
    build(f, &b->metadata, &b->data);
    in_memory(b->set, "folder/.metadata", b->metadata.data, b->metadata.bytes);
    in_memory(b->set, "folder/__0_0.distcp", b->data.data, b->data.bytes);
    return dt_distcp_read(b->set, "folder", &b->common, err);
}

static void end(built *b)
{
    dt_stored_set_destroy(b->set);
    dt_text_free(&b->metadata);
    dt_text_free(&b->data);
}

static void distcp__parts_of_ranks_are_one_tensor(void **state)
{
    dt_error err = {0};
    folder f = two_halves();
    built b;
    float out[12];
    assert_ok(read_folder(&b, &f, &err), err);
    const dt_stored_tensor *w = dt_stored_set_find(b.set, "w");
    assert_int_equal(w->box_count, 2);
    assert_ok(dt_stored_read(w, NULL, DT_F32, out, NULL, &err), err);
    for (int i = 0; i < 12; i++)
        assert_true(out[i] == (float)i);
    assert_null(b.common);
    end(&b);
}

static void refused(folder f, dt_status status, const char *words)
{
    dt_error err = {0};
    built b;
    assert_fails(read_folder(&b, &f, &err), status, err, words);
    end(&b);
}

#define REFUSED(change, status, words)                                                                       \
    do {                                                                                                     \
        folder f = two_halves();                                                                             \
        change;                                                                                              \
        refused(f, status, words);                                                                           \
    } while (0)

static void distcp__parts_that_do_not_tile_are_refused(void **state)
{
    REFUSED(f.parts = 1, DT_FORMAT, "its boxes hold 6 of 12 elements");
    REFUSED(f.part[1].at[0] = 1, DT_FORMAT, "overlaps the box");
    REFUSED(f.part[1].at[0] = 3, DT_FORMAT, "lies outside the shape [4, 3]");
    REFUSED(f.part[1].unplaced = true, DT_FORMAT, "storage_data has no place for the part [2, 3] at [2, 0]");
    REFUSED(f.part[1].stored[0] = 1, DT_FORMAT,
            ".metadata says that a part is [2, 3], __0_0.distcp holds [1, 3]");
    REFUSED(f.part[1].storage = "IntStorage", DT_FORMAT,
            "\"w\" is torch.float32 in .metadata, i32 in __0_0.distcp");
    REFUSED(f.part[1].storage = "QInt32Storage", DT_UNSUPPORTED, "its type is torch.QInt32Storage");
    REFUSED(f.size[0] = -4, DT_FORMAT, ".metadata gives no size, dtype and chunks");
    REFUSED(f.size[0] = INT64_MAX, DT_FORMAT, "is impossible");
}

static void distcp__places_that_lie_are_refused(void **state)
{
    REFUSED(f.file = "../__0_0.distcp", DT_FORMAT, "which is no file of this folder");
    REFUSED(f.file = "/etc/passwd", DT_FORMAT, "which is no file of this folder");
    REFUSED(f.file = "..", DT_FORMAT, "which is no file of this folder");
    REFUSED(f.file = "__1_0.distcp", DT_NOT_FOUND,
            "a file of this checkpoint is missing: it holds a part of \"w\"");
    REFUSED(f.shift = 1, DT_FORMAT, "while opening the part of \"w\" at byte 1");
    REFUSED(f.shift = 100000, DT_FORMAT, "of \"w\" lie outside its");
    REFUSED(f.shift = -100000, DT_FORMAT, "has no relative_path, offset and length");
    REFUSED(f.transform = "(Vzstd\nl", DT_UNSUPPORTED, "\"w\" is stored transformed");
    REFUSED(f.transform = "(Vzstd\nt", DT_UNSUPPORTED, "\"w\" is stored transformed");
    REFUSED(f.more_place = "I1\nI2\n", DT_FORMAT, "a key that is no MetadataIndex");
    REFUSED(f.more = "VO\nI2\n", DT_FORMAT, "\"O\" is neither a tensor nor bytes");
    REFUSED(f.more = "I1\nI2\n", DT_FORMAT, "a key that is no text");
    REFUSED(f.more = "VO\nc" METADATA "\nBytesStorageMetadata\n)\x81", DT_FORMAT,
            "storage_data has no place for the object \"O\"");
    REFUSED(f.more = "cos\nsystem\n", DT_UNSUPPORTED, "os.system");
}

/* The same box twice, in two places: readers could disagree which one counts. */
static void distcp__one_part_in_two_places_is_refused(void **state)
{
    static const char AGAIN[] = "c" METADATA "\nMetadataIndex\n)\x81}(Vfqn\nVw\nVoffset\n(I2\nI0\ntub"
                                "ctorch.distributed.checkpoint.filesystem\n_StorageInfo\n)\x81}("
                                "Vrelative_path\nV__0_0.distcp\nVoffset\nI0\nVlength\nI9\nub";
    REFUSED(f.more_place = AGAIN, DT_FORMAT, "places a part of \"w\" both in");
}

/* .metadata has no checksum: a digit that turns one part's place into another's must not give it the other's values. */
static void distcp__two_parts_in_one_place_are_refused(void **state)
{
    dt_error err = {0};
    built b;
    folder f = two_halves();
    f.part[1].shares = true;
    assert_fails(read_folder(&b, &f, &err), DT_FORMAT, err, "in the same bytes of __0_0.distcp");
    end(&b);
}

static void distcp__types_it_lacks_fail_only_when_read(void **state)
{
    dt_error err = {0};
    folder f = two_halves();
    built b;
    char byte;
    f.dtype = "complex64";
    assert_ok(read_folder(&b, &f, &err), err);
    assert_fails(dt_stored_read(dt_stored_set_at(b.set, 0), NULL, DT_F32, &byte, NULL, &err), DT_UNSUPPORTED,
                 err, "its type is torch.complex64");
    end(&b);
}

static void distcp__metadata_of_other_shapes_is_refused(void **state)
{
    static const char *const CASES[][2] = {
        {"}.", "holds a dict, no Metadata"},
        {"c" METADATA "\nMetadata\n)\x81.", "storage_data is nothing, not a dict"},
        {"c" METADATA "\nMetadata\n)\x81}(Vstorage_data\n}Vstate_dict_metadata\nI1\nub.",
         "state_dict_metadata is an integer, not a dict"},
        {"", "ends after 0 bytes"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        dt_error err = {0};
        dt_stored_set *set = new_set();
        const dt_value *common;
        in_memory(set, "folder/.metadata", CASES[i][0], strlen(CASES[i][0]));
        assert_fails(dt_distcp_read(set, "folder", &common, &err), DT_FORMAT, err, CASES[i][1]);
        dt_stored_set_destroy(set);
    }
}

static void distcp__a_folder_without_metadata_is_none(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    const dt_value *common;
    assert_false(dt_distcp_is(*state));
    assert_fails(dt_distcp_read(set, *state, &common, &err), DT_NOT_FOUND, err, ".metadata");
    dt_stored_set_destroy(set);
}

/* ---- the makers' folders ---- */

/* "decoder.layers.X" of a stack is row i of "decoder.layers.X"; a plain key is itself. Returns tensors compared. */
static int compare_stack(const dt_stored_tensor *t, const dt_stored_set *truth)
{
    dt_error err = {0};
    const char *layers = strstr(t->name, ".layers.");
    const dt_stored_tensor *same = dt_stored_set_find(truth, t->name);
    int64_t count = same ? 1 : t->shape.dim[0];
    int compared = 0;
    for (int64_t i = 0; i < count; i++) {
        char name[512];
        const dt_stored_tensor *layer = same;
        dt_stored_region row = {.shape = t->shape};
        if (!same && layers) {
            snprintf(name, sizeof name, "%.*s.layers.%d.%s", (int)(layers - t->name), t->name, (int)i,
                     layers + 8);
            layer = dt_stored_set_find(truth, name);
            row.offset[0] = i;
            row.shape.dim[0] = 1;
        }
        if (!layer)
            continue;
        size_t bytes = dt_stored_bytes(layer);
        char *x = malloc(bytes + 1), *y = malloc(bytes + 1);
        assert_ok(dt_stored_read(layer, NULL, DT_F32, x, NULL, &err), err);
        assert_ok(dt_stored_read(t, &row, DT_F32, y, NULL, &err), err);
        assert_memory_equal(x, y, bytes);
        free(x);
        free(y);
        compared++;
    }
    return compared;
}

static void compare_folder(const char *path, const char *state_path)
{
    dt_error err = {0};
    dt_stored_set *set = new_set(), *truth = new_set();
    const dt_value *common = NULL;
    int compared = 0;
    assert_true(dt_distcp_is(path));
    assert_ok(dt_distcp_read(set, path, &common, &err), err);
    assert_ok(dt_safetensors_read(truth, state_path, &err), err);
    assert_int_equal(dt_value_get(common, "iteration")->integer, 10);
    for (size_t i = 0; i < dt_stored_set_count(set); i++)
        compared += compare_stack(dt_stored_set_at(set, i), truth);
    assert_true(compared >= 8); /* norms and experts have other names here */
    for (size_t i = 0; i < dt_stored_set_object_count(set); i++) {
        const dt_value *value;
        assert_ok(dt_distcp_object(set, dt_stored_set_object_at(set, i), &value, &err), err);
    }
    dt_stored_set_destroy(set);
    dt_stored_set_destroy(truth);
}

static void distcp__every_layout_holds_the_same_weights(void **state)
{
    static const char *const MODELS[] = {"gpt_llama", "t5", "gpt_moe"};
    for (size_t m = 0; m < 3; m++) {
        char path[256];
        glob_t found;
        snprintf(path, sizeof path, "megatron/checkpoints/%s", MODELS[m]);
        const char *root = need("DT_FIXTURES", path);
        assert_int_equal(glob(in_folder(root, "*dist*/iter_0000010"), 0, NULL, &found), 0);
        for (size_t i = 0; i < found.gl_pathc; i++) {
            if (!strstr(found.gl_pathv[i], "bf16")) /* rounded: its numbers are not the state's */
                compare_folder(found.gl_pathv[i], in_folder(root, "state.safetensors"));
        }
        assert_true(found.gl_pathc > 2);
        globfree(&found);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distcp__parts_of_ranks_are_one_tensor),
        cmocka_unit_test(distcp__parts_that_do_not_tile_are_refused),
        cmocka_unit_test(distcp__places_that_lie_are_refused),
        cmocka_unit_test(distcp__one_part_in_two_places_is_refused),
        cmocka_unit_test(distcp__two_parts_in_one_place_are_refused),
        cmocka_unit_test(distcp__types_it_lacks_fail_only_when_read),
        cmocka_unit_test(distcp__metadata_of_other_shapes_is_refused),
        cmocka_unit_test_setup_teardown(distcp__a_folder_without_metadata_is_none, make_folder,
                                        remove_folder),
        cmocka_unit_test(distcp__every_layout_holds_the_same_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
