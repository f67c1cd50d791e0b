"""The nearest rows of large galleries: compared all, coded (faiss), or on a server (qdrant)."""

from marginface.search.exact import PRODUCTS, TopK, search_topk
from marginface.search.exact_index import ExactIndex
from marginface.search.faiss_index import FaissIndex
from marginface.search.index import Index, Nearest, fingerprint_of
from marginface.search.qdrant_index import QdrantIndex
from marginface.search.recall import Recall, measured_recall

__all__ = [
    "PRODUCTS",
    "ExactIndex",
    "FaissIndex",
    "Index",
    "Nearest",
    "QdrantIndex",
    "Recall",
    "TopK",
    "fingerprint_of",
    "measured_recall",
    "search_topk",
]
