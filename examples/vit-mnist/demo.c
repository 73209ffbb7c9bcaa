/*
 * demo.c - a trained vision transformer reads ten thousand digits: how many it gets right, how fast, and a picture of
 * those it gets wrong. Library use from end to end: open a model, pixels in, logits out, a PNG written.
 *
 *     vit-mnist MODEL.pt FOLDER MISTAKES.png
 */
#include "digits.h"

#include <drivetrain/classify.h>
#include <drivetrain/image.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CLASSES = 10, COLUMNS = 20, ZOOM = 2, DOT = 2, MARGIN = 6, CAPTION = 5 * DOT + 8 };

static int say(const dt_error *err)
{
    char text[DT_ERROR_TEXT_BYTES];
    dt_error_format(err, text, sizeof text);
    fprintf(stderr, "vit-mnist: %s\n", text);
    return 1;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- reading the digits ---- */

static int best(const float *logits)
{
    int at = 0;
    for (int i = 1; i < CLASSES; i++)
        at = logits[i] > logits[at] ? i : at;
    return at;
}

/* Logits [count, CLASSES] of all digits, the caller's; NULL with the story in err. */
static float *classify(dt_model *model, const digits *d, double *took, dt_error *err)
{
    size_t count = (size_t)d->count, pixels = (size_t)d->height * (size_t)d->width;
    float *plane = digits_planes(d), *logits = malloc(count * CLASSES * sizeof *logits);
    dt_classify_input *in = malloc(count * sizeof *in);
    dt_status status = plane && logits && in ? DT_OK : DT_NO_MEMORY;
    for (size_t i = 0; status == DT_OK && i < count; i++)
        in[i] = (dt_classify_input){plane + i * pixels, d->height, d->width};
    if (status == DT_OK) /* the first call packs the weights */
        status = dt_classify(model, 1, in, NULL, logits, CLASSES, err);
    double start = seconds();
    if (status == DT_OK)
        status = dt_classify(model, count, in, NULL, logits, count * CLASSES, err);
    *took = seconds() - start;
    free(plane);
    free(in);
    if (status == DT_OK)
        return logits;
    free(logits);
    return NULL;
}

/* ---- the contact sheet ---- */

typedef struct mistake {
    int64_t digit;
    int label, guess;
} mistake;

static int by_label(const void *a, const void *b)
{
    const mistake *x = a, *y = b;
    int order = x->label != y->label ? x->label - y->label : x->guess - y->guess;
    return order ? order : (x->digit > y->digit) - (x->digit < y->digit);
}

typedef struct sheet {
    uint8_t *rgb;
    int width, height;
} sheet;

static void fill(sheet *s, int x, int y, int size, const uint8_t rgb[3])
{
    for (int row = y; row < y + size; row++)
        for (int column = x; column < x + size; column++)
            memcpy(s->rgb + 3 * ((size_t)row * (size_t)s->width + (size_t)column), rgb, 3);
}

/* A letter of 3 x 5 dots: 0 to 9, and an arrow. */
static void letter(sheet *s, int x, int y, int which, const uint8_t rgb[3])
{
    static const char dots[CLASSES + 1][6] = {"75557", "26227", "71747", "71717", "55711", "74717",
                                              "74757", "71222", "75757", "75717", "42124"};
    for (int row = 0; row < 5; row++)
        for (int column = 0; column < 3; column++)
            if ((dots[which][row] - '0') >> (2 - column) & 1)
                fill(s, x + column * DOT, y + row * DOT, DOT, rgb);
}

/* The digit, and below it what it is and what the model took it for. */
static void draw(sheet *s, int x, int y, const digits *d, const mistake *m)
{
    static const uint8_t green[] = {110, 220, 120}, grey[] = {130, 130, 130}, red[] = {250, 110, 100};
    const uint8_t *pixel = d->pixel + m->digit * d->height * d->width;
    for (int row = 0; row < d->height; row++)
        for (int column = 0; column < d->width; column++, pixel++)
            fill(s, x + column * ZOOM, y + row * ZOOM, ZOOM, (const uint8_t[]){*pixel, *pixel, *pixel});
    int text = x + d->width * ZOOM / 2 - 11 * DOT / 2, line = y + d->height * ZOOM + 4;
    letter(s, text, line, m->label, green);
    letter(s, text + 4 * DOT, line, CLASSES, grey);
    letter(s, text + 8 * DOT, line, m->guess, red);
}

static dt_status draw_sheet(const char *path, const digits *d, const mistake *list, int count, dt_error *err)
{
    static const uint8_t background[] = {32, 34, 40};
    int step_x = d->width * ZOOM + MARGIN, step_y = d->height * ZOOM + CAPTION + MARGIN;
    int rows = count ? (count + COLUMNS - 1) / COLUMNS : 1;
    sheet s = {.width = COLUMNS * step_x + MARGIN, .height = rows * step_y + MARGIN};
    dt_image *image = NULL;
    if (!(s.rgb = malloc(3 * (size_t)s.width * (size_t)s.height)))
        return DT_NO_MEMORY;
    for (size_t i = 0; i < (size_t)s.width * (size_t)s.height; i++)
        memcpy(s.rgb + 3 * i, background, 3);
    for (int i = 0; i < count; i++)
        draw(&s, MARGIN + i % COLUMNS * step_x, MARGIN + i / COLUMNS * step_y, d, &list[i]);
    dt_status status = dt_image_create(&image, s.rgb, s.width, s.height, 3, err);
    if (status == DT_OK)
        status = dt_image_save_png(image, path, true, err);
    dt_image_close(image);
    free(s.rgb);
    return status;
}

/* ---- the report ---- */

static void report(const digits *d, int wrong, const int confused[CLASSES][CLASSES], double took)
{
    printf("%lld digits, %lld right: %.2f %%\n", (long long)d->count, (long long)(d->count - wrong),
           100.0 * (double)(d->count - wrong) / (double)d->count);
    printf("%.0f pictures a second (%.2f s)\n", (double)d->count / took, took);
    printf("\nrow: what it is; column: what the model says\n   ");
    for (int guess = 0; guess < CLASSES; guess++)
        printf("%6d", guess);
    for (int label = 0; label < CLASSES; label++) {
        printf("\n%3d", label);
        for (int guess = 0; guess < CLASSES; guess++)
            printf(confused[label][guess] ? "%6d" : "     .", confused[label][guess]);
    }
    printf("\n\n");
}

static int run(dt_model *model, const digits *d, const char *sheet_path)
{
    dt_error err = {0};
    double took;
    int confused[CLASSES][CLASSES] = {{0}}, wrong = 0;
    mistake *list = malloc((size_t)d->count * sizeof *list);
    float *logits = classify(model, d, &took, &err);
    for (int64_t i = 0; list && logits && i < d->count; i++) {
        int guess = best(logits + i * CLASSES), label = d->label[i] % CLASSES;
        confused[label][guess]++;
        if (guess != label)
            list[wrong++] = (mistake){i, label, guess};
    }
    int failed = !list || !logits;
    if (!failed) {
        report(d, wrong, confused, took);
        qsort(list, (size_t)wrong, sizeof *list, by_label);
        failed = draw_sheet(sheet_path, d, list, wrong, &err) != DT_OK;
    }
    if (!failed)
        printf("%d mistakes, each with what it is > what the model says: %s\n", wrong, sheet_path);
    free(logits);
    free(list);
    return failed ? say(&err) : 0;
}

int main(int argc, char **argv)
{
    dt_error err = {0};
    dt_model *model = NULL;
    digits d;
    if (argc != 4) {
        fprintf(stderr, "usage: vit-mnist MODEL.pt FOLDER MISTAKES.png\n");
        return 2;
    }
    if (dt_model_open(&model, argv[1], NULL, &err) != DT_OK)
        return say(&err);
    if (dt_model_get_config(model)->num_classes != CLASSES) {
        fprintf(stderr, "vit-mnist: %s does not tell ten digits apart\n", argv[1]);
        dt_model_close(model);
        return 1;
    }
    int failed = 1;
    if (digits_read(&d, argv[2])) {
        failed = run(model, &d, argv[3]);
        digits_free(&d);
    }
    dt_model_close(model);
    return failed;
}
