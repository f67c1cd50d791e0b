"""The usual ways to read a .rec and to make float batches of it: the peers of bench_formats.py.

Run as a program by an interpreter that has mxnet, torch and torchvision, it times these as
insightface's own data set uses them, and prints JSON:

    PYTHON benchmarks/format_peers.py (read|whole) a.rec order.npy 5
"""

import json
import struct
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

BATCH = 128
Order = NDArray[np.int64]
IRHeader = namedtuple("IRHeader", ["flag", "label", "id", "id2"])


class PlainReader:
    """MXIndexedRecordIO and unpack in Python: a dict of offsets, a seek, two reads, struct."""

    def __init__(self, path: Path) -> None:
        self.offsets = {}
        with path.with_suffix(".idx").open() as index:
            for line in index:
                key, offset = line.split("\t")
                self.offsets[int(key)] = int(offset)
        self.file = path.open("rb")

    def read(self, key: int) -> tuple[IRHeader, bytes]:
        self.file.seek(self.offsets[key])
        magic, frame = struct.unpack("<II", self.file.read(8))
        assert magic == 0xCED7230A
        payload = self.file.read(frame & ((1 << 29) - 1))
        header = IRHeader(*struct.unpack("<IfQQ", payload[:24]))
        payload = payload[24:]
        if header.flag > 0:
            header = header._replace(label=np.frombuffer(payload, np.float32, header.flag))
            payload = payload[header.flag * 4 :]
        return header, payload


def batches(order: Order) -> list[Order]:
    return [order[begin : begin + BATCH] for begin in range(0, len(order), BATCH)]


def plain_records(reader: PlainReader, order: Order) -> None:
    for rows in batches(order):
        _ = [reader.read(row + 1) for row in rows.tolist()]


def decoded(stored: bytes) -> NDArray[np.uint8]:
    import cv2  # not where mxnet is: the two may not go with one NumPy

    bgr = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


Convert = Callable[[NDArray[np.uint8], bool], torch.Tensor]


def picture_by_picture(path: Path, order: Order, flips: NDArray[np.bool_], convert: Convert) -> Any:
    """Read, decode and convert one picture after the other, and collate; the last batch returns."""
    reader = PlainReader(path)
    for rows in batches(order):
        done, labels = [], []
        for row in rows.tolist():
            header, stored = reader.read(row + 1)
            done.append(convert(decoded(stored), bool(flips[row])))
            labels.append(torch.tensor(header.label, dtype=torch.long))
        batch, _ = torch.stack(done), torch.stack(labels)
    reader.file.close()
    return batch


def by_pil(image: NDArray[np.uint8], is_turned: bool) -> torch.Tensor:
    """The core of torchvision's transforms, without their checks and copies."""
    from PIL import Image

    picture = Image.fromarray(image)
    if is_turned:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
    mean = torch.full((3, 1, 1), 0.5)
    return tensor.float().div(255).sub_(mean).div_(mean)


def by_numpy(kind: type) -> Convert:
    """Flip, to float, normalise, transpose; `float` means float64, as `astype(float)` does."""

    def convert(image: NDArray[np.uint8], is_turned: bool) -> torch.Tensor:
        scaled = ((np.flip(image, axis=1) if is_turned else image).astype(kind) - 127.5) / 127.5
        return torch.from_numpy(scaled.transpose(2, 0, 1).astype(np.float32))

    return convert


def transforms_of(flip_share: float) -> Any:
    """The transforms of insightface's MXFaceDataset."""
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.RandomHorizontalFlip(flip_share),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5]),
        ]
    )


def mxnet_way(way: str, path: Path, order: Order) -> Callable[[], object]:
    """MXNet's reader alone, or the whole of MXFaceDataset with a loader's collation."""
    import mxnet

    reader = mxnet.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "r")
    keys = (order + 1).tolist()

    def read(key: int) -> tuple[Any, bytes]:
        return mxnet.recordio.unpack(reader.read_idx(key))

    def whole() -> None:
        convert = transforms_of(0.5)
        for rows in batches(order):
            done, labels = [], []
            for row in rows.tolist():
                header, stored = read(row + 1)
                label = header.label if isinstance(header.label, float) else header.label[0]
                labels.append(torch.tensor(label, dtype=torch.long))
                done.append(convert(mxnet.image.imdecode(stored).asnumpy()))
            _ = torch.stack(done), torch.stack(labels)

    return whole if way == "whole" else lambda: [read(key) for key in keys]


def main() -> None:
    way, path, order = sys.argv[1], Path(sys.argv[2]), np.load(sys.argv[3])
    torch.set_num_threads(1)
    call = mxnet_way(way, path, order)
    call()
    seconds = []
    for _ in range(int(sys.argv[4])):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
