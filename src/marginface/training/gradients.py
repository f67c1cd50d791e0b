"""The backbone's gradient over all processes: their mean, summed in the order of the processes.

DistributedDataParallel sums gradients in buckets, and lays the buckets out anew after its first
step. The usual all-reduce sums an element in an order that depends on its place in the bucket, so
a run that was resumed would differ in the last bit from three processes on. Here every element is
summed from process 0 up, wherever it lies.

Source: Li et al., "PyTorch Distributed", VLDB 2020, arXiv:2006.15704, for buckets.
"""

import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from marginface.axes import Tensor


def with_mean_gradient(backbone: nn.Module, *, broadcasts_buffers: bool) -> DistributedDataParallel:
    """Return the backbone as one whose backward pass leaves the mean gradient in every process.

    Args:
        backbone: With at least one parameter that learns; it stays the owner of its parameters.
        broadcasts_buffers: Whether process 0's running statistics go to all before each pass, as
            they must where each process computes its own.
    """
    with warnings.catch_warnings():
        # Newer torch has another name for it, which older torch does not know.
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*broadcast_buffers")
        parallel = DistributedDataParallel(backbone, broadcast_buffers=broadcasts_buffers)
    parallel.register_comm_hook(None, _mean_in_order)
    return parallel


def _mean_in_order(state: object, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
    flat = bucket.buffer()
    done: Future[Tensor] = Future()
    done.set_result(mean_in_order(flat))
    return done


def mean_in_order(flat: Tensor) -> Tensor:
    """Return the mean of one tensor over all processes; each element is summed in their order.

    Every process sums one part and sends it round: as many bytes as a ring all-reduce sends.
    """
    size = dist.get_world_size()
    padding = -flat.numel() % size
    parts = torch.cat([flat, flat.new_zeros(padding)])
    theirs = torch.empty_like(parts)
    dist.all_to_all_single(theirs, parts)
    rows = theirs.view(size, -1)
    mine = rows[0].clone()
    for row in rows[1:]:
        mine += row
    mine /= size
    dist.all_gather(list(parts.view(size, -1)), mine)
    return parts[: flat.numel()]
