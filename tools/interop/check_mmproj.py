#!/usr/bin/env python3
"""Does llama.cpp see what drivetrain sees, through the pair of GGUF files that drivetrain writes of a LLaVA?

    check_mmproj.py DRIVETRAIN MODEL...

Each MODEL is exported in f32; llama.cpp's multimodal library loads the language model and mmproj beside it, and encodes a
picture of noise as large as the tower takes, so that nothing is resized. Its rows must be drivetrain's: the tower's, of the
layer that the file names, without the class token's, through the projector. ggml has GELU by its tanh form and from a
table in f16: rows are within NEAR.

Since May 2025 llama.cpp puts a class token behind the patches (its issue 25814): positions are shifted by one, the first
patch's row is lost and the token's own is the last. Where that is seen, drivetrain computes the same mistake, and that must
be near: the file is right.
"""
import ctypes
import os
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp as mtmd
from safetensors.numpy import load_file, save_file

NEAR = 5e-3


@llama_cpp.llama_log_callback
def silent(level, text, user):
    """llama.cpp's own words."""


def values(reader, key):
    found = reader.fields[key].contents()
    return found if isinstance(found, list) else [found]


def trace(drivetrain, model, part, tensors, folder):
    question, answer = os.path.join(folder, "in.safetensors"), os.path.join(folder, "out.safetensors")
    save_file(tensors, question, {"format": "drivetrain-recording/1"})
    subprocess.run([drivetrain, "trace", model, "--part", part, "--inputs", question, "--out", answer], check=True,
                   capture_output=True)
    return load_file(answer)


def has(reader, name):
    return any(t.name == name for t in reader.tensors)


def with_shifted_positions(drivetrain, model, folder):
    """The tower whose patches have the positions that llama.cpp gives them, and whose class token has the last."""
    path = os.path.join(folder, "shifted")
    subprocess.run([drivetrain, "export", model, "--part", "tower", "--to", "megatron-state", "--dtype", "f32", "--force", "-o", path],
                   check=True, capture_output=True)
    state = os.path.join(path, "state.safetensors")
    tensors = load_file(state)
    table = tensors["position_embeddings.weight"]
    tensors["position_embeddings.weight"] = np.concatenate([table[-1:], table[:-1]])
    save_file(tensors, state)
    return path


def ours(drivetrain, model, picture, reader, folder, mistaken=False):
    mean, std = (np.array(values(reader, f"clip.vision.image_{n}"), np.float32) for n in ("mean", "std"))
    pixels = ((picture.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)[None]
    tower = with_shifted_positions(drivetrain, model, folder) if mistaken else model
    seen = trace(drivetrain, tower, "tower", {"in.pixels": np.ascontiguousarray(pixels)}, folder)
    rows = []
    for layer in values(reader, "clip.vision.feature_layer"):
        rows.append(seen["out.hidden" if has(reader, "v.post_ln.weight") else f"out.layer.{layer - 1}"])
    rows = np.concatenate(rows, -1)
    if mistaken:
        rows = np.concatenate([rows[:, 2:], rows[:, :1]], 1)
    elif has(reader, "v.class_embd"):
        rows = rows[:, 1:]
    return trace(drivetrain, model, "projector", {"in.image_features": np.ascontiguousarray(rows)}, folder)["out.projected"][0]


def apart(want, have):
    assert want.shape == have.shape, f"{have.shape} rows, expected {want.shape}"
    return float(np.abs(want - have).max() / np.abs(want).max())


def theirs(path, eyes, picture):
    llama_cpp.llama_log_set(silent, None)
    mtmd.mtmd_log_set(silent, None)
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    assert model, f"llama.cpp cannot load {path}"
    options = mtmd.mtmd_context_params_default()
    options.use_gpu, options.n_threads, options.warmup = False, 1, False
    options.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = mtmd.mtmd_init_from_file(eyes.encode(), model, options)
    assert context, f"llama.cpp cannot load {eyes}"
    height, width, _ = picture.shape
    raw = (ctypes.c_uint8 * picture.size).from_buffer_copy(picture.tobytes())
    bitmap = mtmd.mtmd_bitmap_init(width, height, raw)
    chunks = mtmd.mtmd_input_chunks_init()
    marker = mtmd.mtmd_default_marker()
    text = mtmd.mtmd_input_text(text=marker, text_len=len(marker), add_special=False, parse_special=False)
    code = mtmd.mtmd_tokenize(context, chunks, ctypes.byref(text), (ctypes.c_void_p * 1)(bitmap), 1)
    assert code == 0, f"llama.cpp: mtmd_tokenize gives {code}"
    for i in range(mtmd.mtmd_input_chunks_size(chunks)):
        chunk = mtmd.mtmd_input_chunks_get(chunks, i)
        if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE:
            assert mtmd.mtmd_encode_chunk(context, chunk) == 0
            count = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
            rows = mtmd.mtmd_get_output_embd(context)
            return np.ctypeslib.as_array(rows, (count, llama_cpp.llama_model_n_embd(model))).copy()
    raise AssertionError("llama.cpp made no picture of the marker")


def check(drivetrain, model, folder):
    path = os.path.join(folder, "model.gguf")
    done = subprocess.run([drivetrain, "export", model, "--to", "gguf", "--dtype", "f32", "--force", "-o", path],
                          capture_output=True, text=True)
    if done.returncode:
        print(f"{model}: skipped: {' '.join(done.stderr.split())[:200]}")
        return 0
    assert "check: yes" in done.stdout, done.stdout
    eyes = os.path.join(folder, "mmproj-model.gguf")
    reader = gguf.GGUFReader(eyes)
    side = values(reader, "clip.vision.image_size")[0]
    picture = np.random.default_rng(5).integers(0, 256, (side, side, 3), np.uint8)
    have = theirs(path, eyes, picture)
    distance, remark = apart(ours(drivetrain, model, picture, reader, folder), have), ""
    if distance > NEAR and has(reader, "v.class_embd"):
        remark = ", its class token behind the patches"
        distance = apart(ours(drivetrain, model, picture, reader, folder, mistaken=True), have)
    assert distance <= NEAR, f"{model}: rows are {distance} apart"
    print(f"{model}: {len(have)} rows of a picture within {distance:.1e}{remark}")
    return 1


def main(drivetrain, models):
    with tempfile.TemporaryDirectory() as folder:
        checked = sum(check(drivetrain, model, folder) for model in models)
    assert checked, "llama.cpp was given nothing"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
