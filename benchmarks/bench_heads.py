"""Loss and head, forward and backward: ours dense and streamed, public code, plain PyTorch.

All variants compute ArcFace (margin 0.5, scale 64) on the same features; their values are compared
before anything is timed. Takes one to three minutes.
"""

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import ArcFaceLoss
from torch import Tensor, nn

from harness import RESULTS, Call, measure, rows_of, show, write_rows
from marginface.heads import IdentityHead
from marginface.losses import make_loss

DIM = 512
CHUNK = 1024
SIZES = [(128, 507), (128, 10_177), (512, 10_177), (128, 85_742)]


class PlainArcFace(nn.Module):
    """What one writes without a library: normalise, linear, scatter the margin, cross_entropy."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.empty(classes, DIM).normal_(0, 0.01))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        cosines = F.linear(F.normalize(features), F.normalize(self.weights))
        own = cosines.gather(1, labels[:, None]).clamp(-1 + 1e-7, 1 - 1e-7)
        target = torch.cos(torch.acos(own) + 0.5)
        return F.cross_entropy(64 * cosines.scatter(1, labels[:, None], target), labels)


def modules(classes: int, loss: str) -> dict[str, nn.Module]:
    """Build every variant on the same prototypes; the first is the reference of the others."""
    plain = PlainArcFace(classes)
    dense = IdentityHead(classes, DIM, make_loss(loss))
    chunked = IdentityHead(classes, DIM, make_loss(loss), chunk=CHUNK)
    public = ArcFaceLoss(classes, DIM, margin=math.degrees(0.5), scale=64)
    with torch.no_grad():
        for weights in (dense.prototypes, chunked.prototypes, public.W.T):
            weights.copy_(plain.weights)
    return {
        "plain pytorch": plain,
        "pytorch-metric-learning": public,
        "marginface dense": dense,
        f"marginface chunk={CHUNK}": chunked,
    }


def full_step(module: nn.Module, features: Tensor, labels: Tensor) -> Call:
    def step() -> Tensor:
        leaf = features.detach().requires_grad_()
        value = module(leaf, labels)
        value.backward()
        module.zero_grad(set_to_none=True)  # at the end, so that no old gradient hides a new one
        return value.detach()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "heads_cpu.csv")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for batch, classes in SIZES:
        torch.manual_seed(0)
        features, labels = torch.randn(batch, DIM), torch.randint(0, classes, (batch,))
        steps = {
            name: full_step(module, features, labels)
            for name, module in modules(classes, "arcface").items()
        }
        values = {name: step() for name, step in steps.items()}
        for value in values.values():
            torch.testing.assert_close(value, values["plain pytorch"], rtol=1e-4, atol=0)
        samples = measure(steps, repeats=arguments.repeats)
        new = rows_of(
            samples,
            name="arcface head",
            mode="full",
            axis="batch x classes",
            value=f"{batch}x{classes}",
        )
        show(new)
        rows += new
    write_rows(arguments.out, rows)


if __name__ == "__main__":
    main()
