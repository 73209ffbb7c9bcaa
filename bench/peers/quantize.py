#!/usr/bin/env python3
"""How fast models are quantised, beside llama.cpp's own quantiser: quantize.py DRIVETRAIN [FOLDER] [LAYERS] [THREADS]

A bf16 model in Llama's shape is made in FOLDER and written as GGUF in f16; then both quantise that file by turns with all
threads. The files lie in memory where the system has /dev/shm: drivetrain syncs what it writes before it takes its name, llama.cpp
does not, and a disk would be measured instead. Told is the median of the rounds' ratios (times of llama.cpp over drivetrain's; above 1 is faster).
"""
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import llama_cpp
import numpy as np

WIDTH, FFN, HEADS, GROUPS, ROWS = 2048, 5632, 32, 8, 32000
TYPES = {"q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, "q4_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_S,
         "q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}
ROUNDS = 3


def make(folder, layers):
    """The model's folder: its weights are normal numbers, a block of them over and over."""
    part = WIDTH // HEADS * GROUPS
    shapes = {"model.embed_tokens": (ROWS, WIDTH), "lm_head": (ROWS, WIDTH), "model.norm": (WIDTH,)}
    for i in range(layers):
        p = f"model.layers.{i}."
        shapes |= {p + "input_layernorm": (WIDTH,), p + "post_attention_layernorm": (WIDTH,), p + "self_attn.q_proj": (WIDTH, WIDTH),
                   p + "self_attn.k_proj": (part, WIDTH), p + "self_attn.v_proj": (part, WIDTH), p + "self_attn.o_proj": (WIDTH, WIDTH),
                   p + "mlp.gate_proj": (FFN, WIDTH), p + "mlp.up_proj": (FFN, WIDTH), p + "mlp.down_proj": (WIDTH, FFN)}
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name + ".weight"] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = (np.random.default_rng(1).normal(0, 0.02, 1 << 22)).astype(np.float16).tobytes()
    os.makedirs(folder)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        while at > 0:
            file.write(block[:at])
            at -= len(block)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump({"model_type": "llama", "vocab_size": ROWS, "hidden_size": WIDTH, "intermediate_size": FFN, "num_hidden_layers": layers,
                   "num_attention_heads": HEADS, "num_key_value_heads": GROUPS, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
                   "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False}, file)


def theirs(source, out, kind, threads):
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype, options.nthread = TYPES[kind], threads
    started = time.monotonic()
    assert llama_cpp.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(options)) == 0
    return time.monotonic() - started


def ours(drivetrain, source, out, kind, threads):
    line = [drivetrain, "export", source, "--to", "gguf", "--dtype", kind, "-o", out, "--check", "off", "--force", "-q", "--threads", str(threads)]
    started = time.monotonic()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def main(drivetrain, parent="/dev/shm" if os.path.isdir("/dev/shm") else "/tmp", layers="4", threads=str(os.cpu_count())):
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        path = lambda name: os.path.join(folder, name)
        make(path("hf"), int(layers))
        subprocess.run([drivetrain, "export", path("hf"), "--to", "gguf", "-o", path("f16.gguf"), "--check", "off", "-q"], check=True,
                       stdout=subprocess.DEVNULL)
        size = os.path.getsize(path("f16.gguf"))
        print(f"{size / 1e9:.2f} GB of f16, {threads} threads")
        for kind in TYPES:
            pairs = [(theirs(path("f16.gguf"), path("a.gguf"), kind, int(threads)),
                      ours(drivetrain, path("f16.gguf"), path("b.gguf"), kind, threads)) for _ in range(ROUNDS)]
            ratio = statistics.median(a / b for a, b in pairs)
            rate = size / statistics.median(b for _, b in pairs) / 1e9
            print(f"{kind:5} {ratio:5.2f} x llama.cpp, {rate:.2f} GB/s of f16 read; seconds {[(round(a, 2), round(b, 2)) for a, b in pairs]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
