/*
 * mutation_test.c - random damage to the makers' files. Each kind of file is damaged a few hundred times (or
 * DT_MUTATIONS times), the checkpoint it belongs to is opened, and every tensor of it is read.
 *
 * What must hold: the mutant is refused with a story, or it is read right. It is read right when
 *   - every tensor has the type and shape of the good file, and the bytes that the damaged file now has where the
 *     good file kept that tensor: damage to values shows as that damage and no other; nothing has moved;
 *   - or, where the damage hit the words that place tensors, another reading of those words gives the same bytes:
 *     a reader of this file's own for safetensors, the strided loop over the same storage for the format before torch
 *     1.6. What lies in zip archives has a checksum and .metadata must place parts in ranges of their own: there no
 *     such damage may pass;
 *   - and canonical tensors equal the good ones where neither bytes nor configuration changed; where the
 *     configuration did, the makers' tensors made back from canonical ones equal the stored ones.
 * DT_MUTANT=N repeats number N of each kind. A mutant that broke a test is left in the file named by the message.
 */
#include "unit.h"

#include "formats/build.h"
#include "formats/damage.h"
#include "formats/folders.h"
#include "formats/open.h"
#include "formats/safetensors/safetensors.h"
#include "formats/torch/torch.h"

#include <time.h>

enum { USUAL_MUTATIONS = 250, MUTANT_SECONDS = 20 };

/* A tensor of the good checkpoint, and where each of its elements lies in the file that is damaged. */
typedef struct good_tensor {
    char name[128];
    dt_dtype dtype;
    dt_shape shape;
    size_t bytes, element;
    uint8_t *value;
    int64_t *place; /* of each element in the file; -1: in another file */
} good_tensor;

typedef struct patient {
    const char *kind;
    char folder[4096], path[4200]; /* the checkpoint, and the file in it that is damaged */
    wound w;
    good_tensor *tensor;
    size_t tensors;
    dt_model_config config;
    uint64_t canonical; /* digest of all canonical tensors */
    bool is_old;        /* torch's format before zip */
    int number;         /* of the mutant, for messages; -1 when none is open */
    int refused, same, changed, otherwise;
} patient;

/* ---- the good checkpoint ---- */

static uint64_t digest(uint64_t hash, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}

static uint8_t *value_of(const dt_stored_tensor *s)
{
    dt_error err = {0};
    uint8_t *value = malloc(dt_stored_bytes(s) + 1);
    assert_non_null(value);
    assert_ok(dt_stored_read(s, NULL, s->dtype, value, NULL, &err), err);
    return value;
}

static uint64_t canonical_digest(const dt_checkpoint *c)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = 0; i < dt_mapping_count(c->mapping); i++) {
        int64_t n;
        float *data = read_all(c, dt_mapping_at(c->mapping, i)->spec->name, &n);
        hash = digest(hash, data, (size_t)n * sizeof *data);
        free(data);
    }
    return hash;
}

/* The plain loop over a box's elements: where each lies in the file. */
static void note_places(const dt_stored_tensor *s, const dt_stored_box *box, good_tensor *g)
{
    int64_t at[DT_MAX_RANK] = {0};
    for (;;) {
        int64_t index = 0, step = 0;
        for (int axis = 0; axis < s->shape.rank; axis++) {
            index = index * s->shape.dim[axis] + box->offset[axis] + at[axis];
            step += at[axis] * box->stride[axis];
        }
        g->place[index] = (int64_t)box->file_offset + step * (int64_t)g->element;
        int axis = s->shape.rank - 1;
        while (axis >= 0 && ++at[axis] == box->shape.dim[axis])
            at[axis--] = 0;
        if (axis < 0)
            return;
    }
}

