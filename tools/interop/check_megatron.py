#!/usr/bin/env python3
"""Does megatron-core load what drivetrain wrote, with the same tensors?

    check_megatron.py PROGRAM MODEL...

Each MODEL (any format that drivetrain reads) is exported with PROGRAM to Megatron state, which is the truth here, and to
both kinds of Megatron checkpoint in several layouts. Then
  megatron-dist  dist_checkpointing.load into a GPTModel built from the arguments in common.pt (its local layer spec), by
                 one process and by two with tensor parallelism over gloo; of other models every tensor by itself
  megatron       torch.load with weights_only, where args may be an argparse.Namespace and nothing else; a GPTModel's
                 load_state_dict with strict names, rank by rank
and every parameter must be equal bit by bit to its part of the truth. Runs on a CPU, without Transformer Engine.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.distributed.checkpoint import FileSystemReader

# megatron-core asks for the GPU it is on when it makes buffers; here that is the CPU.
torch.cuda.current_device = lambda: torch.device("cpu")
torch.cuda.synchronize = lambda *a, **k: None

from megatron.core import dist_checkpointing, parallel_state, tensor_parallel
from megatron.core.dist_checkpointing import ShardedTensor
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.transformer.transformer_config import TransformerConfig

ACTIVATIONS = {"gelu": F.gelu, "silu": F.silu}
LAYOUTS = {"gpt": ["", "--tp 2", "--tp 2 --pp 2 --vp 2"], "moe": ["", "--tp 2 --ep 2", "--pp 2 --ep 4"], "t5": ["", "--tp 2"]}


# ---- the truth ----


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")


def export(program, model, out, to, options):
    run(program, "export", model, "--to", to, "-o", out, "--check", "off", "-q", *options.split())
    with open(os.path.join(out, "latest_checkpointed_iteration.txt")) as file:
        text = file.read().strip()
    return os.path.join(out, "release" if text == "release" else f"iter_{int(text):07d}")


def truth_of(program, model, scratch):
    out = os.path.join(scratch, "truth")
    run(program, "export", model, "--to", "megatron-state", "--spec", "local", "-o", out, "--check", "off", "-q")
    with open(os.path.join(out, "config.json")) as file:
        return load_file(os.path.join(out, "state.safetensors")), json.load(file)


# ---- a model from a checkpoint's arguments ----


def build(args, tp, dtype):
    experts = {}
    if args.num_experts:
        experts = dict(num_moe_experts=args.num_experts, moe_router_topk=args.moe_router_topk,
                       moe_ffn_hidden_size=args.moe_ffn_hidden_size, moe_router_load_balancing_type="none")
    config = TransformerConfig(
        num_layers=args.num_layers, hidden_size=args.hidden_size, num_attention_heads=args.num_attention_heads,
        num_query_groups=args.num_query_groups, kv_channels=args.kv_channels, ffn_hidden_size=args.ffn_hidden_size,
        normalization=args.normalization, layernorm_epsilon=args.norm_epsilon, add_bias_linear=args.add_bias_linear,
        add_qkv_bias=args.add_qkv_bias, gated_linear_unit=args.gated_linear_unit,
        activation_func=ACTIVATIONS[args.activation_func], tensor_model_parallel_size=tp, use_cpu_initialization=True,
        params_dtype=dtype, bf16=dtype == torch.bfloat16, **experts)
    spec = get_gpt_layer_local_spec(args.num_experts, False, normalization=args.normalization)
    return GPTModel(config, spec, args.padded_vocab_size, args.max_position_embeddings,
                    position_embedding_type=args.position_embedding_type, rotary_percent=args.rotary_percent,
                    rotary_base=args.rotary_base,
                    share_embeddings_and_output_weights=not args.untie_embeddings_and_output_weights)


def part_of(whole, parameter, name, gated):
    ranks, rank = (parallel_state.get_tensor_model_parallel_world_size(),
                   parallel_state.get_tensor_model_parallel_rank())
    if ranks == 1 or whole.shape == parameter.shape:
        return whole
    dim = parameter.partition_dim
    if gated and "linear_fc1" in name:
        gate, up = whole.chunk(2, dim=0)
        return torch.cat([gate.chunk(ranks, 0)[rank], up.chunk(ranks, 0)[rank]], 0)
    return whole.chunk(ranks, dim=dim)[rank]


def compare(model, truth, args):
    count = 0
    for name, parameter in model.named_parameters():
        want = part_of(truth[name], parameter, name, args.gated_linear_unit)
        if parameter.dtype != want.dtype or not torch.equal(parameter.detach(), want):
            raise SystemExit(f"{name} differs")
        count += 1
    return count


# ---- loading ----


def start(rank, ranks):
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    torch.distributed.init_process_group("gloo", rank=rank, world_size=ranks)
    parallel_state.initialize_model_parallel(tensor_model_parallel_size=ranks)
    torch.manual_seed(1)


def common_args(folder):
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(os.path.join(folder, "common.pt"), weights_only=True)["args"]


def load_dist(folder, truth):
    args = common_args(folder)
    ranks = parallel_state.get_tensor_model_parallel_world_size()
    model = build(args, ranks, truth["embedding.word_embeddings.weight"].dtype)
    for parameter in model.parameters():
        parameter.data.fill_(0)
    with torch.serialization.safe_globals([argparse.Namespace]):  # as Megatron's training does
        loaded = dist_checkpointing.load(model.sharded_state_dict(), folder)
    model.load_state_dict(loaded, strict=False)
    return compare(model, truth, args)


def load_plain(folder, truth):
    """Of a model that is not built here: the stacked tensors against the truth's layers, under the names of torch_dist."""
    listed = FileSystemReader(folder).read_metadata().state_dict_metadata
    wanted = {key: ShardedTensor.from_rank_offsets(key, torch.empty(entry.size, dtype=entry.properties.dtype))
              for key, entry in listed.items() if hasattr(entry, "size")}
    with torch.serialization.safe_globals([argparse.Namespace]):
        tensors = dist_checkpointing.load(wanted, folder)
    renames = (("input_layernorm.", "self_attention.linear_qkv.layer_norm_"),
               ("pre_mlp_layernorm.", "mlp.linear_fc1.layer_norm_"))
    for name, want in truth.items():
        key, layer = name, None
        if ".layers." in name:
            stack, rest = name.split(".layers.")
            number, rest = rest.split(".", 1)
            for local, other in renames:
                rest = rest.replace(local, other)
            key, layer = f"{stack}.layers.{rest}", int(number)
        got = tensors[key] if layer is None else tensors[key][layer]
        if not torch.equal(got, want):
            raise SystemExit(f"{key} differs")
    return len(truth)


