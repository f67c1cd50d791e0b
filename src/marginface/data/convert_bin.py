"""The two conversions that are not a stream of pictures: pairs to .bin, and .rec to .rec."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.data.bin_pack import pictures_of_pairs, read_bin, write_bin
from marginface.data.encoded_faces import Checksum, EncodedFaces
from marginface.data.pairs import read_pairs, resolve_pairs, write_pairs
from marginface.data.recordio import FRAME, RecordWriter
from marginface.data.recordio_reader import RecordFile
from marginface.errors import DataError
from marginface.files import atomic_path

_BLOCK = 1 << 24


def convert_to_bin(faces: EncodedFaces, out: Path, pairs: str | Path | None) -> dict[str, Any]:
    """Write the pictures of a pair list as a verification pack, and read it back.

    A .bin needs no list: its own pairs are written again, by its own protocol.

    Raises:
        ValueError: If there is no pair list and the source is no .bin.
        ProtocolFileError: If the list names a picture that is not there.
        DataError: If what was written does not read back the same.
    """
    pictures: Sequence[bytes | NDArray[np.uint8]]
    if pairs is not None:
        listed = read_pairs(pairs)
        first, second = resolve_pairs(listed, faces.names, where=str(faces.path))
        is_mated, protocol = listed.is_mated, 4
        pictures = pictures_of_pairs(faces, first, second)
        write_bin(out, pictures, is_mated)
    elif faces.kind == "bin":
        pack = read_bin(faces.path)
        is_mated, protocol = pack.is_mated, max(2, pack.protocol)
        pictures = pack.pictures
        write_bin(out, pictures, is_mated, protocol=protocol)
    else:
        raise ValueError("a .bin holds pairs; name the pair list (--pairs, pairs=)")
    made = read_bin(out)
    expected = [bytes(picture) for picture in pictures]
    if [bytes(picture) for picture in made.pictures] != expected or (
        made.is_mated.tolist() != is_mated.tolist()
    ):
        raise DataError(f"{out} does not read back as it was written; the disk fails")
    checksum = Checksum()
    for item in made.faces().items():
        checksum.add(item)
    kept = len(pictures) if faces.raw_size is None else 0
    return {"checksum": checksum.hexadecimal, "kept": kept, "resumed_at": 0}


def write_pairs_of(source: Path, out: Path) -> None:
    """Write the pairs of a .bin beside its pictures, as OUT.pairs.txt.

    LFW's format needs equally many pairs of each kind in a fold; without that, nothing is written.
    """
    with suppress(ValueError):
        write_pairs(read_bin(source).pair_list(), out.with_name(f"{out.name}.pairs.txt"))


def _is_gapless(records: RecordFile, order: NDArray[np.int64]) -> bool:
    """Return whether a file is its records one behind the other, so that it is its own copy."""
    ends = records.offsets + FRAME.size + records.lengths + (-records.lengths % 4)
    begins = np.append(records.offsets[order], records.data.size)
    return not records.is_cut.any() and np.array_equal(begins, np.append(0, ends[order]))


def copy_rec(source: Path, target: Path) -> None:
    """Write every record of a .rec again, with its header and its key, byte for byte.

    Raises:
        DataError: If the source is broken.
        CheckpointWriteError: If the disk refuses.
    """
    records = RecordFile.open(source)
    offsets = records.offsets.copy()
    order = records.offsets.argsort(kind="stable")
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        if _is_gapless(records, order):
            for begin in range(0, records.data.size, _BLOCK):
                file.write(records.data[begin : begin + _BLOCK].data)
        else:
            writer = RecordWriter(file)
            for row in order.tolist():
                offsets[row] = writer.write(bytes(records.payload(row)))
    lines = zip(records.keys.tolist(), offsets.tolist(), strict=True)
    with atomic_path(target.with_suffix(".idx")) as temporary, temporary.open("wb") as index:
        index.writelines(b"%d\t%d\n" % line for line in lines)
    if (listed := source.with_suffix(".lst")).is_file():
        shutil.copyfile(listed, target.with_suffix(".lst"))
