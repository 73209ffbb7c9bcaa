/*
 * onnx_model_test.c - models as ONNX folders: weights come back bit for bit, graphs are well formed, and hostile files are
 * refused. That the graphs compute the right numbers is onnxruntime's to say: tools/interop/check_onnx.py.
 */
#include "folders.h"

#include "formats/onnx/model.h"
#include "formats/stored.h"

static const char *const models[] = {"hf/llama",
                                     "hf/llama-gqa",
                                     "hf/gpt2",
                                     "hf/t5-v1.0",
                                     "hf/t5-encoder",
                                     "hf/umt5",
                                     "hf/qwen2-moe",
                                     "megatron/t5_relative",
                                     "megatron/gpt_learned",
                                     "hf/gpt-oss",
                                     "hf/bert",
                                     "hf/roberta",
                                     "hf/falcon-rw6",
                                     "hf/llama-dynamic",
                                     "hf/gemma2",
                                     "hf/m2m100",
                                     "megatron/gpt_moe",
                                     "hf/clip-vision",
                                     "hf/siglip-vision",
                                     "hf/vit",
                                     "hf/dinov2",
                                     "hf/internvl-vision",
                                     "megatron/clip",
                                     "megatron/siglip",
                                     "megatron/internvit300M",
                                     "megatron/radio",
                                     "megatron/projector_mlp",
                                     "megatron/projector_affine",
                                     "hf/clip",
                                     "hf/siglip",
                                     "hf/llava",
                                     "hf/llava-next",
                                     "megatron/llava_clip",
                                     "megatron/llava_siglip"};

enum { MODELS = sizeof models / sizeof models[0] };

/* The model as an ONNX folder; NULL when there is no such model here. */
static const char *write_model(const char *folder, const char *name, dt_dtype type, int opset,
                               char source[4096])
{
    static char path[4096];
    dt_error err = {0};
    if (!model_folder(source, name))
        return NULL;
    dt_checkpoint *c = open_model(source, NULL);
    dt_export_options to = {.format = "onnx", .cast = true, .dtype = type, .opset = opset, .replace = true};
    dt_export_result result = {0};
    snprintf(path, sizeof path, "%s/model", folder);
    assert_ok(dt_checkpoint_export(c, path, &to, &result, &err), err);
    assert_true(result.tensors >= 2 && result.files >= 2);
    dt_checkpoint_close(c);
    return path;
}

/* ---- weights ---- */

static void assert_same_tensor(const dt_checkpoint *a, const dt_checkpoint *b, const char *name,
                               dt_dtype type)
{
    int64_t dim[5], other[5];
    int rank;
    dt_error err = {0};
    assert_ok(dt_checkpoint_shape(b, name, &rank, dim, NULL, &err), err);
    assert_ok(dt_checkpoint_shape(a, name, &rank, other, NULL, &err), err);
    size_t bytes = (size_t)(dim[0] * (rank == 2 ? dim[1] : 1) * dt_dtype_block_bytes(type));
    void *x = malloc(bytes), *y = malloc(bytes);
    assert_true(x && y && other[0] >= dim[0]); /* the source may be padded */
    assert_ok(dt_checkpoint_read(a, name, 0, dim[0], type, x, &err), err);
    assert_ok(dt_checkpoint_read(b, name, 0, dim[0], type, y, &err), err);
    if (memcmp(x, y, bytes) != 0)
        fail_msg("\"%s\" is not the source's", name);
    free(x);
    free(y);
}

static void onnx_model__initializers_are_the_source_bit_for_bit(void **state)
{
    static const dt_dtype types[] = {DT_F32, DT_F16, DT_BF16};
    int checked = 0;
    for (int i = 0; i < MODELS * 3; i++) {
        char source[4096];
        const char *path = write_model(*state, models[i / 3], types[i % 3], 0, source);
        if (!path)
            continue;
        dt_checkpoint *a = open_model(source, NULL), *b = open_model(path, NULL);
        dt_checkpoint_tensor t;
        int count = 0;
        for (; dt_checkpoint_tensor_at(b, count, &t); count++) {
            assert_int_equal(t.dtype, types[i % 3]);
            assert_same_tensor(a, b, t.canonical, types[i % 3]);
        }
        assert_true(count >= 2);
        checked++;
        dt_checkpoint_close(a);
        dt_checkpoint_close(b);
    }
    assert_true(checked >= 15); /* the golden models are always there */
}

