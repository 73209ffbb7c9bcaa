/**
 * memory.h - giving back what drivetrain handed over.
 *
 * Where a call's manual says "freed with dt_free", its memory is one block that the caller owns.
 */
#ifndef DRIVETRAIN_MEMORY_H
#define DRIVETRAIN_MEMORY_H

#ifdef __cplusplus
extern "C" {
#endif

/** Free memory that a drivetrain call handed over. NULL is fine. */
void dt_free(void *memory);

#ifdef __cplusplus
}
#endif
#endif
