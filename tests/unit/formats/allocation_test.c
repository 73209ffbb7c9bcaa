/*
 * allocation_test.c - memory that runs out while a file is read: allocation n fails, for every n until none is left to
 * fail. Each time the reader must answer with an error that has a story, or with exactly what it answers when memory
 * suffices (where it can do without). A leak or a touch of what was not allocated is AddressSanitizer's to find.
 *
 * The library's own allocations and jansson's are failed; those inside libc, libyaml, PCRE2, protobuf-c and utf8proc
 * are not. The first 200 are tried one by one, then a spread of the rest; DT_ALLOCATIONS=1 tries every one.
 */
#include "unit.h"

#include "base/arena.h"
#include "formats/build.h"
#include "formats/folders.h"
#include "formats/megatron/distcp.h"
#include "formats/open.h"
#include "formats/safetensors/safetensors.h"
#include "formats/torch/torch.h"

#include <drivetrain/inference.h>
#include <drivetrain/tokenizer.h>

#include <jansson.h>

enum { EVERY = 200, SPREAD = 60 };

/* ---- allocations that fail on demand ---- */

static long left = -1; /* allocations until the one that fails; -1: none fails */
static bool failed;

static bool fails_now(void)
{
    long now =
        __atomic_load_n(&left, __ATOMIC_RELAXED) < 0 ? -1 : __atomic_fetch_sub(&left, 1, __ATOMIC_RELAXED);
    failed |= now == 0;
    return now == 0;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    return fails_now() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails_now() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return fails_now() ? NULL : __real_realloc(old, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return fails_now() ? NULL : __real_aligned_alloc(alignment, bytes);
}

char *__wrap_strdup(const char *text)
{
    return fails_now() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t bytes)
{
    return fails_now() ? NULL : __real_strndup(text, bytes);
}

/* Arenas take a block for many allocations, so each of these is failed too: every one could be the block's first. */
void *__real_dt_arena_alloc(dt_arena *arena, size_t bytes);
void *__real_dt_arena_aligned(dt_arena *arena, size_t bytes, size_t alignment);
void *__real_dt_arena_array(dt_arena *arena, size_t count, size_t bytes);
char *__real_dt_arena_text(dt_arena *arena, const char *text);
char *__real_dt_arena_text_n(dt_arena *arena, const char *text, size_t bytes);
void *__real_dt_arena_grow(dt_arena *arena, void *old, size_t old_bytes, size_t new_bytes);
void *__wrap_dt_arena_alloc(dt_arena *arena, size_t bytes);
void *__wrap_dt_arena_aligned(dt_arena *arena, size_t bytes, size_t alignment);
void *__wrap_dt_arena_array(dt_arena *arena, size_t count, size_t bytes);
char *__wrap_dt_arena_text(dt_arena *arena, const char *text);
char *__wrap_dt_arena_text_n(dt_arena *arena, const char *text, size_t bytes);
char *__wrap_dt_arena_printf(dt_arena *arena, const char *format, ...) DT_PRINTF(2, 3);
void *__wrap_dt_arena_grow(dt_arena *arena, void *old, size_t old_bytes, size_t new_bytes);

void *__wrap_dt_arena_alloc(dt_arena *arena, size_t bytes)
{
    return fails_now() ? NULL : __real_dt_arena_alloc(arena, bytes);
}

void *__wrap_dt_arena_aligned(dt_arena *arena, size_t bytes, size_t alignment)
{
    return fails_now() ? NULL : __real_dt_arena_aligned(arena, bytes, alignment);
}

void *__wrap_dt_arena_array(dt_arena *arena, size_t count, size_t bytes)
{
    return fails_now() ? NULL : __real_dt_arena_array(arena, count, bytes);
}

char *__wrap_dt_arena_text(dt_arena *arena, const char *text)
{
    return fails_now() ? NULL : __real_dt_arena_text(arena, text);
}

char *__wrap_dt_arena_text_n(dt_arena *arena, const char *text, size_t bytes)
{
    return fails_now() ? NULL : __real_dt_arena_text_n(arena, text, bytes);
}

void *__wrap_dt_arena_grow(dt_arena *arena, void *old, size_t old_bytes, size_t new_bytes)
{
    return fails_now() ? NULL : __real_dt_arena_grow(arena, old, old_bytes, new_bytes);
}

char *__wrap_dt_arena_printf(dt_arena *arena, const char *format, ...)
{
    char text[8192];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    assert_true(length >= 0 && length < (int)sizeof text);
    return fails_now() ? NULL : __real_dt_arena_text_n(arena, text, (size_t)length);
}

/*
 * jansson's scanner does not look whether its buffer grew: out of memory, it reports bad syntax or fails an assertion of
 * its own. So a whole parse counts as one allocation; the values that are made outside of a parse fail one by one.
 */
static bool parsing;

static void *allocate_for_jansson(size_t bytes)
{
    return !parsing && fails_now() ? NULL : __real_malloc(bytes);
}

json_t *__real_json_loadb(const char *text, size_t bytes, size_t flags, json_error_t *error);
json_t *__wrap_json_loadb(const char *text, size_t bytes, size_t flags, json_error_t *error);

json_t *__wrap_json_loadb(const char *text, size_t bytes, size_t flags, json_error_t *error)
{
    if (fails_now()) {
        memset(error, 0, sizeof *error);
        error->text[JSON_ERROR_TEXT_LENGTH - 1] = json_error_out_of_memory;
        return NULL;
    }
    parsing = true;
    json_t *json = __real_json_loadb(text, bytes, flags, error);
    parsing = false;
    return json;
}

/* ---- one reader, again and again ---- */

/* Reads `subject` and says in *seen what it found, as a number that depends on all of it. */
typedef dt_status (*reader)(const char *subject, uint64_t *seen, dt_error *err);

static dt_status attempt(reader read, const char *subject, long n, uint64_t *seen, dt_error *err)
{
    failed = false;
    *seen = 0;
    dt_error_clear(err);
    __atomic_store_n(&left, n, __ATOMIC_RELAXED);
    dt_status status = read(subject, seen, err);
    __atomic_store_n(&left, -1, __ATOMIC_RELAXED);
    return status;
}

static void answer_is_clean(const char *subject, long n, dt_status status, uint64_t seen, uint64_t truth,
                            const dt_error *err)
{
    char story[DT_ERROR_TEXT_BYTES];
    dt_error_format(err, story, sizeof story);
    if (status == DT_OK && seen != truth)
        fail_msg("%s: allocation %ld failed, and something else was read without a word", subject, n);
    if (status != DT_OK && status != DT_NO_MEMORY)
        fail_msg("%s: allocation %ld failed, and the story is \"%s\": %s", subject, n, dt_status_text(status),
                 story);
    if (status != DT_OK && !*story)
        fail_msg("%s: allocation %ld failed without a story", subject, n);
}

static void every_failure_is_clean(reader read, const char *subject)
{
    dt_error err = {0};
    uint64_t truth = 0, seen;
    long n = 0, tried = 0;
    assert_ok(attempt(read, subject, -1, &truth, &err), err);
    assert_ok(attempt(read, subject, -1, &seen, &err), err);
    assert_true(seen == truth); /* or a difference below proves nothing */
    for (;; tried++, n += n < EVERY || getenv("DT_ALLOCATIONS") ? 1 : 1 + n / SPREAD) {
        dt_status status = attempt(read, subject, n, &seen, &err);
        if (!failed)
            break;
        answer_is_clean(subject, n, status, seen, truth, &err);
    }
    print_message("%-60.*s %6ld of %6ld allocations\n", (int)strcspn(subject, "\n"), subject, tried, n);
    assert_true(tried > 0);
}

static uint64_t mix(uint64_t seen, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i++)
        seen = (seen ^ p[i]) * 0x100000001b3u;
    return seen + 1;
}

