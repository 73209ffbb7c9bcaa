/*
 * digits.h - the ten thousand test digits of MNIST, from idx files packed by gzip.
 */
#ifndef DIGITS_H
#define DIGITS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct digits {
    int64_t count;
    int height, width;
    uint8_t *pictures, *labels; /* whole files as unpacked; owned */
    const uint8_t *pixel;       /* [count, height, width], in pictures */
    const uint8_t *label;       /* [count], in labels */
} digits;

/* Read FOLDER/t10k-images-idx3-ubyte.gz and FOLDER/t10k-labels-idx1-ubyte.gz. false: told on stderr. */
bool digits_read(digits *out, const char *folder);
void digits_free(digits *d);

/* The pixels as the model was trained on them, [count, height, width]; the caller's. NULL when memory is short. */
float *digits_planes(const digits *d);

#endif
