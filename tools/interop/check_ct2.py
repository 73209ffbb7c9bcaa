#!/usr/bin/env python3
"""Does CTranslate2 say what drivetrain says of the folders that drivetrain writes for it, and do both write the same?

    check_ct2.py DRIVETRAIN MODEL...

Each MODEL is exported in f32 and int8 with --check peer: CTranslate2 loads it, and its logits and greedy tokens must be
drivetrain's. Where CTranslate2's own converter takes the model, its variables must be ours, byte by byte; what differs
on purpose is listed below. Models that CTranslate2 cannot compute are told and skipped.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
from ctranslate2.converters import TransformersConverter

# Variables that only one side has, or that differ, and why.
ON_PURPOSE = {
    "decoder/scale_outputs": "the converter scales every T5 under transformers 5, we those that are scaled",
    "rotary_scaling_factor": "the converter leaves Llama 3's factor out, and the runtime then takes another",
    "original_max_position_embeddings": "the same",
    "rotary_dim": "0 and the size of a whole head are the same",
    "scale_embeddings": "numbers where the converter sometimes has switches",
    "multiply_by_sqrt_depth": "Gemma's factor is said once, in scale_embeddings",
    "head_dim": "left out where it is the width over the heads",
    "num_heads_kv": "left out where every head has its own",
    "queries_scale": "left out where it is the usual one",
}


class Tokens:
    """A tokenizer whose tokens are called as drivetrain calls those of a model without one."""

    def __init__(self, count):
        self.names = [f"<id_{i}>" for i in range(count)]
        self.bos_token = self.eos_token = self.unk_token = self.pad_token = self.names[0]
        self.unk_token_id, self.special_tokens_map, self.num_madeup_words = 0, {}, 0

    def get_vocab(self):
        return {name: i for i, name in enumerate(self.names)}

    def convert_ids_to_tokens(self, id):
        return self.names[id or 0]


class Converter(TransformersConverter):
    def load_tokenizer(self, tokenizer_class, path, **kwargs):
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            return Tokens(json.load(file)["vocab_size"])


def variables(folder):
    """{name: (type, shape, bytes)} of a model.bin; aliases are followed."""
    with open(os.path.join(folder, "model.bin"), "rb") as file:
        data = file.read()
    at = 4

    def take(form):
        nonlocal at
        value = struct.unpack_from("<" + form, data, at)[0]
        at += struct.calcsize(form)
        return value

    def text():
        nonlocal at
        size = take("H")
        at += size
        return data[at - size : at - 1].decode()

    text(), take("I")
    found = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        kind, size = take("B"), take("I")
        found[name] = (kind, shape, data[at : at + size])
        at += size
    for _ in range(take("I")):
        alias, of = text(), text()
        found[alias] = found[of]
        if of + "_scale" in found:
            found[alias + "_scale"] = found[of + "_scale"]
    return found


def purposeful(name):
    return name in ON_PURPOSE or name.rsplit("/", 1)[-1] in ON_PURPOSE


def near(a, b):
    """Sinusoids are computed by either side: the last bits of an f32 angle may differ."""
    if a is None or b is None or a[:2] != b[:2] or a[0] != 0:
        return False
    return float(np.abs(np.frombuffer(a[2], np.float32) - np.frombuffer(b[2], np.float32)).max()) <= 1e-5


def compare(ours, theirs):
    a, b = variables(ours), variables(theirs)
    wrong = [name for name in sorted(set(a) | set(b)) if a.get(name) != b.get(name) and not purposeful(name)
             and not (name.endswith("/encodings") and near(a.get(name), b.get(name)))]
    assert not wrong, f"{ours}: other variables than the converter's: {wrong[:8]}"
    return len(a)


def export(drivetrain, model, path, kind):
    line = [drivetrain, "export", "-q", model, "--to", "ctranslate2", "-o", path, "--dtype", kind, "--force",
            "--check", "peer", "--python", sys.executable]
    done = subprocess.run(line, capture_output=True, text=True)
    refused = "is in the way" in done.stderr
    assert refused or done.returncode == 0, f"{model} as {kind}: {done.stdout}{done.stderr}"
    return not refused


def converted(model, path, kind):
    try:
        Converter(model).convert(path, quantization=kind, force=True)
        return True
    except Exception as error:  # the converter's own limits: no loader, a setting it lacks
        return print(f"  {os.path.basename(model.rstrip('/'))}: its converter: {type(error).__name__}: {error}"[:150])


def check(drivetrain, model, folder):
    ours, theirs = os.path.join(folder, "ours"), os.path.join(folder, "theirs")
    for kind in ("f32", "int8"):
        if not export(drivetrain, model, ours, kind):
            print(f"{model}: skipped, CTranslate2 cannot compute it")
            return 0
        if converted(model, theirs, "float32" if kind == "f32" else "int8"):
            print(f"{model} as {kind}: the same logits and tokens; {compare(ours, theirs)} variables as its converter's")
        else:
            print(f"{model} as {kind}: the same logits and tokens")
    return 1


def main(drivetrain, models):
    with tempfile.TemporaryDirectory() as folder:
        checked = sum(check(drivetrain, model, folder) for model in models)
    assert checked, "CTranslate2 was given nothing"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
