/*
 * pages.c - mmap for blocks that live long and may never be touched in full.
 *
 * A plan is made for capacities and a run uses what its counts need; pages beyond that stay with the system, which
 * malloc would also do, but without the promise. Accounting is left to the owners.
 */
#define _DEFAULT_SOURCE
#include "backend/pages.h"

#include <sys/mman.h>

void *dt_pages_take(size_t bytes, bool all_used)
{
    if (bytes == 0)
        return NULL;
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (all_used)
        madvise(pages, bytes, MADV_HUGEPAGE); /* a wish: failure costs speed only */
#else
    (void)all_used;
#endif
    return pages;
}

void dt_pages_give(void *pages, size_t bytes)
{
    if (pages != NULL)
        munmap(pages, bytes);
}
