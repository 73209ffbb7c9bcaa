"""What the scripts of this folder share: the question that drivetrain asks, and the recording that answers it.

A script is run as `python3 SCRIPT QUESTION ANSWER`. QUESTION is JSON: "model" (what was exported), "model_type" (gpt,
t5, bert, encoder), "family", "vocab_size", "new_tokens", "prompts" (rows of ids), and for encoder-decoders
"decoder_prompts" (rows that begin with the start token). ANSWER is a recording (docs/recording.md) of the same rows, or
of their beginnings: out.logits (or out.hidden), and out.greedy where the runtime generates. Models without words are asked
otherwise: "model_type" is tower or projector, and "pixels" [N, C, H, W] or "features" [N, rows, width] are the sizes of
what the script makes up (`noise`) and puts into its answer as in.pixels or in.image_features. Exit code 77 says that the
runtime is not installed; what is printed is shown when the script fails otherwise.
"""
import json
import struct
import sys

NOT_INSTALLED = 77


def missing(error):
    print(error)
    sys.exit(NOT_INSTALLED)


def question():
    with open(sys.argv[1], encoding="utf-8") as file:
        return json.load(file)


def padded(rows, fill=0):
    """Rows of ids as int32 [B, S], and their lengths."""
    import numpy as np

    out = np.full((len(rows), max(map(len, rows))), fill, np.int32)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out, np.array([len(row) for row in rows], np.int32)


def rows_of_logits(list_of_rows):
    """Arrays [length, V] of different lengths as [B, S, V]."""
    import numpy as np

    longest = max(len(rows) for rows in list_of_rows)
    out = np.zeros((len(list_of_rows), longest, list_of_rows[0].shape[-1]), np.float32)
    for i, rows in enumerate(list_of_rows):
        out[i, : len(rows)] = rows
    return out


def greedy(next_logits, prompts, steps, ends=()):
    """The greedy continuation of each row, by a function that gives the logits after a row; -1 after an end token."""
    answers = []
    for prompt in prompts:
        row = []
        while len(row) < steps and not (row and row[-1] in ends):
            row.append(int(next_logits(list(prompt) + row).argmax()))
        answers.append(row)
    return padded([row + [-1] * (steps - len(row)) for row in answers])[0]


def noise(shape):
    import numpy as np

    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


# What runtimes call the results of models without words, and what recordings do.
RESULTS = {"last_hidden_state": "out.hidden", "pooler_output": "out.pooled", "image_embeds": "out.image_features",
           "logits": "out.logits", "hidden_states": "out.projected"}


def named(results):
    """A runtime's results under the names of recordings."""
    import numpy as np

    return {RESULTS[name]: np.asarray(value, np.float32) for name, value in results.items() if name in RESULTS}


def answer(tensors, source, prompts=None, decoder_prompts=None, ends=(), dtype="f32"):
    """Write the recording: the inputs, and `tensors` ("out.logits", ...) as numpy arrays."""
    import numpy as np

    names = ("in.encoder_", "in.decoder_") if decoder_prompts else ("in.",) if prompts else ()
    for name, rows in zip(names, (prompts, decoder_prompts)):
        tensors[name + "tokens"], tensors[name + "lengths"] = padded(rows)
    options = {"new_tokens": int(tensors["out.greedy"].shape[1]) if "out.greedy" in tensors else 0,
               "eos_token_ids": list(ends)}
    header = {"__metadata__": {"format": "drivetrain-recording/1", "source": source, "dtype": dtype,
                               "options": json.dumps(options)}}
    data = b""
    for name in sorted(tensors):
        kind = "I32" if np.issubdtype(tensors[name].dtype, np.integer) else "F32"
        raw = np.ascontiguousarray(tensors[name], np.int32 if kind == "I32" else np.float32).tobytes()
        header[name] = {"dtype": kind, "shape": list(tensors[name].shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(sys.argv[2], "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
