/*
 * cpu_rig.h - what the tests of the cpu backend share: its instruction sets, and operands of random sizes.
 */
#ifndef DT_UNIT_CPU_RIG_H
#define DT_UNIT_CPU_RIG_H

#include "backend/op_rig.h"

/* Instruction sets of this machine, NULL-terminated. */
const char *const *cpu_isas(void);

/* Random numbers for sizes: the same sequence in every run. */
typedef struct cpu_dice {
    uint32_t state;
} cpu_dice;
int64_t cpu_roll(cpu_dice *dice, int64_t low, int64_t high); /* uniform in [low, high] */
int64_t cpu_size(cpu_dice *dice, int64_t most); /* in [1, most], small ones as likely as large ones */

float *cpu_floats(cpu_dice *dice, int64_t n, float size); /* in (-size, size), no short fractions */
int32_t *cpu_ids(cpu_dice *dice, int64_t n, int64_t low, int64_t limit);

void cpu_free_operands(rig_case *c); /* all but states and lengths that the caller keeps */

/* Run `c` on the cpu backend and on the reference; every output agrees to `tolerance` of its largest value. */
void cpu_agrees(rig_case *c, const char *isa, double tolerance);

/* The first `n` elements of output 0 for rows [row, row + rows) of a case whose axis-bound operands have `total` rows. */
rig_case cpu_slice(const rig_case *c, int64_t row, int64_t rows);

#endif
