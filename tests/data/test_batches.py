import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from marginface.data import Augmentation, Batch, BatchLoader, PackedFaces, epoch_order, to_float
from marginface.data.batches import _generator
from marginface.errors import DataError
from tests.data.made import make_pack

CHANGES = Augmentation.adaface()


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> PackedFaces:
    return make_pack(tmp_path_factory.mktemp("packs") / "a.pack", people=5, each=5)


@pytest.fixture
def threads() -> Callable[[], int]:
    """Count the threads of loaders, without those that earlier tests may have left."""
    before = set(threading.enumerate())

    def count() -> int:
        mine = set(threading.enumerate()) - before
        return sum(thread.name.startswith("marginface-batches") for thread in mine)

    return count


def take(loader: BatchLoader, count: int) -> list[Batch]:
    with loader:
        return [next(loader) for _ in range(count)]


def assert_same(one: Batch, other: Batch) -> None:
    assert (one.step, one.epoch) == (other.step, other.epoch)
    torch.testing.assert_close(one.images, other.images, rtol=0, atol=0)
    torch.testing.assert_close(one.labels, other.labels, rtol=0, atol=0)
    torch.testing.assert_close(one.indices, other.indices, rtol=0, atol=0)


def test_a_batch_holds_what_the_pack_holds(pack: PackedFaces) -> None:
    loader = BatchLoader(pack, batch_size=4, augmentation=Augmentation(flip=False))
    for batch in take(loader, 13):
        assert batch.images.shape == (4, 3, 16, 16)
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous()
        expected = pack.read(batch.indices.numpy()).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(batch.images.numpy(), expected)
        np.testing.assert_array_equal(batch.labels.numpy(), pack.labels[batch.indices.numpy()])
        assert loader.names(batch) == [pack.names[index] for index in batch.indices.tolist()]


def test_every_picture_once_an_epoch_but_the_rest(pack: PackedFaces) -> None:
    loader = BatchLoader(pack, batch_size=4)
    assert loader.steps_per_epoch == 6
    batches = take(loader, 18)
    assert [batch.epoch for batch in batches] == [0] * 6 + [1] * 6 + [2] * 6
    assert [batch.step for batch in batches] == list(range(18))
    orders = []
    for epoch in range(3):
        seen = torch.cat([b.indices for b in batches if b.epoch == epoch]).tolist()
        assert len(set(seen)) == 24
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("start", [0, 1, 5, 6, 17])
def test_resumes_bit_for_bit(pack: PackedFaces, workers: int, start: int) -> None:
    whole = take(BatchLoader(pack, batch_size=4, seed=3, augmentation=CHANGES, workers=0), 22)
    again = BatchLoader(
        pack, batch_size=4, seed=3, augmentation=CHANGES, workers=workers, start_step=start
    )
    for one, other in zip(whole[start:], take(again, 22 - start), strict=True):
        assert_same(one, other)


def test_places_make_their_part_of_the_whole_batch(pack: PackedFaces) -> None:
    whole = BatchLoader(pack, batch_size=10, seed=3, augmentation=CHANGES)
    for some in np.array_split(np.arange(10), 4):
        part = BatchLoader(pack, batch_size=10, seed=3, augmentation=CHANGES, places=some)
        for step in (0, 5):
            ours, all_of_it = part.make(step), whole.make(step)
            assert (ours.step, ours.epoch) == (all_of_it.step, all_of_it.epoch)
            for name in ("images", "labels", "indices"):
                rows = getattr(all_of_it, name)[torch.from_numpy(some)]
                torch.testing.assert_close(getattr(ours, name), rows, rtol=0, atol=0)
            np.testing.assert_array_equal(part.indices(step), whole.indices(step))


def test_seeds_differ_in_order_and_changes(pack: PackedFaces) -> None:
    one, other = (BatchLoader(pack, batch_size=25, seed=seed, workers=0) for seed in (1, 2))
    first, second = one.make(0), other.make(0)
    assert first.indices.tolist() != second.indices.tolist()
    by_picture = [b.images[torch.argsort(b.indices)] for b in (first, second, one.make(1))]
    assert not torch.equal(by_picture[0], by_picture[1])
    assert not torch.equal(by_picture[0], by_picture[2])


def test_every_step_draws_its_own_changes(pack: PackedFaces) -> None:
    """One picture, mirrored or not: which places of a batch are mirrored must change."""

    class OnePicture:
        labels, identities, names, size = pack.labels, pack.identities, pack.names, pack.size

        def read(self, indices: NDArray[np.int64], /) -> NDArray[np.uint8]:
            return pack.read(np.zeros_like(indices))

    loader = BatchLoader(OnePicture(), batch_size=12, workers=0)
    plain = torch.from_numpy(pack.read([0])[0].transpose(2, 0, 1).copy())
    patterns = [
        tuple(torch.equal(image, plain) for image in loader.make(step).images) for step in range(8)
    ]
    assert len(set(patterns)) == 8


def test_streams_share_no_numbers() -> None:
    drawn = [
        _generator(purpose, seed, counter).random(200)
        for purpose in (1, 2)
        for seed in (0, 1)
        for counter in (0, 1, 2)
    ]
    assert len(np.unique(np.concatenate(drawn))) == 12 * 200


@given(st.integers(1, 300), st.integers(0, 2**40), st.integers(0, 10_000))
def test_epoch_order_is_a_pure_permutation(count: int, seed: int, epoch: int) -> None:
    order = epoch_order(count, seed=seed, epoch=epoch)
    assert sorted(order.tolist()) == list(range(count))
    np.testing.assert_array_equal(order, epoch_order(count, seed=seed, epoch=epoch))