static void note_tensor(const patient *p, const dt_stored_tensor *s, good_tensor *g)
{
    snprintf(g->name, sizeof g->name, "%s", s->name);
    g->dtype = s->dtype;
    g->shape = s->shape;
    g->bytes = dt_stored_bytes(s);
    g->element = (size_t)dt_dtype_block_bytes(s->dtype);
    g->value = value_of(s);
    g->place = malloc((g->bytes / g->element + 1) * sizeof *g->place);
    assert_non_null(g->place);
    for (size_t i = 0; i < g->bytes / g->element; i++)
        g->place[i] = -1;
    for (int i = 0; i < s->box_count; i++)
        if (s->box[i].data && strcmp(s->box[i].file, p->path) == 0)
            note_places(s, &s->box[i], g);
}

static void find_words(patient *p)
{
    bool *is_value = calloc(p->w.bytes + 1, 1);
    p->w.word = malloc((p->w.bytes + 1) * sizeof *p->w.word);
    assert_true(is_value && p->w.word);
    for (size_t t = 0; t < p->tensors; t++)
        for (size_t i = 0; i < p->tensor[t].bytes / p->tensor[t].element; i++)
            if (p->tensor[t].place[i] >= 0)
                memset(is_value + p->tensor[t].place[i], 1, p->tensor[t].element);
    for (size_t i = 0; i < p->w.bytes; i++)
        if (!is_value[i])
            p->w.word[p->w.words++] = i;
    free(is_value);
}

static void load_file(patient *p)
{
    FILE *file = fopen(p->path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    p->w.bytes = (size_t)ftell(file);
    rewind(file);
    p->w.file = malloc(p->w.bytes + 1);
    p->w.mutant = malloc(p->w.bytes + FILE_SLACK);
    assert_true(p->w.file && p->w.mutant);
    assert_int_equal(fread(p->w.file, 1, p->w.bytes, file), p->w.bytes);
    fclose(file);
}

/* The checkpoint in p->folder, whose file `name` will be damaged. */
static void admit(patient *p, const char *kind, const char *name)
{
    static uint64_t stream;
    p->kind = kind;
    p->w.rng = (dt_rng){20250101, stream++};
    snprintf(p->path, sizeof p->path, "%s/%s", p->folder, name);
    load_file(p);
    dt_checkpoint *c = open_model(p->folder, NULL);
    p->config = c->config;
    p->canonical = canonical_digest(c);
    p->tensor = calloc(dt_stored_set_count(c->set) + 1, sizeof *p->tensor);
    assert_non_null(p->tensor);
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++)
        if (!dt_stored_set_at(c->set, i)->unsupported)
            note_tensor(p, dt_stored_set_at(c->set, i), &p->tensor[p->tensors++]);
    dt_checkpoint_close(c);
    find_words(p);
}

static void discharge(patient *p)
{
    for (size_t i = 0; i < p->tensors; i++) {
        free(p->tensor[i].value);
        free(p->tensor[i].place);
    }
    free(p->tensor);
    free(p->w.word);
    free(p->w.file);
    free(p->w.mutant);
}

/* ---- what a mutant may say ---- */

static const good_tensor *find_good(const patient *p, const char *name, size_t likely)
{
    if (likely < p->tensors && strcmp(p->tensor[likely].name, name) == 0)
        return &p->tensor[likely];
    for (size_t i = 0; i < p->tensors; i++)
        if (strcmp(p->tensor[i].name, name) == 0)
            return &p->tensor[i];
    return NULL;
}

/* Are these the bytes that now lie where the good file kept the tensor, or `shift` bytes further? */
static bool stayed_with(const patient *p, const good_tensor *g, const uint8_t *value, int64_t shift)
{
    for (size_t i = 0; i < g->bytes / g->element; i++) {
        const uint8_t *expected = g->value + i * g->element;
        int64_t place = g->place[i] + shift;
        if (g->place[i] >= 0) {
            if (place < 0 || (size_t)place + g->element > p->w.mutant_bytes)
                return false;
            expected = p->w.mutant + place;
        }
        if (memcmp(value + i * g->element, expected, g->element) != 0)
            return false;
    }
    return true;
}

