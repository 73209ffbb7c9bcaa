/*
 * mapping_test.c - pieces copy the same elements both ways, whatever the transform and the shape; every row of every
 * name table is used, undone by the way back, and leads to names that only it has.
 */
#include "unit.h"

#include "base/rng.h"
#include "base/text.h"
#include "formats/hf/compound.h"
#include "formats/megatron/megatron.h"
#include "models/build.h"

static const dt_rng numbers = {.seed = 7, .stream = 1};

/* A model of random sizes; gate, biases and tied heads by the bits of `variant`. */
/* A tower's parts, each as its class has it or not. */
static void vary_tower(dt_model_config *c, const char *family, uint64_t variant)
{
    c->patch_dim = 1 + (int64_t)(variant % 3);
    c->img_h = c->patch_dim * (1 + (int64_t)(variant % 2));
    c->img_w = 2 * c->patch_dim;
    c->max_sequence_length = -1;
    if (strcmp(family, "clip_vision_model") == 0)
        c->projection_dim = variant & 1 ? 5 : 0;
    if (strcmp(family, "siglip_vision_model") == 0)
        c->vision_pooling = variant & 1 ? DT_POOL_ATTENTION : DT_POOL_NONE;
    c->use_mask_token = (variant & 2) && c->class_token_len && !c->ln_pre && strcmp(family, "radio") != 0;
    if (strcmp(family, "vit") == 0) {
        c->vision_pooling = DT_POOL_CLASS;
        c->pooler = variant & 1;
        c->num_classes = variant & 1 ? 0 : 3;
    }
    if (strcmp(family, "dinov2") == 0)
        c->gated_linear_unit = variant & 1;
    if (strcmp(family, "radio") == 0) {
        c->gated_linear_unit = variant & 1;
        c->layer_scale = variant & 2;
        c->max_img_h = c->max_img_w = 3 * c->patch_dim;
        c->num_registers = (int64_t)(variant % 3);
    }
    if (strcmp(family, "internvl_vision") == 0) {
        c->qk_layernorm = c->qk_layernorm_whole = c->qk_layernorm_rms = variant & 1;
        c->ln_post = variant & 2;
    }
}

static dt_model_config some_config(const char *family, uint64_t variant)
{
    const dt_hf_family *f = dt_hf_family_find(family);
    dt_model_config c;
    uint32_t r[4];
    dt_config_init(&c);
    f->defaults(&c);
    snprintf(c.family, sizeof c.family, "%s", family);
    dt_rng_block(&numbers, variant, r);
    bool grouped = strcmp(c.model_type, "gpt") == 0;
    int64_t groups = 1 + r[0] % 3;
    c.num_query_groups = groups;
    c.num_attention_heads = grouped ? groups * (1 + r[1] % 3) : groups;
    c.kv_channels = (c.rotary_percent < 1 ? 8 : 2) * (1 + r[2] % 3);
    c.hidden_size = 1 + r[3] % 9;
    c.ffn_hidden_size = 1 + r[0] % 11;
    c.vocab_size = 5 + r[1] % 7;
    c.num_layers = c.encoder_num_layers = c.decoder_num_layers = 2;
    c.max_sequence_length = 6;
    if (c.num_moe_experts) {
        c.num_moe_experts = 2 + r[2] % 3;
        c.moe_router_topk = 2;
        c.moe_ffn_hidden_size = 1 + r[3] % 5;
        if (c.moe_shared_expert_intermediate_size)
            c.moe_shared_expert_intermediate_size = 1 + r[0] % 5;
    }
    c.relative_attention_num_buckets = 8;
    c.relative_attention_max_distance = 20;
    if (strcmp(family, "falcon") == 0) {
        c.parallel_residual = variant & 4;
        c.parallel_shared_norm = c.parallel_residual && (variant & 2);
        c.add_bias_linear = variant & 1;
    }
    bool bart = c.position_embedding_type != DT_POSITION_RELATIVE && strcmp(c.model_type, "t5") == 0;
    if (strcmp(c.model_type, "t5") == 0 && !bart)
        c.gated_linear_unit = variant & 1;
    if (grouped && !c.add_bias_linear && !c.num_moe_experts && strcmp(family, "phi3") != 0)
        c.add_qkv_bias = c.attention_output_bias = c.mlp_bias = variant & 1;
    c.share_embeddings_and_output_weights = variant & 2;
    c.no_output_layer_bias = c.share_embeddings_and_output_weights;
    if (bart) {
        c.hidden_size = c.num_attention_heads * c.kv_channels + 2;
        c.encoder_num_attention_heads = 2; /* kv_channels is even */
        c.encoder_ffn_hidden_size = 1 + r[2] % 11;
        c.encoder_vocab_size = variant & 4 ? (int64_t)(3 + r[3] % 7) : -1;
        c.no_output_layer_bias = variant & 1;
        c.output_layer_bias = variant & 1;
    }
    if (strcmp(c.model_type, "bert") == 0) {
        c.hidden_size = c.num_attention_heads * c.kv_channels;
        c.num_query_groups = c.num_attention_heads;
        c.max_sequence_length = 8;
        c.no_lm_head = variant & 4;
        c.pooler = variant & 1;
        c.add_binary_head = !c.pooler && strcmp(family, "bert") == 0;
    }
    if (strcmp(family, "clip_text_model") == 0 || strcmp(family, "siglip_text_model") == 0) {
        c.hidden_size = c.num_attention_heads * c.kv_channels;
        c.text_projection_dim = (variant & 1) || c.text_projection_pools ? 3 : 0;
    }
    if (dt_config_is_tower(&c))
        vary_tower(&c, family, variant);
    dt_config_derive(&c);
    return c;
}

