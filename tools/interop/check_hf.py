#!/usr/bin/env python3
"""Does transformers load what drivetrain wrote, with the same tensors and the same logits?

    check_hf.py PROGRAM MODEL...

Each MODEL (any format that drivetrain reads) is exported to Hugging Face with PROGRAM, in one file and in shards, and
loaded with from_pretrained. Where MODEL is itself a Hugging Face folder, every tensor of its state_dict must be equal
bit by bit and the logits (a tower's features, what is said about pictures) within 1e-6; else it must load with no missing and no unexpected tensor, and its logits
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
TOWERS = ("clip_vision_model", "siglip_vision_model", "vit", "dinov2", "internvl_vision")
TEXT_TOWERS = ("clip_text_model", "siglip_text_model")
TWO_TOWERS = ("clip", "siglip")
SEEING = ("llava", "llava_next")
SEQ2SEQ = ("t5", "mt5", "umt5", "bart", "mbart", "m2m_100", "marian", "pegasus")  # all others are decoders


def load(folder):
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    name = "AutoModelForSeq2SeqLM" if config["model_type"] in SEQ2SEQ else "AutoModelForCausalLM"
    if config["architectures"][0].endswith("EncoderModel") or config["model_type"] in (
        *ENCODERS, *TOWERS, *TEXT_TOWERS, *TWO_TOWERS, *SEEING):
        name = config["architectures"][0]
    model, info = getattr(transformers, name).from_pretrained(folder, output_loading_info=True, dtype="auto")
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(kind):
            raise SystemExit(f"{folder}: {kind}: {sorted(info[kind])[:5]}")
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # the fast one wants widths that small models do not have
    return model.eval()


@torch.no_grad()
def logits(model, **inputs):
    out = model(**inputs)
    for name in ("logits", "prediction_logits", "logits_per_image", "image_embeds", "text_embeds", "last_hidden_state"):
        if hasattr(out, name):
            return getattr(out, name)


def some_pictures(model, count):
    """Noise, of the size that the tower was trained on."""
    config = getattr(model.config, "vision_config", model.config)
    size = config.image_size if isinstance(config.image_size, (list, tuple)) else [config.image_size] * 2
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float32).to(model.dtype)


@torch.no_grad()
def some_prompt(model):
    """Two words, a picture, three words."""
    config = model.config
    pictures = dict(pixel_values=some_pictures(model, 1))
    if config.model_type == "llava_next":  # the smallest of its grids: one whole picture and its tiles
        height, width = min(config.image_grid_pinpoints, key=lambda p: p[0] * p[1])
        side = config.vision_config.image_size
        pictures = dict(pixel_values=some_pictures(model, 1 + height * width // side**2)[None],
                        image_sizes=torch.tensor([[height, width]]))
    rows = len(model.get_image_features(**pictures, return_dict=True).pooler_output[0])
    tokens = [3, 5, *[config.image_token_id] * rows, 7, 9, 11]
    return dict(input_ids=torch.tensor([tokens]), **pictures)


def some_inputs(model):
    kind = model.config.model_type
    if kind in TOWERS:
        return dict(pixel_values=some_pictures(model, 2))
    if kind in SEEING:
        return some_prompt(model)
    text = getattr(model.config, "text_config", model.config)
    tokens = dict(input_ids=torch.arange(7).reshape(1, 7) * 5 % text.vocab_size)
    if kind in TWO_TOWERS:
        tokens["pixel_values"] = some_pictures(model, 2)
    if model.config.is_encoder_decoder:
        tokens["decoder_input_ids"] = torch.arange(4).reshape(1, 4) * 3 % text.vocab_size
    return tokens


def compare_with_original(original, written):
    ours, theirs = written.state_dict(), original.state_dict()
    if sorted(ours) != sorted(theirs):
        raise SystemExit(f"other names: {sorted(set(ours) ^ set(theirs))[:5]}")
    for name, tensor in theirs.items():
        if tensor.dtype != ours[name].dtype or not torch.equal(tensor, ours[name]):
            raise SystemExit(f"{name} differs")
    inputs = some_inputs(original)
    want, got = logits(original, **inputs), logits(written, **inputs)
    if not (got - want).abs().max() <= 1e-6 * want.abs().max():  # where tensors begin in a file may change a product's last bit
        raise SystemExit("logits differ")
    return f"{len(theirs)} tensors equal bit by bit, the logits within 1e-6"


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
        got = logits(written.float(), input_ids=recording["in.tokens"][row : row + 1, :length].long())[0]
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
