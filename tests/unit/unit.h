/*
 * unit.h - what every unit test needs: cmocka with its prerequisites, errors read aloud, a folder to write in.
 */
#ifndef DT_UNIT_H
#define DT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/output.h"

#include <drivetrain/status.h>

/* The call must succeed; otherwise the test fails with the story. `err` is the dt_error that the call fills. */
#define assert_ok(call, err)                                                                                 \
    do {                                                                                                     \
        if ((call) != DT_OK) {                                                                               \
            char story_[DT_ERROR_TEXT_BYTES];                                                                \
            dt_error_format(&(err), story_, sizeof story_);                                                  \
            fail_msg("%s\n%s", #call, story_);                                                               \
        }                                                                                                    \
    } while (0)

/* The call must fail with `status`, and its story must mention `words`. */
#define assert_fails(call, expected_status, err, words)                                                      \
    do {                                                                                                     \
        char story_[DT_ERROR_TEXT_BYTES];                                                                    \
        dt_error_clear(&(err));                                                                              \
        dt_status found_ = (call);                                                                           \
        dt_error_format(&(err), story_, sizeof story_);                                                      \
        if (found_ != (expected_status) || !strstr(story_, (words)))                                         \
            fail_msg("%s: expected \"%s\" about \"%s\", found \"%s\": %s", #call,                            \
                     dt_status_text(expected_status), (words), dt_status_text(found_), story_);              \
    } while (0)

/* cmocka set-up and tear-down: *state is the path of a new, empty folder. */
static inline int make_folder(void **state)
{
    const char *parent = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/drivetrain-test-XXXXXX", parent ? parent : "/tmp") < 0 || !mkdtemp(path))
        return -1;
    *state = path;
    return 0;
}

static inline int remove_folder(void **state)
{
    dt_status status = dt_remove_tree(*state, NULL);
    free(*state);
    return status == DT_OK ? 0 : -1;
}

/* FOLDER/NAME in a buffer that lives as long as the enclosing block. */
#define in_folder(folder, name) joined((char[4096]){0}, (folder), (name))

static inline const char *joined(char buffer[4096], const char *folder, const char *name)
{
    snprintf(buffer, 4096, "%s/%s", folder, name);
    return buffer;
}

static inline void put_file(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static inline void assert_file_holds(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *found = malloc(bytes + 1);
    assert_non_null(found);
    size_t length = fread(found, 1, bytes + 1, file);
    fclose(file);
    assert_int_equal(length, bytes);
    assert_memory_equal(found, data, bytes);
    free(found);
}

#endif
