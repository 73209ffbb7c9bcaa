/* gguf_vocabulary_fuzz.c - any bytes as a GGUF file: refused with a story, or a tokenizer that holds its promises. */
#include "tokenizer_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_map map = {.data = data, .size = bytes, .path = "input"};
    dt_error err = {0};
    dt_gguf *g = NULL;
    if (dt_gguf_open_map(&g, &map, &err) != DT_OK)
        return 0;
    dt_tokenizer *t = dt_tokenizer_blank();
    dt_status status = dt_tokenizer_read_gguf(t, g, &err);
    dt_gguf_close(g);
    if (status == DT_OK)
        status = dt_added_finish(t, &err);
    assert(status == DT_OK || err.line_count > 0);
    if (status == DT_OK)
        use(t);
    dt_tokenizer_close(t);
    return 0;
}
