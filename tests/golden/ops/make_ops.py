#!/usr/bin/env python3
"""Values of single ops and their gradients by PyTorch in f64, for tests/unit/backend/reference_ops_test.c.

    python3 make_ops.py > torch_ops.h        (torch 2.12.1)

Inputs are `numbers(n, seed)`, which the test computes too (rig_numbers in tests/unit/backend/op_rig.c).
"""
import math

import torch
import torch.nn.functional as F


def numbers(n, seed):
    out = []
    for i in range(n):
        h = (i * 2654435761 + seed * 40503 + 12345) & 0xFFFFFFFF
        h ^= h >> 15
        h = h * 2246822519 & 0xFFFFFFFF
        h ^= h >> 13
        out.append(((h >> 8 & 2047) - 1024) / 1024)
    return torch.tensor(out, dtype=torch.float64)


def emit(name, t):
    values = ", ".join("%.10g" % v for v in t.detach().double().flatten().tolist())
    print(f"static const double {name}[] = {{{values}}};")


def activations():
    kinds = {
        "gelu": lambda x: F.gelu(x), "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "relu": F.relu,
        "squared_relu": lambda x: F.relu(x) ** 2, "silu": F.silu, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    }
    for name, f in kinds.items():
        x = (numbers(12, 1) * 6).requires_grad_()
        y = f(x)
        y.sum().backward()
        emit(f"torch_{name}", y)
        emit(f"torch_{name}_slope", x.grad)
    x = numbers(2 * 8, 2).reshape(2, 8).requires_grad_()
    y = F.silu(x[:, :4]) * x[:, 4:]
    y.backward(numbers(8, 3).reshape(2, 4))
    emit("torch_swiglu", y)
    emit("torch_swiglu_dx", x.grad)


def norms():
    x, w, b, dy = (numbers(n, s).requires_grad_() for n, s in ((18, 4), (6, 5), (6, 6), (18, 7)))
    rows = x.reshape(3, 6)
    y = rows / torch.sqrt((rows * rows).mean(1, keepdim=True) + 1e-3) * (w + 1)
    gx, gw = torch.autograd.grad(y, (x, w), dy.reshape(3, 6))
    emit("torch_rms_norm", y), emit("torch_rms_norm_dx", gx), emit("torch_rms_norm_dw", gw)
    y = F.layer_norm(rows, (6,), w, b, 1e-3)
    gx, gw, gb = torch.autograd.grad(y, (x, w, b), dy.reshape(3, 6))
    emit("torch_layer_norm", y), emit("torch_layer_norm_dx", gx)
    emit("torch_layer_norm_dw", gw), emit("torch_layer_norm_db", gb)


def rope():
    """As transformers: angles, cosines and sines in f32, times the attention factor."""
    x = numbers(3 * 2 * 6, 8).reshape(3, 2, 6)
    inv_freq = torch.tensor([1.0, 0.1], dtype=torch.float32)
    angle = torch.tensor([0.0, 7.0, 100000.0], dtype=torch.float32)[:, None] * inv_freq
    c, s = (f(angle.double()).float() * torch.tensor(1.25) for f in (torch.cos, torch.sin))
    c, s = c.double()[:, None], s.double()[:, None]
    for name, i, j in (("halves", slice(0, 2), slice(2, 4)), ("pairs", slice(0, 4, 2), slice(1, 4, 2))):
        y = x.clone()
        y[..., i] = x[..., i] * c - x[..., j] * s
        y[..., j] = x[..., j] * c + x[..., i] * s
        emit(f"torch_rope_{name}", y)


def bucket(relative, buckets, distance, bidirectional):
    from transformers.models.t5.modeling_t5 import T5Attention
    return T5Attention._relative_position_bucket(relative, bidirectional, buckets, distance)


def attention(name, lengths, A, K, D, causal=False, left=-1, cap=0.0, scale=1.0, sink=False, buckets=0):
    T = sum(lengths)
    q, k, v, dy = (numbers(T * n * D, s).reshape(T, n, D) * 2 for n, s in ((A, 11), (K, 12), (K, 13), (A, 14)))
    table = numbers(max(buckets, 1) * A, 15).reshape(-1, A)
    extra = numbers(A, 16)
    leaves = [t.requires_grad_() for t in (q, k, v, table, extra)]
    out, start = [], 0
    for n in lengths:
        rows = slice(start, start + n)
        kk, vv = (t[rows].repeat_interleave(A // K, 1) for t in (k, v))
        s = torch.einsum("tad,sad->ats", q[rows], kk) * scale
        if cap:
            s = cap * torch.tanh(s / cap)
        place = torch.arange(n)
        relative = place[None, :] - place[:, None]
        if buckets:
            s = s + table[bucket(relative, buckets, 10, True)].permute(2, 0, 1)
        hidden = torch.zeros(n, n, dtype=torch.bool)
        if causal:
            hidden |= relative > 0
        if left >= 0:
            hidden |= relative < -left
        s = s.masked_fill(hidden, -math.inf)
        if sink:
            s = torch.cat([s, extra[:, None, None].expand(A, n, 1)], 2)
        p = s.softmax(2)[..., :n]
        out.append(torch.einsum("ats,sad->tad", p, vv))
        start += n
    y = torch.cat(out)
    grads = torch.autograd.grad(y, leaves, dy, allow_unused=True)
    emit(f"torch_attention_{name}", y)
    for what, g in zip(("dq", "dk", "dv", "dbias", "dsink"), grads):
        if g is not None:
            emit(f"torch_attention_{name}_{what}", g)


def cross_entropy():
    x = (numbers(3 * 7, 21) * 3).reshape(3, 7).requires_grad_()
    labels = torch.tensor([4, -100, 0])
    loss = F.cross_entropy(x[:, :5], labels, ignore_index=-100, reduction="none")
    emit("torch_cross_entropy", loss)
    emit("torch_cross_entropy_dx", torch.autograd.grad(loss, x, numbers(3, 22))[0])


def sinusoids():
    """Rows of the tables of transformers 5.23."""
    from transformers.models.m2m_100.modeling_m2m_100 import M2M100SinusoidalPositionalEmbedding
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding
    marian = MarianSinusoidalPositionalEmbedding(512, 5).create_weight()
    m2m100 = M2M100SinusoidalPositionalEmbedding.get_embedding(514, 5)
    emit("torch_sinusoid_marian", marian[[0, 511]])
    emit("torch_sinusoid_m2m100", m2m100[[2, 513]])


print("/* Written by make_ops.py with PyTorch %s; do not edit. */" % torch.__version__.split("+")[0])
activations()
norms()
rope()
attention("window", (4, 2), 4, 2, 3, causal=True, left=2, cap=1.5, scale=0.7, sink=True)
attention("bias", (5, 1), 2, 2, 3, buckets=8)
cross_entropy()
sinusoids()