static uint64_t mix_set(uint64_t seen, const dt_stored_set *set)
{
    for (size_t i = 0; i < dt_stored_set_count(set); i++) {
        const dt_stored_tensor *s = dt_stored_set_at(set, i);
        seen = mix(seen, s->name, strlen(s->name));
        seen = mix(seen, s->shape.dim, (size_t)s->shape.rank * sizeof *s->shape.dim);
        for (int b = 0; b < s->box_count; b++)
            seen = mix(seen, &s->box[b].file_offset, sizeof s->box[b].file_offset);
    }
    return seen + dt_stored_set_object_count(set);
}

/* ---- containers ---- */

static dt_status fill(dt_status (*read)(dt_stored_set *, const char *, dt_error *), const char *path,
                      uint64_t *seen, dt_error *err)
{
    dt_stored_set *set = NULL;
    dt_status status = dt_stored_set_create(&set, err);
    if (status == DT_OK)
        status = read(set, path, err);
    if (status == DT_OK)
        *seen = mix_set(1, set);
    dt_stored_set_destroy(set);
    return status;
}

static dt_status read_safetensors(const char *path, uint64_t *seen, dt_error *err)
{
    return fill(dt_safetensors_read, path, seen, err);
}

static dt_status read_index(const char *path, uint64_t *seen, dt_error *err)
{
    return fill(dt_safetensors_read_index, path, seen, err);
}

