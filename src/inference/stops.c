/*
 * stops.c - see stops.h. What ends there is the caller's: text.c's answers, the conversation in a terminal.
 */
#include "inference/stops.h"

#include <string.h>

int64_t dt_stops_find(dt_stops stops, const char *text, size_t bytes, size_t from)
{
    int64_t first = -1;
    for (int i = 0; i < stops.count; i++) {
        size_t length = strlen(stops.text[i]), start = from > length ? from - length : 0;
        const char *found =
            length && bytes ? memmem(text + start, bytes - start, stops.text[i], length) : NULL;
        if (found && (first < 0 || found - text < first))
            first = found - text;
    }
    return first;
}

size_t dt_stops_held(dt_stops stops, const char *text, size_t bytes)
{
    size_t held = 0;
    for (int i = 0; i < stops.count; i++)
        for (size_t n = strlen(stops.text[i]); n > held; n--)
            if (n <= bytes && memcmp(text + bytes - n, stops.text[i], n) == 0)
                held = n;
    return held;
}