/* What stands between a language model and a tower. */
static void some_projector(dt_model_config *p, const dt_model_config *c, uint64_t variant)
{
    dt_config_init(p);
    snprintf(p->model_type, sizeof p->model_type, "projector");
    snprintf(p->family, sizeof p->family, "megatron_projector");
    p->position_embedding_type = DT_POSITION_NONE;
    p->num_layers = p->num_attention_heads = 1;
    p->hidden_size = p->ffn_hidden_size = c->hidden_size;
    p->input_size = dt_config_feature_width(c);
    p->add_bias_linear = variant & 1;
    dt_config_derive(p);
}

/* The `variant`th family that can read in such a model. */
static const char *some_text(const dt_hf_member *member, uint64_t variant)
{
    const dt_hf_family *f;
    const char *fits[64];
    uint64_t count = 0;
    for (int i = 0; (f = dt_hf_family_at(i)) && count < 64; i++) {
        dt_model_config c;
        dt_config_init(&c);
        f->defaults(&c);
        if (!f->compound && strcmp(c.model_type, member->kind) == 0 &&
            c.position_embedding_type != DT_POSITION_LEARNED) /* which rows of pictures have not */
            fits[count++] = f->model_type;
    }
    return member->only ? member->model_type : fits[variant % count];
}

/* The same of a model of several, whose members' sizes fit. */
static dt_model_config some_compound(const dt_hf_family *f, uint64_t variant, dt_config_parts *parts)
{
    const struct dt_hf_compound *k = f->compound;
    const char *text = some_text(&k->text, variant);
    dt_model_config c = some_config(text, variant);
    parts->vision = some_config(k->vision.model_type, variant | 1);
    snprintf(c.family, sizeof c.family, "%s", f->model_type);
    snprintf(c.text_family, sizeof c.text_family, "%s", text);
    f->defaults(&c);
    c.vision = &parts->vision;
    if (strcmp(c.model_type, "clip") == 0) {
        int64_t projected = parts->vision.projection_dim;
        c.text_projection_dim = projected ? projected : parts->vision.hidden_size;
        return c;
    }
    some_projector(&parts->projection, &c, variant);
    c.projection = &parts->projection;
    return c;
}

static dt_model_config some_model(const char *family, uint64_t variant, dt_config_parts *parts)
{
    const dt_hf_family *f = dt_hf_family_find(family);
    return f->compound ? some_compound(f, variant, parts) : some_config(family, variant);
}

static const dt_name_table *names_of(dt_arena *arena, const dt_hf_family *f, const dt_model_config *c)
{
    const dt_name_table *names = NULL;
    dt_error err = {0};
    assert_ok(dt_hf_names(f, c, 0, arena, &names, &err), err);
    return names;
}

static dt_mapping *map_of(dt_arena *arena, const dt_hf_family *f, const dt_model_config *c)
{
    const dt_param_spec *spec = NULL;
    dt_mapping *m = NULL;
    int count = 0;
    dt_error err = {0};
    assert_ok(dt_model_parameters(c, arena, &spec, &count, &err), err);
    assert_ok(dt_mapping_create(&m, arena, spec, count, &err), err);
    assert_ok(dt_names_map(m, names_of(arena, f, c), c, &err), err);
    return m;
}

/* Canonical tensor i holds i * 2^16 + element: each value says where it came from. */
static float truth(int index, int64_t element)
{
    return (float)(index * 65536 + element);
}

typedef struct truth_source {
    const dt_mapping *mapping;
} truth_source;

static dt_status give_truth(void *user, const dt_canonical *c, const dt_block *b, const dt_window *t,
                            dt_error *err)
{
    const truth_source *source = user;
    int index = dt_mapping_find(source->mapping, c->spec->name);
    for (int64_t i = 0; i < b->rows; i++)
        for (int64_t j = 0; j < b->cols; j++)
            ((float *)t->out)[i * t->row_stride + j * t->col_stride] =
                truth(index, (b->row + i) * c->cols + b->col + j);
    return DT_OK;
}

