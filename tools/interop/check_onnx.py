#!/usr/bin/env python3
"""Does onnxruntime compute from drivetrain's ONNX graphs what the makers recorded?

    [OPSET=N] check_onnx.py DRIVETRAIN MODEL...

Each MODEL (a folder with recording.safetensors in it or above) is exported in f32; onnx.checker reads the graphs, and
onnxruntime runs them on the recorded tokens: padded on the right, padded on the left, in two halves and token by token
with a cache, and greedily where the recording continues; towers on the recorded pictures of every size, in one batch and
one by one, and on pictures of odd sizes as drivetrain itself computes them; CLIP and SigLIP on both; a model that sees by
its three graphs, pictures in the places of words. Logits, or what else there is, must be within NEAR of the recorded ones.
"""
import glob
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from safetensors import safe_open
from safetensors.numpy import save_file

NEAR = 5e-6  # of the largest value at a point; MEDIUM for models wide enough that f32 itself is farther off
MEDIUM = 1e-4


def read(path):
    with safe_open(path, "np") as f:
        r = {name: f.get_tensor(name) for name in f.keys()}
        return r, json.loads((f.metadata() or {}).get("options", "{}"))


def recording_of(model):
    folder = os.path.abspath(model)
    while folder != "/":
        path = os.path.join(folder, "recording.safetensors")
        if os.path.exists(path):
            r, options = read(path)
            return r, dict(options, sizes=glob.glob(os.path.join(folder, "recording_*x*.safetensors")))
        folder = os.path.dirname(folder)
    raise SystemExit(f"{model}: no recording.safetensors in it or above")


def distance(got, want, lengths):
    """Largest difference at valid positions, of the largest value there."""
    worst = largest = 0.0
    for b, n in enumerate(lengths):
        if not np.isfinite(got[b, :n]).all():
            return float("inf")
        worst = max(worst, float(np.abs(got[b, :n] - want[b, :n]).max()))
        largest = max(largest, float(np.abs(want[b, :n]).max()))
    return worst / (largest + 1e-6)


class Graph:
    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        self.outputs = [o.name for o in self.session.get_outputs()]

    def empty_past(self, batch):
        return {n: np.zeros((batch, i.shape[1], 0, i.shape[3]), np.float32)
                for n, i in self.inputs.items() if n.startswith("past_key_values")}

    def __call__(self, **feeds):
        feeds = {n: v for n, v in feeds.items() if n in self.inputs}
        return dict(zip(self.outputs, self.session.run(None, feeds)))


def next_past(out, before):
    """Presents become the past; what the layers read of an encoder stays."""
    past = dict(before)
    past.update({n.replace("present", "past_key_values"): v for n, v in out.items() if n.startswith("present")})
    return past


def decode(graph, tokens, mask, cuts):
    """Logits of [B, S] tokens, computed in spans that end at `cuts`."""
    positions = np.where(mask, mask.cumsum(1) - 1, 1)
    past, parts, first = graph.empty_past(len(tokens)), [], 0
    for end in cuts:
        out = graph(input_ids=tokens[:, first:end], attention_mask=mask[:, :end],
                    position_ids=positions[:, first:end], **past)
        parts.append(out["logits"])
        past, first = next_past(out, past), end
    return np.concatenate(parts, 1)


def continue_greedily(graph, prompt, count):
    past, tokens, total = graph.empty_past(1), prompt[None], []
    for _ in range(count):
        n = (next(iter(past.values())).shape[2] if past else 0) + tokens.shape[1]
        out = graph(input_ids=tokens, attention_mask=np.ones((1, n), np.int64),
                    position_ids=np.arange(n - tokens.shape[1], n)[None], **past)
        past = next_past(out, past)
        tokens = out["logits"][:, -1:].argmax(-1)
        total.append(int(tokens[0, 0]))
    return total


