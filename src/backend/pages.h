/*
 * pages.h - large blocks straight from the system: zeroed, page-aligned, and not resident until touched.
 */
#ifndef DT_BACKEND_PAGES_H
#define DT_BACKEND_PAGES_H

#include <stdbool.h>
#include <stddef.h>

/* NULL when memory is short, and for 0 bytes. `all_used`: every byte will be written, so large pages pay. */
void *dt_pages_take(size_t bytes, bool all_used);
void dt_pages_give(void *pages, size_t bytes); /* NULL is fine */

#endif