static int64_t growth(const patient *p)
{
    return (int64_t)p->w.mutant_bytes - (int64_t)p->w.bytes;
}

static bool nothing_moved(const patient *p, const good_tensor *g, const dt_stored_tensor *s,
                          const uint8_t *value)
{
    if (!g || g->dtype != s->dtype || !dt_shape_equal(&g->shape, &s->shape))
        return false;
    return stayed_with(p, g, value, 0) || stayed_with(p, g, value, growth(p));
}

/*
 * The format before torch 1.6 has no checksum, so a damaged offset or stride is what its file says. The view must be
 * of a storage that the good file has, and hold that storage's elements by the plain loop.
 */
static bool view_says(const patient *p, const dt_stored_tensor *s, const uint8_t *value)
{
    good_tensor view = {.dtype = s->dtype, .shape = s->shape, .bytes = dt_stored_bytes(s)};
    view.element = (size_t)dt_dtype_block_bytes(s->dtype);
    view.place = malloc((view.bytes / view.element + 1) * sizeof *view.place);
    view.value = (uint8_t *)value;
    note_places(s, &s->box[0], &view);
    bool inside = false;
    for (size_t i = 0; i < p->tensors; i++) {
        int64_t begin = p->tensor[i].place[0] + growth(p), first = (int64_t)s->box[0].file_offset;
        inside |= begin <= first && (size_t)(first - begin) < p->tensor[i].bytes;
    }
    inside &= stayed_with(p, &view, value, 0);
    free(view.place);
    return inside;
}

/* Another reading of a safetensors file: no checks, only jansson and the format's two sentences. */
static bool header_says(const patient *p, const dt_stored_tensor *s, const uint8_t *value)
{
    static const struct {
        const char *name;
        dt_dtype dtype;
    } TYPES[] = {{"F32", DT_F32}, {"F16", DT_F16}, {"BF16", DT_BF16}, {"I32", DT_I32}, {"U32", DT_U32},
                 {"I16", DT_I16}, {"U16", DT_U16}, {"F64", DT_F64},   {"I64", DT_I64}, {"U64", DT_U64}};
    size_t header = 0;
    for (int i = 7; i >= 0; i--)
        header = header << 8 | p->w.mutant[i];
    json_t *json = json_loadb((const char *)p->w.mutant + 8, header, 0, NULL);
    json_t *entry = json_object_get(json, s->name), *shape = json_object_get(entry, "shape");
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    json_int_t begin = json_integer_value(json_array_get(json_object_get(entry, "data_offsets"), 0));
    bool same = type && json_array_size(shape) == (size_t)s->shape.rank;
    for (int i = 0; same && i < s->shape.rank; i++)
        same = json_integer_value(json_array_get(shape, (size_t)i)) == s->shape.dim[i];
    for (size_t i = 0; same && i < sizeof TYPES / sizeof *TYPES; i++)
        same = (strcmp(TYPES[i].name, type) == 0) == (TYPES[i].dtype == s->dtype);
    same = same && memcmp(p->w.mutant + 8 + header + begin, value, dt_stored_bytes(s)) == 0;
    json_decref(json);
    return same;
}

static bool ends_with(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && strcmp(text + n - m, tail) == 0;
}

static void spoiled(const patient *p, const char *what)
{
    char kept[4096];
    snprintf(kept, sizeof kept, "/tmp/mutant-%s-%d", p->kind, p->number);
    put_file(kept, p->w.mutant, p->w.mutant_bytes);
    fail_msg("%s, mutant %d: %s; the file is left as %s", p->kind, p->number, what, kept);
}

