/*
 * digits.c - reads MNIST's idx files: a big-endian header (type, axes, sizes), then bytes; here packed by gzip.
 */
#include "digits.h"

#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 1 << 26, PICTURES = 0x803, LABELS = 0x801 };

static const float mean = 0.1307f,
                   deviation = 0.3081f; /* of the training digits, as the model's maker took them */

static uint8_t *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = file ? malloc(MAX_BYTES) : NULL;
    *bytes = data ? fread(data, 1, MAX_BYTES, file) : 0;
    if (file)
        fclose(file);
    return data;
}

static uint8_t *unpack(const uint8_t *packed, size_t packed_bytes, size_t *bytes)
{
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    uint8_t *data = malloc(MAX_BYTES);
    bool done =
        d && data &&
        libdeflate_gzip_decompress(d, packed, packed_bytes, data, MAX_BYTES, bytes) == LIBDEFLATE_SUCCESS;
    libdeflate_free_decompressor(d);
    if (!done) {
        free(data);
        return NULL;
    }
    return data;
}

static uint32_t number_at(const uint8_t *data, size_t index)
{
    const uint8_t *b = data + 4 * index;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* A whole idx file of `axes` sizes, checked against its length; NULL is told. */
static uint8_t *read_idx(const char *folder, const char *name, uint32_t type, int axes, uint32_t *size)
{
    char path[4096];
    size_t packed_bytes, bytes = 0;
    uint64_t expected = 1;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    uint8_t *packed = read_file(path, &packed_bytes);
    uint8_t *data = packed ? unpack(packed, packed_bytes, &bytes) : NULL;
    free(packed);
    bool fits = data && bytes >= 4 + 4 * (size_t)axes && number_at(data, 0) == type;
    for (int i = 0; fits && i < axes; i++) {
        size[i] = number_at(data, (size_t)i + 1);
        fits = size[i] > 0 && (expected *= size[i]) <= MAX_BYTES;
    }
    if (fits && bytes == 4 + 4 * (size_t)axes + expected)
        return data;
    fprintf(stderr, "%s: %s\n", path, packed_bytes ? "not the idx file of MNIST" : "cannot be read");
    free(data);
    return NULL;
}

bool digits_read(digits *d, const char *folder)
{
    uint32_t size[3] = {0}, labels = 0;
    *d = (digits){0};
    if (!(d->pictures = read_idx(folder, "t10k-images-idx3-ubyte.gz", PICTURES, 3, size)) ||
        !(d->labels = read_idx(folder, "t10k-labels-idx1-ubyte.gz", LABELS, 1, &labels)) ||
        labels != size[0]) {
        if (d->labels)
            fprintf(stderr, "%s: %u pictures, but %u labels\n", folder, size[0], labels);
        digits_free(d);
        return false;
    }
    d->count = labels;
    d->height = (int)size[1];
    d->width = (int)size[2];
    d->pixel = d->pictures + 16;
    d->label = d->labels + 8;
    return true;
}

void digits_free(digits *d)
{
    free(d->pictures);
    free(d->labels);
    *d = (digits){0};
}

float *digits_planes(const digits *d)
{
    size_t count = (size_t)d->count * (size_t)d->height * (size_t)d->width;
    float *plane = malloc(count * sizeof *plane);
    for (size_t i = 0; plane && i < count; i++)
        plane[i] = ((float)d->pixel[i] / 255.0f - mean) / deviation;
    return plane;
}
