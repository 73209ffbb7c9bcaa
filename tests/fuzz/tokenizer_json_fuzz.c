/* tokenizer_json_fuzz.c - any JSON as tokenizer.json: refused with a story, or a tokenizer that holds its promises. */
#include "tokenizer_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_error err = {0};
    json_t *json = NULL;
    if (dt_json_parse(&json, (const char *)data, bytes, "input", &err) != DT_OK)
        return 0;
    dt_tokenizer *t = dt_tokenizer_blank();
    dt_status status = dt_tokenizer_read_json(t, json, &err);
    if (status == DT_OK)
        status = dt_added_finish(t, &err);
    assert(status == DT_OK || err.line_count > 0);
    if (status == DT_OK)
        use(t);
    dt_tokenizer_close(t);
    json_decref(json);
    return 0;
}
