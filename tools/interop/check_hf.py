#!/usr/bin/env python3
"""Does transformers load what drivetrain wrote, with the same tensors and the same logits?

    check_hf.py PROGRAM MODEL...

Each MODEL (any format that drivetrain reads) is exported to Hugging Face with PROGRAM, in one file and in shards, and
loaded with from_pretrained. Where MODEL is itself a Hugging Face folder, every tensor of its state_dict must be equal
bit by bit and the logits equal exactly; else it must load with no missing and no unexpected tensor, and its logits
must be those of the nearest recording beside or above MODEL.
"""
import json
import os
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

ENCODERS = ("bert", "roberta")  # which heads they have, their class says
SEQ2SEQ = ("t5", "mt5", "umt5", "bart", "mbart", "m2m_100", "marian", "pegasus")  # all others are decoders


def load(folder):
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    name = "AutoModelForSeq2SeqLM" if config["model_type"] in SEQ2SEQ else "AutoModelForCausalLM"
    if config["architectures"][0].endswith("EncoderModel") or config["model_type"] in ENCODERS:
        name = config["architectures"][0]
    model, info = getattr(transformers, name).from_pretrained(folder, output_loading_info=True, dtype="auto")
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(kind):
            raise SystemExit(f"{folder}: {kind}: {sorted(info[kind])[:5]}")
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # the fast one wants widths that small models do not have
    return model.eval()


@torch.no_grad()
def logits(model, encoder_tokens, decoder_tokens):
    if decoder_tokens is None:
        out = model(input_ids=encoder_tokens)
    else:
        out = model(input_ids=encoder_tokens, decoder_input_ids=decoder_tokens)
    for name in ("logits", "prediction_logits", "last_hidden_state"):
        if hasattr(out, name):
            return getattr(out, name)


def some_tokens(model):
    vocabulary = model.config.vocab_size
    tokens = torch.arange(7).reshape(1, 7) * 5 % vocabulary
    decoder = torch.arange(4).reshape(1, 4) * 3 % vocabulary if model.config.is_encoder_decoder else None
    return tokens, decoder


def compare_with_original(original, written):
    ours, theirs = written.state_dict(), original.state_dict()
    if sorted(ours) != sorted(theirs):
        raise SystemExit(f"other names: {sorted(set(ours) ^ set(theirs))[:5]}")
    for name, tensor in theirs.items():
        if tensor.dtype != ours[name].dtype or not torch.equal(tensor, ours[name]):
            raise SystemExit(f"{name} differs")
    tokens = some_tokens(original)
    if not torch.equal(logits(original, *tokens), logits(written, *tokens)):
        raise SystemExit("logits differ")
    return f"{len(theirs)} tensors and the logits equal bit by bit"


def nearest_recording(folder):
    while True:
        path = os.path.join(folder, "recording.safetensors")
        if os.path.exists(path):
            return load_file(path)
        folder, last = os.path.dirname(folder), folder
        if folder == last:
            return None


def compare_with_recording(folder, written):
    own = os.path.exists(os.path.join(folder, "recording.safetensors"))
    if written.dtype != torch.float32 and not own:
        return "loads; the recording beside it is of the unrounded weights"
    recording = nearest_recording(os.path.abspath(folder))
    if recording is None or "in.tokens" not in recording:
        return "loads; no recording of a decoder-only model beside it"
    worst = 0.0
    want = recording["out.logits"]
    for row, length in enumerate(recording["in.lengths"].tolist()):
        got = logits(written.float(), recording["in.tokens"][row : row + 1, :length].long(), None)[0]
        right = want[row, :length]
        worst = max(worst, ((got - right).abs().max() / right.abs().max()).item())
    if worst > 5e-6:
        raise SystemExit(f"logits are {worst:.1e} away from the recording")
    return f"logits within {worst:.1e} of the maker's recording"


def check(program, folder):
    is_hf = os.path.exists(os.path.join(folder, "config.json")) and not os.path.exists(
        os.path.join(folder, "state.safetensors")
    )
    said = ""
    for shard_bytes in ([], ["--shard-bytes", "60000"]):
        with tempfile.TemporaryDirectory() as scratch:
            out = os.path.join(scratch, "model")
            command = [program, "export", folder, "--to", "hf", "-o", out, "--check", "off", *shard_bytes]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
            written = load(out)
            said = compare_with_original(load(folder), written) if is_hf else compare_with_recording(folder, written)
    return said


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    for folder in sys.argv[2:]:
        try:
            print(f"ok   {folder}: {check(sys.argv[1], folder)}", flush=True)
        except SystemExit as failure:
            raise SystemExit(f"FAIL {folder}: {failure}") from None


if __name__ == "__main__":
    main()
