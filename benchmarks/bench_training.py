"""Images per second of one training step: float32, channels last, bf16, beside a plain loop.

A step is everything after the batch is in memory: to float, forward, head, backward, clipping, SGD.
The plain loop is the same network and CosFace written out with torch alone. Takes one to two
minutes. With `--compiled`, which needs a C++ compiler and minutes more, the network is compiled by
`torch.compile` too; training does not do that.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from harness import RESULTS, Call, Row, measure, replace_rows, rows_of, show
from marginface.backbones import make_backbone
from marginface.data import to_float
from marginface.heads import IdentityHead
from marginface.losses import make_loss
from marginface.training import OptimizerConfig
from marginface.training.optimizer import make_optimizer
from marginface.training.step import take_step

CLASSES, DIM = 1000, 256
SIZES = [("iresnet_tiny", 56, 64), ("iresnet18", 112, 8), ("vit_t", 112, 8)]
VARIANTS = {
    "marginface float32": {},
    "marginface channels_last": {"channels_last": True},
    "marginface bf16": {"uses_bf16": True},
    "marginface bf16 channels_last": {"uses_bf16": True, "channels_last": True},
}


def batch_of(size: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
    return images, torch.randint(0, CLASSES, (count,))


def plain_step(name: str, size: int, images: torch.Tensor, labels: torch.Tensor) -> Call:
    backbone = make_backbone(name, dim=DIM, input_size=size).train()
    weights = nn.Parameter(torch.empty(CLASSES, DIM).normal_(0, 0.01))
    optimizer = torch.optim.SGD([*backbone.parameters(), weights], lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        features = F.normalize(backbone((images.float() - 127.5) / 127.5))
        cosines = F.linear(features, F.normalize(weights))
        margins = 0.35 * F.one_hot(labels, CLASSES)
        F.cross_entropy(64 * (cosines - margins), labels).backward()
        nn.utils.clip_grad_norm_(backbone.parameters(), 5.0)
        optimizer.step()

    return step


def our_step(
    name: str,
    size: int,
    images: torch.Tensor,
    labels: torch.Tensor,
    options: dict[str, bool],
    *,
    is_compiled: bool = False,
) -> Call:
    backbone = make_backbone(name, dim=DIM, input_size=size).train()
    if is_compiled:
        backbone.compile(dynamic=False)
    if options.get("channels_last"):
        backbone.to(memory_format=torch.channels_last)
    head = IdentityHead(CLASSES, DIM, make_loss("cosface")).train()
    config = OptimizerConfig(lr=0.01, weight_decay=0.0)
    optimizer = make_optimizer(backbone, head, config, layer_rates={}, head_lr_ratio=1.0)
    return lambda: take_step(backbone, head, optimizer, images, labels, clip_norm=5.0, **options)


def throughput(rows: list[Row], *, images: int) -> list[Row]:
    """Images per second on the wall and per CPU second; the slowest time is the lowest rate."""
    units = {
        "wall_time": ("throughput", "images/s"),
        "cpu_time": ("throughput_cpu", "images/cpu-s"),
    }
    made = []
    for row in rows:
        if row.metric in units:
            metric, unit = units[row.metric]
            low, middle, high = (float(f"{images / s:.4g}") for s in (row.p80, row.p50, row.p20))
            made.append(replace(row, metric=metric, unit=unit, p20=low, p50=middle, p80=high))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "training_cpu_202611.csv")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--only", help="one network")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for name, size, count in SIZES:
        if arguments.only not in (None, name):
            continue
        torch.manual_seed(0)
        images, labels = batch_of(size, count)
        assert float(to_float(images).abs().max()) <= 1
        steps = {"plain pytorch": plain_step(name, size, images, labels)}
        for variant, options in VARIANTS.items():
            steps[variant] = our_step(name, size, images, labels, options)
        if arguments.compiled:
            both = {"uses_bf16": True, "channels_last": True}
            compiled = our_step(name, size, images, labels, both, is_compiled=True)
            steps["marginface bf16 channels_last, compiled"] = compiled
        samples = measure(steps, repeats=arguments.repeats)
        case = f"{name}@{size}x{count}"
        timed = rows_of(samples, name="training_step", mode="full", axis="network", value=case)
        rows += timed + throughput(timed, images=count)
    show(rows)
    replace_rows(arguments.out, rows)


if __name__ == "__main__":
    main()
