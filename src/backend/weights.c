/*
 * weights.c - parameters in the forms that kernels read, each (name, form) made once.
 *
 * A plain row-major form that lies in the source's mapping in just that type is used where it lies. Any other is
 * packed into memory of ours: the team takes slabs of rows, each thread through a small buffer of its own, so the
 * largest temporary is threads x SLAB_BYTES and not a tensor. Then the source's pages are let go.
 * What a form looks like is the backend's business; what a name means is the source's.
 */
#include "backend/backend.h"
#include "backend/pages.h"
#include "base/arena.h"
#include "base/checked.h"
#include "tensor/shape.h"

#include <stdatomic.h>
#include <string.h>

enum { SLAB_BYTES = 1 << 20, BUCKETS = 1024 };

typedef struct entry {
    dt_weight weight;
    void *pages; /* ours, or NULL when mapped */
    struct entry *next;
} entry;

struct dt_weights {
    dt_arena *arena; /* entries and names; packed data is in pages of its own */
    dt_weight_source source;
    dt_pool *pool;
    size_t bytes;
    entry *bucket[BUCKETS];
};

/* ---- the rows form ---- */

static size_t rows_bytes(const dt_weight_form *form, int64_t rows, int64_t cols)
{
    size_t bytes;
    dt_shape shape = dt_shape_of(2, (int64_t[]){rows, cols});
    return dt_shape_bytes(&shape, form->dtype, &bytes) ? bytes : 0;
}

static void rows_pack(const dt_weight_form *form, void *packed, int64_t rows, int64_t cols, int64_t row,
                      int64_t count, dt_dtype from, const void *source)
{
    (void)rows, (void)from;
    memcpy((char *)packed + rows_bytes(form, row, cols), source, rows_bytes(form, count, cols));
}

#define ROWS_FORM(type, text)                                                                                \
    {                                                                                                        \
        .name = "rows " text, .dtype = type, .bytes = rows_bytes, .pack = rows_pack, .from = type,           \
        .grain = 1, .is_rows = true                                                                          \
    }
static const dt_weight_form rows_forms[] = {
    ROWS_FORM(DT_F32, "f32"),
    ROWS_FORM(DT_F16, "f16"),
    ROWS_FORM(DT_BF16, "bf16"),
    ROWS_FORM(DT_Q8_0, "q8_0"),
};

const dt_weight_form *dt_form_rows(dt_dtype dtype)
{
    for (size_t i = 0; i < sizeof rows_forms / sizeof rows_forms[0]; i++)
        if (rows_forms[i].dtype == dtype)
            return &rows_forms[i];
    return NULL;
}

/* ---- packing ---- */

typedef struct worker {
    dt_status status;
    dt_error err;
    void *buffer; /* one slab of source rows; NULL when rows go straight to their place */
} worker;

typedef struct pack_job {
    const dt_weights *weights;
    const dt_weight *weight;
    void *packed;
    int64_t slab_rows; /* a multiple of the form's grain */
    worker *worker;    /* one a thread */
    atomic_bool stop;
} pack_job;

/* Rows of `weight` as `dtype` in bytes; 0 when they do not fit a size. */
static size_t source_bytes(const dt_weight *weight, int64_t rows, dt_dtype dtype)
{
    size_t bytes;
    dt_shape shape = dt_shape_of(2, (int64_t[]){rows, weight->cols});
    return dt_shape_bytes(&shape, dtype, &bytes) ? bytes : 0;
}

static dt_status pack_slab(const pack_job *job, worker *w, int64_t row, int64_t count)
{
    const dt_weight *weight = job->weight;
    const dt_weight_form *form = weight->form;
    const dt_weight_source *source = &job->weights->source;
    if (w->buffer == NULL) {
        char *place = (char *)job->packed + form->bytes(form, row, weight->cols);
        return source->read(source->user, weight->name, row, count, form->dtype, place, &w->err);
    }
    DT_PASS(source->read(source->user, weight->name, row, count, form->from, w->buffer, &w->err));
    form->pack(form, job->packed, weight->rows, weight->cols, row, count, form->from, w->buffer);
    return DT_OK;
}

