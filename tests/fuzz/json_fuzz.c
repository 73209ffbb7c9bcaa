/* json_fuzz.c - dt_json_parse on any bytes: no crash, and what it accepts can be written and read again. */
#include "base/json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_error err = {0};
    json_t *json = NULL;
    dt_status status = dt_json_parse(&json, (const char *)data, bytes, "input", &err);
    assert((status == DT_OK) == (json != NULL));
    assert(status == DT_OK || err.line_count > 0);
    if (status != DT_OK)
        return 0;
    char *text = json_dumps(json, JSON_ENCODE_ANY);
    json_t *again = NULL;
    assert(text && dt_json_parse(&again, text, strlen(text), "own text", &err) == DT_OK);
    assert(json_equal(json, again));
    free(text);
    json_decref(again);
    json_decref(json);
    return 0;
}