/* Make every external tensor, in chunks of rows, and give it to the set and the mapping as if a file had held it. */
static void fill_externals(dt_arena *arena, dt_stored_set *set, dt_mapping *m, int64_t chunk)
{
    truth_source user = {m};
    dt_canonical_source source = {give_truth, &user};
    dt_error err = {0};
    for (int i = 0; i < dt_mapping_external_count(m); i++) {
        dt_external *e = dt_mapping_external_at(m, i);
        int64_t rows, cols;
        dt_external_rows(e, &rows, &cols);
        size_t bytes = sizeof(float) * (size_t)(rows * cols);
        float *data = dt_arena_alloc(arena, bytes + 4);
        for (int64_t first = 0; first < rows; first += chunk) {
            int64_t n = rows - first < chunk ? rows - first : chunk;
            assert_ok(dt_mapping_assemble(m, i, first, n, &source, DT_F32, data + first * cols, &err), err);
        }
        const dt_map *map = NULL;
        assert_ok(dt_stored_set_memory(set, e->name, data, bytes, &map, &err), err);
        dt_stored_box box = {.shape = e->shape, .map = map, .data = map->data};
        int64_t stride = 1;
        for (int a = e->shape.rank - 1; a >= 0; stride *= e->shape.dim[a--])
            box.stride[a] = stride;
        dt_stored_tensor tensor = {
            .name = e->name, .dtype = DT_F32, .shape = e->shape, .box_count = 1, .box = &box};
        assert_ok(dt_stored_set_add(set, &tensor, &err), err);
        e->stored = dt_stored_set_find(set, e->name);
        assert_non_null(e->stored);
    }
}

static void assert_reads_truth(const dt_mapping *m, int64_t chunk)
{
    dt_error err = {0};
    for (int i = 0; i < dt_mapping_count(m); i++) {
        const dt_canonical *c = dt_mapping_at(m, i);
        float *out = calloc((size_t)(c->rows * c->cols), sizeof *out);
        for (int64_t row = 0; row < c->rows; row += chunk) {
            dt_block block = {row, 0, c->rows - row < chunk ? c->rows - row : chunk, c->cols};
            dt_window window = {DT_F32, out + row * c->cols, c->cols, 1};
            assert_ok(dt_mapping_read(m, i, &block, &window, &err), err);
        }
        for (int64_t k = 0; k < c->rows * c->cols; k++)
            if (out[k] != truth(i, k))
                fail_msg("%s[%lld] is %g, expected %g", c->spec->name, (long long)k, (double)out[k],
                         (double)truth(i, k));
        free(out);
    }
}

static void round_trip(const char *family, uint64_t variant)
{
    dt_arena *arena = dt_arena_create();
    dt_stored_set *set = NULL;
    dt_error err = {0};
    dt_config_parts parts;
    dt_model_config c = some_model(family, variant, &parts);
    dt_mapping *m = map_of(arena, dt_hf_family_find(family), &c);
    assert_ok(dt_stored_set_create(&set, &err), err);
    fill_externals(arena, set, m, 1 + (int64_t)(variant % 5));
    assert_reads_truth(m, 1 + (int64_t)(variant % 3));
    dt_stored_set_destroy(set);
    dt_arena_destroy(arena);
}

static void mapping__reading_undoes_writing_for_every_family(void **state)
{
    const dt_hf_family *f;
    for (int i = 0; (f = dt_hf_family_at(i)); i++)
        for (uint64_t variant = 0; variant < 24; variant++)
            round_trip(f->model_type, variant);
}

enum { ROWS_LIMIT = 2048 };

/* The rows that models of a family take, added to `used`. */
static int add_used_rows(const dt_hf_family *f, const dt_name_row **used, int count)
{
    for (uint64_t variant = 0; variant < 8; variant++) {
        dt_arena *arena = dt_arena_create();
        dt_config_parts parts;
        dt_model_config c = some_model(f->model_type, variant, &parts);
        dt_mapping *m = map_of(arena, f, &c);
        for (int i = 0; i < dt_mapping_count(m); i++) {
            int64_t n[2];
            int numbers_count;
            const dt_name_row *row =
                dt_names_row(f->names, dt_mapping_at(m, i)->spec->name, &c, n, &numbers_count);
            if (!row && f->compound) /* a member's, which has its own turn */
                continue;
            assert_non_null(row);
            int k = 0;
            while (k < count && used[k] != row)
                k++;
            assert_true(k < ROWS_LIMIT);
            used[k] = row;
            count = k == count ? count + 1 : count;
        }
        dt_arena_destroy(arena);
    }
    return count;
}

