#!/usr/bin/env python3
"""Does llama.cpp say what drivetrain says of the GGUF files that drivetrain writes?

    check_gguf.py DRIVETRAIN MODEL...

Each decoder MODEL is exported in f32; gguf reads the file, llama.cpp loads it and continues a prompt of ids greedily,
with keys and values in f32. The text must be the one that drivetrain gives from MODEL itself, log-probabilities near: ggml
computes some activations and rotations from tables in f16. Models that have no GGUF architecture are told and skipped.
"""
import json
import os
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

PROMPT, STEPS, NEAR = [5, 6, 7, 9], 8, 2e-3


def ours(drivetrain, model):
    """Ids and log-probabilities of drivetrain's own answer."""
    line = [drivetrain, "run", model, "--tokens", ",".join(map(str, PROMPT)), "--max-tokens", str(STEPS),
            "--ignore-eos", "--json", "--logprobs", "1", "--dtype", "f32"]
    result = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)["results"][0]
    return result["tokens"], [step["logprob"] for step in result["logprobs"]]


def theirs(path):
    f32 = int(gguf.GGMLQuantizationType.F32)
    model = llama_cpp.Llama(path, n_ctx=32, logits_all=True, verbose=False, n_threads=1, type_k=f32, type_v=f32)
    model.eval(PROMPT)
    tokens, chances = [], []
    for _ in range(STEPS):
        logits = np.array(model.scores[model.n_tokens - 1], dtype=np.float64)
        token = int(logits.argmax())
        top = logits.max()
        tokens.append(token)
        chances.append(logits[token] - top - np.log(np.exp(logits - top).sum()))
        model.eval([token])
    return tokens, chances


def check(drivetrain, model, path):
    line = [drivetrain, "export", model, "--to", "gguf", "--dtype", "f32", "-o", path]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        print(f"{model}: skipped: {done.stderr.strip().splitlines()[1].strip()}")
        return 0
    tensors = gguf.GGUFReader(path).tensors
    (a, p), (b, q) = ours(drivetrain, model), theirs(path)
    distance = max(abs(x - y) for x, y in zip(p, q))
    assert a == b, f"{model}: drivetrain {a}, llama.cpp {b}"
    assert distance <= NEAR, f"{model}: log-probabilities are {distance} apart"
    print(f"{model}: {len(tensors)} tensors, the same {STEPS} ids, log-probabilities within {distance:.1e}")
    return 1


def main(drivetrain, models):
    with tempfile.TemporaryDirectory() as folder:
        checked = sum(check(drivetrain, m, os.path.join(folder, f"{i}.gguf")) for i, m in enumerate(models))
    assert checked, "llama.cpp was given nothing"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