def load_legacy(folder, truth, layout, family):
    """The files of a layout; a model is built for one rank, else all files are only read."""
    read = 0
    for rank in sorted(os.listdir(folder)):
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = torch.load(os.path.join(folder, rank, "model_optim_rng.pt"), weights_only=True)
        assert state["checkpoint_version"] == 3.0
        read += 1
        if layout == "" and family != "t5":
            args = state["args"]
            model = build(args, 1, truth["embedding.word_embeddings.weight"].dtype)
            model.load_state_dict(state["model"], strict=True)
            compare(model, truth, args)
        elif layout == "":
            model = state["model"]
            for name, want in truth.items():
                if not torch.equal(model[name], want):
                    raise SystemExit(f"{name} differs")
    return read


def one_process(folder, kind, truth_file, layout, family):
    truth = load_file(truth_file)
    if kind == "megatron":
        return f"{load_legacy(folder, truth, layout, family)} files"
    if family == "t5":
        return f"{load_plain(folder, truth)} tensors"
    return f"{load_dist(folder, truth)} parameters"


# ---- one child process a rank: megatron-core's state is global ----


def child():
    _, _, rank, ranks, folder, kind, truth_file, layout, family = sys.argv
    start(int(rank), int(ranks))
    said = one_process(folder, kind, truth_file, layout, family)
    if rank == "0":
        print(said)


def spawn(ranks, port, *arguments):
    environment = dict(os.environ, MASTER_PORT=str(port))
    children = [subprocess.Popen([sys.executable, "-W", "ignore", __file__, "--child", str(r), str(ranks), *arguments],
                                 env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                for r in range(ranks)]
    said = [c.communicate() for c in children]
    for c, (_, err) in zip(children, said):
        if c.returncode != 0:
            raise SystemExit(err.strip()[-2000:])
    return said[0][0].strip()


def check(program, model, port):
    with tempfile.TemporaryDirectory() as scratch:
        truth, config = truth_of(program, model, scratch)
        truth_file = os.path.join(scratch, "truth", "state.safetensors")
        family = "t5" if config["model_type"] == "t5" else "moe" if config.get("num_moe_experts") else "gpt"
        rows = truth["embedding.word_embeddings.weight"].shape[0]
        for kind in ("megatron", "megatron-dist"):
            for layout in LAYOUTS[family]:
                out = os.path.join(scratch, "out")
                folder = export(program, model, out, kind, f"--spec local {layout}")
                for ranks in (1, 2) if kind == "megatron-dist" and family != "t5" else (1,):
                    said = spawn(ranks, port, folder, kind, truth_file, layout, family)
                    print(f"ok   {model} --to {kind} {layout}: {said} in {ranks} processes, {rows} rows", flush=True)
                    port += 1
                run("rm", "-rf", out)
    return port


def main():
    if sys.argv[1:2] == ["--child"]:
        return child()
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    port = 20000 + os.getpid() % 20000
    for model in sys.argv[2:]:
        try:
            port = check(sys.argv[1], model, port)
        except SystemExit as failure:
            raise SystemExit(f"FAIL {model}: {failure}") from None


if __name__ == "__main__":
    main()