/* DT_MUTANTS_KEPT=FOLDER: what was read from mutants that say otherwise, to be compared with the makers' readers. */
static void keep(const patient *p, const dt_stored_tensor *s, const uint8_t *value)
{
    const char *folder = getenv("DT_MUTANTS_KEPT");
    char path[8192];
    if (!folder)
        return;
    snprintf(path, sizeof path, "%s/%s-%d", folder, p->kind, p->number);
    put_file(path, p->w.mutant, p->w.mutant_bytes);
    snprintf(path, sizeof path, "%s/%s-%d.%s", folder, p->kind, p->number, s->name);
    put_file(path, value, dt_stored_bytes(s));
}

typedef enum verdict { SAME, CHANGED, OTHERWISE } verdict;

static verdict judge_tensors(const patient *p, const dt_checkpoint *c)
{
    verdict found = SAME;
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++) {
        const dt_stored_tensor *s = dt_stored_set_at(c->set, i);
        if (s->unsupported)
            continue;
        uint8_t *value = value_of(s);
        const good_tensor *g = find_good(p, s->name, i);
        bool stayed = nothing_moved(p, g, s, value);
        bool said = !stayed && ((ends_with(p->path, ".safetensors") && header_says(p, s, value)) ||
                                (p->is_old && view_says(p, s, value)));
        bool unread = !g && c->fate[i].rule; /* an optimizer's tensor under a damaged name */
        verdict this = !stayed ? OTHERWISE : memcmp(value, g->value, g->bytes) != 0 ? CHANGED : SAME;
        if (!stayed)
            keep(p, s, value);
        free(value);
        if (!stayed && !said && !unread) {
            char what[512];
            snprintf(what, sizeof what, "tensor \"%s\" %s is neither what it was nor what the file says",
                     s->name, dt_shape_print(&s->shape).text);
            spoiled(p, what);
        }
        found = this > found ? this : found;
    }
    return found;
}

static dt_status read_rows(void *user, const char *canonical, int64_t row, int64_t rows, float *out,
                           dt_error *err)
{
    return dt_checkpoint_read(user, canonical, row, rows, DT_F32, out, err);
}

/* Every tensor that the model is made of, made back from canonical ones, is the stored one. */
static void judge_mapping(const patient *p, dt_checkpoint *c)
{
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++) {
        const dt_stored_tensor *s = dt_stored_set_at(c->set, i);
        int64_t n;
        dt_error err = {0};
        if (c->fate[i].rule || c->fate[i].external < 0 || !dt_shape_elements(&s->shape, &n))
            continue;
        float *stored = malloc((size_t)(n + 1) * sizeof *stored),
              *made = malloc((size_t)(n + 1) * sizeof *made);
        assert_ok(dt_stored_read(s, NULL, DT_F32, stored, NULL, &err), err);
        dt_status status = dt_checkpoint_external(c, s->name, read_rows, c, made, n, &err);
        if (status == DT_OK && memcmp(stored, made, (size_t)n * sizeof *made) != 0)
            spoiled(p, s->name);
        free(stored);
        free(made);
    }
}

static void judge(patient *p, dt_checkpoint *c)
{
    verdict found = judge_tensors(p, c);
    uint64_t canonical = canonical_digest(c);
    bool same_config = memcmp(&p->config, &c->config, sizeof p->config) == 0;
    if (found == SAME && same_config && canonical != p->canonical)
        spoiled(p, "the same tensors and configuration make other weights");
    if (!same_config)
        judge_mapping(p, c);
    p->same += found == SAME && same_config;
    p->changed += found == CHANGED;
    p->otherwise += found == OTHERWISE || (found == SAME && !same_config);
}

static void treat(patient *p)
{
    dt_checkpoint *c = NULL;
    dt_error err = {0};
    char story[DT_ERROR_TEXT_BYTES];
    time_t start = time(NULL);
    put_file(p->path, p->w.mutant, p->w.mutant_bytes);
    if (dt_checkpoint_open(&c, p->folder, NULL, &err) != DT_OK) {
        dt_error_format(&err, story, sizeof story);
        if (c || strlen(story) < 20)
            spoiled(p, "refused without a story");
        p->refused++;
    } else {
        judge(p, c);
        dt_checkpoint_close(c);
    }
    if (time(NULL) - start > MUTANT_SECONDS)
        spoiled(p, "took too long");
}

