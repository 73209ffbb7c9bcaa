/* llama2c_vocabulary_fuzz.c - any bytes as llama2.c's vocabulary: refused with a story, or a tokenizer that holds its promises. */
#include "tokenizer_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_error err = {0};
    if (!dt_llama2c_vocabulary_detect(data, bytes))
        return 0;
    dt_tokenizer *t = dt_tokenizer_blank();
    dt_status status = dt_tokenizer_read_llama2c(t, data, bytes, &err);
    if (status == DT_OK)
        status = dt_added_finish(t, &err);
    assert(status == DT_OK || err.line_count > 0);
    if (status == DT_OK)
        use(t);
    dt_tokenizer_close(t);
    return 0;
}
