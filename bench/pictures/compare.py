#!/usr/bin/env python3
"""Resizing against Pillow, one thread each, in turns: how many times as fast.

  compare.py build/release/bench/bench_resize

The best of several rounds counts, since other work on the machine only ever adds.
"""
import subprocess
import sys
import time

import PIL
from PIL import Image

CASES = [  # filter, name, in, out
    (2, "bilinear", (640, 427), (224, 224)), (3, "bicubic", (640, 427), (336, 224)),
    (3, "bicubic", (1300, 876), (332, 224)), (1, "lanczos", (1300, 876), (332, 224)),
    (3, "bicubic", (4000, 3000), (298, 224)), (3, "bicubic", (4000, 3000), (1344, 1008)),
    (3, "bicubic", (224, 224), (448, 448)),
]


def pillow(filter_, size, to, repeats):
    image = Image.effect_noise(size, 60).convert("RGB")
    best = 1e9
    for _ in range(repeats):
        start = time.perf_counter()
        image.resize(to, filter_)
        best = min(best, time.perf_counter() - start)
    return best


def ours(program, filter_, size, to, repeats):
    words = [program, filter_, "pillow", *size, *to, repeats]
    return float(subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True).stdout)


def main():
    print(f"Pillow {PIL.__version__}")
    for filter_, name, size, to in CASES:
        repeats = 5 if size[0] > 2000 else 20
        rounds = [(pillow(filter_, size, to, repeats), ours(sys.argv[1], filter_, size, to, repeats)) for _ in range(3)]
        theirs, mine = (min(column) for column in zip(*rounds))
        print(f"{name:9} {size[0]}x{size[1]} to {to[0]}x{to[1]}: {theirs * 1e3:7.2f} ms, {mine * 1e3:6.2f} ms: "
              f"{theirs / mine:.1f} times")


main()