static void pack_share(void *context, int thread, int threads)
{
    pack_job *job = context;
    worker *w = &job->worker[thread];
    int64_t begin, end;
    dt_share(job->weight->rows, job->slab_rows, thread, threads, &begin, &end);
    for (int64_t row = begin; row < end && w->status == DT_OK; row += job->slab_rows) {
        if (atomic_load_explicit(&job->stop, memory_order_relaxed))
            return;
        int64_t count = end - row < job->slab_rows ? end - row : job->slab_rows;
        w->status = pack_slab(job, w, row, count);
    }
    if (w->status != DT_OK)
        atomic_store_explicit(&job->stop, true, memory_order_relaxed);
}

/* As many rows as SLAB_BYTES of source hold, in whole grains, at least one; fewer when the team would idle. */
static int64_t slab_rows(const dt_weight *weight, int threads)
{
    int64_t grain = weight->form->grain > 0 ? weight->form->grain : 1;
    size_t grain_bytes = source_bytes(weight, grain, weight->form->from);
    int64_t grains = grain_bytes == 0 ? 1 : (int64_t)(SLAB_BYTES / grain_bytes);
    int64_t fair = (weight->rows + grain * threads - 1) / (grain * threads);
    grains = grains < fair ? grains : fair;
    return grain * (grains > 1 ? grains : 1);
}

static dt_status run_job(pack_job *job, int threads, dt_error *err)
{
    dt_pool_run(job->weights->pool, pack_share, job);
    for (int t = 0; t < threads; t++) {
        if (job->worker[t].status == DT_OK)
            continue;
        if (err != NULL)
            *err = job->worker[t].err;
        return job->worker[t].status;
    }
    return DT_OK;
}

/* Fill `packed`, with working memory that lives only as long as this call. */
static dt_status pack_all(const dt_weights *weights, const dt_weight *weight, void *packed, dt_error *err)
{
    int threads = dt_pool_threads(weights->pool);
    const dt_weight_form *form = weight->form;
    bool straight = form->is_rows && form->from == form->dtype;
    pack_job job = {.weights = weights, .weight = weight, .packed = packed};
    job.slab_rows = slab_rows(weight, threads);
    size_t slab = straight ? 0 : source_bytes(weight, job.slab_rows, form->from);
    slab = (slab + 63) / 64 * 64;

    dt_arena *arena = dt_arena_create();
    if (arena != NULL)
        job.worker = DT_NEW_ARRAY(arena, worker, threads);
    dt_status status = DT_OK;
    if (job.worker == NULL)
        status = dt_fail_memory(err, sizeof(worker) * (size_t)threads, "the threads that pack weights");
    for (int t = 0; status == DT_OK && t < threads && slab > 0; t++)
        if ((job.worker[t].buffer = dt_arena_aligned(arena, slab, 64)) == NULL)
            status = dt_fail_memory(err, slab, "a slab of weights to pack");
    if (status == DT_OK)
        status = run_job(&job, threads, err);
    dt_arena_destroy(arena);
    return status;
}

/* ---- the cache ---- */

dt_status dt_weights_create(dt_weights **out, const dt_weight_source *source, dt_pool *pool, dt_error *err)
{
    dt_arena *arena = dt_arena_create();
    dt_weights *weights = arena == NULL ? NULL : DT_NEW(arena, dt_weights);
    if (weights == NULL) {
        dt_arena_destroy(arena);
        return dt_fail_memory(err, sizeof *weights, "the table of weights");
    }
    weights->arena = arena;
    weights->source = *source;
    weights->pool = pool;
    *out = weights;
    return DT_OK;
}

void dt_weights_destroy(dt_weights *weights)
{
    if (weights == NULL)
        return;
    for (int i = 0; i < BUCKETS; i++)
        for (entry *e = weights->bucket[i]; e != NULL; e = e->next)
            dt_pages_give(e->pages, e->weight.bytes);
    dt_arena_destroy(weights->arena);
}

size_t dt_weights_bytes(const dt_weights *weights)
{
    return weights->bytes;
}

static unsigned bucket_of(const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash % BUCKETS;
}

