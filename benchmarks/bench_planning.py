"""What `marginface train --plan` predicts beside what steps take: of the head, and whole ones.

Every row has a process of its own. It measures the speeds of the machine as a plan does, predicts,
and then takes the steps: CPU seconds (median of the repeats) on one thread, and the peak of
resident memory. Of a head that is the memory of one step above class vectors and momentum, of a
whole step all that the process ever held. Some three minutes of one core.

    OMP_NUM_THREADS=1 python benchmarks/bench_planning.py
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from types import SimpleNamespace

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch.optim import SGD

from harness import extra_mib, machine_stamp
from marginface.heads import IdentityHead
from marginface.losses import make_loss
from marginface.training import BackboneConfig, DataConfig, HeadConfig, TrainConfig
from marginface.training.build import build_parts
from marginface.training.head_cost import head_cost
from marginface.training.machine import measure_speed
from marginface.training.optimizer import set_rate
from marginface.training.plan import plan
from marginface.training.step import take_step

STREAMED = HeadConfig(chunk=2048)
CACHED = HeadConfig(chunk=2048, precision="float32-cached", updates_in_walk=True)
IN_WALK = HeadConfig(chunk=2048, updates_in_walk=True)
HEADS = [
    (128, 10_177, "dense", HeadConfig()),
    (128, 10_177, "streamed", STREAMED),
    (128, 85_742, "streamed", STREAMED),
    (128, 85_742, "streamed, in walk, cosines kept", CACHED),
    (128, 85_742, "streamed, in walk", IN_WALK),
    (512, 85_742, "streamed", STREAMED),
    (128, 360_232, "streamed, in walk", IN_WALK),
]
STEPS = [
    (32, 10_177, "mobilefacenet", HeadConfig()),
    (64, 85_742, "mobilefacenet", IN_WALK),
    (64, 85_742, "iresnet_tiny", IN_WALK),
]
MIB = 1 << 20
# So small that every repeat sees the same weights.
RATE = 1e-9


def run_of(batch: int, head: HeadConfig, name: str) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(path=Path("none.pack"), workers=0),
        backbone=BackboneConfig(name=name, dim=512, input_size=112),
        head=head,
        batch_size=batch,
        steps=1,
    )


def head_row(batch: int, classes: int, head: HeadConfig, repeats: int) -> list[float]:
    config = run_of(batch, head, "mobilefacenet")
    cost = head_cost(config, classes)
    predicted = measure_speed(cost, "cpu").seconds(cost.work()), cost.memory().within / MIB
    module = IdentityHead(
        classes, 512, make_loss("arcface"), chunk=cost.chunk, precision=head.precision
    )
    descent = SGD(module.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4, fused=True)
    weights = module.prototypes
    descent.state[weights]["momentum_buffer"] = torch.zeros_like(weights)
    if head.updates_in_walk:
        module.update_in_walk(descent)
    features, labels = torch.randn(batch, 512), torch.randint(classes, (batch,))

    def step() -> None:
        module(features.detach().requires_grad_(), labels).backward()
        if weights.grad is not None:
            torch.linalg.vector_norm(weights.grad)
        descent.step()
        descent.zero_grad(set_to_none=True)

    return compared(predicted, step, repeats)


def step_row(batch: int, classes: int, name: str, head: HeadConfig, repeats: int) -> list[float]:
    config = run_of(batch, head, name)
    found = plan(config, classes)
    parts = build_parts(config, SimpleNamespace(identities=range(classes)))
    images = torch.randint(256, (batch, 3, 112, 112), dtype=torch.uint8)
    labels = torch.randint(classes, (batch,))
    set_rate(parts.optimizer, RATE)

    def step() -> None:
        take_step(parts.learner, parts.head, parts.optimizer, images, labels, clip_norm=5.0)

    return compared((found.step_s, found.peak_bytes / MIB), step, repeats, is_whole=True)


def compared(
    predicted: tuple[float, float],
    step: Callable[[], None],
    repeats: int,
    *,
    is_whole: bool = False,
) -> list[float]:
    step()
    memory = 0.0 if is_whole else extra_mib(step)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    if is_whole:
        memory = getrusage(RUSAGE_SELF).ru_maxrss / 1024
    return [predicted[0], median(times), predicted[1], memory]


def alone(call: Callable[..., list[float]], *arguments: object) -> list[float]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(call, *arguments).result()


def show(kind: str, size: str, numbers: list[float]) -> None:
    seconds, measured_s, mib, measured_mib = numbers
    print(
        f"| {kind} | {size} | {seconds:.3g} | {measured_s:.3g} | {seconds / measured_s - 1:+.0%} "
        f"| {mib:,.0f} | {measured_mib:,.0f} | {mib / measured_mib - 1:+.0%} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=("heads", "steps"))
    options = parser.parse_args()
    repeats = options.repeats
    torch.set_num_threads(1)
    print(", ".join(machine_stamp().values()))
    print("| part | size | s predicted | s measured | error | MiB predicted | measured | error |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for batch, classes, kind, head in HEADS if options.only != "steps" else []:
        show(
            f"head, {kind}",
            f"{batch} × {classes:,}",
            alone(head_row, batch, classes, head, repeats),
        )
    for batch, classes, name, head in STEPS if options.only != "heads" else []:
        numbers = alone(step_row, batch, classes, name, head, repeats)
        show(f"whole step, {name}", f"{batch} × {classes:,}", numbers)


if __name__ == "__main__":
    main()
