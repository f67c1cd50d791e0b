"""What LH2Face costs over CosFace in the same head, forward and backward, dense and streamed.

Beside the whole loss stand its softmax alone and its softmax with the terms of samples and proxies
but without the one between proxies, which adds a row for every class in the batch. Before anything
is timed, the streamed values are compared with the dense ones, and the softmax alone with CosFace
on features of one length. At the full size it takes five to ten minutes and 1 GiB.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from harness import RESULTS, Call, measure, rows_of, show, write_rows
from marginface.heads import IdentityHead
from marginface.losses import make_loss

CHUNK = 1024
LENGTH = 22.6
LOSSES: dict[str, tuple[str, dict[str, object]]] = {
    "cosface": ("cosface", {"scale": LENGTH}),
    "lh2face softmax": ("lh2face", {"proxy_weights": (0.0, 0.0, 0.0)}),
    "lh2face without pp": ("lh2face", {"proxy_weights": (1.0, 1.0, 0.0)}),
    "lh2face": ("lh2face", {}),
}


def heads_of(classes: int, dim: int) -> dict[str, IdentityHead]:
    """Build every variant, dense and streamed; all hold the same prototypes, not copies."""
    shared = IdentityHead(classes, dim, make_loss("softmax")).prototypes
    heads = {}
    for name, (loss, options) in LOSSES.items():
        for chunk in (None, CHUNK):
            head = IdentityHead(classes, dim, make_loss(loss, **options), chunk=chunk)
            head.prototypes = shared
            heads[f"{name}, {'dense' if chunk is None else f'chunk={chunk}'}"] = head
    return heads


def check(heads: dict[str, IdentityHead], features: Tensor, labels: Tensor) -> None:
    """Raise if a streamed head differs from its dense one, or the softmax from CosFace."""
    with torch.no_grad():
        values = {name: head(features, labels) for name, head in heads.items()}
    for name in LOSSES:
        dense, streamed = values[f"{name}, dense"], values[f"{name}, chunk={CHUNK}"]
        torch.testing.assert_close(streamed, dense, rtol=1e-5, atol=0)
    softmax = values["lh2face softmax, dense"]
    torch.testing.assert_close(softmax, values["cosface, dense"], rtol=1e-5, atol=0)


def full_step(head: IdentityHead, features: Tensor, labels: Tensor) -> Call:
    def step() -> Tensor:
        leaf = features.detach().requires_grad_()
        value = head(leaf, labels)
        value.backward()
        head.zero_grad(set_to_none=True)  # at the end, so that no old gradient hides a new one
        return value.detach()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "lh2face_cpu_202611.csv")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--classes", type=int, default=85_742)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dim", type=int, default=512)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    features = LENGTH * F.normalize(torch.randn(arguments.batch, arguments.dim))
    labels = torch.randint(0, arguments.classes, (arguments.batch,))
    heads = heads_of(arguments.classes, arguments.dim)
    check(heads, features, labels)
    steps = {name: full_step(head, features, labels) for name, head in heads.items()}
    rows = rows_of(
        measure(steps, repeats=arguments.repeats),
        name="lh2face head",
        mode="full",
        axis="batch x classes",
        value=f"{arguments.batch}x{arguments.classes}",
    )
    show(rows)
    write_rows(arguments.out, rows)


if __name__ == "__main__":
    main()
