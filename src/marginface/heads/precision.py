"""In which numbers the products of embeddings and class vectors are computed, and what it costs.

Sums, exponentials, the own class and all that is returned stay in float32, or in float64 if the
features are. Cosines that are kept instead of computed again are float16, whose 11 bits lose less
of them than the 8 of bfloat16.

A processor without units for bfloat16 multiplies it four times slower than float32, so there the
products are of float32, whatever the name allows: faster, and closer to float64.
"""

from dataclasses import dataclass
from functools import cache

import torch

from marginface.axes import Tensor
from marginface.errors import unknown_name


@dataclass(frozen=True, slots=True)
class Precision:
    """How a walk multiplies.

    Args:
        products: Type of the factors, where the device has units for it, None for that of the
            features; sums are of float32 or more.
        keeps_cosines: Whether backward reads the cosines of forward, kept as float16 in 2 bytes ×
            batch × classes, where they cannot wait in the gradient, and so saves one product in
            four.
        gradient_error: Largest distance of a gradient from that of float64, divided by the length
            of the latter: margin losses of scale 64, 512 dimensions, features in float32. With 64
            dimensions cosines of strangers and errors are nearly three times as large.
    """

    products: torch.dtype | None
    keeps_cosines: bool
    gradient_error: float

    @property
    def is_plain(self) -> bool:
        """Whether this is the precision of the features, with nothing kept."""
        return self.products is None and not self.keeps_cosines

    def rounded(self, factor: Tensor) -> Tensor:
        """Return a factor of a product in the type of the products."""
        return factor.to(self.products_of(factor))

    def products_of(self, features: Tensor) -> torch.dtype:
        """Return the type of the factors for features of some type, where they are."""
        if self.products is None or not self.rounds_on(features.device.type):
            return features.dtype
        return self.products

    def rounds_on(self, device: str) -> bool:
        """Return whether the products of a type of device have another type than the features."""
        return self.products is not None and multiplies_bfloat16(device)


PRECISIONS: dict[str, Precision] = {
    "float32": Precision(None, keeps_cosines=False, gradient_error=1e-5),
    "float32-cached": Precision(None, keeps_cosines=True, gradient_error=2e-3),
    "bfloat16": Precision(torch.bfloat16, keeps_cosines=False, gradient_error=1e-2),
    "bfloat16-cached": Precision(torch.bfloat16, keeps_cosines=True, gradient_error=1e-2),
}


@cache
def multiplies_bfloat16(device: str) -> bool:
    """Return whether a type of device has units for products of bfloat16."""
    if device != "cpu":
        return True
    found = torch.cpu.get_capabilities()
    return any(found.get(unit) for unit in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


def precision_named(name: str) -> Precision:
    """Return a row of the table.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    return PRECISIONS[name]