/* ---- graphs ---- */

/* Operators of the standard that TensorRT's parser takes too (onnx-tensorrt docs/operators.md). */
static const char *const operators[] = {
    "Add",
    "And",
    "ArgMax",
    "Cast",
    "Clip",
    "Concat",
    "Cos",
    "CumSum",
    "Div",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Gather",
    "Greater",
    "LessOrEqual",
    "GreaterOrEqual",
    "GatherElements",
    "Identity",
    "MatMul",
    "Max",
    "Min",
    "Mul",
    "Not",
    "Pow",
    "Range",
    "Relu",
    "Reshape",
    "Resize",
    "ReduceMax",
    "Shape",
    "ReduceMean",
    "ReduceSum",
    "Reciprocal",
    "LayerNormalization",
    "Sigmoid",
    "Sin",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "TopK",
    "Transpose",
    "Unsqueeze",
    "Where",
};

/* Names seen so far in a graph. */
typedef struct names {
    char (*name)[256];
    int count;
} names;

static bool knows(const names *n, const char *name)
{
    for (int i = 0; i < n->count; i++)
        if (strcmp(n->name[i], name) == 0)
            return true;
    return false;
}

static void text_of(char out[256], dt_wire_reader bytes)
{
    size_t n = (size_t)(bytes.end - bytes.at);
    assert_true(n < 256);
    memcpy(out, bytes.at, n);
    out[n] = 0;
}

static void learn(names *n, const char *name)
{
    assert_true(n->count < 20000);
    if (knows(n, name))
        fail_msg("\"%s\" is made twice", name);
    snprintf(n->name[n->count++], 256, "%s", name);
}

static bool next_field(dt_wire_reader *message, dt_wire_field *f)
{
    bool more = false;
    dt_error err = {0};
    assert_ok(dt_wire_next(message, f, &more, &err), err);
    return more;
}

/* The text field `number` of a message. */
static void field_text(dt_wire_reader message, int number, char out[256])
{
    dt_wire_field f;
    out[0] = 0;
    while (next_field(&message, &f))
        if (f.number == number && f.wire == DT_WIRE_BYTES)
            text_of(out, f.bytes);
}

static void check_node(names *n, dt_wire_reader node)
{
    char op[256], text[256];
    bool known = false;
    dt_wire_field f;
    dt_wire_reader again = node;
    field_text(node, 4, op);
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
        known |= strcmp(op, operators[i]) == 0;
    if (!known)
        fail_msg("operator \"%s\" is not known to be taken by TensorRT", op);
    while (next_field(&node, &f))
        if (f.number == 1 && (text_of(text, f.bytes), text[0]) && !knows(n, text)) /* "": absent */
            fail_msg("a %s reads \"%s\" before it is made", op, text);
    while (next_field(&again, &f)) {
        assert_int_not_equal(f.number, 7); /* no domain but the standard's */
        if (f.number == 2)
            text_of(text, f.bytes), learn(n, text);
    }
}

/* Inputs and initializers first, then nodes in order: each reads what is there, each output is one of them. */
static int check_graph(dt_wire_reader graph, names *n)
{
    int nodes = 0;
    char text[256];
    for (int pass = 0; pass < 3; pass++) {
        dt_wire_reader r = graph;
        dt_wire_field f;
        while (next_field(&r, &f)) {
            if (pass == 0 && (f.number == 5 || f.number == 11))
                field_text(f.bytes, f.number == 5 ? 8 : 1, text), learn(n, text);
            if (pass == 1 && f.number == 1)
                check_node(n, f.bytes), nodes++;
            if (pass == 2 && f.number == 12)
                field_text(f.bytes, 1, text), assert_true(knows(n, text));
        }
    }
    return nodes;
}

