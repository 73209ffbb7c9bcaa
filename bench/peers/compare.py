"""Time drivetrain and its peers on the same models, in one run, alternating, and print ratios.

usage: taskset -c 1 compare.py PROGRAM MODELS t5|llama [--rounds N] [--threads N]

PROGRAM is the drivetrain binary, MODELS what make_models.py made. A ratio above 1 means that drivetrain is faster.
Medians of per-round ratios, with the smallest and largest round in brackets.
"""
import argparse
import ctypes
import json
import os
import statistics
import subprocess
import time

SOURCE, TARGET = 128, 64  # tokens of a T5 task


def clock(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ours(args, model, dtype, batch, prompt, new):
    """One measured round of the program: seconds of prefill and decode."""
    out = subprocess.run([args.program, "bench", model, "--dtype", dtype, "--batch", str(batch), "--prompt-tokens",
                          str(prompt), "--new-tokens", str(new), "--rounds", "1", "--threads", str(args.threads),
                          "--json"], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)[0]


def report(label, ratios, own, peer, unit):
    print(f"{label:44} ours {own:9.1f} {unit}  peer {peer:9.1f} {unit}  ratio {statistics.median(ratios):5.2f} "
          f"[{min(ratios):.2f}, {max(ratios):.2f}]", flush=True)


def compare(label, rounds, own, peer, unit):
    """own and peer return a rate (higher is better); rounds alternate."""
    own(), peer()  # warm caches on both sides
    pairs = [(own(), peer()) for _ in range(rounds)]
    report(label, [a / b for a, b in pairs], statistics.median(a for a, _ in pairs),
           statistics.median(b for _, b in pairs), unit)


def t5(args):
    import ctranslate2
    print(f"ctranslate2 {ctranslate2.__version__}, {args.threads} thread(s): encode {SOURCE} + decode {TARGET}, tokens/s")
    for name in ("t5-small", "t5-base"):
        translator = ctranslate2.Translator(f"{args.models}/{name}-ct2-float32", compute_type="float32",
                                            inter_threads=1, intra_threads=args.threads)
        words = json.load(open(f"{args.models}/{name}-ct2-float32/shared_vocabulary.json"))
        for batch in (1, 8):
            rows = [[words[(7 * i + j) % 20000 + 100] for j in range(SOURCE)] for i in range(batch)]

            def peer():
                seconds = clock(lambda: translator.translate_batch(rows, beam_size=1, max_decoding_length=TARGET,
                                                                   min_decoding_length=TARGET, max_batch_size=0))
                return batch * TARGET / seconds

            def own():
                r = ours(args, f"{args.models}/{name}", "f32", batch, SOURCE, TARGET)
                return batch * TARGET / r["seconds"]

            compare(f"{name} f32 batch {batch}", args.rounds, own, peer, "tok/s")


class LlamaCpp:
    """libllama through its C interface: whole batches in, nothing sampled."""

    def __init__(self, path, threads):
        from llama_cpp import llama_cpp as L
        self.L = L
        self.quiet = L.llama_log_callback(lambda *_: None)  # held: C keeps the pointer
        L.llama_log_set(self.quiet, ctypes.c_void_p(0))
        L.llama_backend_init()
        model = L.llama_model_default_params()
        model.n_gpu_layers = 0
        self.model = L.llama_model_load_from_file(path.encode(), model)
        context = L.llama_context_default_params()
        context.n_ctx, context.n_batch, context.n_ubatch, context.n_seq_max = 16 * 1024, 512, 512, 16
        context.n_threads = context.n_threads_batch = threads
        self.context = L.llama_init_from_model(self.model, context)
        self.memory = L.llama_get_memory(self.context)

    def decode(self, rows):
        """rows of (token, position, sequence)"""
        batch = self.L.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (token, position, sequence) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = int(i == len(rows) - 1 or len(rows) <= 16)
        assert self.L.llama_decode(self.context, batch) == 0
        self.L.llama_synchronize(self.context)
        self.L.llama_batch_free(batch)

    def prefill(self, count):
        self.L.llama_memory_clear(self.memory, True)
        return count / clock(lambda: self.decode([(300 + i, i, 0) for i in range(count)]))

    def steps(self, batch, prompt, new):
        self.L.llama_memory_clear(self.memory, True)
        for s in range(batch):
            self.decode([(300 + i, i, s) for i in range(prompt)])
        seconds = clock(lambda: [self.decode([(500 + k, prompt + k, s) for s in range(batch)]) for k in range(new)])
        return batch * new / seconds


def llama(args):
    import llama_cpp
    print(f"llama.cpp of llama-cpp-python {llama_cpp.__version__}, {args.threads} thread(s), tokens/s")
    for dtype in ("bf16", "q8_0"):
        peer = LlamaCpp(f"{args.models}/llama-1b-{dtype}.gguf", args.threads)
        path = f"{args.models}/llama-1b"
        compare(f"llama 1.1B {dtype} prefill 512", args.rounds,
                lambda: ours(args, path, dtype, 1, 512, 1)["prefill_tokens_per_second"], lambda: peer.prefill(512),
                "tok/s")
        for batch in (1, 4, 16):
            compare(f"llama 1.1B {dtype} decode batch {batch} at ~50", args.rounds,
                    lambda: ours(args, path, dtype, batch, 32, 33)["decode_tokens_per_second"],
                    lambda: peer.steps(batch, 32, 32), "tok/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("models")
    parser.add_argument("what", choices=["t5", "llama"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    {"t5": t5, "llama": llama}[args.what](args)


if __name__ == "__main__":
    main()
