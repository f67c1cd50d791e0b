"""The k best gallery rows of every probe: exact, whatever the products are computed in.

    score(p, g) = p · g,  added in float64 and rounded to float32;  equal scores: lower row first

The gallery is read once, block by block, and multiplied in a fast arithmetic. Let p̂, ĝ be the rows
as that arithmetic holds them, and s the product it returns. Then
    |p · g - s| <= |p - p̂| |g| + |p̂| |g - ĝ| + (rounding of the product) =: e
so no row can be among the k best unless s + e reaches the k-th best s - e of rows seen so far. The
few that can are scored again in float32, under the same kind of bound, and what is still too close
in float64. The answer is thus proven for the rows at hand, and does not depend on `products`:

    float32    fast everywhere
    bfloat16   twice as fast where the processor multiplies it (AVX512-BF16, AMX), else slow
    int8       three times as fast where the processor has VNNI

Differs: public code sorts all scores, or trusts the rounding of the arithmetic it is compiled for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from marginface.axes import Float, Int, Tensor
from marginface.errors import unknown_name

PRODUCTS = ("float32", "bfloat16", "int8")
# Gallery rows of one product, and columns whose maximum is looked at first.
BLOCK = 2048
GROUP = 32
# Candidates kept before those that are beaten by now are dropped, and scored again at a time.
CANDIDATES = 1 << 22
RESCORED = 1 << 13
# Norms and bounds are themselves computed in float32.
SLACK = 1 + 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """The best rows of each probe, best first.

    Attributes:
        scores: Shape (probes, k); -inf where the gallery has fewer than k rows.
        rows: Gallery row of each, shape (probes, k); -1 where there is none.
    """

    scores: Float[Tensor, "probes k"]
    rows: Int[Tensor, "probes k"]


@dataclass(frozen=True, slots=True)
class _Coarse:
    """Products of one block: score = values * unit, with an error of at most `error`."""

    values: Tensor  # (probes, block), in the arithmetic's own type
    unit: Tensor  # (probes, 1)
    error: Tensor  # (probes, 1)


@torch.no_grad()
def search_topk(
    probes: Float[Tensor, "probes dim"],
    gallery: Float[Tensor, "gallery dim"],
    k: int,
    *,
    products: str = "float32",
    longest: float | None = None,
) -> TopK:
    """Return the k best gallery rows of every probe.

    Args:
        probes: float32 rows, of any length.
        gallery: float32 rows; may be a view of a memory map, and is never copied whole.
        k: How many, at least 1.
        products: "float32", "bfloat16" or "int8"; changes the speed only.
        longest: What no gallery row's length exceeds, for finite rows whose lengths are known: they
            are not measured then, which for few probes is two thirds of the time.

    Raises:
        ValueError: If `products` is unknown, `k` below 1, or a row not finite.

    Example:
        >>> gallery = torch.tensor([[0.5, 1.0], [0.9, 0.0]])
        >>> search_topk(torch.tensor([[1.0, 0.0]]), gallery, 1).rows.tolist()
        [[1]]
    """
    if products not in PRODUCTS:
        raise unknown_name("products", products, PRODUCTS)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if probes.dtype != torch.float32 or gallery.dtype != torch.float32:
        raise ValueError(f"rows must be float32, got {probes.dtype} and {gallery.dtype}")
    if not probes.isfinite().all():
        raise ValueError("probes must be finite, got NaN or infinity")
    pool = _Pool(len(probes), k)
    if not len(probes):
        return _decide(probes, gallery, pool, k)
    multiply = _MULTIPLY[products](probes)
    for start in range(0, len(gallery), BLOCK):
        block = gallery[start : start + BLOCK]
        length = float(_lengths(block).max()) if longest is None else longest * SLACK
        pool.longest = max(pool.longest, length)
        coarse = multiply(block, length)
        if not coarse.error.isfinite().all():
            raise ValueError(f"gallery must be finite, got NaN or infinity after row {start}")
        pool.add(coarse, start)
    return _decide(probes, gallery, pool, k)


class _Buffer:
    """Memory that every block writes anew: fresh pages cost as much as the product itself."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.held = torch.empty(0, 0, dtype=dtype)

    def of(self, rows: int, columns: int) -> Tensor:
        if self.held.shape != (rows, columns):
            self.held = torch.zeros(rows, columns, dtype=self.held.dtype)
        return self.held


