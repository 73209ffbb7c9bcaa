#!/usr/bin/env python3
"""Does llama.cpp say what drivetrain says of the GGUF files that drivetrain writes?

    check_gguf.py DRIVETRAIN MODEL... [--tokenizers FILE-OR-FOLDER...]

Each decoder MODEL is exported in f32; gguf reads the file, llama.cpp loads it and continues a prompt of ids greedily,
with keys and values in f32. The text must be the one that drivetrain gives from MODEL itself, log-probabilities near: ggml
computes some activations and rotations from tables in f16. Models that have no GGUF architecture are told and skipped.

An encoder-decoder MODEL is given a longer prompt, past its largest relative distance, and then decodes from its start
token; T5 without a decoder, and BERT, are compared by their pooled vectors.

Each tokenizer is put beside a small random Llama and exported with it: llama.cpp must make the same ids of hard texts, and
continue a text by the same text.
"""
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np
from safetensors.numpy import load_file, save_file

PROMPT, STEPS, NEAR = [5, 6, 7, 9], 8, 5e-3
LONG = [5 + i * 7 % 24 for i in range(160)]


def ours(drivetrain, model, prompt):
    """Ids and log-probabilities of drivetrain's own answer."""
    line = [drivetrain, "run", model, "--tokens", ",".join(map(str, prompt)), "--max-tokens", str(STEPS),
            "--ignore-eos", "--json", "--logprobs", "1", "--dtype", "f32"]
    result = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)["results"][0]
    return result["tokens"], [step["logprob"] for step in result["logprobs"]]


def theirs(path):
    f32 = int(gguf.GGMLQuantizationType.F32)
    model = llama_cpp.Llama(path, n_ctx=32, logits_all=True, verbose=False, n_threads=1, type_k=f32, type_v=f32,
                            yarn_beta_fast=-1.0, yarn_beta_slow=-1.0)  # as the file says
    model.eval(PROMPT)
    tokens, chances = [], []
    for _ in range(STEPS):
        logits = np.array(model.scores[model.n_tokens - 1], dtype=np.float64)
        tokens.append(int(logits.argmax()))
        chances.append(chance_of_best(logits))
        model.eval(tokens[-1:])
    return tokens, chances


def chance_of_best(logits):
    return -np.log(np.exp(logits - logits.max()).sum())


@llama_cpp.llama_log_callback
def silent(level, text, user):
    """llama.cpp's own words, which llama_cpp.Llama keeps back by itself."""


class Session:
    """llama.cpp's functions for encoders, which llama_cpp.Llama has none for."""

    def __init__(self, path, pooling=llama_cpp.LLAMA_POOLING_TYPE_UNSPECIFIED):
        llama_cpp.llama_log_set(silent, None)
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = 256
        options.n_threads = options.n_threads_batch = 1
        options.type_k = options.type_v = int(gguf.GGMLQuantizationType.F32)
        options.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it rounds keys and values to f16
        options.pooling_type, options.embeddings = pooling, pooling == llama_cpp.LLAMA_POOLING_TYPE_MEAN
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        assert self.model, f"llama.cpp cannot load {path}"
        self.context = llama_cpp.llama_init_from_model(self.model, options)

    def feed(self, function, row):
        ids = (llama_cpp.llama_token * len(row))(*row)
        code = function(self.context, llama_cpp.llama_batch_get_one(ids, len(row)))
        assert code == 0, f"llama.cpp: code {code}"

    def answer(self, prompt, scale):
        vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.feed(llama_cpp.llama_encode, prompt)
        tokens, chances = [llama_cpp.llama_model_decoder_start_token(self.model)], []
        for _ in range(STEPS):
            self.feed(llama_cpp.llama_decode, tokens[-1:])
            found = llama_cpp.llama_get_logits_ith(self.context, -1)
            logits = np.ctypeslib.as_array(found, (vocabulary,)).astype(np.float64) * scale
            tokens.append(int(logits.argmax()))
            chances.append(chance_of_best(logits))
        return tokens[1:], chances

    def vector(self, prompt):
        self.feed(llama_cpp.llama_encode, prompt)
        found = llama_cpp.llama_get_embeddings_seq(self.context, 0)
        return np.ctypeslib.as_array(found, (llama_cpp.llama_model_n_embd(self.model),)).copy()