static dt_status flatten(dt_stored_set *set, const char *path, dt_error *err)
{
    return dt_torch_read(set, path, "", err);
}

static dt_status read_torch(const char *path, uint64_t *seen, dt_error *err)
{
    return fill(flatten, path, seen, err);
}

static dt_status gather(dt_stored_set *set, const char *folder, dt_error *err)
{
    const dt_value *common = NULL;
    return dt_distcp_read(set, folder, &common, err);
}

static dt_status read_dist(const char *folder, uint64_t *seen, dt_error *err)
{
    return fill(gather, folder, seen, err);
}

static dt_status read_bytes(dt_stored_set *set, const char *pickle, dt_error *err)
{
    dt_pickle out;
    return dt_pickle_read(&out, dt_stored_set_arena(set), (const uint8_t *)pickle, strlen(pickle), err);
}

static dt_status read_pickle(const char *pickle, uint64_t *seen, dt_error *err)
{
    return fill(read_bytes, pickle, seen, err);
}

#define golden(name) require_model(name)

static void allocation__safetensors_fail_cleanly(void **state)
{
    every_failure_is_clean(read_safetensors, in_folder(golden("hf/llama-gqa"), "model.safetensors"));
}

static void allocation__torch_files_fail_cleanly(void **state)
{
    every_failure_is_clean(read_torch, in_folder(golden("hf/llama"), "pytorch_model.bin"));
    every_failure_is_clean(read_torch, in_folder(golden("megatron/checkpoints/gpt_llama/legacy_tp2_pp2"),
                                                 "iter_0000010/mp_rank_01_001/model_optim_rng.pt"));
}

/* Every instruction and call that allocates, in one text. */
static void allocation__pickles_fail_cleanly(void **state)
{
    every_failure_is_clean(
        read_pickle,
        "(I1\nF1.5\nS'a'\nV\\u20ac\nL99999L\np200\n](I1\nI2\ne}(Va\nI1\nu"
        "ccollections\nOrderedDict\n(((Va\nI1\ntltRctorch\nSize\n((I1\nltRcpathlib\nPosixPath\n(Va\nVb\ntR"
        "cargparse\nNamespace\n)\x81}bc_codecs\nencode\n(Vabc\nVlatin1\ntRcmegatron.core\nX\n)R"
        "c__builtin__\nset\n((I1\nltRP1\nl.");
}

static void allocation__dist_folders_fail_cleanly(void **state)
{
    every_failure_is_clean(read_dist,
                           in_folder(golden("megatron/checkpoints/gpt_llama/dist_tp2_pp2"), "iter_0000010"));
}

/* ---- checkpoints ---- */

/* A configuration and its parts, but for where these lie. */
static uint64_t mix_config(uint64_t seen, const dt_model_config *config)
{
    dt_model_config plain = *config;
    plain.vision = plain.projection = NULL;
    seen = mix(seen, &plain, sizeof plain);
    seen = config->vision ? mix_config(seen, config->vision) : seen;
    return config->projection ? mix_config(seen, config->projection) : seen;
}

static dt_status open_checkpoint(const char *path, uint64_t *seen, dt_error *err)
{
    dt_checkpoint *c = NULL;
    dt_status status = dt_checkpoint_open(&c, path, NULL, err);
    if (status != DT_OK) {
        assert_null(c);
        return status;
    }
    dt_checkpoint_about about = dt_checkpoint_describe(c);
    *seen = mix_config(mix_set(1, c->set), &c->config);
    *seen = mix(*seen, &about.tensor_parallel, 5 * sizeof(int64_t));
    *seen = mix(*seen, &about.skipped_count, sizeof about.skipped_count);
    dt_checkpoint_close(c);
    return DT_OK;
}

static void allocation__hf_checkpoints_fail_cleanly(void **state)
{
    every_failure_is_clean(open_checkpoint, golden("hf/llama-gqa"));
    every_failure_is_clean(open_checkpoint, golden("hf/llama"));
    every_failure_is_clean(open_checkpoint, golden("hf/gpt2"));
    every_failure_is_clean(open_checkpoint, golden("hf/t5-v1.1"));
}

static void allocation__sharded_checkpoints_fail_cleanly(void **state)
{
    dt_export_options options = {.format = "hf", .shard_bytes = 30000};
    dt_error err = {0};
    dt_checkpoint *c = open_model(golden("hf/llama-gqa"), NULL);
    const char *folder = in_folder(*state, "sharded");
    assert_ok(dt_checkpoint_export(c, folder, &options, NULL, &err), err);
    dt_checkpoint_close(c);
    every_failure_is_clean(read_index, in_folder(folder, "model.safetensors.index.json"));
    every_failure_is_clean(open_checkpoint, folder);
}