class _Float32:
    def __init__(self, probes: Tensor) -> None:
        self.probes, self.lengths = probes, _lengths(probes)
        self.values = _Buffer(torch.float32)

    def __call__(self, block: Tensor, length: float) -> _Coarse:
        values = self.values.of(len(self.probes), len(block))
        torch.mm(self.probes, block.T, out=values)
        error = _rounding(block) * self.lengths * length
        return _Coarse(values, torch.ones_like(error), error)


class _BFloat16:
    def __init__(self, probes: Tensor) -> None:
        self.rounded = probes.bfloat16()
        self.lengths = _lengths(self.rounded.float())
        self.lost = _lengths(probes - self.rounded.float())

    def __call__(self, block: Tensor, length: float) -> _Coarse:
        rounded = block.bfloat16()
        held = _lengths(rounded.float()).max()
        lost = _lengths(block - rounded.float()).max()
        # Added in float32, and rounded to 8 binary digits at the end.
        error = self.lost * length + self.lengths * lost
        error = error + self.lengths * held * (2**-8 + _rounding(block))
        return _Coarse(self.rounded @ rounded.T, torch.ones_like(error), error * SLACK)


class _Int8:
    def __init__(self, probes: Tensor) -> None:
        self.unit = probes.abs().amax(1, keepdim=True).clamp_min(1e-30) / 127
        whole = (probes / self.unit).round_()
        held = whole * self.unit
        # In torch 2.13 the product of single columns is memory nobody wrote.
        self.whole = torch.nn.functional.pad(whole.to(torch.int8), (0, -whole.shape[1] % 8))
        self.lengths, self.lost = _lengths(held), _lengths(probes - held)
        self.rounded, self.other = _Buffer(torch.float32), _Buffer(torch.int8)
        self.values = _Buffer(torch.int32)

    def __call__(self, block: Tensor, length: float) -> _Coarse:
        # One unit for the block, so that whole numbers of a probe compare as scores do.
        unit = torch.stack([-block.min(), block.max()]).max().clamp_min(1e-30) / 127
        rounded = torch.div(block, unit, out=self.rounded.of(*block.shape)).round_()
        whole = self.other.of(len(block), self.whole.shape[1])
        whole[:, : block.shape[1]] = rounded
        lost = _lengths(rounded.mul_(-unit).add_(block)).max()
        error = self.lost * length + self.lengths * lost
        # The whole products are exact; the units round in float32.
        error = error + self.lengths * (length + lost) * 2**-20
        values = self.values.of(len(self.whole), len(block))
        torch._int_mm(self.whole, whole.T, out=values)
        return _Coarse(values, self.unit * unit, error * SLACK)


_MULTIPLY: dict[str, Callable[[Tensor], Callable[[Tensor, float], _Coarse]]] = {
    "float32": _Float32,
    "bfloat16": _BFloat16,
    "int8": _Int8,
}