static int check_file(const char *path)
{
    dt_map map = {0};
    dt_error err = {0};
    assert_ok(dt_map_open(&map, path, &err), err);
    dt_wire_reader model = {map.data, map.data + map.size};
    dt_wire_field f;
    int nodes = 0;
    names n = {.name = malloc(20000 * sizeof *n.name)};
    assert_non_null(n.name);
    while (next_field(&model, &f))
        if (f.number == 7)
            nodes += check_graph(f.bytes, &n);
    free(n.name);
    dt_map_close(&map);
    return nodes;
}

static void onnx_model__graphs_are_in_order_and_of_operators_that_tensorrt_takes(void **state)
{
    int files = 0;
    for (int i = 0; i < MODELS; i++) {
        char source[4096], name[4200];
        const char *path = write_model(*state, models[i], i % 2 ? DT_F32 : DT_F16, 0, source);
        for (int k = 0; path && dt_onnx_file_name(k); k++) {
            snprintf(name, sizeof name, "%s/%s", path, dt_onnx_file_name(k));
            if (dt_is_file(name)) {
                assert_true(check_file(name) >= 2); /* a table of words: a look-up and its name */
                files++;
            }
        }
    }
    assert_true(files >= 9);
}

/* " name[axis,number,…]" of each ValueInfoProto `field` of a file's graph. */
static void list_values(const char *path, int field, dt_text *out)
{
    dt_map map = {0};
    dt_error err = {0};
    char text[256];
    assert_ok(dt_map_open(&map, path, &err), err);
    dt_wire_reader model = {map.data, map.data + map.size};
    dt_wire_field f, d;
    while (next_field(&model, &f))
        for (dt_wire_reader graph = f.bytes; f.number == 7 && next_field(&graph, &d);)
            if (d.number == field) {
                field_text(d.bytes, 1, text);
                dt_text_printf(out, " %s", text);
                static const int way[] = {2, 1, 2}; /* type, tensor_type, shape */
                dt_wire_reader at = d.bytes;
                for (int i = 0; i < 3; i++) {
                    dt_wire_field inner = {0};
                    while (next_field(&at, &inner) && inner.number != way[i])
                        ;
                    at = inner.bytes;
                }
                for (dt_wire_field dim; next_field(&at, &dim);) {
                    dt_wire_field n;
                    dt_wire_reader one = dim.bytes;
                    assert_true(next_field(&one, &n));
                    if (n.number == 2)
                        text_of(text, n.bytes), dt_text_printf(out, ":%s", text);
                    else
                        dt_text_printf(out, ":%d", (int)n.value);
                }
            }
    dt_map_close(&map);
}

