"""Published benchmarks: their files read as they are, and judged from features or pictures."""

from marginface.protocols.features import load_features
from marginface.protocols.galleries import gallery_tables, megaface_lists, tinyface_lists
from marginface.protocols.gallery_figures import gallery_record
from marginface.protocols.ijb import read_faces, read_pairs, read_search
from marginface.protocols.ijb_figures import fuse, identification_record, verification_record
from marginface.protocols.megaface_figures import megaface_record
from marginface.protocols.pair_figures import pair_record
from marginface.protocols.pair_lists import (
    ListedPairs,
    cfp_lists,
    crossed_list,
    lfw_list,
    pack_pairs,
    pairs_table,
    sllfw_list,
)

__all__ = [
    "ListedPairs",
    "cfp_lists",
    "crossed_list",
    "fuse",
    "gallery_record",
    "gallery_tables",
    "identification_record",
    "lfw_list",
    "load_features",
    "megaface_lists",
    "megaface_record",
    "pack_pairs",
    "pair_record",
    "pairs_table",
    "read_faces",
    "read_pairs",
    "read_search",
    "sllfw_list",
    "tinyface_lists",
    "verification_record",
]