def field(reader, key, missing=None):
    return reader.fields[key].contents() if key in reader.fields else missing


def check_encoder(drivetrain, model, path):
    """T5's encoder alone, or BERT: the mean of the states, its length taken for one."""
    out = path + ".safetensors"
    with open(path + ".ids", "w", encoding="utf-8") as file:
        json.dump(LONG, file)
    subprocess.run([drivetrain, "embed", model, "--batch-tokens", path + ".ids", "-o", out, "--dtype", "f32", "--pooling", "mean",
                    "--no-normalize", "-q"], check=True)
    want, have = load_file(out)["pooled"][0], Session(path, llama_cpp.LLAMA_POOLING_TYPE_MEAN).vector(LONG)
    distance = float(np.abs(want - have).max() / np.abs(want).max())
    assert distance <= NEAR, f"{model}: pooled vectors are {distance} apart"
    print(f"{model}: the same pooled vector within {distance:.1e}")
    return 1


def check(drivetrain, model, path):
    line = [drivetrain, "export", model, "--to", "gguf", "--dtype", "f32", "-o", path]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        print(f"{model}: skipped: {done.stderr.strip().splitlines()[1].strip()}")
        return 0
    reader = gguf.GGUFReader(path)
    tensors, architecture = reader.tensors, field(reader, "general.architecture")
    if architecture in ("t5encoder", "bert"):
        return check_encoder(drivetrain, model, path)
    two = architecture == "t5"
    # llama.cpp does not divide by sqrt(width) where T5 1.0 does
    scale = field(reader, "t5.embedding_length") ** -0.5 if field(reader, "drivetrain.scale_decoder_outputs") else 1.0
    a, p = ours(drivetrain, model, LONG if two else PROMPT)
    b, q = Session(path).answer(LONG, scale) if two else theirs(path)
    distance = max(abs(x - y) for x, y in zip(p, q))
    assert distance <= NEAR, f"{model}: log-probabilities are {distance} apart"
    print(f"{model}: {len(tensors)} tensors, the same {STEPS} ids, log-probabilities within {distance:.1e}")
    return 1


TEXTS = ["Hello, world!", " a  b   c ", "tab\tnew\nline\n\n", "It's we're DON'T", "1 12 123 1234567 3.14", "x[i]++ != 0 && y->z;",
         "Über die Straße; señor, naïve", "Привет, мир!", "你好，世界！", "こんにちは世界", "emoji 😀 👩‍👩‍👧 ✓", "مرحبا", "नमस्ते",
         "http://example.org/a?b=c#d", "e\u0301 \u00e9 \ufb01 \uff21", "nbsp\u00a0x", "!!! ??? ---", "“curly” ‘quotes’", "snake_case camelCase"]
WIDTH, FFN = 64, 96


def texts():
    """The hard ones, and words of them in random order with random spaces."""
    chance = random.Random(1)
    words = [word for text in TEXTS for word in text.split()]
    return TEXTS + ["".join(chance.choice(words) + chance.choice(["", " ", " ", "\n", "  "]) for _ in range(12)) for _ in range(200)]


