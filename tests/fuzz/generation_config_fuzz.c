/*
 * generation_config_fuzz.c - any bytes as generation_config.json: an error, or options whose arrays can be read whole.
 */
#include "inference/generation_config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_ids(const int32_t *ids, int count)
{
    for (int i = 0; i < count; i++)
        if (ids[i] < 0)
            abort(); /* no id is negative */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    json_t *document = NULL;
    dt_arena *arena = dt_arena_create();
    if (arena && dt_json_parse(&document, (const char *)data, bytes, "input", NULL) == DT_OK &&
        dt_generation_config_read(document, arena, NULL, &o, NULL) == DT_OK) {
        check_ids(o.eos_ids, o.eos_count);
        check_ids(o.banned, o.banned_count);
        check_ids(o.begin_banned, o.begin_banned_count);
        for (int i = 0; i < o.bad_words_count; i++)
            check_ids(o.bad_words[i].tokens, (int)o.bad_words[i].count);
    }
    json_decref(document);
    dt_arena_destroy(arena);
    return 0;
}
