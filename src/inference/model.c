/*
 * model.c - a checkpoint made ready to run: its weights as a source for packing, the backend and type to compute in,
 * the team of threads. Graphs are built by whoever runs them (step.c, wrappers, verify); packing is the backend's.
 */
#include "inference/model.h"

#include "base/checked.h"
#include "formats/engine/engine.h"
#include "models/build.h"
#include "tensor/convert.h"

#include <stdlib.h>
#include <string.h>

/* ---- the checkpoint as a source of weights ---- */

static dt_status describe(void *user, const char *name, dt_shape *shape, dt_dtype *dtype, dt_error *err)
{
    return dt_checkpoint_shape(user, name, &shape->rank, shape->dim, dtype, err);
}

/* Quantising reads rows as f32 first: a format may have to transpose or join what it stores. */
static dt_status read_quantised(const dt_checkpoint *checkpoint, const char *name, int64_t row, int64_t rows,
                                int64_t columns, dt_dtype dtype, void *out, dt_error *err)
{
    size_t count;
    if (!dt_mul_size((size_t)rows, (size_t)columns, &count) || count > SIZE_MAX / sizeof(float))
        return dt_fail(err, DT_LIMIT, "%lld rows of %lld are too large to read", (long long)rows,
                       (long long)columns);
    float *wide = malloc(count * sizeof *wide);
    if (!wide)
        return dt_fail_memory(err, count * sizeof *wide, "rows to quantise");
    dt_status status = dt_checkpoint_read(checkpoint, name, row, rows, DT_F32, wide, err);
    if (status == DT_OK)
        status = dt_convert(dtype, out, DT_F32, wide, (int64_t)count, err);
    free(wide);
    return status;
}

static dt_status read_rows(void *user, const char *name, int64_t row, int64_t rows, dt_dtype dtype, void *out,
                           dt_error *err)
{
    dt_shape shape;
    dt_dtype stored;
    int64_t columns = 1;
    if (dt_dtype_block_elements(dtype) == 1)
        return dt_checkpoint_read(user, name, row, rows, dtype, out, err);
    DT_PASS(dt_checkpoint_shape(user, name, &shape.rank, shape.dim, &stored, err));
    for (int i = 1; i < shape.rank; i++)
        columns *= shape.dim[i];
    if (stored == dtype || columns % dt_dtype_block_elements(dtype))
        return dt_checkpoint_read(user, name, row, rows, dtype, out, err);
    return read_quantised(user, name, row, rows, columns, dtype, out, err);
}

static const void *direct(void *user, const char *name, dt_dtype dtype)
{
    return dt_checkpoint_direct(user, name, dtype);
}

static void drop(void *user, const char *name)
{
    dt_checkpoint_drop(user, name);
}

static dt_status formed(void *user, const char *name, const dt_weight_form *form, size_t bytes,
                        const void **data, dt_error *err)
{
    return dt_engine_weight(user, name, form->name, bytes, data, err);
}

/* ---- the type to compute in ---- */

/* What stands for a stored type: f8 and f64 are no type of products. */
static dt_dtype computed_as(dt_dtype stored)
{
    switch (stored) {
    case DT_F16:
    case DT_BF16:
    case DT_Q8_0:
        return stored;
    case DT_F8E4M3:
    case DT_F8E5M2:
        return DT_BF16;
    default:
        return DT_F32;
    }
}

/* The type that most bytes of the model's own tensors have. */
static dt_dtype stored_dtype(const dt_checkpoint *checkpoint)
{
    uint64_t bytes[DT_DTYPE_COUNT] = {0};
    dt_checkpoint_tensor tensor;
    dt_dtype most = DT_F32;
    for (int i = 0; dt_checkpoint_tensor_at(checkpoint, i, &tensor); i++)
        if (tensor.canonical)
            bytes[tensor.dtype] += tensor.bytes;
    for (int i = 0; i < DT_DTYPE_COUNT; i++)
        if (bytes[i] > bytes[most])
            most = (dt_dtype)i;
    return computed_as(most);
}