def check_decoder(folder, r, options):
    graph = Graph(os.path.join(folder, "model.onnx"))
    tokens, lengths, want = r["in.tokens"].astype(np.int64), r["in.lengths"], r["out.logits"]
    B, S = tokens.shape
    mask = (np.arange(S) < lengths[:, None]).astype(np.int64)
    found = {}
    rows = [slice(b, b + 1) for b in range(B)]
    together = slice(0, B)
    grows = options.get("alone")  # rows whose rotation follows their own length were recorded one by one
    for name, cuts in (("right", [S]), ("halves", [S // 2, S]), ("steps", [1, 2, 3] + list(range(4, S + 1)))):
        if grows and name != "right":
            continue
        got = decode(graph, tokens, mask, cuts if S < 64 else cuts[:3] + [S] if len(cuts) > 3 else cuts)
        found[name] = distance(got, want, lengths)
    left, left_mask = np.zeros_like(tokens), np.zeros_like(mask)
    for b, n in enumerate(lengths):
        left[b, S - n:], left_mask[b, S - n:] = tokens[b, :n], 1
    got, moved = decode(graph, left, left_mask, [S]), np.zeros_like(want)
    for b, n in enumerate(lengths):
        moved[b, :n] = got[b, S - n:]
    found["left"] = distance(moved, want, lengths)
    if "out.greedy" in r and not grows:
        for b, n in enumerate(lengths):
            expected = [int(t) for t in r["out.greedy"][b] if t >= 0]
            got = continue_greedily(graph, tokens[b, :n], len(expected))
            assert got == expected, f"row {b} continues {got}, recorded {expected}"
        found["greedy"] = 0.0
    return found


def check_encoder(folder, r, options):
    graph = Graph(os.path.join(folder, "model.onnx"))
    tokens, lengths = r["in.tokens"].astype(np.int64), r["in.lengths"]
    mask = (np.arange(tokens.shape[1]) < lengths[:, None]).astype(np.int64)
    types = r.get("in.token_types", np.zeros_like(tokens)).astype(np.int64)
    pad = int(options.get("pad", 1))
    if "token_type_ids" not in graph.inputs:  # RoBERTa counts positions by tokens that are not padding
        tokens = np.where(mask, tokens, pad)
    out = graph(input_ids=tokens, attention_mask=mask, token_type_ids=types)
    found = {}
    for point, name in (("hidden", "last_hidden_state"), ("logits", "logits")):
        if f"out.{point}" in r and name in out:
            found[name] = distance(out[name], r[f"out.{point}"], lengths)
    for point, name in (("pooled", "pooler_output"), ("binary_logits", "seq_relationship_logits")):
        if f"out.{point}" in r and name in out:
            found[name] = distance(out[name][:, None], r[f"out.{point}"][:, None], [1] * len(tokens))
    return found


POINTS = {"last_hidden_state": "hidden", "pooler_output": "pooled", "image_embeds": "image_features", "logits": "logits",
          "hidden_states": "projected"}


def farthest(out, r, rows=slice(None)):
    """Distances of the results that were recorded, each over all of it."""
    pairs = {name: (out[name], r[f"out.{point}"][rows]) for name, point in POINTS.items()
             if name in out and f"out.{point}" in r}
    assert pairs, f"none of {list(out)} was recorded"
    for name, (got, want) in pairs.items():
        assert got.shape == want.shape, f"{name} is {got.shape}, recorded {want.shape}"
    return {name: float(np.abs(got - want).max() / (np.abs(want).max() + 1e-6)) for name, (got, want) in pairs.items()}


def odd_sizes(drivetrain, model, graph, channels, folder):
    """Pictures of sizes that nobody recorded, as drivetrain computes them: positions follow the size."""
    question, answer, found = os.path.join(folder, "in.safetensors"), os.path.join(folder, "out.safetensors"), {}
    for height, width in ((33, 77), (91, 40), (15, 15)):
        pixels = np.random.default_rng(height).standard_normal((2, channels, height, width)).astype(np.float32)
        save_file({"in.pixels": pixels}, question, {"format": "drivetrain-recording/1"})
        line = [drivetrain, "trace", model, "--inputs", question, "--out", answer]
        done = subprocess.run(line, capture_output=True, text=True)
        assert done.returncode == 0, f"{model}: {done.stderr}"
        found[f"{height}x{width}"] = max(farthest(graph(pixel_values=pixels), read(answer)[0]).values())
    return found


def check_pictures(folder, r, options):
    """What recordings hold of raw pictures alone is left to drivetrain's own numbers, which verify compares with them."""
    graph = Graph(os.path.join(folder, "model.onnx"))
    given, recorded = ("pixel_values", "in.pixels") if "pixel_values" in graph.inputs else (
        "image_features", "in.image_features")
    found = farthest(graph(**{given: r[recorded]}), r) if recorded in r else {}
    for b in range(len(r.get(recorded, ()))):
        one = farthest(graph(**{given: r[recorded][b:b + 1]}), r, slice(b, b + 1))
        found["alone"] = max(found.get("alone", 0.0), *one.values())
    for path in options["sizes"]:
        other = read(path)[0]
        if recorded not in other:
            continue
        found[path.rsplit("_", 1)[1].split(".")[0]] = max(farthest(graph(**{given: other[recorded]}), other).values())
    shape = graph.inputs[given].shape
    if "height" in shape:
        found.update(odd_sizes(options["drivetrain"], options["model"], graph, shape[1], folder))
    return found


def check_dual(folder, r, options):
    graph = Graph(os.path.join(folder, "model.onnx"))
    out = graph(input_ids=r["in.tokens"].astype(np.int64), pixel_values=r["in.pixels"])
    found = {}
    for name, want in (("logits_per_image", r["out.logits"]), ("logits_per_text", r["out.logits"].T),
                       ("image_embeds", r["out.image_features"]), ("text_embeds", r["out.text_features"])):
        found[name] = apart(out[name], want)
    return found


def check_seeing(folder, r, options):
    """Words looked up, rows of pictures put in their places, and the decoder, whole and in two halves with its cache."""
    eyes, words, decoder = (Graph(os.path.join(folder, f"{n}.onnx"))
                            for n in ("vision_encoder", "embed_tokens", "decoder_model_merged"))
    seen = eyes(pixel_values=r["in.pixels"])["image_features"]
    found = {}
    if "out.projected" in r:
        found["image_features"] = apart(seen, r["out.projected"].reshape(seen.shape))
    tokens, places = r["in.tokens"].astype(np.int64), r["in.image_positions"]
    rows = words(input_ids=np.where(tokens < 0, 0, tokens))["inputs_embeds"]
    want = r["out.logits"]
    lengths = r.get("in.merged_lengths", r["in.lengths"])
    merged = np.zeros((len(tokens), want.shape[1], rows.shape[-1]), np.float32)
    left = list(seen.reshape(-1, seen.shape[-1]))
    lined = (places >= 0).sum() != len(left)  # newlines and padding of LLaVA-NeXT's tiles are the caller's business
    if lined:
        merged = r["out.embedding"]
    for b, row in enumerate(() if lined else tokens):
        taken = [p for p in places[b] if p >= 0]
        if (row < 0).any():  # a token stands for a picture: positions are merged ones
            spoken = iter(rows[b][row >= 0])
        else:
            spoken = iter(np.delete(rows[b], taken, 0))
        for s in range(int(lengths[b])):
            merged[b, s] = left.pop(0) if s in taken else next(spoken)
    mask = (np.arange(merged.shape[1]) < lengths[:, None]).astype(np.int64)
    positions = np.where(mask, mask.cumsum(1) - 1, 1)
    for name, cuts in (("whole", [merged.shape[1]]), ("halves", [merged.shape[1] // 2, merged.shape[1]])):
        past, parts, first = decoder.empty_past(len(merged)), [], 0
        for end in cuts:
            out = decoder(inputs_embeds=merged[:, first:end], attention_mask=mask[:, :end],
                          position_ids=positions[:, first:end], **past)
            parts.append(out["logits"])
            past, first = next_past(out, past), end
        found[name] = distance(np.concatenate(parts, 1), want, lengths)
    return found


def apart(got, want):
    assert got.shape == want.shape, f"{got.shape}, recorded {want.shape}"
    return float(np.abs(got - want).max() / (np.abs(want).max() + 1e-6))


def check_both(folder, r, options):
    encoder, first, later = (Graph(os.path.join(folder, f"{n}.onnx"))
                             for n in ("encoder_model", "decoder_model", "decoder_with_past_model"))
    source, n_source = r["in.encoder_tokens"].astype(np.int64), r["in.encoder_lengths"]
    tokens, lengths, want = r["in.decoder_tokens"].astype(np.int64), r["in.decoder_lengths"], r["out.logits"]
    mask = (np.arange(source.shape[1]) < n_source[:, None]).astype(np.int64)
    memory = encoder(input_ids=source, attention_mask=mask)["last_hidden_state"]
    found = {}
    if "out.encoder.hidden" in r:
        found["encoder"] = distance(memory, r["out.encoder.hidden"], n_source)
    given = dict(encoder_hidden_states=memory, encoder_attention_mask=mask)
    found["whole"] = distance(first(input_ids=tokens, **given)["logits"], want, lengths)
    out = first(input_ids=tokens[:, :1], **given)
    past, parts = next_past(out, {}), [out["logits"]]
    for t in range(1, tokens.shape[1]):
        out = later(input_ids=tokens[:, t:t + 1], encoder_attention_mask=mask, **past)
        past = next_past(out, past)
        parts.append(out["logits"])
    found["steps"] = distance(np.concatenate(parts, 1), want, lengths)
    if "out.greedy" in r and not options.get("processors"):
        found["greedy"] = greedy_both(first, later, memory, mask, tokens, r["out.greedy"])
    return found


def greedy_both(first, later, memory, mask, tokens, recorded):
    """Share of recorded greedy tokens that plain argmax gives: some recordings force or ban tokens."""
    same = total = 0
    for b in range(len(tokens)):
        expected = [int(t) for t in recorded[b] if t >= 0]
        given = dict(encoder_hidden_states=memory[b:b + 1], encoder_attention_mask=mask[b:b + 1])
        token, past = tokens[b:b + 1, :1], {}
        for want in expected:
            graph = later if past else first
            out = graph(input_ids=token, **(given if not past else {"encoder_attention_mask": mask[b:b + 1]}), **past)
            past = next_past(out, past)
            same += int(out["logits"][0, -1].argmax()) == want
            total += 1
            token = np.array([[want]])
    return 0.0 if same == total else 1.0 - same / total


def check(drivetrain, model, folder, opset):
    line = [drivetrain, "export", model, "--to", "onnx", "--dtype", "f32", "--opset", str(opset), "-o", folder]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        print(f"{model}: skipped: {' '.join(done.stderr.split())[:150]}")
        return 0
    assert "check: yes" in done.stdout, f"{model}: drivetrain's own check: {done.stdout}"
    r, options = recording_of(model)
    options = dict(options, drivetrain=drivetrain, model=model)
    files = [f for f in sorted(os.listdir(folder)) if f.endswith(".onnx")]
    for name in files:
        onnx.checker.check_model(os.path.join(folder, name), full_check=True)
    inputs = {i.name for i in onnx.load(os.path.join(folder, files[0]), load_external_data=False).graph.input}
    test = check_both if "encoder_model.onnx" in files else \
        check_seeing if "vision_encoder.onnx" in files else \
        check_dual if {"pixel_values", "input_ids"} <= inputs else \
        check_decoder if "past_key_values.0.key" in inputs else \
        check_pictures if inputs & {"pixel_values", "image_features"} else check_encoder
    found = test(folder, r, options)
    told = ", ".join(f"{n} {d:.1e}" for n, d in found.items())
    near = MEDIUM if "medium" in model else NEAR
    assert max(v for n, v in found.items() if n != "greedy") <= near, f"{model}: {told}"
    print(f"{model}: {told}")
    return 1


def main(drivetrain, models, opset=18):
    with tempfile.TemporaryDirectory() as folder:
        checked = sum(check(drivetrain, m, os.path.join(folder, str(i)), opset) for i, m in enumerate(models))
    assert checked, "onnxruntime was given nothing"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:], int(os.environ.get("OPSET", 18)))