/* Names are Optimum's; sizes are free where the tower resamples its positions. */
static void onnx_model__towers_take_and_give_what_optimum_says(void **state)
{
    static const struct {
        const char *model, *in, *out;
    } row[] = {
        {"megatron/radio", " pixel_values:batch_size:3:height:width",
         " last_hidden_state:batch_size:sequence_length:32"},
        {"hf/dinov2", " pixel_values:batch_size:3:height:width",
         " last_hidden_state:batch_size:sequence_length:32 pooler_output:batch_size:32"},
        {"hf/clip-vision", " pixel_values:batch_size:3:28:28",
         " last_hidden_state:batch_size:sequence_length:32 pooler_output:batch_size:32 "
         "image_embeds:batch_size:24"},
        {"hf/vit", " pixel_values:batch_size:3:32:32",
         " logits:batch_size:10 last_hidden_state:batch_size:sequence_length:32 pooler_output:batch_size:32"},
        {"hf/clip", " input_ids:text_batch_size:sequence_length pixel_values:batch_size:3:28:28",
         " logits_per_image:batch_size:text_batch_size logits_per_text:text_batch_size:batch_size "
         "text_embeds:text_batch_size:24 image_embeds:batch_size:24"},
        {"megatron/projector_mlp", " image_features:batch_size:sequence_length:32",
         " hidden_states:batch_size:sequence_length:48"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        char source[4096], name[4200];
        const char *path = write_model(*state, row[i].model, DT_F32, 0, source);
        dt_text in = {0}, out = {0};
        if (!path)
            continue;
        snprintf(name, sizeof name, "%s/model.onnx", path);
        list_values(name, 11, &in);
        list_values(name, 12, &out);
        assert_string_equal(in.data, row[i].in);
        assert_string_equal(out.data, row[i].out);
        dt_text_free(&in);
        dt_text_free(&out);
    }
}

/* ---- refusals ---- */

static void onnx_model__opsets_out_of_range_are_refused(void **state)
{
    static const int opsets[] = {-1, 17, 27};
    char path[4096];
    dt_checkpoint *c = open_model(require_model("hf/llama"), NULL);
    snprintf(path, sizeof path, "%s/never", (const char *)*state);
    for (int i = 0; i < 3; i++) {
        dt_error err = {0};
        dt_export_options to = {.format = "onnx", .opset = opsets[i]};
        assert_fails(dt_checkpoint_export(c, path, &to, NULL, &err), DT_UNSUPPORTED, err, "18 to 26");
        assert_false(dt_is_folder(path));
    }
    dt_checkpoint_close(c);
}

/* An op whose column in ops.def says none is refused by name; one with a lowering is not. */
static void onnx_model__ops_without_a_lowering_are_refused_by_name(void **state)
{
    (void)state;
    for (int with = 0; with < 2; with++) {
        dt_error err = {0};
        dt_graph *g = dt_graph_create(&err);
        dt_arena *arena = dt_arena_create();
        assert_true(g && arena);
        dt_axis *rows = dt_graph_axis(g, "tokens", 4);
        dt_tensor *ids = dt_graph_input(g, "tokens", DT_I32, 1, (dt_dim[]){{rows, 0}});
        dt_tensor *w = dt_graph_param(
            g, &(dt_param_spec){.name = "w", .rank = 2, .dim = {8, 4}, .init = DT_INIT_NORMAL});
        dt_tensor *x = dt_embedding(g, w, ids);
        dt_point(g, with ? dt_add(g, x, x) : dt_dot(g, x, x, 1), "out.logits");
        assert_ok(dt_graph_finish(g, &err), err);
        dt_onnx o = {.arena = arena, .opset = 18, .type = DT_F32};
        dt_onnx_frame frame = {.result = {{"out.logits", "logits"}}, .own_length = "sequence_length"};
        dt_model_config config;
        dt_config_init(&config);
        const char *value[16] = {NULL};
        dt_onnx_layout layout[16] = {DT_ONNX_AS_IS};
        bool used[16] = {false};
        assert_true(g->tensor_count <= 16);
        dt_lowering l = {.o = &o,
                         .graph = g,
                         .config = &config,
                         .frame = &frame,
                         .layout = layout,
                         .value = value,
                         .used = used,
                         .err = &err};
        if (with)
            assert_ok(dt_lower_graph(&l), err);
        else
            assert_fails(dt_lower_graph(&l), DT_UNSUPPORTED, err, "the op \"dot\" has no lowering");
        assert_int_equal(o.node_count, with ? 2 : 1);
        dt_onnx_release(&o);
        dt_arena_destroy(arena);
        dt_graph_destroy(g);
    }
}

/* Equal nodes are one, whatever was made between them. */
static void onnx_model__equal_nodes_are_one(void **state)
{
    dt_onnx o = {.arena = dt_arena_create(), .opset = 18, .type = DT_F32};
    (void)state;
    assert_non_null(o.arena);
    const char *x = dt_onnx_input(&o, "x", DT_ONNX_FLOAT, 1, (dt_onnx_dim[]){{"n", 0}});
    const char *first = DT_ONNX_NODE(&o, "Add", x, dt_onnx_number(&o, 1));
    for (int i = 0; i < 3000; i++)
        assert_string_not_equal(DT_ONNX_NODE(&o, "Add", x, dt_onnx_number(&o, 2 + i)), first);
    assert_string_equal(DT_ONNX_NODE(&o, "Add", x, dt_onnx_number(&o, 1)), first);
    assert_string_not_equal(DT_ONNX_NODE(&o, "Mul", x, dt_onnx_number(&o, 1)), first);
    assert_int_equal(o.node_count, 3002);
    assert_false(dt_onnx_failed(&o));
    dt_onnx_release(&o);
    dt_arena_destroy(o.arena);
}

/* A model of one initializer, w [2], f32, external at `location`. */
static void one_external(dt_text *model, const char *location, const char *offset, const char *length)
{
    dt_text tensor = {0}, graph = {0};
    const char *pair[] = {"location", location, "offset", offset, "length", length};
    dt_wire_int(&tensor, 1, 2);
    dt_wire_int(&tensor, 2, DT_ONNX_FLOAT);
    dt_wire_string(&tensor, 8, "w");
    for (int i = 0; i < 6; i += 2) {
        dt_text entry = {0};
        dt_wire_string(&entry, 1, pair[i]);
        dt_wire_string(&entry, 2, pair[i + 1]);
        dt_wire_text(&tensor, 13, &entry);
        dt_text_free(&entry);
    }
    dt_wire_int(&tensor, 14, 1);
    dt_wire_text(&graph, 5, &tensor);
    dt_wire_text(model, 7, &graph);
    dt_text_free(&tensor);
    dt_text_free(&graph);
}

static dt_status read_model(const char *folder, const dt_text *model, dt_error *err)
{
    dt_stored_set *set = NULL;
    const dt_map *map = NULL;
    const char *config = NULL;
    DT_PASS(dt_stored_set_create(&set, err));
    dt_status status = dt_stored_set_memory(set, "model.onnx", model->data, model->bytes, &map, err);
    if (status == DT_OK)
        status = dt_onnx_read_map(set, folder, map, &config, err);
    dt_stored_set_destroy(set);
    return status;
}

static void onnx_model__external_data_outside_the_folder_or_the_file_is_refused(void **state)
{
    static const struct {
        const char *location, *offset, *length, *message;
    } row[] = {
        {"../data", "0", "8", "no file of this folder"},
        {"/etc/passwd", "0", "8", "no file of this folder"},
        {"..", "0", "8", "no file of this folder"},
        {"", "0", "8", "no file of this folder"},
        {"sub/data", "0", "8", "no file of this folder"},
        {"data", "9", "8", "its dimensions make 8"},
        {"data", "18446744073709551615", "8", "its dimensions make 8"},
        {"data", "0", "16", "its dimensions make 8"},
        {"data", "x", "8", "\"offset\""},
        {"data", "-1", "8", "\"offset\""},
        {"data", "0", "8", NULL},
    };
    char path[4096];
    snprintf(path, sizeof path, "%s/data", (const char *)*state);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite("0123456789abcdef", 1, 16, file), 16);
    fclose(file);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        dt_text model = {0};
        dt_error err = {0};
        one_external(&model, row[i].location, row[i].offset, row[i].length);
        if (row[i].message)
            assert_fails(read_model(*state, &model, &err), DT_FORMAT, err, row[i].message);
        else
            assert_ok(read_model(*state, &model, &err), err);
        dt_text_free(&model);
    }
}

