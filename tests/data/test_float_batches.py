"""The fast way to a float batch gives what the plain way gives, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from marginface.data import open_encoded, open_rec, read_floats, to_float
from marginface.errors import DataError
from tests.data.made import make_pack, save, smooth_image
from tests.data.records import write_rec


@pytest.mark.parametrize("count", [1, 8, 9, 12])
@pytest.mark.parametrize("turns", [False, True])
def test_it_is_the_plain_way(tmp_path: Path, count: int, turns: bool) -> None:
    write_rec(tmp_path / "a.rec")
    faces = open_rec(tmp_path / "a.rec")
    order = np.random.default_rng(count).permutation(12)[:count]
    turned = np.random.default_rng(0).random(count) < 0.5
    images = faces.read(order)
    if turns:
        images[turned] = images[turned][:, :, ::-1]
    plain = to_float(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    ours = read_floats(faces, order, is_mirrored=turned if turns else None)
    assert torch.equal(ours, plain)
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_raw_pixels_read_alike(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "a.pack")
    turned = np.arange(20) % 3 == 0
    ours = read_floats(open_encoded(pack.path), np.arange(20), is_mirrored=turned)
    images = pack.read(np.arange(20))
    images[turned] = images[turned][:, :, ::-1]
    assert torch.equal(ours, to_float(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())))


def test_another_size_is_named(tmp_path: Path) -> None:
    for number, size in enumerate([16] * 8 + [18] * 8):
        save(tmp_path / "set" / "a" / f"{number:02d}.png", smooth_image(number, size))
    faces = open_encoded(tmp_path / "set")
    told = r"a/08.png must have the size \(16, 16\) of the others, got \(18, 18\)"
    with pytest.raises(DataError, match=told):
        read_floats(faces, np.arange(16))
    with pytest.raises(DataError, match=r"a/08.png must have the size \(16, 16\) of the"):
        faces.read([7, 8])


def test_memory_can_be_used_again(tmp_path: Path) -> None:
    write_rec(tmp_path / "a.rec")
    faces = open_rec(tmp_path / "a.rec")
    room = torch.full((14, 16, 16, 3), torch.nan)
    ours = read_floats(faces, np.arange(12), out=room)
    assert ours.data_ptr() == room.data_ptr()
    assert torch.equal(ours, read_floats(faces, np.arange(12)))
    assert room[12:].isnan().all()
    for wrong in (room.double(), room.permute(0, 2, 1, 3)):
        with pytest.raises(ValueError, match="out must be contiguous float32, got torch"):
            read_floats(faces, np.arange(12), out=wrong)
    for shape in ((11, 16, 16, 3), (12, 16, 17, 3)):
        with pytest.raises(ValueError, match=r"out must have shape \(12 or more, 16, 16, 3\), got"):
            read_floats(faces, np.arange(12), out=torch.empty(shape))
