/*
 * targets.c - the table of targets (targets.def) and what can be asked of it.
 */
#include "base/fail.h"
#include "base/text.h"

#include <drivetrain/export.h>

#include <string.h>

static const dt_target targets[] = {
#define TARGET(name, releases, types, options, about) {name, releases, types, options, about},
#include "export/targets.def"
#undef TARGET
};

enum { TARGETS = sizeof targets / sizeof targets[0] };

const dt_target *dt_target_at(int index)
{
    return index >= 0 && index < TARGETS ? &targets[index] : NULL;
}

dt_status dt_target_find(const char *name, const dt_target **out, dt_error *err)
{
    const char *names[TARGETS];
    dt_text list = {0};
    for (int i = 0; i < TARGETS; i++) {
        if (strcmp(targets[i].name, name) == 0) {
            *out = &targets[i];
            return DT_OK;
        }
        names[i] = targets[i].name;
    }
    for (int i = 0; i < TARGETS; i++)
        dt_text_printf(&list, "%s%s", i ? ", " : "", names[i]);
    const char *near = dt_nearest(name, names, TARGETS);
    dt_fail(err, DT_UNSUPPORTED, "no target \"%s\"; drivetrain writes %s%s%s%s", name,
            list.data ? list.data : "", near ? " (nearest: " : "", near ? near : "", near ? ")" : "");
    dt_text_free(&list);
    return DT_UNSUPPORTED;
}

bool dt_target_takes(const char *words, const char *word)
{
    size_t bytes = strlen(word);
    for (const char *at = words; bytes && (at = strstr(at, word)); at += bytes)
        if ((at == words || at[-1] == ' ') && (at[bytes] == ' ' || at[bytes] == 0))
            return true;
    return false;
}
