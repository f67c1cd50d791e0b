"""Tensors of several processes as safetensors files, planned by torch.distributed.checkpoint.

What is split by rows is written in parts, one a process, each with its place in the whole; a reader
takes the rows it wants from whichever files have them, so the number of processes may change.
"""

import json
import warnings
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from marginface.axes import Tensor
from marginface.training.processes import Processes

Kind = tuple[tuple[int, ...], torch.dtype]
# In the header of a file: of every tensor in it the checksum of its bytes.
CHECKSUMS = "marginface.crc32"
BROKEN = (SafetensorError, OSError, KeyError, ValueError, RuntimeError)


class BrokenFileError(Exception):
    """A file of a checkpoint cannot be read."""


def write(
    folder: Path, tensors: dict[str, Tensor], split: dict[str, int], processes: Processes
) -> None:
    """Write the tensors of all processes into a folder and have the disk keep them.

    Args:
        folder: It is there and empty.
        tensors: Those of this process; what all processes hold is taken from process 0.
        split: All rows of the tensors each process holds some rows of, by name.
        processes: Those that write.

    Raises:
        OSError: If the disk refuses a process.
    """
    # Late: with all it imports it takes seconds, which a look at a config need not wait for.
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
    from torch.distributed.checkpoint.state_dict_saver import save

    from marginface.training.shard_writer import ShardWriter

    try:
        with _without_warnings():
            save(
                _parts(tensors, split, processes),
                storage_writer=ShardWriter(folder),
                planner=DefaultSavePlanner(dedup_save_to_lowest_rank=True),
                no_dist=processes.size == 1,
            )
    except CheckpointException as error:
        rank, (cause, _) = next(iter(error.failures.items()))
        where = f"process {rank}: " if processes.size > 1 else ""
        if isinstance(cause, OSError):
            raise OSError(cause.errno, f"{where}{cause.strerror or cause}") from error
        raise RuntimeError(f"{where}{cause}") from error


def kinds(folder: Path) -> dict[str, Kind]:
    """Return the whole shape and the type of every tensor in a folder, by name.

    Raises:
        BrokenFileError: If a file cannot be read.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    try:
        found = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except BROKEN as cause:
        raise BrokenFileError(str(cause)) from cause
    return {name: (tuple(item.size), item.properties.dtype) for name, item in found.items()}  # type: ignore[union-attr]


def read_into(
    folder: Path, tensors: dict[str, Tensor], split: dict[str, int], processes: Processes
) -> None:
    """Fill tensors with what a folder holds under their names.

    Every process calls it and reads its own rows, once all bytes are found to be those written.

    Args:
        folder: As `write` left it, on any number of processes.
        tensors: Those of this process; they are written to.
        split: All rows of the tensors each process holds some rows of, by name.
        processes: Those of the run.

    Raises:
        BrokenFileError: If a file cannot be read, or a tensor is not what was written; no tensor
            has changed then.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    _check_bytes(folder, tensors.keys(), processes)
    reader = HuggingFaceStorageReader(str(folder))
    try:
        with _without_warnings(), torch.no_grad():
            load(_parts(tensors, split, processes), storage_reader=reader, no_dist=True)
    except CheckpointException as error:
        raise BrokenFileError(str(next(iter(error.failures.values()))[0])) from error


def checksum(tensor: Tensor) -> int:
    """Return the CRC-32 of a tensor's bytes: it finds what a disk spoils, at 1.3 GiB a second."""
    return zlib.crc32(bytes_of(tensor))


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor, without a copy if it is contiguous and not on a GPU."""
    if tensor.numel() == 0:
        return memoryview(b"")
    return tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data


def _check_bytes(folder: Path, names: Collection[str], processes: Processes) -> None:
    """Refuse tensors whose bytes are not those written.

    Each process sums up its share of the files and tells the others, so that all find the same.
    """
    mine = sorted(folder.glob("*.safetensors"))[processes.rank :: processes.size]
    found = next(filter(None, (_fault(path, names) for path in mine)), "")
    if told := next(filter(None, processes.texts(found)), ""):
        raise BrokenFileError(told)


def _fault(path: Path, names: Collection[str]) -> str:
    """Say what is wrong with the tensors of a file, or nothing."""
    try:
        with safe_open(path, framework="pt") as file:
            sums = json.loads((file.metadata() or {}).get(CHECKSUMS, "{}"))
            for name in sorted(sums.keys() & names):
                if checksum(file.get_tensor(name)) != sums[name]:
                    return f"{path.name} holds other bytes of {name} than were written"
    except BROKEN as cause:
        return str(cause) or f"{path.name} cannot be read"
    return ""


def _parts(
    tensors: dict[str, Tensor], split: dict[str, int], processes: Processes
) -> dict[str, Tensor]:
    """Return the tensors with what torch needs to know of those that are split: their place."""
    tensors = {name: tensor.detach() for name, tensor in tensors.items()}
    if processes.size == 1:
        return tensors
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor, Shard

    for name, rows in split.items():
        local = tensors[name]
        assert processes.group is not None
        mesh = DeviceMesh.from_group(processes.group, local.device.type)
        # Its rows are those `torch.chunk` gives a process, which are the head's.
        tensors[name] = DTensor.from_local(
            local,
            mesh,
            [Shard(0)],
            run_check=False,
            shape=torch.Size([rows, *local.shape[1:]]),
            stride=local.stride(),
        )
    return tensors


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence torch's remark that a process reads or writes on its own, which is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
