"""Exact nearest rows of a large gallery, without copying or sorting it."""

from marginface.search.exact import PRODUCTS, TopK, search_topk

__all__ = ["PRODUCTS", "TopK", "search_topk"]
