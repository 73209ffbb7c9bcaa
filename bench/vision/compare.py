"""Time drivetrain's vision towers beside onnxruntime (f32) and PyTorch (f32, bf16), in one run, alternating.

usage: taskset -c 1 compare.py PROGRAM MODELS [--rounds N] [--threads N] [--only TEXT] [--batch 1,8]
       compare.py PROGRAM MODELS --mixed           16 pictures of mixed sizes beside 16 of one, through RADIO
       compare.py PROGRAM MODELS --picture FILE    what decoding and preprocessing a file cost beside ViT-B/16

PROGRAM is bench_tower, MODELS what make_models.py made. From pixels to hidden states; a ratio above 1 means that
drivetrain is faster. One thread is timed by its processor time (other programs do not count), more by the wall. Each
round times a slice of every side by turns; medians of the rounds' ratios, with quartiles in brackets. `of peak`: the
fraction of this core's multiply-adds from registers, measured in the same rounds. `embed`: what stands before the first
layer, laying out patches included, as a part of the tower's time: what one layer alone takes more than its share.
"""
import argparse
import os
import statistics
import subprocess
import sys
import time

import numpy as np

SIDE = 224
MIXED = [(8, 8), (8, 16), (10, 14), (12, 12), (14, 10), (14, 14), (14, 20), (16, 16), (20, 14), (12, 24), (24, 12),
         (18, 18), (10, 20), (9, 13), (16, 10), (11, 15)]  # patches of 16 x 16: 198 on average, where 224 x 224 has 196
# FLOP of one picture: products of the layers, attention, patches
SHAPES = {"vit-b16": (12, 768, 3072, 197, 16), "clip-l14": (24, 1024, 4096, 257, 14)}


def flops(name):
    layers, H, F, T, P = SHAPES[name]
    return 2 * layers * T * (4 * H * H + 2 * H * F + 2 * T * H) + 2 * (T - 1) * 3 * P * P * H


