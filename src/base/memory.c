/*
 * memory.c - the caller's side of memory that the library handed over.
 */
#include <drivetrain/memory.h>

#include <stdlib.h>

void dt_free(void *memory)
{
    free(memory);
}
