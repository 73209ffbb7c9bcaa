/*
 * pick.c - lets ctest run one cmocka test of a program: the one that DT_TEST names.
 *
 * Linked into every test program; runs before main, so that no test file needs to know of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

__attribute__((constructor)) static void pick_test(void)
{
    const char *name = getenv("DT_TEST");
    if (name)
        cmocka_set_test_filter(name);
}