/* Tables include one another: the same row in another family's counts. */
static bool is_used(const dt_name_row *row, const dt_name_row *const *used, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(row->canonical, used[i]->canonical) == 0 && row->when == used[i]->when &&
            strcmp(row->external[0], used[i]->external[0]) == 0)
            return true;
    return false;
}

/* Every row of every table is taken by some model; a row that never is would be untested knowledge. */
static void mapping__every_name_row_is_used(void **state)
{
    static const dt_name_row *used[ROWS_LIMIT];
    const dt_hf_family *f;
    int count = 0;
    for (int i = 0; (f = dt_hf_family_at(i)); i++)
        count = add_used_rows(f, used, count);
    for (int i = 0; (f = dt_hf_family_at(i)); i++)
        for (int r = 0; r < f->names->row_count; r++)
            if (!is_used(&f->names->row[r], used, count))
                fail_msg("%s: row \"%s\" was never used", f->model_type, f->names->row[r].canonical);
}

/* Tensor-parallel parts: cutting and joining give every element back, for each kind of split. */
static void mapping__tensor_parallel_parts_tile(void **state)
{
    static const dt_split splits[] = {DT_SPLIT_NONE,  DT_SPLIT_COLUMN, DT_SPLIT_ROW,
                                      DT_SPLIT_VOCAB, DT_SPLIT_QKV,    DT_SPLIT_GATED};
    for (int s = 0; s < 6; s++)
        for (int ranks = 1; ranks <= 4; ranks++) {
            dt_param_spec spec = {.name = "x", .rank = 2, .dim = {24, 12}, .split = splits[s]};
            dt_canonical c = {.spec = &spec, .rows = 24, .cols = 12};
            dt_megatron_part part[8];
            int count = 0, seen[24][12] = {{0}};
            dt_error err = {0};
            assert_ok(dt_megatron_cut(&c, ranks, 0, part, &count, &err), err);
            for (int i = 0; i < count; i++) {
                const dt_piece *p = &part[i].piece;
                assert_true(p->row + p->rows <= part[i].shape.dim[0] && p->cols <= part[i].shape.dim[1]);
                for (int64_t y = 0; y < p->rows; y++)
                    for (int64_t x = 0; x < p->cols; x++)
                        seen[p->to_row + y][p->to_col + x]++;
            }
            for (int i = 0; i < 24 * 12; i++)
                assert_int_equal(seen[i / 12][i % 12], 1);
        }
}

static void mapping__uneven_parts_are_refused(void **state)
{
    dt_param_spec spec = {.name = "decoder.w", .rank = 2, .dim = {10, 4}, .split = DT_SPLIT_GATED};
    dt_canonical c = {.spec = &spec, .rows = 10, .cols = 4};
    dt_megatron_part part[8];
    int count;
    dt_error err = {0};
    assert_fails(dt_megatron_cut(&c, 4, 0, part, &count, &err), DT_MISMATCH, err, "decoder.w");
}

static void mapping__spelling_is_local_or_te(void **state)
{
    char out[128];
    assert_true(dt_megatron_spell(
        out, sizeof out, "decoder.layers.3.self_attention.linear_qkv.layer_norm_weight", DT_SPELL_LOCAL));
    assert_string_equal(out, "decoder.layers.3.input_layernorm.weight");
    assert_true(dt_megatron_spell(out, sizeof out, "decoder.layers.3.mlp.linear_fc1.layer_norm_bias",
                                  DT_SPELL_LOCAL));
    assert_string_equal(out, "decoder.layers.3.pre_mlp_layernorm.bias");
    assert_true(dt_megatron_spell(out, sizeof out, "decoder.layers.3.mlp.linear_fc1.weight", DT_SPELL_LOCAL));
    assert_string_equal(out, "decoder.layers.3.mlp.linear_fc1.weight");
}

static void mapping__patterns_match_numbers_and_anything(void **state)
{
    assert_true(dt_names_fit("*rotary_emb.inv_freq", "model.layers.11.self_attn.rotary_emb.inv_freq"));
    assert_true(dt_names_fit("h.{}.attn.bias", "h.12.attn.bias"));
    assert_false(dt_names_fit("h.{}.attn.bias", "h.12.attn.c_attn.bias"));
    assert_false(dt_names_fit("h.{}.attn.bias", "h.x.attn.bias"));
    assert_true(dt_names_fit("*_extra_state*", "a._extra_state/shard_0_4"));
    assert_false(dt_names_fit("abc", "abcd"));
    assert_false(dt_names_fit("abcd", "abc"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mapping__reading_undoes_writing_for_every_family),
        cmocka_unit_test(mapping__every_name_row_is_used),
        cmocka_unit_test(mapping__tensor_parallel_parts_tile),
        cmocka_unit_test(mapping__uneven_parts_are_refused),
        cmocka_unit_test(mapping__spelling_is_local_or_te),
        cmocka_unit_test(mapping__patterns_match_numbers_and_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