static void allocation__megatron_states_fail_cleanly(void **state)
{
    every_failure_is_clean(open_checkpoint, golden("megatron/gpt_rope_scaled"));
    every_failure_is_clean(open_checkpoint, golden("megatron/t5_relative"));
    every_failure_is_clean(open_checkpoint, golden("megatron/llava"));
}

static void allocation__legacy_checkpoints_fail_cleanly(void **state)
{
    every_failure_is_clean(open_checkpoint, golden("megatron/checkpoints/gpt_llama/legacy_tp2_pp2"));
    every_failure_is_clean(open_checkpoint, golden("megatron/checkpoints/gpt_llama/te_legacy_pp2_vpp2"));
}

static void allocation__dist_checkpoints_fail_cleanly(void **state)
{
    every_failure_is_clean(open_checkpoint, golden("megatron/checkpoints/gpt_llama/dist_tp2_pp2"));
    every_failure_is_clean(open_checkpoint, golden("megatron/checkpoints/t5/te_dist_tp2"));
}

static void allocation__nemo_checkpoints_fail_cleanly(void **state)
{
    every_failure_is_clean(open_checkpoint, golden("megatron/checkpoints/gpt_llama/te_nemo2"));
}

/* ---- tokenizers and models ---- */

static dt_status open_tokenizer(const char *path, uint64_t *seen, dt_error *err)
{
    dt_tokenizer *t = NULL;
    int32_t *ids = NULL;
    size_t count = 0;
    dt_status status = dt_tokenizer_open(&t, path, err);
    if (status == DT_OK)
        status = dt_tokenizer_encode(t, "Drive the train.", 16, NULL, &ids, &count, err);
    if (status == DT_OK)
        *seen = mix(1, ids, count * sizeof *ids);
    free(ids);
    dt_tokenizer_close(t);
    return status;
}

static void allocation__tokenizers_fail_cleanly(void **state)
{
    static const char *const FILES[] = {"seeds/tokenizer_json/mixed-0.json",
                                        "seeds/tokenizer_json/mixed-3.json",
                                        "seeds/tokenizer_json/mixed-6.json", "seeds/sentencepiece/bpe.model",
                                        "seeds/sentencepiece/unigram.model"};
    char path[4096];
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        snprintf(path, sizeof path, "%s/../fuzz/%s", getenv("DT_GOLDEN") ? getenv("DT_GOLDEN") : "?",
                 FILES[i]);
        const char *name =
            strstr(path, ".json") ? in_folder(*state, "tokenizer.json") : in_folder(*state, "spm.model");
        dt_error err = {0};
        assert_ok(dt_copy_file(path, name, &err), err);
        every_failure_is_clean(open_tokenizer, name);
        assert_int_equal(remove(name), 0);
    }
}

static dt_status open_whole_model(const char *path, uint64_t *seen, dt_error *err)
{
    dt_model *m = NULL;
    dt_status status = dt_model_open(&m, path, NULL, err);
    if (status == DT_OK)
        *seen = mix_config(1, dt_model_get_config(m));
    dt_model_close(m);
    return status;
}

static void allocation__models_fail_cleanly(void **state)
{
    every_failure_is_clean(open_whole_model, golden("hf/llama-gqa"));
    every_failure_is_clean(open_whole_model, golden("hf/t5-v1.1"));
}

int main(void)
{
    json_set_alloc_funcs(allocate_for_jansson, free);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocation__safetensors_fail_cleanly),
        cmocka_unit_test(allocation__torch_files_fail_cleanly),
        cmocka_unit_test(allocation__pickles_fail_cleanly),
        cmocka_unit_test(allocation__dist_folders_fail_cleanly),
        cmocka_unit_test(allocation__hf_checkpoints_fail_cleanly),
        cmocka_unit_test_setup_teardown(allocation__sharded_checkpoints_fail_cleanly, make_folder,
                                        remove_folder),
        cmocka_unit_test(allocation__megatron_states_fail_cleanly),
        cmocka_unit_test(allocation__legacy_checkpoints_fail_cleanly),
        cmocka_unit_test(allocation__dist_checkpoints_fail_cleanly),
        cmocka_unit_test(allocation__nemo_checkpoints_fail_cleanly),
        cmocka_unit_test_setup_teardown(allocation__tokenizers_fail_cleanly, make_folder, remove_folder),
        cmocka_unit_test(allocation__models_fail_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