static void run(patient *p)
{
    const char *wanted = getenv("DT_MUTATIONS"), *only = getenv("DT_MUTANT");
    int mutants = wanted ? atoi(wanted) : USUAL_MUTATIONS;
    for (int i = only ? atoi(only) : 0; i < (only ? atoi(only) + 1 : mutants); i++) {
        p->number = i;
        p->w.drawn = (uint64_t)i << 32;
        damage(&p->w);
        treat(p);
    }
    print_message(
        "%-18s %5d mutants: %5d refused, %5d read as before, %4d with other values, %4d that say otherwise\n",
        p->kind, mutants, p->refused, p->same, p->changed, p->otherwise);
    assert_true(only || p->refused * 10 > mutants); /* or the damage does nothing */
}

/* ---- the kinds ---- */

static void copy_model(patient *p, const char *folder, const char *name)
{
    char from[4096], command[16384];
    if (!model_folder(from, name))
        skip();
    snprintf(p->folder, sizeof p->folder, "%s/model", folder);
    snprintf(command, sizeof command, "cp -rL '%s' '%s' && chmod -R u+w '%s'", from, p->folder, p->folder);
    assert_int_equal(system(command), 0);
}

static void damage_file(void **state, const char *kind, const char *model, const char *file)
{
    patient p = {0};
    copy_model(&p, *state, model);
    admit(&p, kind, file);
    run(&p);
    discharge(&p);
}

static void mutation__damaged_safetensors_lie_to_nobody(void **state)
{
    damage_file(state, "safetensors", "hf/llama-gqa", "model.safetensors");
}

static void mutation__damaged_hf_configs_lie_to_nobody(void **state)
{
    damage_file(state, "config.json", "hf/llama-gqa", "config.json");
}

static void mutation__damaged_torch_files_lie_to_nobody(void **state)
{
    damage_file(state, "pytorch_model.bin", "hf/llama", "pytorch_model.bin");
}

static void mutation__damaged_legacy_ranks_lie_to_nobody(void **state)
{
    damage_file(state, "model_optim_rng.pt", "megatron/checkpoints/gpt_llama/legacy_tp2_pp2",
                "iter_0000010/mp_rank_01_001/model_optim_rng.pt");
}

static void mutation__damaged_dist_metadata_lies_to_nobody(void **state)
{
    damage_file(state, ".metadata", "megatron/checkpoints/gpt_llama/dist_tp2_pp2", "iter_0000010/.metadata");
}

static void mutation__damaged_dist_data_lie_to_nobody(void **state)
{
    damage_file(state, ".distcp", "megatron/checkpoints/gpt_llama/dist_tp2_pp2", "iter_0000010/__1_0.distcp");
}

static void mutation__damaged_common_states_lie_to_nobody(void **state)
{
    damage_file(state, "common.pt", "megatron/checkpoints/gpt_llama/dist_tp2_pp2", "iter_0000010/common.pt");
}

static void mutation__damaged_megatron_states_lie_to_nobody(void **state)
{
    damage_file(state, "state.safetensors", "megatron/gpt_rope_scaled", "state.safetensors");
}

static void mutation__damaged_megatron_configs_lie_to_nobody(void **state)
{
    damage_file(state, "megatron-config", "megatron/gpt_rope_scaled", "config.json");
}

static void mutation__damaged_nemo_configs_lie_to_nobody(void **state)
{
    damage_file(state, "model.yaml", "megatron/checkpoints/gpt_llama/te_nemo2", "context/model.yaml");
}

