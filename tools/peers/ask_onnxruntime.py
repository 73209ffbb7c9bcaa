#!/usr/bin/env python3
"""onnxruntime answers for a folder of ONNX graphs: logits of the rows, padded into one batch, and greedy tokens by way of the cache;
what towers and projectors make of noise."""
import os

import peer

try:
    import numpy as np
    import onnxruntime
except ImportError as error:
    peer.missing(error)

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class Graph:
    """One session, fed by names: what a graph does not take is left out, and an empty past is made for it."""

    types = set()  # of all graphs' results: what they compute in

    def __init__(self, folder, name):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        path = os.path.join(folder, name)
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.types |= {o.type for o in self.session.get_outputs()}
        self.past = {n: i for n, i in self.inputs.items() if n.startswith("past_key_values.")}

    def nothing_before(self, batch):
        return {n: np.zeros((batch, i.shape[1], 0, i.shape[3]), TYPES[i.type]) for n, i in self.past.items()}

    def __call__(self, **feeds):
        for name, value in feeds.items():
            if name in self.inputs and self.inputs[name].type in TYPES:
                feeds[name] = value.astype(TYPES[self.inputs[name].type])
        out = self.session.run(None, {n: v for n, v in feeds.items() if n in self.inputs})
        return dict(zip(self.outputs, out))


def carry(out, past):
    return {**past, **{n.replace("present", "past_key_values", 1): v for n, v in out.items() if n.startswith("present.")}}


def batch_of(rows, pad=0):
    ids, lengths = peer.padded(rows, pad)
    mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
    return ids.astype(np.int64), mask


def decoder(q, folder):
    graph = Graph(folder, "model.onnx")
    ids, mask = batch_of(q["prompts"])
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    whole = graph(input_ids=ids, attention_mask=mask, position_ids=positions, **graph.nothing_before(len(ids)))
    greedy = []
    for prompt in q["prompts"]:
        row, past, tokens, total = [], graph.nothing_before(1), [prompt], 0
        for _ in range(q["new_tokens"]):
            new = np.array(tokens, np.int64)
            positions = np.arange(total, total + new.shape[1], dtype=np.int64)[None]
            total += new.shape[1]
            out = graph(input_ids=new, attention_mask=np.ones((1, total), np.int64), position_ids=positions, **past)
            past, tokens = carry(out, past), [[int(out["logits"][0, -1].argmax())]]
            row.append(tokens[0][0])
        greedy.append(row)
    return {"out.logits": whole["logits"].astype(np.float32), "out.greedy": peer.padded(greedy)[0]}


def encoder_decoder(q, folder):
    encoder = Graph(folder, "encoder_model.onnx")
    first, later = Graph(folder, "decoder_model.onnx"), Graph(folder, "decoder_with_past_model.onnx")
    ids, mask = batch_of(q["prompts"])
    memory = encoder(input_ids=ids, attention_mask=mask)["last_hidden_state"]
    given = dict(encoder_hidden_states=memory, encoder_attention_mask=mask)
    whole = first(input_ids=batch_of(q["decoder_prompts"])[0], **given)
    greedy = []
    for b, prompt in enumerate(q["decoder_prompts"]):
        own = {name: value[b : b + 1] for name, value in given.items()}
        tokens, past, row = np.array([prompt[:1]], np.int64), {}, []
        for _ in range(q["new_tokens"]):
            out = (later if past else first)(input_ids=tokens, **own, **past)
            past, row = carry(out, past), row + [int(out["logits"][0, -1].argmax())]
            tokens = np.array([row[-1:]], np.int64)
        greedy.append(row)
    return {"out.logits": whole["logits"].astype(np.float32), "out.greedy": peer.padded(greedy)[0]}


def encoder(q, folder):
    graph = Graph(folder, "model.onnx")
    rows = []
    for prompt in q["prompts"]:  # one by one: which id pads is the tokenizer's to know
        ids = np.array([prompt], np.int64)
        out = graph(input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=np.zeros_like(ids))
        rows.append(out["last_hidden_state"][0].astype(np.float32))
    return {"out.hidden": peer.rows_of_logits(rows)}


def tower(q, folder):
    pixels = peer.noise(q["pixels"])
    return {"in.pixels": pixels, **peer.named(Graph(folder, "model.onnx")(pixel_values=pixels))}


def projector(q, folder):
    features = peer.noise(q["features"])
    return {"in.image_features": features, **peer.named(Graph(folder, "model.onnx")(image_features=features))}


KINDS = {"gpt": decoder, "t5": encoder_decoder, "tower": tower, "projector": projector}


def main():
    q = peer.question()
    answer = KINDS.get(q["model_type"], encoder)(q, q["model"])
    dtype = "f16" if "tensor(float16)" in Graph.types else "f32"
    peer.answer(answer, f"onnxruntime {onnxruntime.__version__}", q.get("prompts"), q.get("decoder_prompts"),
                dtype=dtype)


if __name__ == "__main__":
    main()
