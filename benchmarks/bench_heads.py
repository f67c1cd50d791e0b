"""Loss and head beside public code and plain PyTorch, from ten thousand classes to two million.

`pass`: forward and backward, with four matrix products of a walk without memory beside them.
`step`: the same with SGD, momentum and weight decay. `sface`: forward and backward of SFace.
`growth`: time and memory of a step as the classes grow. `processes`: a step on 1, 2 and 4 gloo
processes of one thread each, and the seconds spent in collectives, waiting included. All ArcFace
variants compute margin 0.5, scale 64 on the same features; their values are compared first.

Every size runs in a process of its own, with its memory touched before and each timed call right
after an untimed one of the same kind. The whole takes about half
an hour on one core; `--only` picks topics, `--sizes 128x10177` sizes.
"""

import argparse
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import torch
import torch.distributed as dist
import torch.nn.functional as F
from pytorch_metric_learning.losses import ArcFaceLoss
from torch import Tensor, nn
from torch.optim import SGD

from harness import RESULTS, Call, Row, measure, replace_rows, rows_of, show
from marginface.heads import IdentityHead
from marginface.heads.precision import multiplies_bfloat16
from marginface.losses import make_loss

DIM = 512
CHUNK = 2048
SIZES = [(128, 507), (128, 10_177), (512, 10_177), (128, 85_742), (512, 85_742)]
SIZES += [(128, 360_232), (512, 360_232)]
GROWTH = [10_000, 85_742, 360_232, 1_000_000, 2_000_000]
# Beyond it the public heads want more memory than a machine of 24 GiB has to spare.
MOST_DENSE = {128: 1_000_000, 512: 360_232}


def arcface_of(features: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    cosines = F.linear(F.normalize(features), F.normalize(weights))
    own = cosines.gather(1, labels[:, None]).clamp(-1 + 1e-7, 1 - 1e-7)
    target = torch.cos(torch.acos(own) + 0.5)
    return F.cross_entropy(64 * cosines.scatter(1, labels[:, None], target), labels)


class PlainArcFace(nn.Module):
    """What one writes without a library: normalise, linear, scatter the margin, cross_entropy."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.empty(classes, DIM).normal_(0, 0.01))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return arcface_of(features, self.weights, labels)


class PlainSampled(PlainArcFace):
    """A tenth of the classes the usual way: rows picked by index, gradient and SGD over all."""

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        order = torch.rand(len(self.weights))
        order[labels] = 2
        chosen = order.topk(len(self.weights) // 10).indices.sort().values
        return arcface_of(features, self.weights[chosen], torch.searchsorted(chosen, labels))


class PlainSFace(nn.Module):
    """SFace as one writes it: every angle, two sigmoids, and masks of the own classes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.empty(classes, DIM).normal_(0, 0.01))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        cosines = F.linear(F.normalize(features), F.normalize(self.weights))
        is_own = torch.zeros_like(cosines).scatter_(1, labels[:, None], 1)
        angles = torch.acos(cosines.detach().clamp(-1, 1))
        pull = 64 * torch.sigmoid(80 * (angles - 0.87))
        push = 64 * torch.sigmoid(-80 * (angles - 1.20))
        rows = -(is_own * pull * cosines).sum(1) + ((1 - is_own) * push * cosines).sum(1)
        return rows.mean()


def weights_of(module: nn.Module) -> Tensor:
    if isinstance(module, IdentityHead):
        return module.prototypes
    return module.W.T if isinstance(module, ArcFaceLoss) else module.weights


def ours(classes: int, loss: str = "arcface", **switches) -> IdentityHead:
    return IdentityHead(classes, DIM, make_loss(loss), **switches)


def public(classes: int) -> nn.Module:
    return ArcFaceLoss(classes, DIM, margin=math.degrees(0.5), scale=64)