static dt_status choose_backend(dt_model *m, const dt_model_options *o, dt_error *err)
{
    dt_dtype dtype = stored_dtype(m->checkpoint);
    dt_engine_about engine;
    if (o->dtype && !dt_dtype_parse(o->dtype, &dtype))
        return dt_fail(err, DT_INVALID, "no type is called \"%s\": expected f32, bf16, f16 or q8_0",
                       o->dtype);
    if (dt_checkpoint_engine(m->checkpoint, &engine)) {
        if ((o->dtype && dtype != engine.dtype) || (o->backend && strcmp(o->backend, "cpu") != 0))
            return dt_fail(err, DT_UNSUPPORTED,
                           "an engine made for the cpu backend in %s, which cannot compute otherwise",
                           dt_dtype_name(engine.dtype));
        dtype = engine.dtype;
    }
    return dt_backend_find(&m->backend, o->backend ? o->backend : "cpu", dtype, o->isa, err);
}

/* ---- opening ---- */

static dt_status begin(dt_model **out, const dt_model_options *options, dt_error *err)
{
    dt_model *m = calloc(1, sizeof *m);
    if (!m)
        return dt_fail_memory(err, sizeof *m, "a model");
    *out = m;
    m->spec = options->spec ? options->spec : dt_layer_spec_fused();
    if (options->open.log)
        m->log = *options->open.log;
    if ((m->arena = dt_arena_create())) {
        m->defaults = DT_NEW(m->arena, dt_generation_defaults);
        m->turn = DT_NEW(m->arena, pthread_mutex_t);
    }
    if (!m->defaults || !m->turn)
        return dt_fail_memory(err, sizeof *m, "a model");
    pthread_mutex_init(m->turn, NULL);
    return DT_OK;
}

static dt_status attach(dt_model *m, const dt_checkpoint *checkpoint, const dt_model_options *options,
                        dt_error *err)
{
    m->checkpoint = checkpoint;
    m->config = dt_checkpoint_config(checkpoint);
    m->source =
        (dt_weight_source){.user = (void *)(uintptr_t)checkpoint, /* only ever handed back to const calls */
                           .describe = describe,
                           .read = read_rows,
                           .direct = direct,
                           .drop = drop};
    dt_engine_about engine;
    if (dt_checkpoint_engine(checkpoint, &engine))
        m->source.formed = formed;
    DT_PASS(dt_config_check(m->config, err));
    DT_PASS(choose_backend(m, options, err));
    DT_PASS(dt_pool_create(&m->pool, options->threads, err));
    return dt_weights_create(&m->weights, &m->source, m->pool, err);
}

dt_status dt_model_from_checkpoint(dt_model **out, const dt_checkpoint *checkpoint,
                                   const dt_model_options *options, dt_error *err)
{
    static const dt_model_options defaults;
    dt_model *m = NULL;
    dt_status status = DT_OK;
    if (!options)
        options = &defaults;
    *out = NULL;
    DT_GO(status, begin(&m, options, err));
    DT_GO(status, attach(m, checkpoint, options, err));
    *out = m;
    return DT_OK;
done:
    dt_model_close(m);
    return status;
}

dt_status dt_model_open(dt_model **out, const char *path, const dt_model_options *options, dt_error *err)
{
    dt_checkpoint *checkpoint;
    *out = NULL;
    DT_TRY(dt_checkpoint_open(&checkpoint, path, options ? &options->open : NULL, err), err,
           "while loading %s", path);
    dt_status status = dt_model_from_checkpoint(out, checkpoint, options, err);
    if (status != DT_OK) {
        dt_error_while(err, "while loading %s", path);
        dt_checkpoint_close(checkpoint);
        return status;
    }
    (*out)->owned = checkpoint;
    return DT_OK;
}

void dt_model_close(dt_model *m)
{
    if (!m)
        return;
    dt_weights_destroy(m->weights);
    dt_pool_destroy(m->pool);
    dt_checkpoint_close(m->owned);
    if (m->turn)
        pthread_mutex_destroy(m->turn);
    dt_arena_destroy(m->arena);
    free(m);
}

/* ---- asking ---- */

const dt_model_config *dt_model_get_config(const dt_model *model)
{
    return model->config;
}

