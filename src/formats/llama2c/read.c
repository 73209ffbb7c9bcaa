/*
 * read.c (llama2c) - lays a llama2.c file out: where each tensor lies follows from seven numbers. Names are ours; what
 * they mean is names.def's.
 *
 *   version 0   7 × i32, then tensors; a negative vocabulary: the output has a table of its own
 *   version 1   "24ka" · i32 version · 7 × i32 · u8 shared, padded to 256 bytes, then tensors in another order
 *
 * Peer  llama2.c export.py (legacy_export, version1_export), run.c. All numbers are little-endian.
 */
#include "formats/llama2c/llama2c.h"

#include "base/fail.h"
#include "formats/names.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { HEADER_NUMBERS = 7, PADDED_HEADER = 256, NAME_BYTES = 96 };

static const uint32_t magic = 0x616b3432; /* "ak42" */

typedef struct header {
    int64_t hidden, ffn, layers, heads, groups, vocab, length;
    uint32_t version;
    bool shared;
    size_t bytes;
} header;

/* One tensor, or one of each layer. */
typedef struct part {
    const char *name;   /* "{}" is the layer's number */
    int64_t rows, cols; /* cols 0: a vector */
    bool layered;
} part;

static uint32_t number_at(const uint8_t *data, size_t index)
{
    const uint8_t *b = data + 4 * index;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static bool plausible(int64_t n, int64_t most)
{
    return n >= 1 && n <= most;
}

static const char *unlikely(const header *h)
{
    enum { MOST_SIZE = 1 << 20, MOST_LENGTH = 1 << 24, MOST_VOCAB = 1 << 24 };
    if (!plausible(h->hidden, MOST_SIZE))
        return "dim";
    if (!plausible(h->ffn, MOST_SIZE))
        return "hidden_dim";
    if (!plausible(h->layers, DT_MAX_LAYERS))
        return "n_layers";
    if (!plausible(h->heads, h->hidden) || h->hidden % h->heads || h->hidden / h->heads % 2)
        return "n_heads";
    if (!plausible(h->groups, h->heads) || h->heads % h->groups)
        return "n_kv_heads";
    if (!plausible(h->vocab, MOST_VOCAB))
        return "vocab_size";
    return plausible(h->length, MOST_LENGTH) ? NULL : "max_seq_len";
}

static header read_header(const uint8_t *data, size_t bytes)
{
    header h = {.bytes = HEADER_NUMBERS * 4, .shared = true};
    size_t at = 0;
    if (bytes >= PADDED_HEADER && number_at(data, 0) == magic) {
        h.version = number_at(data, 1);
        h.bytes = PADDED_HEADER;
        at = 2;
    }
    if (bytes < h.bytes)
        return (header){0};
    int64_t *const field[HEADER_NUMBERS] = {&h.hidden, &h.ffn,   &h.layers, &h.heads,
                                            &h.groups, &h.vocab, &h.length};
    for (size_t i = 0; i < HEADER_NUMBERS; i++)
        *field[i] = (int32_t)number_at(data, at + i);
    if (at)
        h.shared = data[4 * (at + HEADER_NUMBERS)] != 0;
    else if (h.vocab < 0) {
        h.vocab = -h.vocab;
        h.shared = false;
    }
    return h;
}

bool dt_llama2c_header(const uint8_t *data, size_t bytes)
{
    header h = read_header(data, bytes);
    return !unlikely(&h) || h.version > 1;
}

/* ---- the order of tensors ---- */

enum { PARTS = 14 };

static int list_parts(const header *h, part out[PARTS])
{
    int64_t half = h->hidden / h->heads / 2, narrow = h->hidden / h->heads * h->groups;
    const part words = {"tok_embeddings.weight", h->vocab, h->hidden, false},
               norm1 = {"layers.{}.attention_norm.weight", h->hidden, 0, true},
               q = {"layers.{}.attention.wq.weight", h->hidden, h->hidden, true},
               k = {"layers.{}.attention.wk.weight", narrow, h->hidden, true},
               v = {"layers.{}.attention.wv.weight", narrow, h->hidden, true},
               o = {"layers.{}.attention.wo.weight", h->hidden, h->hidden, true},
               norm2 = {"layers.{}.ffn_norm.weight", h->hidden, 0, true},
               w1 = {"layers.{}.feed_forward.w1.weight", h->ffn, h->hidden, true},
               w2 = {"layers.{}.feed_forward.w2.weight", h->hidden, h->ffn, true},
               w3 = {"layers.{}.feed_forward.w3.weight", h->ffn, h->hidden, true},
               norm = {"norm.weight", h->hidden, 0, false}, cosines = {"freqs_cos", h->length, half, false},
               sines = {"freqs_sin", h->length, half, false},
               head = {"output.weight", h->vocab, h->hidden, false};
    const part first[] = {words, norm1, q, k, v, o, norm2, w1, w2, w3, norm, cosines, sines, head};
    const part second[] = {norm1, norm2, norm, words, q, k, v, o, w1, w2, w3, head};
    int count = (int)(h->version ? sizeof second / sizeof second[0] : sizeof first / sizeof first[0]);
    memcpy(out, h->version ? second : first, (size_t)count * sizeof *out);
    return count - h->shared;
}

/* ---- tensors ---- */

static dt_status add_tensor(dt_stored_set *set, const dt_map *map, const part *p, int64_t layer,
                            uint64_t offset, dt_error *err)
{
    char name[NAME_BYTES];
    dt_stored_box box = {.map = map, .file_offset = offset, .stride = {p->cols ? p->cols : 1, 1}};
    dt_stored_tensor tensor = {.name = name, .dtype = DT_F32, .box_count = 1, .box = &box};
    if (!dt_names_fill(name, sizeof name, p->name, &layer, 1))
        return dt_fail(err, DT_INTERNAL, "name pattern \"%s\" does not fit", p->name);
    tensor.shape = box.shape = (dt_shape){.rank = p->cols ? 2 : 1, .dim = {p->rows, p->cols}};
    return dt_stored_set_add(set, &tensor, err);
}

static int64_t part_bytes(const part *p)
{
    return p->rows * (p->cols ? p->cols : 1) * 4; /* below 2^46: the header's numbers are bounded */
}

static dt_status check_size(const header *h, const part *list, int count, const dt_map *map, dt_error *err)
{
    uint64_t bytes = h->bytes;
    for (int i = 0; i < count; i++)
        bytes += (uint64_t)part_bytes(&list[i]) * (uint64_t)(list[i].layered ? h->layers : 1);
    if (bytes == map->size)
        return DT_OK;
    return dt_fail(err, DT_FORMAT,
                   "%s has %zu bytes; its header (dim %" PRId64 ", hidden_dim %" PRId64 ", n_layers %" PRId64
                   ", n_heads %" PRId64 ", n_kv_heads %" PRId64 ", vocab_size %" PRId64
                   ", max_seq_len %" PRId64 ") makes %" PRIu64,
                   map->path, map->size, h->hidden, h->ffn, h->layers, h->heads, h->groups, h->vocab,
                   h->length, bytes);
}

static void configure(const header *h, dt_model_config *c)
{
    dt_config_init(c);
    snprintf(c->model_type, sizeof c->model_type, "gpt");
    snprintf(c->family, sizeof c->family, "llama");
    snprintf(c->written_by, sizeof c->written_by, "llama2.c");
    c->hidden_size = h->hidden;
    c->ffn_hidden_size = h->ffn;
    c->num_layers = h->layers;
    c->num_attention_heads = h->heads;
    c->num_query_groups = h->groups;
    c->kv_channels = h->hidden / h->heads;
    c->vocab_size = h->vocab;
    c->max_sequence_length = h->length;
    c->normalization = DT_NORM_RMSNORM;
    c->layernorm_epsilon = 1e-5;
    c->add_bias_linear = false;
    c->gated_linear_unit = true;
    c->activation_func = DT_ACT_SILU;
    c->position_embedding_type = DT_POSITION_ROPE;
    c->share_embeddings_and_output_weights = h->shared;
    c->bos_token_id = 1;
    c->eos_token_ids[c->eos_count++] = 2;
    c->eos_token_ids[c->eos_count++] = 1; /* texts are told apart by the beginning of the next one */
}

dt_status dt_llama2c_read(dt_stored_set *set, const dt_map *map, dt_model_config *config, dt_error *err)
{
    part list[PARTS];
    header h = read_header(map->data, map->size);
    if (h.version > 1) {
        dt_fail(err, DT_UNSUPPORTED, "%s has version %" PRIu32 "; 0 and 1 are read", map->path, h.version);
        dt_error_try(err, "llama2.c's export.py --version 1, which keeps the weights in f32");
        return DT_UNSUPPORTED;
    }
    const char *wrong = unlikely(&h);
    if (wrong)
        return dt_fail(err, DT_FORMAT, "%s: \"%s\" of its header is no size that a model can have", map->path,
                       wrong);
    int count = list_parts(&h, list);
    uint64_t at = h.bytes;
    DT_PASS(check_size(&h, list, count, map, err));
    for (int i = 0; i < count; i++)
        for (int64_t layer = 0; layer < (list[i].layered ? h.layers : 1); layer++) {
            DT_PASS(add_tensor(set, map, &list[i], layer, at, err));
            at += (uint64_t)part_bytes(&list[i]);
        }
    configure(&h, config);
    return DT_OK;
}