/* The parameter's rows and columns, seen as [dim 0, rest]. */
static dt_status measure(const dt_weights *weights, dt_weight *weight, dt_error *err)
{
    dt_shape shape = {0};
    dt_dtype stored;
    const dt_weight_source *source = &weights->source;
    DT_PASS(source->describe(source->user, weight->name, &shape, &stored, err));
    int64_t elements;
    if (!dt_shape_elements(&shape, &elements) || elements == 0)
        return dt_fail(err, DT_FORMAT, "parameter \"%s\" has the shape %s, which no weight can have",
                       weight->name, dt_shape_print(&shape).text);
    weight->rows = shape.rank == 0 ? 1 : shape.dim[0];
    weight->cols = elements / weight->rows;
    return DT_OK;
}

/* The source's own bytes, when they are what the form is; kernels read whole elements, so these must be aligned. */
static const void *mapped(const dt_weights *weights, const dt_weight *weight)
{
    const dt_weight_source *source = &weights->source;
    dt_dtype dtype = weight->form->dtype;
    if (!weight->form->is_rows || source->direct == NULL)
        return NULL;
    const void *data = source->direct(source->user, weight->name, dtype);
    size_t alignment = dtype == DT_F32 ? 4 : 2;
    return (uintptr_t)data % alignment == 0 ? data : NULL;
}

static dt_status pack(dt_weights *weights, entry *e, dt_error *err)
{
    dt_weight *weight = &e->weight;
    size_t bytes = weight->form->bytes(weight->form, weight->rows, weight->cols);
    if (bytes == 0)
        return dt_fail(err, DT_UNSUPPORTED, "parameter \"%s\", [%lld, %lld], has no form \"%s\"",
                       weight->name, (long long)weight->rows, (long long)weight->cols, weight->form->name);
    void *pages = dt_pages_take(bytes, true);
    if (pages == NULL)
        return dt_fail_memory(err, bytes, weight->name);
    dt_status status = pack_all(weights, weight, pages, err);
    if (status != DT_OK) {
        dt_pages_give(pages, bytes);
        return status;
    }
    e->pages = pages;
    weight->data = pages;
    weight->bytes = bytes;
    weights->bytes += bytes;
    if (weights->source.drop != NULL)
        weights->source.drop(weights->source.user, weight->name);
    return DT_OK;
}

/* From a source that keeps forms. */
static dt_status take_formed(const dt_weights *weights, dt_weight *weight, dt_error *err)
{
    size_t bytes = weight->form->bytes(weight->form, weight->rows, weight->cols);
    return weights->source.formed(weights->source.user, weight->name, weight->form, bytes, &weight->data,
                                  err);
}

void dt_weights_forget(dt_weights *weights, const dt_weight *weight)
{
    for (entry **e = &weights->bucket[bucket_of(weight->name)]; *e != NULL; e = &(*e)->next)
        if (&(*e)->weight == weight) {
            dt_pages_give((*e)->pages, weight->bytes);
            weights->bytes -= weight->bytes;
            *e = (*e)->next;
            return;
        }
}

dt_status dt_weights_get(dt_weights *weights, const char *name, const dt_weight_form *form,
                         const dt_weight **out, dt_error *err)
{
    entry **bucket = &weights->bucket[bucket_of(name)];
    for (entry *e = *bucket; e != NULL; e = e->next) {
        if (e->weight.form == form && strcmp(e->weight.name, name) == 0) {
            *out = &e->weight;
            return DT_OK;
        }
    }
    entry *e = DT_NEW(weights->arena, entry);
    if (e == NULL || (e->weight.name = dt_arena_text(weights->arena, name)) == NULL)
        return dt_fail_memory(err, sizeof *e, name);
    e->weight.form = form;
    DT_PASS(measure(weights, &e->weight, err));
    if (weights->source.formed != NULL)
        DT_PASS(take_formed(weights, &e->weight, err));
    else
        e->weight.data = mapped(weights, &e->weight);
    if (e->weight.data == NULL)
        DT_TRY(pack(weights, e, err), err, "while packing parameter \"%s\" as %s", name, form->name);
    e->next = *bucket;
    *bucket = e;
    *out = &e->weight;
    return DT_OK;
}
