#!/usr/bin/env python3
"""Do torch and megatron-core load the containers that drivetrain wrote, bit for bit?

    check_torch.py FOLDER

FOLDER is what the samples tests of torch_write_test and distcp_write_test leave in DT_SAMPLES: a file of torch.save
with a tensor of every type, and a torch_dist folder. The latter is loaded by torch.distributed.checkpoint and by
megatron-core, in one process and in two.
"""
import os
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float64,
         torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64, torch.uint64,
         torch.bool]


def raw(tensor):
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist()) if tensor.numel() else b""


def sample(index, dtype, shape):
    """What torch_write_test puts into its tensor number `index`."""
    count = torch.Size(shape).numel() * dtype.itemsize
    return bytes(k & 1 if dtype == torch.bool else (37 * k + index) % 96 for k in range(count))


def check_file(path):
    root = torch.load(path, weights_only=True)
    torch.utils.serialization.config.load.calculate_storage_offsets = True  # trust the layout to be torch's own
    mapped = torch.load(path, weights_only=True, mmap=True)
    assert root["iteration"] == 10
    tensors = root["tensors"]
    cases = [(t, (3, 7)) for t in TYPES] + [(torch.float32, ()), (torch.float32, (0, 3)), (torch.float32, (2, 1, 3, 2, 5))]
    by_number = {int(name.split(".")[1]): name for name in tensors if "." in name}
    for index, (dtype, shape) in enumerate(cases):
        tensor = tensors[by_number[index]]
        assert tensor.dtype == dtype and tuple(tensor.shape) == shape, (index, tensor.dtype, tensor.shape)
        assert raw(tensor) == sample(index, dtype, shape), index
        assert raw(mapped["tensors"][by_number[index]]) == sample(index, dtype, shape), index
    tied, whole = tensors["tied"], tensors[by_number[0]]
    assert tied.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
    assert torch.equal(tied, whole[1]) and tensors["copied"].tolist() == [-5, 6]
    print(f"torch.load: {len(tensors)} tensors of {len(TYPES)} types")


# The tensors of distcp_write_test: key, type, shape, seed.
DIST = [("w", torch.float32, (4, 6), 0), ("layers", torch.bfloat16, (2, 3, 2), 1), ("one", torch.float64, (), 2),
        ("none", torch.float32, (0, 5), 3), ("eight", torch.float8_e4m3fn, (5,), 4)]


def expected(dtype, shape, seed):
    count, size = torch.Size(shape).numel(), dtype.itemsize
    data = [(37 * k + 11 * b + seed) % 96 for k in range(count) for b in range(size)]
    if not data:
        return torch.empty(shape, dtype=dtype)
    return torch.tensor(data, dtype=torch.uint8).view(dtype).reshape(shape)


def same(found, wanted):
    return found.dtype == wanted.dtype and found.shape == wanted.shape and raw(found) == raw(wanted)


def check_torch_distributed(folder):
    import torch.distributed.checkpoint as checkpoint

    state = {key: torch.zeros(shape, dtype=dtype) for key, dtype, shape, _ in DIST}
    checkpoint.load(state, checkpoint_id=folder)
    for key, dtype, shape, seed in DIST:
        assert same(state[key], expected(dtype, shape, seed)), key


def check_megatron(folder, rank, world):
    from megatron.core import dist_checkpointing
    from megatron.core.dist_checkpointing import ShardedTensor
    from megatron.core.dist_checkpointing.mapping import ShardedObject

    state, wanted = {}, {}
    for key, dtype, shape, seed in DIST:
        if 0 in shape:  # megatron-core's validation divides by it
            continue
        whole = expected(dtype, shape, seed)
        split = world if shape and shape[0] and shape[0] % world == 0 else 1
        part = whole.chunk(split)[rank % split].contiguous() if split > 1 else whole
        wanted[key] = part
        state[key] = ShardedTensor.from_rank_offsets(
            key, torch.zeros_like(part), *([(0, rank, world)] if split > 1 else []),
            replica_id=0 if split > 1 else rank)
    for at in range(2):
        if at % world == rank:
            state[f"rng{at}"] = ShardedObject("rng_state", None, (2,), (at,))
    loaded = dist_checkpointing.load(state, folder, strict="assume_ok_unexpected")
    for key, part in wanted.items():
        assert same(loaded[key], part), (rank, key)
    assert loaded["iteration"] == 10
    rng = loaded[f"rng{rank}"]
    assert rng["bytes"] == b"\0a\xff" and bytes(rng["state"].tolist()) == b"seed"


def worker(rank, world, meeting, folder):
    dist.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=world)
    check_torch_distributed(folder)
    check_megatron(folder, rank, world)
    dist.barrier()
    dist.destroy_process_group()


def main():
    folder = sys.argv[1]
    check_file(os.path.join(folder, "samples.pt"))
    torch.load(os.path.join(folder, "dist", "common.pt"), weights_only=True)
    for world in (1, 2):
        with tempfile.TemporaryDirectory() as meeting:
            processes.spawn(worker, (world, os.path.join(meeting, "m"), os.path.join(folder, "dist")), nprocs=world)
        print(f"torch.distributed.checkpoint and megatron-core, {world} process{'es' if world > 1 else ''}: the same")


if __name__ == "__main__":
    main()