const dt_checkpoint *dt_model_checkpoint(const dt_model *model)
{
    return model->checkpoint;
}

const dt_layer_spec *dt_model_layer_spec(const dt_model *model)
{
    return model->spec;
}

dt_status dt_model_executor(dt_model *m, dt_graph *graph, const dt_executor_options *options,
                            dt_executor **out, dt_error *err)
{
    return dt_executor_create(out, m->backend, graph, m->weights, m->pool, options, err);
}

dt_status dt_model_bind_array(dt_arena *arena, const dt_graph *graph, dt_executor *executor, const char *name,
                              int32_t **array, int64_t count, dt_error *err)
{
    if (!(*array = DT_NEW_ARRAY(arena, int32_t, count)))
        return dt_fail_memory(err, (size_t)count * sizeof **array, name);
    return dt_graph_find(graph, name) ? dt_executor_bind(executor, name, *array, err) : DT_OK;
}

dt_dtype dt_model_kv_dtype(const dt_model *model)
{
    dt_dtype products = model->backend->dtype;
    return dt_dtype_block_elements(products) > 1 ? DT_F16 : products;
}

bool dt_model_has_encoder(const dt_model *model)
{
    return strcmp(model->config->model_type, "t5") == 0;
}

int64_t dt_model_positions(const dt_model *model)
{
    const dt_model_config *c = model->config;
    bool limited =
        c->position_embedding_type == DT_POSITION_LEARNED || c->position_embedding_type == DT_POSITION_ROPE;
    if (limited && dt_config_rope_grows(c) && c->rope_scaling_type == DT_ROPE_DYNAMIC)
        limited = false; /* its frequencies follow any length */
    int64_t skipped = c->positions_skip_padding ? c->pad_token_id + 1 : 0;
    return limited && c->max_sequence_length > 0 ? c->max_sequence_length - skipped : INT64_MAX;
}

/* Graphs of small capacities: which forms are asked for does not depend on them. */
static dt_status graph_forms(const dt_model *m, dt_build_mode mode, dt_form_user use, void *user,
                             dt_error *err)
{
    dt_build_options options = {.mode = mode,
                                .spec = m->spec,
                                .logits = true,
                                .tokens = 16,
                                .source_tokens = 16,
                                .sequences = 2,
                                .output_rows = 2,
                                .images = 2,
                                .patches = 16,
                                .vision_tokens = 16,
                                .features = 16,
                                .image_rows = 16,
                                .kv_blocks = 2,
                                .sequence_blocks = 1,
                                .memory_blocks = 2,
                                .memory_sequence_blocks = 1,
                                .kv_dtype = dt_model_kv_dtype(m)};
    dt_graph *g = dt_graph_create(err);
    if (!g)
        return DT_NO_MEMORY;
    dt_status status = dt_model_build(g, m->config, &options, err);
    if (status == DT_OK)
        status = dt_executor_forms(m->backend, g, use, user, err);
    dt_graph_destroy(g);
    return status;
}

dt_status dt_model_forms(const dt_model *m, dt_form_user use, void *user, dt_error *err)
{
    DT_PASS(graph_forms(m, DT_BUILD_FULL, use, user, err));
    if (!dt_config_reads(m->config) || m->config->text_pooling != DT_TEXT_POOL_NONE)
        return DT_OK; /* towers: one graph has all there is */
    bool encodes = m->config->encoder_only || strcmp(m->config->model_type, "bert") == 0;
    if (encodes || dt_model_has_encoder(m))
        DT_PASS(graph_forms(m, DT_BUILD_EMBED, use, user, err));
    if (encodes)
        return DT_OK;
    DT_PASS(graph_forms(m, DT_BUILD_STEP, use, user, err));
    return dt_model_has_encoder(m) ? graph_forms(m, DT_BUILD_ENCODE, use, user, err) : DT_OK;
}

size_t dt_model_weight_bytes(const dt_model *model)
{
    return dt_weights_bytes(model->weights);
}

void dt_model_enter(dt_model *model)
{
    pthread_mutex_lock(model->turn);
}

void dt_model_leave(dt_model *model)
{
    pthread_mutex_unlock(model->turn);
}