def test_epoch_orders_look_unrelated() -> None:
    orders = np.array([epoch_order(2000, seed=0, epoch=epoch) for epoch in range(6)])
    orders = np.vstack([orders, epoch_order(2000, seed=1, epoch=0)])
    correlation = np.corrcoef(orders) - np.eye(7)
    assert np.abs(correlation).max() < 0.1


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
@pytest.mark.parametrize("size", [8, 24])
def test_other_size(pack: PackedFaces, size: int, cache_bytes: int) -> None:
    loader = BatchLoader(pack, batch_size=5, size=size, cache_bytes=cache_bytes, workers=2)
    expected = BatchLoader(pack, batch_size=5, size=size, cache_bytes=0, workers=0)
    for step, batch in enumerate(take(loader, 12)):
        assert batch.images.shape == (5, 3, size, size)
        assert_same(batch, expected.make(step))
    plain = BatchLoader(pack, batch_size=5, workers=0, augmentation=Augmentation(flip=False))
    small = BatchLoader(
        pack, batch_size=5, size=8, workers=0, augmentation=Augmentation(flip=False)
    )
    means = plain.make(0).images.float().reshape(5, 3, 8, 2, 8, 2).mean((3, 5))
    torch.testing.assert_close(small.make(0).images.float(), means, rtol=0, atol=0.51)


@pytest.mark.parametrize("encoding", ["jpeg", "png"])
def test_what_was_decoded_is_kept(tmp_path: Path, encoding: str) -> None:
    pack = make_pack(tmp_path / "a.pack", encoding=encoding, size=32)
    loader = BatchLoader(pack, batch_size=10, workers=0)
    before = [loader.make(step) for step in range(2)]
    file = tmp_path / "a.pack" / "images.bin"
    with file.open("r+b") as images:
        images.write(b"\0" * file.stat().st_size)
    for step, batch in enumerate(before):
        assert_same(loader.make(step), batch)
    with pytest.raises(DataError):
        BatchLoader(pack, batch_size=10, workers=0, cache_bytes=0).make(0)


@pytest.mark.parametrize("workers", [0, 2])
def test_error_of_a_thread_names_the_picture_and_can_be_tried_again(
    tmp_path: Path, threads: Callable[[], int], workers: int
) -> None:
    pack = make_pack(tmp_path / "a.pack", encoding="png")
    file = tmp_path / "a.pack" / "images.bin"
    content = file.read_bytes()
    file.write_bytes(b"\0" * 50 + content[50:])
    broken = PackedFaces.open(tmp_path / "a.pack")
    bad_step = epoch_order(20, seed=0, epoch=0).tolist().index(0) // 4
    with BatchLoader(broken, batch_size=4, workers=workers) as loader:
        for _ in range(bad_step):
            next(loader)
        for _ in range(2):
            with pytest.raises(DataError, match=r"p0/p0_0001.png: a stored png picture"):
                next(loader)
        with file.open("r+b") as again:
            again.write(content[:50])
        assert next(loader).step == bad_step
        assert next(loader).step == bad_step + 1
    assert len(pack) == 20
    assert threads() == 0


def test_prefetch_is_bounded(pack: PackedFaces, threads: Callable[[], int]) -> None:
    made: list[int] = []

    class Counting(BatchLoader):
        def make(self, step: int) -> Batch:
            made.append(step)
            return super().make(step)

    with Counting(pack, batch_size=4, prefetch=3, workers=2) as loader:
        next(loader)
        time.sleep(0.2)
        assert len(made) <= 3
    assert threads() == 0


def test_threads_end_when_the_loader_is_dropped(
    pack: PackedFaces, threads: Callable[[], int]
) -> None:
    loader = BatchLoader(pack, batch_size=4, workers=2)
    next(loader)
    assert threads() > 0
    del loader
    gc.collect()
    limit = time.monotonic() + 60
    while threads() and time.monotonic() < limit:
        time.sleep(0.01)
    assert threads() == 0


def test_close_twice(pack: PackedFaces, threads: Callable[[], int]) -> None:
    loader = BatchLoader(pack, batch_size=4)
    next(loader)
    loader.close()
    loader.close()
    assert threads() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 4, "workers": -1}, "workers must be at least 0, got -1"),
        ({"batch_size": 4, "prefetch": 0}, "prefetch must be at least 1, got 0"),
        ({"batch_size": 4, "seed": -1}, "seed must be at least 0, got -1"),
        ({"batch_size": 4, "start_step": -1}, "start_step must be at least 0, got -1"),
        ({"batch_size": 4, "size": 0}, "size must be at least 1, got 0"),
    ],
)
def test_refuses_numbers(pack: PackedFaces, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchLoader(pack, **options)


def test_refuses_sets(pack: PackedFaces) -> None:
    with pytest.raises(DataError, match=r"training needs at least 2 identities, .*a.pack holds 1"):
        BatchLoader(pack.subset(["p2"]), batch_size=2)
    with pytest.raises(DataError, match=r"batch_size must be at most the 25 images of .*, got 26"):
        BatchLoader(pack, batch_size=26)
    pack.subset(["p1", "p2"]).labels[:] = 0
    wrong = pack.subset(["p1", "p2"])
    wrong.labels[4] = 2
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 2\), got 2 in row 4"):
        BatchLoader(wrong, batch_size=2)


def test_to_float_is_exact() -> None:
    values = to_float(torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1))
    assert values.dtype == torch.float32
    expected = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    torch.testing.assert_close(values[0, 0].flatten().double(), expected, rtol=0, atol=1e-7)
    assert values.min() == -1
    assert values.max() == 1
