"""Faces in and out: packs, folders, pair lists, splits, augmentation, batches."""

from marginface.data.augmentation import Augmentation
from marginface.data.batches import Batch, BatchLoader, epoch_order, to_float
from marginface.data.pack_format import is_pack
from marginface.data.pack_writer import PackWriter
from marginface.data.packs import PackedFaces
from marginface.data.pairs import PairList, read_pairs, resolve_pairs, write_pairs

__all__ = [
    "Augmentation",
    "Batch",
    "BatchLoader",
    "PackWriter",
    "PackedFaces",
    "PairList",
    "epoch_order",
    "is_pack",
    "read_pairs",
    "resolve_pairs",
    "to_float",
    "write_pairs",
]