def small_model(folder, rows):
    """A Llama of one layer with random weights."""
    chance = np.random.default_rng(1)
    layer = "model.layers.0."
    shapes = {"model.embed_tokens": (rows, WIDTH), "lm_head": (rows, WIDTH), layer + "self_attn.q_proj": (WIDTH, WIDTH),
              layer + "self_attn.k_proj": (WIDTH, WIDTH), layer + "self_attn.v_proj": (WIDTH, WIDTH),
              layer + "self_attn.o_proj": (WIDTH, WIDTH), layer + "mlp.gate_proj": (FFN, WIDTH),
              layer + "mlp.up_proj": (FFN, WIDTH), layer + "mlp.down_proj": (WIDTH, FFN)}
    tensors = {name + ".weight": chance.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    for name in ("model.norm", layer + "input_layernorm", layer + "post_attention_layernorm"):
        tensors[name + ".weight"] = np.ones(WIDTH, np.float32)
    save_file(tensors, os.path.join(folder, "model.safetensors"), {"format": "pt"})
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": rows, "hidden_size": WIDTH,
                   "intermediate_size": FFN, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
                   "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
                   "tie_word_embeddings": False}, file)


def same_text(drivetrain, folder, model):
    line = [drivetrain, "run", folder, "Hello there", "--max-tokens", "8", "--json", "--dtype", "f32", "--ignore-eos"]
    result = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)["results"][0]
    ids = model.tokenize(b"Hello there", add_bos=True, special=True)
    model.eval(ids)
    answer = []
    for _ in range(8):
        answer.append(int(np.array(model.scores[model.n_tokens - 1]).argmax()))
        model.eval(answer[-1:])
    assert answer == result["tokens"], f"{folder}: drivetrain {result['tokens']}, llama.cpp {answer}"
    theirs = model.detokenize(answer, prev_tokens=ids).decode(errors="replace")
    assert theirs.split() == result["text"].split(), f"{folder}: drivetrain {result['text']!r}, llama.cpp {theirs!r}"
    return result["text"]


def check_tokenizer(drivetrain, source, folder):
    os.mkdir(folder)
    names = [os.path.join(source, n) for n in os.listdir(source)] if os.path.isdir(source) else [source]
    for name in names:
        keep = os.path.basename(name).replace("spiece", "tokenizer").replace("tokenizer.repaired", "tokenizer")
        keep = "vocab.txt" if keep.endswith("vocab.txt") else keep
        shutil.copy(name, os.path.join(folder, keep))
    size = vocabulary_size(drivetrain, folder)
    small_model(folder, size + 3)
    path = folder + ".gguf"
    done = subprocess.run([drivetrain, "export", folder, "--to", "gguf", "-o", path, "--check", "off"], capture_output=True, text=True)
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    lines = "".join(json.dumps(text) + "\n" for text in texts())
    with open(folder + ".txt", "w", encoding="utf-8") as file:
        file.write(lines)
    ours = subprocess.run([drivetrain, "tokenize", folder, "-i", folder + ".txt"], check=True, capture_output=True, text=True).stdout
    f32 = int(gguf.GGMLQuantizationType.F32)
    model = llama_cpp.Llama(path, n_ctx=64, logits_all=True, verbose=False, n_threads=1, type_k=f32, type_v=f32)
    for text, line in zip(texts(), ours.splitlines()):
        theirs = model.tokenize(text.encode(), add_bos=True, special=True)
        assert theirs == json.loads(line), f"{source}: {text!r}: drivetrain {line}, llama.cpp {theirs}"
    text = same_text(drivetrain, folder, model)
    print(f"{source}: {size} tokens, {len(texts())} texts the same, and the same answer, {text!r}")
    return 1


def vocabulary_size(drivetrain, folder):
    """As the error about an id that no vocabulary has says it."""
    line = [drivetrain, "tokenize", folder, "--decode", "99999999"]
    return int(re.search(r"ids 0 to (\d+)", subprocess.run(line, capture_output=True, text=True).stderr)[1]) + 1


def main(drivetrain, arguments):
    split = arguments.index("--tokenizers") if "--tokenizers" in arguments else len(arguments)
    with tempfile.TemporaryDirectory() as folder:
        checked = sum(check(drivetrain, m, os.path.join(folder, f"{i}.gguf")) for i, m in enumerate(arguments[:split]))
        assert checked or split == 0, "llama.cpp was given nothing"
        for i, source in enumerate(arguments[split + 1:]):
            check_tokenizer(drivetrain, source, os.path.join(folder, f"t{i}"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
