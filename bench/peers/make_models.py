"""Make the random-weight models that peers and drivetrain are timed on.

usage: make_models.py OUT

OUT/t5-small, OUT/t5-base   T5 1.1 shapes (Hugging Face, f32), and their CTranslate2 forms (f32, int8)
OUT/llama-1b                a Llama of 1.1 B parameters (Hugging Face, bf16), and its GGUF forms (bf16, q8_0)
"""
import json
import os
import sys

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

T5_SHAPES = {
    "t5-small": dict(d_model=512, d_kv=64, d_ff=1024, num_layers=8, num_heads=6),
    "t5-base": dict(d_model=768, d_kv=64, d_ff=2048, num_layers=12, num_heads=12),
}
LLAMA_SHAPE = dict(vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
                   num_attention_heads=32, num_key_value_heads=4, max_position_embeddings=2048,
                   tie_word_embeddings=False)


def make_t5(out, name, shape):
    """A T5 without a tokenizer: CTranslate2 is given a vocabulary of made-up words instead."""
    path = f"{out}/{name}"
    if not os.path.exists(path):
        config = T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
                          decoder_start_token_id=0, dropout_rate=0.0, **shape)
        T5ForConditionalGeneration(config).eval().save_pretrained(path)
    for kind in ("float32", "int8"):
        convert_t5(path, f"{path}-ct2-{kind}", kind)


def convert_t5(path, target, kind):
    import ctranslate2
    from ctranslate2.converters import transformers as ct2
    if os.path.exists(target):
        return

    class Loader(ct2.T5Loader):
        def get_vocabulary(self, model, tokenizer):
            return ["<pad>", "</s>", "<unk>"] + [f"w{i}" for i in range(3, model.config.vocab_size)]

        def set_vocabulary(self, spec, tokens):
            spec.register_source_vocabulary(tokens)
            spec.register_target_vocabulary(tokens)

    class Tokenizer:  # the converter asks it for its special tokens only
        pad_token, eos_token, unk_token, bos_token = "<pad>", "</s>", "<unk>", None

    class Converter(ctranslate2.converters.Converter):
        def _load(self):
            model = T5ForConditionalGeneration.from_pretrained(path)
            return Loader()(model, Tokenizer())

    Converter().convert(target, quantization=kind)


def rotate_rows(weight, heads):
    """GGUF keeps rotary pairs side by side where Hugging Face keeps halves."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


GGUF_NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}
GGUF_TOP = {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight",
            "model.norm.weight": "output_norm.weight"}


def gguf_name(name):
    if name in GGUF_TOP:
        return GGUF_TOP[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{GGUF_NAMES[rest.removesuffix('.weight')]}.weight"


def write_gguf(source, target, kind):
    import gguf
    from gguf.quants import quantize
    from safetensors.torch import load_file
    if os.path.exists(target):
        return
    config = json.load(open(f"{source}/config.json"))
    w = gguf.GGUFWriter(target, "llama")
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_block_count(config["num_hidden_layers"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"])
    w.add_head_count_kv(config["num_key_value_heads"])
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    w.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    size = config["vocab_size"]
    w.add_tokenizer_model("llama")
    w.add_token_list([f"<0x{i:02X}>" if i < 256 else f"t{i}" for i in range(size)])
    w.add_token_scores([0.0] * size)
    w.add_token_types([6 if i < 256 else 1 for i in range(size)])
    w.add_bos_token_id(256)
    w.add_eos_token_id(257)
    for name, tensor in load_file(f"{source}/model.safetensors").items():
        values = tensor.float().numpy()
        if "q_proj" in name:
            values = rotate_rows(values, config["num_attention_heads"])
        if "k_proj" in name:
            values = rotate_rows(values, config["num_key_value_heads"])
        if values.ndim == 1:
            w.add_tensor(gguf_name(name), values)
        else:
            w.add_tensor(gguf_name(name), quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make_llama(out):
    import gguf
    path = f"{out}/llama-1b"
    if not os.path.exists(path):
        LlamaForCausalLM(LlamaConfig(**LLAMA_SHAPE)).to(torch.bfloat16).eval().save_pretrained(path)
    for name in ("BF16", "Q8_0"):
        write_gguf(path, f"{path}-{name.lower()}.gguf", getattr(gguf.GGMLQuantizationType, name))


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    torch.manual_seed(0)
    for name, shape in T5_SHAPES.items():
        make_t5(out, name, shape)
    make_llama(out)


if __name__ == "__main__":
    main()
