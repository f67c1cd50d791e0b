"""Reading packs and making batches, against a plain PyTorch DataLoader over a folder of JPEGs.

Made pictures of 112×112 pixels, about 6 kB as JPEG, in random order, warm page cache. `read` gives
uint8 pictures; `batches` gives float batches of 128 in [-1, 1], ready for a network, over whole
epochs. The public way decodes with OpenCV and transforms picture by picture.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from harness import RESULTS, Row, Sample, machine_stamp, measure, show, write_rows
from marginface.data import (
    Augmentation,
    BatchLoader,
    PackedFaces,
    open_images,
    pack_folder,
    to_float,
)

SIDE, BATCH = 112, 128


def make_folder(root: Path, people: int, each: int) -> None:
    rng = np.random.default_rng(0)
    for person in range(people):
        folder = root / f"p{person:03d}"
        folder.mkdir(parents=True)
        for number in range(1, each + 1):
            coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            image = cv2.add(image, rng.integers(0, 12, image.shape, dtype=np.uint8))
            path = folder / f"{folder.name}_{number:04d}.jpg"
            cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 90])


class PlainFolder(Dataset[tuple[torch.Tensor, int]]):
    """What a tutorial would write: decode, mirror, to tensor, normalise, one picture at a time."""

    def __init__(self, root: Path, *, flip: bool) -> None:
        source = open_images(root)
        self.files = [root / name for name in source.names]
        self.labels = source.labels.tolist()
        self.flip = flip

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = cv2.cvtColor(cv2.imread(str(self.files[index])), cv2.COLOR_BGR2RGB)
        if self.flip and torch.rand(()) < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
        tensor = torch.from_numpy(image).permute(2, 0, 1).float().div(255)
        mean = torch.tensor([0.5, 0.5, 0.5])[:, None, None]
        return (tensor - mean) / mean, self.labels[index]


def read_in_chunks(read: Callable[[NDArray[np.int64]], object], order: NDArray[np.int64]) -> None:
    for chunk in np.array_split(order, max(1, len(order) // BATCH)):
        read(chunk)


def epoch_of(loader: BatchLoader) -> None:
    for _ in range(loader.steps_per_epoch):
        to_float(next(loader).images)
    # Batches made ahead must not be made in the time of the next variant.
    for future in loader._ahead:
        future.result()


def plain_epochs(loader: DataLoader[tuple[torch.Tensor, int]]) -> Iterator[None]:
    while True:
        for _ in loader:
            pass
        yield


def check_equal(folder: Path, pack: PackedFaces) -> None:
    plain = PlainFolder(folder, flip=False)
    loader = BatchLoader(pack, batch_size=BATCH, workers=0, augmentation=Augmentation(flip=False))
    batch = loader.make(0)
    expected = torch.stack([plain[index][0] for index in batch.indices.tolist()])
    torch.testing.assert_close(to_float(batch.images), expected, rtol=0, atol=1e-6)


def rates(samples: dict[str, Sample], *, mode: str, images: int, pictures: str) -> list[Row]:
    """Images per second on the wall, and per CPU second where one process does all."""
    stamp = machine_stamp()
    rows = []
    for variant, sample in samples.items():
        for metric, unit, seconds in (
            ("throughput", "images/s", sample.wall_s),
            ("throughput_cpu", "images/cpu-s", sample.cpu_s),
        ):
            if metric == "throughput_cpu" and "processes" in variant:
                continue
            p20, p50, p80 = np.percentile(images / np.array(seconds), (20, 50, 80)).round()
            spread = {"p20": float(p20), "p50": float(p50), "p80": float(p80)}
            rows.append(
                Row(
                    name="data",
                    variant=variant,
                    mode=mode,
                    axis="pictures",
                    value=pictures,
                    metric=metric,
                    unit=unit,
                    **spread,
                    **stamp,
                )
            )
    return rows


def bench(root: Path, people: int, each: int, repeats: int) -> list[Row]:
    folder = root / "folder"
    make_folder(folder, people, each)
    packs = {}
    for encoding in ("raw", "jpeg", "png"):
        pack_folder(folder, root / encoding, is_aligned=True, encoding=encoding)
        packs[encoding] = PackedFaces.open(root / encoding)
    check_equal(folder, packs["raw"])
    source, count = open_images(folder), people * each
    order = np.random.default_rng(1).permutation(count)
    reading = {
        f"pack {encoding}": lambda pack=pack: read_in_chunks(pack.read, order)
        for encoding, pack in packs.items()
    }
    reading["folder of JPEG"] = lambda: read_in_chunks(source.read, order)
    rows = rates(measure(reading, repeats=repeats), mode="read", images=count, pictures=str(count))
    with ExitStack() as stack:
        variants = batch_variants(stack, packs, folder)
        samples = measure(variants, repeats=repeats)
    images = count // BATCH * BATCH
    return rows + rates(samples, mode="batches", images=images, pictures=str(count))


def batch_variants(
    stack: ExitStack, packs: dict[str, PackedFaces], folder: Path
) -> dict[str, Callable[[], object]]:
    variants: dict[str, Callable[[], object]] = {}
    for name, encoding, options in (
        ("raw, flip", "raw", {}),
        ("raw, AdaFace set", "raw", {"augmentation": Augmentation.adaface()}),
        (
            "raw, all changes",
            "raw",
            {
                "augmentation": Augmentation(
                    crop=0.2,
                    low_resolution=0.2,
                    photometric=0.2,
                    shift=0.04,
                    zoom=0.1,
                    turn_rad=0.1,
                    erase=0.2,
                )
            },
        ),
        ("raw to 56 px, flip", "raw", {"size": 56}),
        ("jpeg kept in memory, flip", "jpeg", {}),
        ("jpeg decoded anew, flip", "jpeg", {"cache_bytes": 0}),
        ("jpeg anew, 2 threads, flip", "jpeg", {"cache_bytes": 0, "workers": 2}),
    ):
        loader = stack.enter_context(BatchLoader(packs[encoding], batch_size=BATCH, **options))
        variants[f"ours {name}"] = lambda loader=loader: epoch_of(loader)
    for processes in (0, 2):
        plain = DataLoader(
            PlainFolder(folder, flip=True),
            batch_size=BATCH,
            shuffle=True,
            drop_last=True,
            num_workers=processes,
            persistent_workers=processes > 0,
        )
        epochs = plain_epochs(plain)
        name = f"DataLoader, {processes} processes" if processes else "DataLoader"
        variants[f"{name}, folder, flip"] = lambda epochs=epochs: next(epochs)
    return variants


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--each", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "data_cpu_202611.csv")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = bench(Path(folder), chosen.people, chosen.each, chosen.repeats)
    write_rows(chosen.out, rows)
    show(rows)


if __name__ == "__main__":
    main()
