/* config_test.c - configurations get Megatron's defaults, derived fields, and refusals that name the key. */
#include "unit.h"

#include <drivetrain/config.h>

#include <math.h>

static dt_model_config sound(const char *model_type)
{
    dt_model_config c;
    dt_config_init(&c);
    snprintf(c.model_type, sizeof c.model_type, "%s", model_type);
    c.num_layers = 2;
    c.hidden_size = 64;
    c.num_attention_heads = 4;
    c.vocab_size = 100;
    c.max_sequence_length = 32;
    dt_config_derive(&c);
    return c;
}

static void config__derives_what_megatron_derives(void **state)
{
    dt_model_config c = sound("gpt");
    assert_int_equal(c.num_query_groups, 4);
    assert_int_equal(c.kv_channels, 16);
    assert_int_equal(c.ffn_hidden_size, 256);
    assert_int_equal(c.padded_vocab_size, 100);
    assert_true(c.softmax_scale == 0.25);
    c = sound("t5");
    assert_int_equal(c.encoder_num_layers, 2);
    assert_int_equal(c.decoder_num_layers, 2);
}

static void config__keeps_what_was_given(void **state)
{
    dt_model_config c;
    dt_config_init(&c);
    c.hidden_size = 64;
    c.num_attention_heads = 4;
    c.kv_channels = 24;
    c.num_query_groups = 2;
    c.softmax_scale = 1;
    dt_config_derive(&c);
    assert_int_equal(c.kv_channels, 24);
    assert_int_equal(c.num_query_groups, 2);
    assert_true(c.softmax_scale == 1);
}

static void config__accepts_a_sound_one(void **state)
{
    dt_error err = {0};
    dt_model_config gpt = sound("gpt"), t5 = sound("t5");
    assert_ok(dt_config_check(&gpt, &err), err);
    assert_ok(dt_config_check(&t5, &err), err);
}

/* Spoil one field of a sound configuration; the refusal must name its key. */
#define assert_refuses(type, field, value, words)                                                            \
    do {                                                                                                     \
        dt_model_config c_ = sound(type);                                                                    \
        dt_error err_ = {0};                                                                                 \
        c_.field = (value);                                                                                  \
        assert_fails(dt_config_check(&c_, &err_), DT_UNSUPPORTED, err_, words);                              \
    } while (0)

static void config__refusals_name_the_key(void **state)
{
    assert_refuses("gpt", hidden_size, 0, "\"hidden_size\" is 0");
    assert_refuses("gpt", hidden_size, INT64_MAX, "hidden_size");
    assert_refuses("gpt", num_attention_heads, -1, "num_attention_heads");
    assert_refuses("gpt", num_query_groups, 3, "not a multiple of \"num_query_groups\" 3");
    assert_refuses("gpt", kv_channels, INT64_C(1) << 40, "kv_channels");
    assert_refuses("gpt", vocab_size, 0, "vocab_size");
    assert_refuses("gpt", padded_vocab_size, 99, "padded_vocab_size");
    assert_refuses("gpt", num_layers, 1 << 20, "num_layers");
    assert_refuses("gpt", layernorm_epsilon, 0, "layernorm_epsilon");
    assert_refuses("gpt", layernorm_epsilon, NAN, "layernorm_epsilon");
    assert_refuses("gpt", softmax_scale, INFINITY, "softmax_scale");
    assert_refuses("gpt", max_sequence_length, 0, "max_sequence_length");
    assert_refuses("gpt", position_embedding_type, DT_POSITION_RELATIVE, "only T5");
    assert_refuses("t5", num_query_groups, 2, "cross attention");
    assert_refuses("t5", encoder_num_layers, 0, "encoder_num_layers");
}

