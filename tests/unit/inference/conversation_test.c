/*
 * conversation_test.c - a conversation computes what each turn adds, and says what dt_generate says.
 */
#include "models.h"

#include "inference/model.h"

#include <drivetrain/conversation.h>

enum { TURNS = 10, ADDED = 7, ANSWER = 5 };

static void grow(int32_t *tokens, size_t *count, int turn, int64_t vocab)
{
    for (int i = 0; i < ADDED; i++)
        tokens[(*count)++] = (int32_t)((turn * 31 + i * 17 + 3) % vocab);
}

static dt_generate_options short_answers(void)
{
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    o.max_tokens = ANSWER;
    o.ignore_eos = true;
    return o;
}

/* Counted in tokens: the tenth turn reads its own message and the last answer's last token, not the conversation. */
static void conversation__a_turn_costs_what_it_adds(void **state)
{
    dt_error err = {0};
    dt_conversation *c;
    int32_t tokens[TURNS * (ADDED + ANSWER)];
    size_t count = 0;
    need(fixture("hf/llama-medium"));
    dt_model *model = open_model(fixture("hf/llama-medium"), "cpu", "f32", 1);
    dt_generate_options o = short_answers();
    int64_t vocab = dt_model_get_config(model)->vocab_size;
    assert_ok(dt_conversation_create(&c, model, 0, &err), err);
    for (int turn = 0; turn < TURNS; turn++) {
        dt_generation *g, *alone;
        grow(tokens, &count, turn, vocab);
        dt_prompt prompt = {.tokens = tokens, .count = count};
        assert_ok(dt_conversation_answer(&g, c, &prompt, &o, &err), err);
        assert_ok(dt_generate(&alone, model, 1, &prompt, &o, &err), err);
        const dt_generated *row = dt_generation_row(g, 0);
        assert_int_equal(row->count, ANSWER);
        assert_memory_equal(row->tokens, dt_generation_row(alone, 0)->tokens, ANSWER * sizeof *row->tokens);
        dt_generation_timing t = dt_generation_timing_of(g);
        assert_int_equal(t.prefill_tokens, turn ? ADDED + 1 : ADDED);
        assert_int_equal(t.decode_tokens, ANSWER - 1);
        memcpy(tokens + count, row->tokens, ANSWER * sizeof *tokens);
        count += ANSWER;
        dt_generation_destroy(g);
        dt_generation_destroy(alone);
    }
    dt_conversation_destroy(c);
    dt_model_close(model);
}

/* A prompt that parts from what is stored, within a block and across blocks, is answered as if nothing were. */
static void conversation__forgets_what_a_prompt_does_not_share(void **state)
{
    static const int parting[] = {200, 3, 64, 130, 0, 199, 63, 65};
    dt_error err = {0};
    dt_conversation *c;
    int32_t tokens[201];
    need(fixture("hf/llama-medium"));
    dt_model *model = open_model(fixture("hf/llama-medium"), "cpu", "f32", 1);
    dt_generate_options o = short_answers();
    int64_t vocab = dt_model_get_config(model)->vocab_size;
    int64_t most = dt_model_positions(model);
    size_t count = most < 210 ? (size_t)most - 10 : 200;
    for (size_t i = 0; i < count; i++)
        tokens[i] = (int32_t)((i * 7 + 1) % (size_t)vocab);
    assert_ok(dt_conversation_create(&c, model, 0, &err), err);
    for (size_t k = 0; k < sizeof parting / sizeof *parting; k++) {
        dt_generation *g, *alone;
        size_t from = (size_t)parting[k] < count ? (size_t)parting[k] : count;
        for (size_t i = from; i < count; i++)
            tokens[i] = (int32_t)((tokens[i] + 1) % vocab);
        dt_prompt prompt = {.tokens = tokens, .count = count};
        assert_ok(dt_conversation_answer(&g, c, &prompt, &o, &err), err);
        assert_ok(dt_generate(&alone, model, 1, &prompt, &o, &err), err);
        assert_memory_equal(dt_generation_row(g, 0)->tokens, dt_generation_row(alone, 0)->tokens,
                            ANSWER * sizeof *tokens);
        dt_generation_destroy(g);
        dt_generation_destroy(alone);
    }
    dt_conversation_destroy(c);
    dt_model_close(model);
}

static void conversation__refuses_what_it_cannot_keep(void **state)
{
    dt_error err = {0};
    dt_conversation *c;
    need(fixture("hf/t5-v1.1"));
    dt_model *model = open_model(fixture("hf/t5-v1.1"), "cpu", "f32", 1);
    assert_fails(dt_conversation_create(&c, model, 0, &err), DT_UNSUPPORTED, err, "continues its prompt");
    dt_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversation__a_turn_costs_what_it_adds),
        cmocka_unit_test(conversation__forgets_what_a_prompt_does_not_share),
        cmocka_unit_test(conversation__refuses_what_it_cannot_keep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