class _Pool:
    """Rows that may still be among the best, and the k-th best score that is certain by now."""

    def __init__(self, probes: int, k: int) -> None:
        self.certain = torch.full((probes, k), -torch.inf)
        self.found: list[tuple[Tensor, Tensor, Tensor]] = []
        self.size = 0
        self.longest = 0.0

    @property
    def floor(self) -> Tensor:
        """The score that the k-th best reaches for certain, shape (probes, 1)."""
        return self.certain[:, -1:]

    def add(self, coarse: _Coarse, start: int) -> None:
        """Take in a block whose first gallery row is `start`."""
        values, columns = coarse.values, coarse.values.shape[1]
        if columns % GROUP:
            lowest = -(2**31) if values.dtype == torch.int32 else -torch.inf
            values = torch.nn.functional.pad(values, (0, -columns % GROUP), value=lowest)
        groups = values.view(len(values), -1, GROUP)
        highest = groups.amax(2)
        # The maxima of groups are scores of different rows.
        sure = highest * coarse.unit - coarse.error
        sure[:, (columns + GROUP - 1) // GROUP :] = -torch.inf
        k = self.certain.shape[1]
        self.certain = torch.cat([self.certain, sure], dim=1).topk(k, dim=1).values
        probe, group = (highest * coarse.unit + coarse.error >= self.floor).nonzero(as_tuple=True)
        upper = groups[probe, group] * coarse.unit[probe] + coarse.error[probe]
        place, column = (upper >= self.floor[probe]).nonzero(as_tuple=True)
        upper = upper[place, column]
        row, probe = group[place] * GROUP + column, probe[place]
        inside = row < columns
        self.found.append((probe[inside], row[inside] + start, upper[inside]))
        self.size += int(inside.sum())
        if self.size > CANDIDATES:
            self.found = [self.kept()]
            self.size = len(self.found[0][0])

    def kept(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return probe, gallery row and highest possible score of all that may still win."""
        probe, row, upper = (torch.cat(parts) for parts in zip(*self.found, strict=True))
        is_open = upper >= self.floor[probe, 0]
        return probe[is_open], row[is_open], upper[is_open]


def _decide(probes: Tensor, gallery: Tensor, pool: _Pool, k: int) -> TopK:
    scores, rows = torch.full((len(probes), k), -torch.inf), torch.full((len(probes), k), -1)
    if not pool.found:
        return TopK(scores=scores, rows=rows)
    probe, row, _ = pool.kept()
    # First in float32, then what that leaves within its rounding in float64.
    rough = _rescore(probes, gallery, probe, row, torch.float32)
    error = _rounding(gallery) * _lengths(probes)[probe, 0] * pool.longest
    order, place = _ranked(probe, row, rough - error)
    floor = torch.full((len(probes),), -torch.inf)
    last = order[place == k - 1]
    floor[probe[last]] = (rough - error)[last]
    is_open = rough + error >= floor[probe]
    probe, row = probe[is_open], row[is_open]
    exact = _rescore(probes, gallery, probe, row, torch.float64).float()
    order, place = _ranked(probe, row, exact)
    best = order[place < k]
    place = place[place < k]
    scores[probe[best], place] = exact[best]
    rows[probe[best], place] = row[best]
    return TopK(scores=scores, rows=rows)


def _ranked(probe: Tensor, row: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """Return the candidates by probe, falling score and rising row, and each one's place."""
    order = row.argsort(stable=True)
    order = order[score[order].argsort(descending=True, stable=True)]
    order = order[probe[order].argsort(stable=True)]
    sorted_probe = probe[order]
    starts = torch.searchsorted(sorted_probe, sorted_probe)
    return order, torch.arange(len(order)) - starts


def _rescore(
    probes: Tensor, gallery: Tensor, probe: Tensor, row: Tensor, dtype: torch.dtype
) -> Tensor:
    return _in_parts(
        len(row),
        lambda part: (probes[probe[part]].to(dtype) * gallery[row[part]].to(dtype)).sum(1),
        dtype,
    )


def _in_parts(count: int, compute: Callable[[slice], Tensor], dtype: torch.dtype) -> Tensor:
    values = torch.empty(count, dtype=dtype)
    for start in range(0, count, RESCORED):
        part = slice(start, start + RESCORED)
        values[part] = compute(part)
    return values


def _lengths(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1, keepdim=True) * SLACK


def _rounding(rows: Tensor) -> float:
    """Return the relative error of float32 products of such rows, added in whatever order."""
    return (rows.shape[1] + 2) * 2.0**-23