class Ours:
    def __init__(self, program, model, dtype, threads):
        self.process = subprocess.Popen([program, model, dtype, str(threads)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.column = 1 if threads == 1 else 0

    def ask(self, *words):
        self.process.stdin.write(" ".join(str(w) for w in words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if not answer:
            sys.exit("bench_tower gave up")
        return [float(x) for x in answer]

    def run(self, what, pixels, *sizes):
        return self.ask(what, pixels, *sizes)[self.column]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def timed(call, threads):
    clock = time.process_time if threads == 1 else time.perf_counter
    start = clock()
    call()
    return clock() - start


def onnxruntime_peer(args, name):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(f"{args.models}/{name}.onnx", options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"pixel_values": x})[0]


def torch_peer(args, name, dtype):
    import torch
    from transformers import CLIPVisionModel, ViTModel
    torch.set_num_threads(args.threads)
    kind, extra = (ViTModel, {"add_pooling_layer": False}) if name == "vit-b16" else (CLIPVisionModel, {})
    model = kind.from_pretrained(f"{args.models}/{name}", dtype=getattr(torch, dtype), **extra).eval()

    def run(x):
        with torch.inference_mode():
            return model(torch.from_numpy(x).to(model.dtype)).last_hidden_state.float().numpy()
    return run


def quartiles(values):
    q = statistics.quantiles(values, n=4) if len(values) > 3 else [min(values), 0, max(values)]
    return f"{statistics.median(values):5.2f} [{q[0]:.2f}, {q[2]:.2f}]"


def distance(program, x, pixels, peer, models):
    """How far apart the two sides' hidden states are: the same pictures, relative, root mean square."""
    path = f"{models}/hidden.f32"
    program.ask("write", pixels, path, len(x), SIDE, SIDE)
    mine, theirs = np.fromfile(path, np.float32), peer(x).reshape(-1)
    os.remove(path)
    return float(np.sqrt(np.mean((mine - theirs) ** 2) / np.mean(theirs ** 2)))


def compare(args, name, dtype, peer_name, peer, batch):
    rng = np.random.default_rng(batch)
    x = rng.standard_normal((batch, 3, SIDE, SIDE), np.float32)
    pixels = os.path.abspath(f"{args.models}/pixels-{os.getpid()}.f32")
    x.tofile(pixels)
    own = Ours(args.program, f"{args.models}/{name}", {"float32": "f32", "bfloat16": "bf16"}[dtype], args.threads)
    apart = distance(own, x, pixels, peer, args.models)
    rounds = []
    for _ in range(args.rounds + 1):
        mine = own.run("run", pixels, batch, SIDE, SIDE)
        theirs = timed(lambda: peer(x), args.threads)
        one = own.run("one", pixels, batch, SIDE, SIDE)
        rounds.append((mine, theirs, one - (mine - one) / (SHAPES[name][0] - 1), own.ask("limits")[dtype == "bfloat16"]))
    rounds = rounds[1:]  # the first warms both sides
    own.close()
    os.remove(pixels)
    work = flops(name) * batch / args.threads
    print(f"{name:9} {dtype:9} batch {batch}: ours {batch / statistics.median(r[0] for r in rounds):6.2f} images/s, "
          f"{peer_name} {batch / statistics.median(r[1] for r in rounds):6.2f}; "
          f"ratio {quartiles([r[1] / r[0] for r in rounds])}, of peak {quartiles([work / r[0] / r[3] for r in rounds])}, "
          f"embed {quartiles([r[2] / r[0] for r in rounds])}, apart {apart:.1e}", flush=True)


def mixed(args):
    """Tokens a second of a ragged batch, as a part of those of equal sizes."""
    equal, ragged = [16, SIDE, SIDE], [n for rows, columns in MIXED for n in (1, 16 * rows, 16 * columns)]
    pixels = os.path.abspath(f"{args.models}/pixels-{os.getpid()}.f32")
    np.random.default_rng(0).standard_normal(16 * 3 * 256 * 256, np.float32).tofile(pixels)
    for dtype in ("f32", "bf16"):
        own = Ours(args.program, f"{args.models}/radio-l", dtype, args.threads)
        pairs = []
        for _ in range(args.rounds + 1):
            sides = [own.ask("run", pixels, *sizes) for sizes in (equal, ragged)]
            pairs.append([side[2] / side[own.column] for side in sides])
        own.close()
        print(f"radio-l {dtype}: equal {statistics.median(p[0] for p in pairs[1:]):7.1f} tokens/s, mixed "
              f"{statistics.median(p[1] for p in pairs[1:]):7.1f}; ratio {quartiles([p[1] / p[0] for p in pairs[1:]])}")
    os.remove(pixels)


def picture(args):
    """Decoding and preprocessing of one file, as parts of the tower's time."""
    pixels = os.path.abspath(f"{args.models}/pixels-{os.getpid()}.f32")
    np.random.default_rng(0).standard_normal(3 * SIDE * SIDE, np.float32).tofile(pixels)
    for dtype in ("f32", "bf16"):
        own = Ours(args.program, f"{args.models}/vit-b16", dtype, args.threads)
        rounds = []
        for _ in range(args.rounds + 1):
            tower = own.run("run", pixels, 1, SIDE, SIDE)
            rounds.append((tower, *own.ask("prepare", args.picture, f"{args.models}/vit-b16")))
        own.close()
        tower, decode, process = (statistics.median(column) for column in zip(*rounds[1:]))
        print(f"vit-b16 {dtype}: tower {tower * 1e3:.1f} ms, decoding {decode * 1e3:.2f} ms ({decode / tower:.3f}), "
              f"preprocessing {process * 1e3:.2f} ms ({process / tower:.3f}); {1 / (tower + decode + process):.2f} files/s")
    os.remove(pixels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("models")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", default="1,8")
    parser.add_argument("--only", default="", help="of vit-b16-float32, vit-b16-bfloat16, clip-l14-…")
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--picture", metavar="FILE")
    args = parser.parse_args()
    if args.mixed or args.picture:
        mixed(args) if args.mixed else picture(args)
        return
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    import onnxruntime
    import torch
    import transformers
    print(f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}, transformers {transformers.__version__}; "
          f"{args.threads} thread(s), {args.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for name in SHAPES:
        for dtype in ("float32", "bfloat16"):
            if args.only not in f"{name}-{dtype}":
                continue
            f32 = dtype == "float32"
            peer = onnxruntime_peer(args, name) if f32 else torch_peer(args, name, dtype)
            for batch in args.batch.split(","):
                compare(args, name, dtype, "onnxruntime" if f32 else "PyTorch", peer, int(batch))


if __name__ == "__main__":
    main()