def with_the_same_weights(modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
    first = weights_of(next(iter(modules.values())))
    with torch.no_grad():
        for module in modules.values():
            weights_of(module).copy_(first)
    return modules


def worth_timing(modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Leave out bfloat16 where no units multiply it: the products are those of float32 there."""
    if multiplies_bfloat16("cpu"):
        return modules
    return {name: module for name, module in modules.items() if "bfloat16" not in name}


def batch_of(batch: int, classes: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(batch, DIM), torch.randint(0, classes, (batch,))


def full_pass(module: nn.Module, features: Tensor, labels: Tensor) -> Call:
    def run() -> Tensor:
        leaf = features.detach().requires_grad_()
        value = module(leaf, labels)
        value.backward()
        module.zero_grad(set_to_none=True)  # at the end, so that no old gradient hides a new one
        return value.detach()

    return run


def full_step(
    module: nn.Module, features: Tensor, labels: Tensor, *, in_walk: bool = False, fused: bool
) -> Call:
    # A rate so small that every variant and every repeat sees the same weights.
    descent = SGD(module.parameters(), lr=1e-12, momentum=0.9, weight_decay=5e-4, fused=fused)
    for parameter in module.parameters():  # so that no call pays for the optimiser's state
        descent.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter).detach_()
    if in_walk:
        module.update_in_walk(descent)

    def run() -> Tensor:
        leaf = features.detach().requires_grad_()
        value = module(leaf, labels)
        value.backward()
        descent.step()
        descent.zero_grad(set_to_none=True)
        return value.detach()

    return run


def touch(classes: int, batch: int) -> None:
    """Fill as much memory as the largest variant needs, so that none pays for it first."""
    torch.empty(6 * classes * DIM + 6 * classes * batch).fill_(1)


def compared(calls: dict[str, Call], tolerances: dict[str, float], repeats: int) -> dict:
    values = {name: call() for name, call in calls.items()}
    first = next(iter(values.values()))
    for name, value in values.items():
        if (tolerance := tolerances.get(name, 1e-4)) < math.inf:
            torch.testing.assert_close(value, first, rtol=tolerance, atol=0, msg=name)
    return measure(calls, repeats=repeats, warm_up=0, settle=1)


def pass_rows(batch: int, classes: int, repeats: int) -> list[Row]:
    modules = with_the_same_weights(
        {
            "plain pytorch": PlainArcFace(classes),
            "pytorch-metric-learning": public(classes),
            "dense": ours(classes),
            "float32": ours(classes, chunk=CHUNK),
            "bfloat16": ours(classes, chunk=CHUNK, precision="bfloat16"),
            "bfloat16-cached": ours(classes, chunk=CHUNK, precision="bfloat16-cached"),
        }
    )
    modules = worth_timing(modules)
    features, labels = batch_of(batch, classes)
    calls = {name: full_pass(module, features, labels) for name, module in modules.items()}
    calls["its four products"] = four_products(batch, classes)
    loose = {"bfloat16": 1e-2, "bfloat16-cached": 1e-2, "its four products": math.inf}
    samples = compared(calls, loose, repeats)
    return rows_of(samples, name="arcface pass", mode="full", axis="", value=f"{batch}x{classes}")


def four_products(batch: int, classes: int) -> Call:
    """The matrix products of a streamed pass, with results that are written over and over."""
    weights, features = torch.randn(classes, DIM), torch.randn(batch, DIM)
    total, part = torch.zeros(batch, DIM), torch.empty(CHUNK, DIM)
    cosines = torch.empty(batch, CHUNK)

    def run() -> Tensor:
        for visit in (1, 2):
            for start in range(0, classes, CHUNK):
                chunk = weights[start : start + CHUNK]
                of_chunk = cosines[:, : len(chunk)]
                of_chunk = torch.mm(features, chunk.T, out=of_chunk if visit == 2 else None)
                if visit == 2:
                    total.addmm_(of_chunk, chunk)
                    torch.mm(of_chunk.T, features, out=part[: len(chunk)])
        return total.zero_().sum()

    return run


def step_rows(batch: int, classes: int, repeats: int) -> list[Row]:
    modules = with_the_same_weights(
        {
            "plain pytorch": PlainArcFace(classes),
            "pytorch-metric-learning": public(classes),
            "plain pytorch, 10 %": PlainSampled(classes),
            "float32": ours(classes, chunk=CHUNK),
            "float32 in walk": ours(classes, chunk=CHUNK),
            "float32-cached in walk": ours(classes, chunk=CHUNK, precision="float32-cached"),
            "bfloat16 in walk": ours(classes, chunk=CHUNK, precision="bfloat16"),
            "bfloat16-cached in walk": ours(classes, chunk=CHUNK, precision="bfloat16-cached"),
            "float32 in walk, 10 %": ours(classes, chunk=CHUNK, sample_rate=0.1),
        }
    )
    modules = worth_timing(modules)
    features, labels = batch_of(batch, classes)
    calls = {
        name: full_step(
            module,
            features,
            labels,
            in_walk="in walk" in name,
            fused=name == "float32",
        )
        for name, module in modules.items()
    }
    loose = {"bfloat16 in walk": 1e-2, "bfloat16-cached in walk": 1e-2}
    loose |= {name: math.inf for name in modules if "10 %" in name}
    samples = compared(calls, loose, repeats)
    return rows_of(samples, name="arcface step", mode="full", axis="", value=f"{batch}x{classes}")


def sface_rows(batch: int, classes: int, repeats: int) -> list[Row]:
    modules = with_the_same_weights(
        {
            "plain pytorch": PlainSFace(classes),
            "dense": ours(classes, "sface"),
            "float32": ours(classes, "sface", chunk=CHUNK),
        }
    )
    features, labels = batch_of(batch, classes)
    calls = {name: full_pass(module, features, labels) for name, module in modules.items()}
    samples = compared(calls, {}, repeats)
    return rows_of(samples, name="sface pass", mode="full", axis="", value=f"{batch}x{classes}")


def growth_rows(batch: int, classes: int, repeats: int) -> list[Row]:
    """One variant at a time, so that the largest sizes have the memory to themselves."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "plain pytorch": lambda: PlainArcFace(classes),
        "pytorch-metric-learning": lambda: public(classes),
        "dense": lambda: ours(classes),
        "float32": lambda: ours(classes, chunk=CHUNK),
        "float32 in walk": lambda: ours(classes, chunk=CHUNK),
    }
    features, labels = batch_of(batch, classes)
    rows = []
    for name, make in makers.items():
        needs_matrix = name in ("plain pytorch", "pytorch-metric-learning", "dense")
        if needs_matrix and classes > MOST_DENSE[batch]:
            continue
        if name == "float32" and classes > 1_000_000:  # two million want 13 GiB with gradients
            continue
        call = full_step(make(), features, labels, in_walk="walk" in name, fused=name == "float32")
        large = classes > 300_000  # the round that measures memory is warm-up enough
        samples = measure({name: call}, repeats=1 if large else repeats, warm_up=int(not large))
        rows += rows_of(samples, name="growth", mode="full", axis=str(batch), value=str(classes))
    return rows


def process_rows(batch: int, classes: int, repeats: int) -> list[Row]:
    rows = []
    for processes in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            context = multiprocessing.get_context("spawn")
            queue = context.SimpleQueue()
            workers = [
                context.Process(
                    target=share_of_processes,
                    args=(rank, processes, f"{folder}/store", queue, batch, classes, repeats),
                )
                for rank in range(processes)
            ]
            for worker in workers:
                worker.start()
            rows += queue.get()
            for worker in workers:
                worker.join()
    return rows


def share_of_processes(
    rank: int, processes: int, store: str, queue, batch: int, classes: int, repeats: int
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", store=dist.FileStore(store, processes), rank=rank, world_size=processes
    )
    head = ours(classes, chunk=CHUNK, process_group=dist.group.WORLD)
    features, labels = batch_of(batch, classes)
    mine = slice(rank * batch // processes, (rank + 1) * batch // processes)
    run = full_step(head, features[mine], labels[mine], in_walk=True, fused=False)
    spent = timed_collectives()

    def both() -> None:
        spent.clear()
        run()

    both()
    shares = []

    def step() -> None:
        both()
        shares.append(sum(spent))

    samples = measure({f"{processes} processes": step}, repeats=repeats)
    if rank == 0:
        rows = rows_of(
            samples, name="processes", mode="full", axis=f"{batch}x{classes}", value=str(processes)
        )
        seconds = sorted(shares)[len(shares) // 2]
        rows.append(with_metric(rows[0], "communication_wall_time", seconds))
        queue.put(rows)
    dist.destroy_process_group()


def with_metric(row: Row, metric: str, seconds: float) -> Row:
    value = float(f"{seconds:.4g}")
    return replace(row, metric=metric, p20=value, p50=value, p80=value)


def timed_collectives() -> list[float]:
    """Return a list that every collective from now on adds its seconds to, waiting included."""
    spent: list[float] = []

    def timed(collective: Callable) -> Callable:
        def run(*arguments, **options):
            before = time.perf_counter()
            try:
                return collective(*arguments, **options)
            finally:
                spent.append(time.perf_counter() - before)

        return run

    for name in ("all_reduce", "all_gather", "broadcast"):
        setattr(dist, name, timed(getattr(dist, name)))
    return spent


TOPICS = {
    "pass": (pass_rows, SIZES),
    "step": (step_rows, [size for size in SIZES if size[1] > 507]),
    "sface": (sface_rows, [size for size in SIZES if size[1] > 507]),
    "growth": (growth_rows, [(batch, classes) for classes in GROWTH for batch in (128, 512)]),
    "processes": (process_rows, [(128, 85_742), (512, 85_742)]),
}


def in_own_process(topic: str, batch: int, classes: int, repeats: int, threads: int) -> list[Row]:
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    arguments = (topic, batch, classes, repeats, threads, queue)
    worker = context.Process(target=run_topic, args=arguments)
    worker.start()
    rows: list[Row] = queue.get()
    worker.join()
    return rows


def run_topic(topic: str, batch: int, classes: int, repeats: int, threads: int, queue) -> None:
    torch.set_num_threads(threads)
    rows: list[Row] = []
    try:
        if topic not in ("growth", "processes"):
            touch(classes, batch)
        rows = TOPICS[topic][0](batch, classes, repeats)
    finally:
        queue.put(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="+", choices=list(TOPICS), default=list(TOPICS))
    parser.add_argument("--sizes", nargs="+", default=None, help="such as 128x85742")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--machine", default="cpu", help="stands in the names of the files")
    arguments = parser.parse_args()
    for topic in arguments.only:
        sizes = TOPICS[topic][1]
        if arguments.sizes:
            sizes = [tuple(int(part) for part in size.split("x")) for size in arguments.sizes]
        for batch, classes in sizes:
            began = time.perf_counter()
            # Large sizes vary less and take minutes a round.
            repeats = arguments.repeats if classes < 300_000 else min(arguments.repeats, 2)
            new = in_own_process(topic, batch, classes, repeats, arguments.threads)
            print(f"{topic} {batch}x{classes}: {time.perf_counter() - began:.0f} s")
            show(new)
            replace_rows(arguments.out / f"heads_{topic}_{arguments.machine}_202611.csv", new)


if __name__ == "__main__":
    main()
