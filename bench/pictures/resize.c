/*
 * resize.c - seconds that one resize takes, for compare.py: resize FILTER ARITHMETIC IN_W IN_H OUT_W OUT_H REPEATS.
 */
#include <drivetrain/image.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static dt_image *made(int width, int height)
{
    size_t bytes = (size_t)width * (size_t)height * 3;
    uint8_t *pixels = malloc(bytes);
    dt_image *image = NULL;
    for (size_t i = 0; pixels && i < bytes; i++)
        pixels[i] = (uint8_t)(i * 2654435761u >> 13);
    if (pixels)
        dt_image_create(&image, pixels, width, height, 3, NULL);
    free(pixels);
    return image;
}

int main(int argc, char **argv)
{
    if (argc != 8)
        return 2;
    dt_image_resize_options o = {.filter = (dt_image_filter)atoi(argv[1]),
                                 .arithmetic = strcmp(argv[2], "torchvision") == 0 ? DT_IMAGE_TORCHVISION
                                                                                   : DT_IMAGE_PILLOW};
    int repeats = atoi(argv[7]);
    dt_image *image = made(atoi(argv[3]), atoi(argv[4])), *out;
    double best = 1e9;
    for (int i = 0; image && i < repeats; i++) {
        double start = now();
        if (dt_image_resize(&out, image, atoi(argv[5]), atoi(argv[6]), &o, NULL) != DT_OK)
            return 1;
        best = now() - start < best ? now() - start : best;
        dt_image_close(out);
    }
    dt_image_close(image);
    printf("%.9f\n", best);
    return 0;
}
