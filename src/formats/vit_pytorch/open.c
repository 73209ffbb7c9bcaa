/*
 * open.c (vit_pytorch) - opens a state dict of vit-pytorch's ViT as a checkpoint: configuration from shapes, and from a
 * small JSON file what shapes do not tell.
 *
 * Peer  lucidrains/vit-pytorch vit_pytorch/vit.py. Torch's files are torch/'s.
 */
#include "formats/torch/torch.h"

#include "base/json.h"
#include "base/output.h"
#include "base/text.h"
#include "formats/open.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAMES "formats/vit_pytorch/names.def"
#include "formats/hf/expand_names.h"

enum { CONFIG_BYTES = 1 << 16 };

/* ---- recognising ---- */

static bool has_names(const char *path)
{
    dt_stored_set *set = NULL;
    bool found = dt_stored_set_create(&set, NULL) == DT_OK && dt_torch_read(set, path, "", NULL) == DT_OK &&
                 dt_stored_set_find(set, "cls_token") && dt_stored_set_find(set, "pos_embedding") &&
                 dt_stored_set_find(set, "transformer.layers.0.0.fn.to_qkv.weight");
    dt_stored_set_destroy(set);
    return found;
}

bool dt_vit_pytorch_detect(const char *path)
{
    return (dt_ends_with(path, ".pt") || dt_ends_with(path, ".pth")) && dt_is_file(path) && has_names(path);
}

/* ---- what shapes tell ---- */

static dt_status matrix(const dt_checkpoint *c, const char *name, int64_t *rows, int64_t *cols, dt_error *err)
{
    const dt_stored_tensor *t;
    DT_PASS(dt_stored_set_get(c->set, name, &t, err));
    if (t->unsupported || t->shape.rank < 2)
        return dt_fail(err, DT_FORMAT, "tensor \"%s\" is no matrix", name);
    *rows = t->shape.dim[t->shape.rank - 2];
    *cols = t->shape.dim[t->shape.rank - 1];
    return DT_OK;
}

static int64_t count_layers(const dt_checkpoint *c)
{
    char name[96];
    for (int64_t i = 0; i < DT_MAX_LAYERS; i++) {
        snprintf(name, sizeof name, "transformer.layers.%" PRId64 ".0.fn.to_qkv.weight", i);
        if (!dt_stored_set_find(c->set, name))
            return i;
    }
    return DT_MAX_LAYERS;
}

/* The side of a square of n, or 0. */
static int64_t side_of(int64_t n)
{
    int64_t side = 0;
    while (side < DT_MAX_LAYERS * DT_MAX_LAYERS && (side + 1) * (side + 1) <= n)
        side++;
    return side * side == n ? side : 0;
}

static dt_status read_shapes(dt_checkpoint *checkpoint, int64_t *inner, int64_t *patches, dt_error *err)
{
    dt_model_config *c = &checkpoint->config;
    int64_t flat, width, rows;
    DT_PASS(matrix(checkpoint, "to_patch_embedding.1.weight", &c->hidden_size, &flat, err));
    DT_PASS(matrix(checkpoint, "pos_embedding", &rows, &width, err));
    DT_PASS(matrix(checkpoint, "transformer.layers.0.0.fn.to_qkv.weight", inner, &width, err));
    DT_PASS(matrix(checkpoint, "transformer.layers.0.1.fn.net.0.weight", &c->ffn_hidden_size, &width, err));
    DT_PASS(matrix(checkpoint, "mlp_head.1.weight", &c->num_classes, &width, err));
    if (flat % 3 == 0 && side_of(flat / 3))
        return dt_fail(
            err, DT_UNSUPPORTED,
            "its patches have three channels, the channel last; drivetrain reads vit-pytorch's models of "
            "one channel");
    if (!(c->patch_dim = side_of(flat)))
        return dt_fail(err, DT_UNSUPPORTED,
                       "tensor \"to_patch_embedding.1.weight\" has %" PRId64
                       " columns, which no square patch fills",
                       flat);
    if (*inner % 3)
        return dt_fail(err, DT_FORMAT, "to_qkv has %" PRId64 " rows, expected as many for q, k and v",
                       *inner);
    c->num_channels = 1;
    c->num_layers = count_layers(checkpoint);
    *inner /= 3;
    *patches = rows - 1;
    return DT_OK;
}

/* ---- what a file beside it tells ---- */

/* MODEL.json beside MODEL.pt; NULL when memory is short. */
static const char *file_beside(const dt_checkpoint *c)
{
    size_t length = (size_t)(strrchr(c->path, '.') - c->path);
    char *path = dt_arena_alloc(c->arena, length + sizeof ".json");
    if (path)
        snprintf(path, length + sizeof ".json", "%.*s.json", (int)length, c->path);
    return path;
}

