/*
 * words.c - filling the table of words.h. Which words belong into it is the models' business.
 */
#include "data/tokenizer/words.h"

bool dt_words_create(dt_words *words, dt_arena *arena, size_t capacity)
{
    size_t slots = 16;
    if (capacity > (size_t)1 << 28)
        return false;
    while (slots < capacity * 2)
        slots *= 2;
    words->slot = DT_NEW_ARRAY(arena, dt_word, slots);
    words->mask = slots - 1;
    return words->slot != NULL;
}

void dt_words_put(dt_words *words, const char *text, size_t bytes, int32_t id, float margin)
{
    dt_word word = {.id = id, .margin = margin};
    dt_word_key(text, bytes, word.key);
    size_t at = dt_word_hash(word.key) & words->mask;
    while (words->slot[at].key[1] != 0 &&
           (words->slot[at].key[0] != word.key[0] || words->slot[at].key[1] != word.key[1]))
        at = (at + 1) & words->mask;
    words->slot[at] = word;
}
