"""Pictures of the procedural world, packs written to the disk, and the differentiable renderer.

`pictures` makes packs of people with 16 pictures each, everything included, the start of the worker
processes too. `render` carries depth maps of 64 pixels into a view, batch of 16, with and without
the gradient; its baseline is the forward-only trace the world itself uses.
"""

import argparse
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from harness import RESULTS, Row, Sample, machine_stamp, measure, show, write_rows
from marginface.data import generate_world
from marginface.rendering import Camera, render, sample_canonical, trace

BATCH, SIDE, EACH = 16, 64, 16


def make_pack(size: int, workers: int, people: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        counts = {"identities": people, "images_per_identity": EACH}
        generate_world(Path(folder) / "w", **counts, size=size, workers=workers)


def render_variants() -> dict[str, Callable[[], object]]:
    camera = Camera(SIDE)
    generator = torch.Generator().manual_seed(0)
    steps = torch.linspace(-1, 1, SIDE)
    bump = 1.05 - 0.1 * torch.exp(-4 * (steps**2 + steps[:, None] ** 2))
    depth = bump.expand(BATCH, -1, -1).clone()
    albedo = torch.rand(BATCH, 3, SIDE, SIDE, generator=generator)
    light = torch.tensor([[0.4, 0.6, 0.3, 0.2]]).expand(BATCH, -1)
    view = torch.zeros(BATCH, 6)
    view[:, 1] = torch.linspace(-1, 1, BATCH) * math.radians(40)

    def forward() -> None:
        with torch.no_grad():
            render(depth, albedo, light, view, camera)

    def full() -> None:
        leaves = [leaf.clone().requires_grad_() for leaf in (depth, albedo, light, view)]
        render(*leaves, camera).image.square().mean().backward()

    def fast() -> None:
        grid, _ = trace(depth, view, camera, planes=24)
        sample_canonical(albedo, grid)

    return {"render, forward": forward, "render, with gradients": full, "trace, forward only": fast}


def rates(samples: dict[str, Sample], *, mode: str, value: str, images: int) -> list[Row]:
    rows = []
    for variant, sample in samples.items():
        for metric, unit, seconds in (
            ("throughput", "images/s", sample.wall_s),
            ("throughput_cpu", "images/cpu-s", sample.cpu_s),
        ):
            p20, p50, p80 = np.percentile(images / np.array(seconds), (20, 50, 80)).round(1)
            spread = {"p20": float(p20), "p50": float(p50), "p80": float(p80)}
            place = {"mode": mode, "axis": "pixels", "value": value}
            rows.append(
                Row(
                    name="world",
                    variant=variant,
                    **place,
                    metric=metric,
                    unit=unit,
                    **spread,
                    **machine_stamp(),
                )
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "world_cpu_202611.csv")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for size in (112, 64):
        variants = {
            name: lambda size=size, workers=workers: make_pack(size, workers, chosen.people)
            for workers, name in ((1, "world, 1 worker"), (2, "world, 2 workers"))
        }
        samples = measure(variants, repeats=chosen.repeats)
        # What child processes burn is not in this process's CPU time.
        rows += [
            row
            for row in rates(samples, mode="pictures", value=str(size), images=chosen.people * EACH)
            if row.metric == "throughput" or "1 worker" in row.variant
        ]
    samples = measure(render_variants(), repeats=4 * chosen.repeats)
    rows += rates(samples, mode="render", value=str(SIDE), images=BATCH)
    write_rows(chosen.out, rows)
    show(rows)


if __name__ == "__main__":
    main()
