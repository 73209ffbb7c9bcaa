/*
 * base64.h - base64 in, bytes out.
 */
#ifndef DT_DATA_TOKENIZER_BASE64_H
#define DT_DATA_TOKENIZER_BASE64_H

#include "base/text.h"

/*
 * Append what `text` stands for; a missing or present "=" at the end is one. Returns the bytes that were read:
 * fewer than `bytes` when the next is no base64 digit. out->failed tells when memory was short.
 */
size_t dt_base64_decode(dt_text *out, const char *text, size_t bytes);

#endif