/* Graphs of a folder share weights: the same again is the same bytes, anything else is an error. */
static void onnx_model__graphs_that_disagree_on_a_tensor_are_refused(void **state)
{
    static const char bytes[] = "0123456701234567x234567";
    static const char *const second[] = {"0", "8", "16"};
    put_file(in_folder(*state, "data"), bytes, sizeof bytes);
    for (int i = 0; i < 3; i++) {
        dt_text model = {0};
        dt_error err = {0};
        one_external(&model, "data", "0", "8");
        one_external(&model, "data", second[i], "8");
        if (i < 2)
            assert_ok(read_model(*state, &model, &err), err);
        else
            assert_fails(read_model(*state, &model, &err), DT_MISMATCH, err, "do not agree");
        dt_text_free(&model);
    }
}

static void onnx_model__initializers_of_other_types_are_refused(void **state)
{
    dt_text tensor = {0}, graph = {0}, model = {0};
    dt_error err = {0};
    dt_wire_int(&tensor, 2, DT_ONNX_INT64);
    dt_wire_string(&tensor, 8, "w");
    dt_wire_data(&tensor, 9, "01234567", 8);
    dt_wire_text(&graph, 5, &tensor);
    dt_wire_text(&model, 7, &graph);
    assert_fails(read_model(*state, &model, &err), DT_UNSUPPORTED, err, "ONNX type 7");
    dt_text_free(&tensor);
    dt_text_free(&graph);
    dt_text_free(&model);
}