static void config__refuses_positions_it_cannot_compute(void **state)
{
    dt_error err = {0};
    dt_model_config c = sound("gpt");
    c.position_embedding_type = DT_POSITION_ROPE;
    c.rotary_percent = 0.1; /* of 16: one dimension */
    assert_fails(dt_config_check(&c, &err), DT_UNSUPPORTED, err, "rotary_percent");
    c.rotary_percent = 1;
    c.rope_scaling_type = DT_ROPE_LONGROPE;
    c.max_sequence_length = 64;
    assert_fails(dt_config_check(&c, &err), DT_UNSUPPORTED, err, "longrope has 0 factors, expected 8");
    c.rope_scaling_type = DT_ROPE_LLAMA3;
    c.rope_scaling_factor = 0;
    assert_fails(dt_config_check(&c, &err), DT_UNSUPPORTED, err, "scaling factor");
    c = sound("t5");
    c.position_embedding_type = DT_POSITION_RELATIVE;
    c.relative_attention_num_buckets =
        7; /* odd, and no multiple of 4: halves round down, as in transformers */
    assert_ok(dt_config_check(&c, &err), err);
    c.relative_attention_num_buckets = 3;
    assert_fails(dt_config_check(&c, &err), DT_UNSUPPORTED, err, "relative_attention_num_buckets");
}

static void config__says_what_stock_megatron_would_not_compute(void **state)
{
    dt_model_config c = sound("t5");
    assert_null(dt_config_beyond_megatron(&c, 0));
    c.softmax_scale = 1; /* a TransformerConfig field: stock */
    c.add_bias_linear = true;
    c.mlp_bias = true; /* says nothing where all linears have one */
    assert_null(dt_config_beyond_megatron(&c, 0));
    c.scale_decoder_outputs = true;
    c.relative_bias_per_layer = true;
    assert_string_equal(dt_config_beyond_megatron(&c, 0), "scale_decoder_outputs");
    assert_string_equal(dt_config_beyond_megatron(&c, 1), "x_relative_bias_per_layer");
    assert_null(dt_config_beyond_megatron(&c, 2));
    c = sound("gpt");
    c.rope_scaling_type = DT_ROPE_LLAMA3; /* Megatron's use_rope_scaling, but with factors of its own */
    assert_null(dt_config_beyond_megatron(&c, 0));
    c.rope_low_freq_factor = 2;
    assert_string_equal(dt_config_beyond_megatron(&c, 0), "x_rope_low_freq_factor");
}

static void config__megatrons_yarn_is_no_extension(void **state)
{
    dt_model_config c = sound("gpt");
    double mscale;
    c.position_embedding_type = DT_POSITION_ROPE;
    c.rope_scaling_type = DT_ROPE_YARN;
    c.rope_original_max_position = 16;
    c.rope_beta_fast = 4;
    assert_null(dt_config_beyond_megatron(&c, 0));
    assert_true(dt_config_yarn_is_megatrons(&c, &mscale) && mscale == 0);
    c.rope_attention_factor = 0.1 * 0.5 * log(8.0) + 1;
    assert_true(dt_config_yarn_is_megatrons(&c, &mscale) && fabs(mscale - 0.5) < 1e-12);
    c.rotary_percent = 0.5;
    assert_string_equal(dt_config_beyond_megatron(&c, 0), "x_rope_scaling_type");
    c.position_embedding_type = DT_POSITION_ALIBI;
    c.rope_scaling_type = DT_ROPE_PLAIN;
    assert_string_equal(dt_config_beyond_megatron(&c, 0), "position_embedding_type");
}

static void config__enum_names_are_megatrons(void **state)
{
    assert_string_equal(dt_normalization_name(DT_NORM_RMSNORM), "RMSNorm");
    assert_string_equal(dt_position_embedding_name(DT_POSITION_LEARNED), "learned_absolute");
    assert_string_equal(dt_activation_name(DT_ACT_SQUARED_RELU), "squared_relu");
    for (int i = 0; i < DT_ACT_COUNT; i++)
        assert_non_null(dt_activation_name((dt_activation)i));
    assert_null(dt_activation_name((dt_activation)999));
    assert_null(dt_rope_scaling_name((dt_rope_scaling)-1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config__derives_what_megatron_derives),
        cmocka_unit_test(config__keeps_what_was_given),
        cmocka_unit_test(config__accepts_a_sound_one),
        cmocka_unit_test(config__refusals_name_the_key),
        cmocka_unit_test(config__refuses_positions_it_cannot_compute),
        cmocka_unit_test(config__says_what_stock_megatron_would_not_compute),
        cmocka_unit_test(config__megatrons_yarn_is_no_extension),
        cmocka_unit_test(config__enum_names_are_megatrons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
