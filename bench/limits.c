/*
 * limits.c - peak arithmetic from registers and read bandwidth, with the widest instructions the machine has.
 *
 * Twelve independent sums hide the latency of a multiply-add; they are written in assembly, since a compiler sees that
 * nobody reads them. Off x86-64 there are no peaks, only the read bandwidth.
 */
#include "limits.h"

#include <stdint.h>
#include <time.h>

double bench_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#if defined(__x86_64__)
#include <immintrin.h>

enum { SUMS = 12, TURNS = 100000 };

#define STEP(op, sum) __asm__ volatile(op " %1, %2, %0" : "+v"(sum) : "v"(a), "v"(b))
#define SPIN(name, features, type, zero, op)                                                                 \
    __attribute__((target(features))) static void name(void)                                                 \
    {                                                                                                        \
        type a = zero, b = zero, c = zero, d = zero, e = zero, f = zero, g = zero;                           \
        type h = zero, i = zero, j = zero, k = zero, l = zero, m = zero, n = zero;                           \
        for (int turn = 0; turn < TURNS; turn++) {                                                           \
            STEP(op, c);                                                                                     \
            STEP(op, d);                                                                                     \
            STEP(op, e);                                                                                     \
            STEP(op, f);                                                                                     \
            STEP(op, g);                                                                                     \
            STEP(op, h);                                                                                     \
            STEP(op, i);                                                                                     \
            STEP(op, j);                                                                                     \
            STEP(op, k);                                                                                     \
            STEP(op, l);                                                                                     \
            STEP(op, m);                                                                                     \
            STEP(op, n);                                                                                     \
        }                                                                                                    \
    }
SPIN(spin_f32_512, "avx512f", __m512, _mm512_setzero_ps(), "vfmadd231ps")
SPIN(spin_f32_256, "avx2,fma", __m256, _mm256_setzero_ps(), "vfmadd231ps")
SPIN(spin_bf16, "avx512f", __m512, _mm512_setzero_ps(), "vdpbf16ps")
SPIN(spin_int8, "avx512f", __m512i, _mm512_setzero_si512(), "vpdpbusd")

static double rate(void (*spin)(void), double work, double seconds)
{
    double best = 0, end = bench_seconds() + seconds;
    do {
        double start = bench_seconds();
        spin();
        double now = work * SUMS * TURNS / (bench_seconds() - start);
        best = now > best ? now : best;
    } while (bench_seconds() < end);
    return best;
}

double bench_peak_f32(double seconds)
{
    if (__builtin_cpu_supports("avx512f"))
        return rate(spin_f32_512, 32, seconds);
    return __builtin_cpu_supports("avx2") ? rate(spin_f32_256, 16, seconds) : 0;
}

double bench_peak_bf16(double seconds)
{
    return __builtin_cpu_supports("avx512bf16") ? rate(spin_bf16, 64, seconds) : 0;
}

double bench_peak_int8(double seconds)
{
    return __builtin_cpu_supports("avx512vnni") ? rate(spin_int8, 128, seconds) : 0;
}

__attribute__((target("avx2"))) static void read_256(const void *data, size_t bytes)
{
    const __m256i *p = data, *end = p + bytes / sizeof *p;
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (; p + 4 <= end; p += 4) {
        a = _mm256_xor_si256(a, p[0]), b = _mm256_xor_si256(b, p[1]);
        c = _mm256_xor_si256(c, p[2]), d = _mm256_xor_si256(d, p[3]);
    }
    __asm__ volatile("" ::"x"(a), "x"(b), "x"(c), "x"(d));
}

__attribute__((target("avx512f"))) static void read_512(const void *data, size_t bytes)
{
    const __m512i *p = data, *end = p + bytes / sizeof *p;
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    for (; p + 4 <= end; p += 4) {
        a = _mm512_xor_si512(a, p[0]), b = _mm512_xor_si512(b, p[1]);
        c = _mm512_xor_si512(c, p[2]), d = _mm512_xor_si512(d, p[3]);
    }
    __asm__ volatile("" ::"v"(a), "v"(b), "v"(c), "v"(d));
}

static void read_all(const void *data, size_t bytes)
{
    if (__builtin_cpu_supports("avx512f"))
        read_512(data, bytes);
    else if (__builtin_cpu_supports("avx2"))
        read_256(data, bytes);
    else
        for (size_t i = 0; i < bytes / 8; i++)
            __asm__ volatile("" ::"r"(((const uint64_t *)data)[i]));
}
#else
double bench_peak_f32(double seconds)
{
    return 0 * seconds;
}

double bench_peak_bf16(double seconds)
{
    return 0 * seconds;
}

double bench_peak_int8(double seconds)
{
    return 0 * seconds;
}

static void read_all(const void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes / 8; i++)
        __asm__ volatile("" ::"r"(((const uint64_t *)data)[i]));
}
#endif

double bench_read(const void *data, size_t bytes, double seconds)
{
    double start = bench_seconds(), now = start, turns = 0;
    for (; now - start < seconds; now = bench_seconds(), turns++)
        read_all(data, bytes);
    return turns * (double)bytes / (now - start);
}
