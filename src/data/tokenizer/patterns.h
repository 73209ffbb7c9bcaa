/*
 * patterns.h - the split patterns that published tokenizers spell out, for the table of names and that of matchers.
 *
 * Sources: openai/tiktoken tiktoken_ext/openai_public.py, and the pre_tokenizer of the models' tokenizer.json.
 */
#ifndef DT_DATA_TOKENIZER_PATTERNS_H
#define DT_DATA_TOKENIZER_PATTERNS_H

#define DT_SHORT_FORMS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define DT_BEFORE_WORD "[^\\r\\n\\p{L}\\p{N}]?"
#define DT_ENDING      "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define DT_UPPERS      "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define DT_LOWERS      "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

#define DT_WORDS(numbers)                                                                                    \
    DT_SHORT_FORMS "|" DT_BEFORE_WORD "\\p{L}+|" numbers "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" DT_ENDING
#define DT_CASED_WORDS(suffix, numbers)                                                                      \
    DT_BEFORE_WORD DT_UPPERS "*" DT_LOWERS "+" suffix "|" DT_BEFORE_WORD DT_UPPERS "+" DT_LOWERS "*" suffix  \
                             "|" numbers "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" DT_ENDING

#define DT_PATTERN_GPT2   "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define DT_PATTERN_LLAMA3 DT_WORDS("\\p{N}{1,3}") /* cl100k's too */
#define DT_PATTERN_QWEN2  DT_WORDS("\\p{N}")
#define DT_PATTERN_O200K  DT_CASED_WORDS(DT_SHORT_FORMS "?", "\\p{N}{1,3}")
#define DT_PATTERN_TEKKEN DT_CASED_WORDS("", "\\p{N}")
/* cl100k as newer files spell it: the same matches */
#define DT_PATTERN_CL100K                                                                                    \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*"       \
    "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"
#define DT_PATTERN_CLIP "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"

#endif