static void onnx_model__graphs_of_others_are_refused(void **state)
{
    char path[4096], name[4200];
    dt_text model = {0};
    dt_error err = {0};
    dt_checkpoint *c = NULL;
    snprintf(path, sizeof path, "%s/other", (const char *)*state);
    assert_ok(dt_make_folder(path, &err), err);
    snprintf(name, sizeof name, "%s/model.onnx", path);
    dt_wire_int(&model, 1, 8);
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(model.data, 1, model.bytes, file), model.bytes);
    fclose(file);
    assert_fails(dt_checkpoint_open(&c, path, NULL, &err), DT_UNSUPPORTED, err, "not written by drivetrain");
    dt_text_free(&model);
}

/* ---- the wire ---- */

static void onnx_model__integers_of_every_size_come_back(void **state)
{
    static const int64_t values[] = {0, 1, 127, 128, -1, INT64_MAX, INT64_MIN, 1 << 20};
    dt_text text = {0};
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        dt_wire_int(&text, 3, values[i]);
    dt_wire_reader r = {(const uint8_t *)text.data, (const uint8_t *)text.data + text.bytes};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        dt_wire_field f;
        bool more = false;
        dt_error err = {0};
        assert_ok(dt_wire_next(&r, &f, &more, &err), err);
        assert_true(more && f.number == 3 && (int64_t)f.value == values[i]);
    }
    assert_true(r.at == r.end);
    dt_text_free(&text);
}

static void onnx_model__broken_messages_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t count;
    } row[] = {
        {"\x08", 1},                                          /* a number is missing */
        {"\x0a\x05only", 6},                                  /* shorter than it says */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, /* a length beyond all files */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11}, /* 65 bits */
        {"\x0b", 1},                                          /* a group */
        {"\x00\x00", 2},                                      /* field 0 */
        {"\x0d\x00\x00", 3},                                  /* half a float */
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        dt_wire_reader r = {(const uint8_t *)row[i].bytes, (const uint8_t *)row[i].bytes + row[i].count};
        dt_wire_field f;
        bool more;
        dt_error err = {0};
        assert_fails(dt_wire_next(&r, &f, &more, &err), DT_FORMAT, err, "no protobuf message");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(onnx_model__initializers_are_the_source_bit_for_bit, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(onnx_model__graphs_are_in_order_and_of_operators_that_tensorrt_takes,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(onnx_model__towers_take_and_give_what_optimum_says, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(onnx_model__opsets_out_of_range_are_refused, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(onnx_model__external_data_outside_the_folder_or_the_file_is_refused,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(onnx_model__graphs_that_disagree_on_a_tensor_are_refused, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(onnx_model__initializers_of_other_types_are_refused, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(onnx_model__graphs_of_others_are_refused, make_folder, remove_folder),
        cmocka_unit_test(onnx_model__ops_without_a_lowering_are_refused_by_name),
        cmocka_unit_test(onnx_model__equal_nodes_are_one),
        cmocka_unit_test(onnx_model__integers_of_every_size_come_back),
        cmocka_unit_test(onnx_model__broken_messages_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
