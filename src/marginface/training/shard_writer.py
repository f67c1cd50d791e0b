"""One safetensors file a process, written from the memory the tensors are in.

    8 bytes     length of the header, little-endian
    header      JSON: of every tensor its type, shape and place; where a part belongs in the whole;
                a checksum of its bytes, which a length alone says nothing of
    data        the tensors one after another

torch's own writer makes the whole file in memory first, and every tensor once more before that: for
two million classes and their momentum 16 GiB that nobody has.

Source: the safetensors format, https://github.com/huggingface/safetensors#format; the keys of the
    places are those torch.distributed.checkpoint reads.
"""

import json
import os
from pathlib import Path

import torch
from torch.distributed.checkpoint._hf_utils import CUSTOM_METADATA_KEY, SAVED_OFFSETS_KEY
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from marginface.axes import Tensor
from marginface.training.shards import CHECKSUMS, bytes_of, checksum

TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
# Readers map a file and like its data aligned.
ALIGNMENT = 8


class ShardWriter(HuggingFaceStorageWriter):
    """Write what a plan gives this process to a file of its own.

    Args:
        folder: Where; it is there.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), save_distributed=True)

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write the file and have the disk keep it; a process without a part writes none."""
        tensors: dict[str, Tensor] = {}
        places: dict[str, dict[str, list[int]]] = {}
        for item in plan.items:
            tensor = planner.resolve_data(item)
            assert isinstance(tensor, Tensor)
            assert item.tensor_data is not None
            tensors[item.index.fqn] = tensor.detach()
            places[item.index.fqn] = {SAVED_OFFSETS_KEY: list(item.tensor_data.chunk.offsets)}
        if tensors:
            path = Path(self.path) / f"shard-{plan.storage_data['shard_index']:05d}.safetensors"
            sums = {name: checksum(tensor) for name, tensor in tensors.items()}
            told = {CUSTOM_METADATA_KEY: json.dumps(places), CHECKSUMS: json.dumps(sums)}
            _write(path, tensors, told)
        done: Future[list[WriteResult]] = Future()
        done.set_result([])
        return done


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    described: dict[str, object] = {"__metadata__": metadata}
    end = 0
    # The widest first, so that all are aligned.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    for name, tensor in ordered:
        start, end = end, end + tensor.nbytes
        described[name] = {
            "dtype": TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    header = json.dumps(described).encode()
    header += b" " * (-len(header) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for _, tensor in ordered:
            file.write(bytes_of(tensor))
        file.flush()
        os.fsync(file.fileno())