static dt_status read_activation(const json_t *json, dt_model_config *c, dt_error *err)
{
    const char *name = NULL;
    DT_PASS(dt_json_string(json, "activation_func", &name, err));
    for (dt_activation i = DT_ACT_GELU; name && strcmp(name, dt_activation_name(c->activation_func)) != 0;
         i++) {
        if (!dt_activation_name(i))
            return dt_fail(err, DT_UNSUPPORTED, "key \"activation_func\" is \"%s\"; vit-pytorch's is gelu",
                           name);
        c->activation_func = i;
    }
    return DT_OK;
}

static dt_status check_keys(json_t *json, dt_error *err)
{
    static const char *const known[] = {"num_attention_heads", "activation_func", "img_h", "img_w"};
    enum { KNOWN = sizeof known / sizeof known[0] };
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value)
    {
        int i = 0;
        while (i < KNOWN && strcmp(known[i], key) != 0)
            i++;
        if (i == KNOWN)
            return dt_fail(
                err, DT_UNSUPPORTED,
                "key \"%s\": the shapes tell all but num_attention_heads, activation_func, img_h, img_w",
                key);
    }
    return DT_OK;
}

static dt_status read_keys(json_t *json, dt_model_config *c, int64_t inner, int64_t patches, dt_error *err)
{
    int64_t side = side_of(patches) * c->patch_dim;
    c->img_h = c->img_w = side;
    DT_PASS(check_keys(json, err));
    DT_PASS(dt_json_int(json, "num_attention_heads", &c->num_attention_heads, err));
    DT_PASS(dt_json_int(json, "img_h", &c->img_h, err));
    DT_PASS(dt_json_int(json, "img_w", &c->img_w, err));
    DT_PASS(read_activation(json, c, err));
    if (c->num_attention_heads < 1 || inner % c->num_attention_heads)
        return dt_fail(err, DT_MISMATCH,
                       "key \"num_attention_heads\" is %" PRId64 "; q has %" PRId64
                       " columns for them together",
                       c->num_attention_heads, inner);
    if (!c->img_h || !c->img_w)
        return dt_fail(err, DT_NOT_FOUND,
                       "%" PRId64 " patches make no square: keys \"img_h\", \"img_w\" are needed", patches);
    c->kv_channels = inner / c->num_attention_heads;
    return DT_OK;
}

static dt_status read_beside(dt_checkpoint *c, const char *given, int64_t inner, int64_t patches,
                             dt_error *err)
{
    json_t *json = NULL;
    const char *path = given ? given : file_beside(c);
    if (!path)
        return dt_fail_memory(err, strlen(c->path), "a path");
    c->config_file = path;
    if (!given && !dt_is_file(path)) {
        dt_fail(err, DT_NOT_FOUND,
                "no shape tells how many heads share the %" PRId64 " columns of q, and there is no %s", inner,
                path);
        dt_error_try(
            err,
            "that file, or --config FILE, with {\"num_attention_heads\": N, \"activation_func\": \"gelu\"}");
        return DT_NOT_FOUND;
    }
    DT_PASS(dt_json_load(&json, path, CONFIG_BYTES, err));
    dt_status status = read_keys(json, &c->config, inner, patches, err);
    json_decref(json);
    if (status != DT_OK)
        dt_error_while(err, "while reading %s", path);
    return status;
}

/* ---- opening ---- */

static void assume(dt_model_config *c)
{
    dt_config_init(c);
    snprintf(c->model_type, sizeof c->model_type, "clip_vit");
    snprintf(c->family, sizeof c->family, "vit_pytorch");
    snprintf(c->written_by, sizeof c->written_by, "vit-pytorch");
    c->add_bias_linear = false; /* but for q, k and v */
    c->attention_output_bias = c->mlp_bias = true;
    c->patch_bias = true;
    c->class_token_len = 1;
    c->position_embedding_type = DT_POSITION_NONE; /* the tower's table is no text's */
    c->ln_post = true;
    c->vision_pooling = DT_POOL_CLASS_NORM;
}

dt_status dt_vit_pytorch_open(dt_checkpoint *c, const dt_open_options *options, dt_error *err)
{
    const char *slash = strrchr(c->path, '/');
    int64_t inner, patches;
    c->root = slash ? dt_arena_text_n(c->arena, c->path, (size_t)(slash - c->path) + 1) : "";
    if (!c->root)
        return dt_fail_memory(err, strlen(c->path), "a path");
    assume(&c->config);
    DT_PASS(dt_torch_read(c->set, c->path, "", err));
    DT_PASS(read_shapes(c, &inner, &patches, err));
    DT_PASS(read_beside(c, options->config, inner, patches, err));
    dt_open_fact(c, "num_attention_heads", c->config.num_attention_heads);
    dt_open_fact(c, "img_h", c->config.img_h);
    dt_open_fact(c, "img_w", c->config.img_w);
    DT_PASS(dt_open_parameters(c, err));
    DT_PASS(dt_names_map(c->mapping, &names, &c->config, err));
    return dt_open_bind_names(c, &names, "", NULL, err);
}