/* hf/llama-gqa's tensors in shards of 30 kB, as our own writer makes them. */
static void mutation__damaged_shard_indices_lie_to_nobody(void **state)
{
    patient p = {0};
    char from[4096];
    dt_error err = {0};
    dt_export_options options = {.format = "hf", .shard_bytes = 30000};
    dt_checkpoint *c = open_model(model_folder(from, "hf/llama-gqa"), NULL);
    snprintf(p.folder, sizeof p.folder, "%s/model", (char *)*state);
    assert_ok(dt_checkpoint_export(c, p.folder, &options, NULL, &err), err);
    dt_checkpoint_close(c);
    admit(&p, "index.json", "model.safetensors.index.json");
    run(&p);
    discharge(&p);
}

/* ---- the format before torch 1.6, which no golden file has: made from hf/llama's ---- */

static const char *storage_class(dt_dtype dtype)
{
    return dtype == DT_F32 ? "FloatStorage" : dtype == DT_BF16 ? "BFloat16Storage" : "HalfStorage";
}

static void put_old_tensor(dt_text *t, const dt_stored_tensor *s, size_t number)
{
    char key[24];
    int64_t n = 0;
    snprintf(key, sizeof key, "%zu", 94000000000000 + 64 * number);
    assert_true(dt_shape_elements(&s->shape, &n));
    fake_tensor f = {storage_class(s->dtype), key, n, 0, s->shape.rank, {0}, {0}};
    for (int64_t axis = s->shape.rank - 1, step = 1; axis >= 0; step *= s->shape.dim[axis--]) {
        f.size[axis] = s->shape.dim[axis];
        f.stride[axis] = step;
    }
    pk_string(t, s->name);
    pk_tensor_as(t, &f, "NtQ");
    pk(t, "s");
}

static void build_old(dt_text *t, const dt_stored_set *set)
{
    pk(t, "\x80\2\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\2M\xe9\3.\x80\2}.\x80\2}");
    for (size_t i = 0; i < dt_stored_set_count(set); i++)
        put_old_tensor(t, dt_stored_set_at(set, i), i);
    pk(t, ".\x80\2](");
    for (size_t i = 0; i < dt_stored_set_count(set); i++) {
        char key[24];
        snprintf(key, sizeof key, "%zu", 94000000000000 + 64 * i);
        pk_string(t, key);
    }
    pk(t, "e.");
    for (size_t i = 0; i < dt_stored_set_count(set); i++) {
        const dt_stored_tensor *s = dt_stored_set_at(set, i);
        uint8_t *value = value_of(s);
        put_number(t, dt_stored_bytes(s) / (size_t)dt_dtype_block_bytes(s->dtype), 8);
        dt_text_append(t, (const char *)value, dt_stored_bytes(s));
        free(value);
    }
}

static void mutation__damaged_old_torch_files_lie_to_nobody(void **state)
{
    patient p = {0};
    dt_text file = {0};
    dt_stored_set *set = new_set();
    dt_error err = {0};
    char path[8192];
    copy_model(&p, *state, "hf/llama");
    snprintf(path, sizeof path, "%s/pytorch_model.bin", p.folder);
    assert_ok(dt_torch_read(set, path, "", &err), err);
    build_old(&file, set);
    dt_stored_set_destroy(set);
    put_file(path, file.data, file.bytes);
    dt_text_free(&file);
    p.is_old = true;
    admit(&p, "old-torch", "pytorch_model.bin");
    run(&p);
    discharge(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mutation__damaged_safetensors_lie_to_nobody, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(mutation__damaged_hf_configs_lie_to_nobody, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(mutation__damaged_torch_files_lie_to_nobody, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(mutation__damaged_old_torch_files_lie_to_nobody, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(mutation__damaged_legacy_ranks_lie_to_nobody, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(mutation__damaged_dist_metadata_lies_to_nobody, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(mutation__damaged_dist_data_lie_to_nobody, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(mutation__damaged_common_states_lie_to_nobody, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(mutation__damaged_megatron_states_lie_to_nobody, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(mutation__damaged_megatron_configs_lie_to_nobody, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(mutation__damaged_nemo_configs_lie_to_nobody, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(mutation__damaged_shard_indices_lie_to_nobody, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
