#!/usr/bin/env python3
"""Small models of every family that GGUF holds, in shapes that ggml takes: even heads, rows of whole blocks of 32.

    gguf_models.py FOLDER

Weights are random and large, so that a dropped bias or a wrong rotary layout changes the answer at once.
"""
import os
import sys

import torch
import transformers as tf

BASE = dict(vocab_size=120, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def base(**own):
    return {**BASE, **own}


def rope(**own):
    return dict(rope_theta=10000.0, **own)


NEOX = dict(vocab_size=120, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
            max_position_embeddings=64)
FALCON = dict(vocab_size=120, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, parallel_attn=True, bias=False, alibi=False)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)
OSS = base(head_dim=16, intermediate_size=64, num_local_experts=4, num_experts_per_tok=2, sliding_window=6, num_hidden_layers=4,
           rope_parameters=rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=32.0, beta_slow=1.0,
                                truncate=True))
GEMMA = base(head_dim=16, query_pre_attn_scalar=16, sliding_window=6)
SHORT, LONG = [1.0 + 0.1 * i for i in range(8)], [1.5 + 0.2 * i for i in range(8)]
T5 = dict(vocab_size=120, d_model=64, d_kv=16, d_ff=96, num_layers=3, num_decoder_layers=2, num_heads=4, decoder_start_token_id=0,
          feed_forward_proj="gated-gelu", tie_word_embeddings=False, relative_attention_num_buckets=16)
WINDOWS = ["sliding_attention", "sliding_attention", "full_attention"]
YARN = dict(rope_theta=100.0, rope_type="yarn", factor=4.0, original_max_position_embeddings=16)

MODELS = {
    "mistral": (tf.MistralForCausalLM, base(sliding_window=None)),
    "mistral-window": (tf.MistralForCausalLM, base(sliding_window=20)),
    "qwen3": (tf.Qwen3ForCausalLM, base(head_dim=16)),
    "qwen2-window": (tf.Qwen2ForCausalLM, base(use_sliding_window=True, sliding_window=20, max_window_layers=0)),
    "phi3": (tf.Phi3ForCausalLM, base(sliding_window=None)),
    "phi3-longrope": (tf.Phi3ForCausalLM, base(max_position_embeddings=1024, original_max_position_embeddings=512, rope_parameters=rope(
        rope_type="longrope", short_factor=SHORT, long_factor=LONG))),
    "gemma2": (tf.Gemma2ForCausalLM, GEMMA),
    "gemma3": (tf.Gemma3ForCausalLM, {**GEMMA, "num_hidden_layers": 8}),
    "gemma3-pattern": (tf.Gemma3ForCausalLM, {**GEMMA, "layer_types": WINDOWS}),
    "olmo2": (tf.Olmo2ForCausalLM, base()),
    "gpt-neox": (tf.GPTNeoXForCausalLM, {**NEOX, "rotary_pct": 0.5}),
    "gpt-neox-serial": (tf.GPTNeoXForCausalLM, {**NEOX, "use_parallel_residual": False}),
    "falcon-7b": (tf.FalconForCausalLM, {**FALCON, "multi_query": True, "new_decoder_architecture": False}),
    "falcon-40b": (tf.FalconForCausalLM, {**FALCON, "num_kv_heads": 2, "new_decoder_architecture": True}),
    "falcon-11b": (tf.FalconForCausalLM, {**FALCON, "num_kv_heads": 2, "new_decoder_architecture": True, "num_ln_in_parallel_attn": 1}),
    "qwen2-moe": (tf.Qwen2MoeForCausalLM, base(**EXPERTS, shared_expert_intermediate_size=64, norm_topk_prob=False)),
    "qwen3-moe": (tf.Qwen3MoeForCausalLM, base(**EXPERTS, head_dim=16, norm_topk_prob=True)),
    "gpt-oss": (tf.GptOssForCausalLM, OSS),
    "bert": (tf.BertModel, dict(vocab_size=120, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
                                max_position_embeddings=256)),
    "llama-yarn": (tf.LlamaForCausalLM, base(rope_parameters=YARN)),
    "llama-yarn-scaled": (tf.LlamaForCausalLM, base(rope_parameters={**YARN, "attention_factor": 1.3})),
    "llama-linear": (tf.LlamaForCausalLM, base(rope_parameters=rope(rope_type="linear", factor=2.0))),
    "llama3": (tf.LlamaForCausalLM, base(rope_parameters=rope(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                              original_max_position_embeddings=32))),
    "starcoder2": (tf.Starcoder2ForCausalLM, base(sliding_window=None, hidden_act="gelu_pytorch_tanh")),
    "starcoder2-window": (tf.Starcoder2ForCausalLM, base(sliding_window=20, hidden_act="gelu_pytorch_tanh")),
    "t5": (tf.T5ForConditionalGeneration, {**T5, "relative_attention_num_buckets": 32}),
    "t5-near": (tf.T5ForConditionalGeneration, {**T5, "relative_attention_max_distance": 32}),
    "t5-farther": (tf.T5ForConditionalGeneration, {**T5, "relative_attention_num_buckets": 32, "relative_attention_max_distance": 64}),
    "t5-tied": (tf.T5ForConditionalGeneration, {**T5, "feed_forward_proj": "relu", "tie_word_embeddings": True,
                                                "relative_attention_max_distance": 20}),
    "umt5": (tf.UMT5ForConditionalGeneration, {**T5, "relative_attention_max_distance": 32}),
    "t5-encoder": (tf.T5EncoderModel, {**T5, "relative_attention_max_distance": 100}),
    "nemotron": (tf.NemotronForCausalLM, base(partial_rotary_factor=0.5)),
}


def make(kind, config):
    torch.manual_seed(3)
    model = kind(kind.config_class(**config)).float()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.15)
            elif "norm" in name or "ln_" in name:
                weight.add_(torch.randn_like(weight) * 0.2)
            else:
                weight.normal_(0, 0.3)
    return model


def main(folder):
    tf.logging.set_verbosity_error()
    tf.logging.disable_progress_bar()
    for name, (kind, config) in MODELS.items():
        make(kind, config).save_pretrained(os.path.join(folder, name))


if __name__ == "__main__":
    main(sys.argv[1])
