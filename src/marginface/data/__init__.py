"""Faces in and out: packs, folders, pair lists, splits, augmentation, batches."""

from marginface.data.augmentation import Augmentation
from marginface.data.batches import Batch, BatchLoader, epoch_order, to_float
from marginface.data.bin_pack import VerificationPack, read_bin, write_bin
from marginface.data.convert import ConvertReport, convert_faces, manifest_of
from marginface.data.convert_formats import (
    FORMATS,
    FaceSet,
    open_encoded,
    open_faces,
    open_images,
)
from marginface.data.convert_work import checksum_of
from marginface.data.corruption import CorruptedFaces, Corruption
from marginface.data.encoded_faces import EncodedFaces
from marginface.data.float_batches import read_floats
from marginface.data.landmarks import read_landmarks
from marginface.data.pack_format import is_pack
from marginface.data.pack_writer import PackWriter
from marginface.data.packing import PackReport, pack_folder
from marginface.data.packs import PackedFaces
from marginface.data.pairs import PairList, read_pairs, resolve_pairs, write_pairs
from marginface.data.pictures import read_picture
from marginface.data.rec_pack import open_rec
from marginface.data.resized import resize_face
from marginface.data.sources import FolderFaces, ImageSource
from marginface.data.splits import (
    make_pairs,
    read_identity_list,
    split_identities,
    write_identity_list,
)
from marginface.data.world import generate_world

__all__ = [
    "FORMATS",
    "Augmentation",
    "Batch",
    "BatchLoader",
    "ConvertReport",
    "CorruptedFaces",
    "Corruption",
    "EncodedFaces",
    "FaceSet",
    "FolderFaces",
    "ImageSource",
    "PackReport",
    "PackWriter",
    "PackedFaces",
    "PairList",
    "VerificationPack",
    "checksum_of",
    "convert_faces",
    "epoch_order",
    "generate_world",
    "is_pack",
    "make_pairs",
    "manifest_of",
    "open_encoded",
    "open_faces",
    "open_images",
    "open_rec",
    "pack_folder",
    "read_bin",
    "read_floats",
    "read_identity_list",
    "read_landmarks",
    "read_pairs",
    "read_picture",
    "resize_face",
    "resolve_pairs",
    "split_identities",
    "to_float",
    "write_bin",
    "write_identity_list",
    "write_pairs",
]
