"""One seed for a run, and from it an own random stream for each purpose."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, purpose: str) -> int:
    """Return the seed of one purpose; streams of different purposes share nothing.

    Example:
        >>> derive_seed(0, "backbone") == derive_seed(0, "head")
        False
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@contextmanager
def random_stream(seed: int, purpose: str, *, device: str = "cpu") -> Iterator[None]:
    """Seed torch's generators inside the block, and give the caller its own state back after it.

    Layers such as dropout draw from torch's global generator only, so it is borrowed.

    Args:
        seed: The seed of the run.
        purpose: What is drawn.
        device: Where; the generator of the CPU is always borrowed.
    """
    kind = torch.device(device)
    others = [kind] if kind.type == "cuda" else []
    with torch.random.fork_rng(devices=others):
        torch.manual_seed(derive_seed(seed, purpose))
        yield
