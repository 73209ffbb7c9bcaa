/*
 * checkpoint_fuzz.c - a folder of any files: an error, or a checkpoint that can be described and read. The first byte
 * chooses a kind of folder; then comes each of its files, three bytes of length before it. Files are written to a
 * folder of this process's own (TMPDIR; /dev/shm where there is none), since formats find them by name.
 */
#include "wrapped.h"

#include "base/output.h"

#include <drivetrain/checkpoint.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { FILES = 4, ELEMENTS = 1 << 16 };

static const char *const KINDS[][FILES] = {
    {"config.json", "model.safetensors"},
    {"config.json", "pytorch_model.bin"},
    {"config.json", "state.safetensors"},
    {"config.json", "model.safetensors.index.json", "a.safetensors", "b.safetensors"},
    {"mp_rank_00/model_optim_rng.pt"},
    {".metadata", "common.pt", "__0_0.distcp"},
    {"config.json", "pytorch_model.bin.index.json", "a.bin"},
    {"context/model.yaml", "weights/.metadata", "weights/__0_0.distcp", "weights/common.pt"},
    {"model.pt", "model.json"},
    {"config.json", "rank0.safetensors", "rank1.safetensors"},
    {"encoder/config.json", "encoder/rank0.safetensors", "decoder/config.json", "decoder/rank0.safetensors"},
    {"config.json", "model.bin", "shared_vocabulary.json"},
};

enum { KIND_COUNT = sizeof KINDS / sizeof KINDS[0] };

/* The next file's bytes; what is left when its length is too great. */
static size_t take(const uint8_t **data, size_t *left, const uint8_t **file)
{
    size_t bytes = *left < 3 ? 0 : (*data)[0] | (size_t)(*data)[1] << 8 | (size_t)(*data)[2] << 16;
    size_t head = *left < 3 ? *left : 3;
    *data += head, *left -= head;
    bytes = bytes < *left ? bytes : *left;
    *file = *data;
    *data += bytes, *left -= bytes;
    return bytes;
}

/* Mutate one file inside its bounds, or the whole input. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t limit, unsigned seed)
{
    const uint8_t *at = data + 1, *file[FILES];
    size_t left = bytes ? bytes - 1 : 0, length[FILES], count = 0;
    if (bytes < 8 || seed % 16 == 0)
        return LLVMFuzzerMutate(data, bytes, limit);
    for (; count < FILES && KINDS[data[0] % KIND_COUNT][count]; count++)
        length[count] = take(&at, &left, &file[count]);
    size_t chosen = seed / 16 % count, start = (size_t)(file[chosen] - data), tail = start + length[chosen];
    uint8_t *copy = malloc(limit + WRAPPED_SLACK);
    if (!copy || !length[chosen])
        goto plain;
    memcpy(copy, file[chosen], length[chosen]);
    size_t room = limit - (bytes - length[chosen]);
    size_t now = mutate_wrapped(copy, length[chosen], room, seed / 64);
    if (now > room || now >= 1 << 24)
        goto plain;
    memmove(data + start + now, data + tail, bytes - tail);
    memcpy(data + start, copy, now);
    for (int i = 0; i < 3; i++)
        data[start - 3 + (size_t)i] = (uint8_t)(now >> (8 * i));
    free(copy);
    return bytes - length[chosen] + now;
plain:
    free(copy);
    return LLVMFuzzerMutate(data, bytes, limit);
}

static void write_file(const char *folder, const char *name, const uint8_t *data, size_t bytes)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0)
        abort();
}

static const char *folder_of(int kind)
{
    static char folder[KIND_COUNT][256];
    char path[512];
    const char *parent = getenv("TMPDIR") ? getenv("TMPDIR") : "/dev/shm";
    if (*folder[kind])
        return folder[kind];
    snprintf(folder[kind], sizeof folder[kind], "%s/drivetrain-fuzz-XXXXXX", parent);
    if (!mkdtemp(folder[kind]))
        abort();
    for (int i = 0; i < FILES && KINDS[kind][i]; i++) {
        const char *slash = strchr(KINDS[kind][i], '/');
        snprintf(path, sizeof path, "%s/%.*s", folder[kind], slash ? (int)(slash - KINDS[kind][i]) : 0,
                 KINDS[kind][i]);
        if (slash)
            mkdir(path, 0700); /* again for its second file: it exists */
    }
    return folder[kind];
}

static void remove_folders(void)
{
    for (int kind = 0; kind < KIND_COUNT; kind++)
        dt_remove_tree(folder_of(kind), NULL);
}

static void read_tensors(dt_checkpoint *c)
{
    static float out[ELEMENTS];
    dt_checkpoint_tensor t;
    for (int i = 0; i < 64 && dt_checkpoint_tensor_at(c, i, &t); i++) {
        int64_t dim[5];
        int rank;
        if (!t.canonical || dt_checkpoint_shape(c, t.canonical, &rank, dim, NULL, NULL) != DT_OK)
            continue;
        int64_t columns = 1;
        for (int axis = 1; axis < rank; axis++)
            columns *= dim[axis];
        if (dim[0] <= ELEMENTS && columns <= ELEMENTS / dim[0])
            dt_checkpoint_read(c, t.canonical, 0, dim[0], DT_F32, out, NULL);
    }
    dt_checkpoint_check(c, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static bool cleans;
    dt_checkpoint *c = NULL;
    dt_error err = {0};
    if (bytes < 2)
        return 0;
    if (!cleans)
        atexit(remove_folders);
    cleans = true;
    int kind = data[0] % KIND_COUNT;
    const char *folder = folder_of(kind);
    data++, bytes--;
    for (int i = 0; i < FILES && KINDS[kind][i]; i++) {
        const uint8_t *file;
        size_t length = take(&data, &bytes, &file);
        write_file(folder, KINDS[kind][i], file, length);
    }
    char path[512]; /* vit-pytorch's is a file, not a folder */
    snprintf(path, sizeof path, "%s%s", folder, strcmp(KINDS[kind][0], "model.pt") == 0 ? "/model.pt" : "");
    if (dt_checkpoint_open(&c, path, NULL, &err) == DT_OK)
        read_tensors(c);
    else if (c || !err.line_count)
        abort(); /* an error has a story and no checkpoint */
    dt_checkpoint_close(c);
    return 0;
}
