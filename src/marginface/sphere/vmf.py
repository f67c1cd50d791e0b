"""The von Mises-Fisher distribution on the unit sphere of R^d, told by its log-normaliser.

    p(x | μ, κ) = C_d(κ)·e^{κ·μᵀx},                              ν = d/2 - 1
    Φ_d(κ) = log C_d(0) - log C_d(κ) = log( Γ(ν+1)·(2/κ)^ν·I_ν(κ) ) ≥ 0
    A_d(κ) = Φ_d'(κ) = I_{ν+1}(κ) / I_ν(κ) = E[μᵀx],             in [0, 1)

so κ·μᵀx - Φ_d(κ) is the log-density against the uniform one: well scaled, 0 at κ = 0, where the
log-density itself is +868 at d = 512 and the Bessel function underflows float64 below κ = 12.

From d = 128 on, both come from Debye's expansion with four corrections u_k, rearranged so that no
large numbers cancel. With q = √(ν² + κ²), e = q - ν = κ²/(q + ν), t = ν/q:

    Φ = e - ν·log1p(e/2ν) - ½·log1p(e/ν) + log U(t)/U(1),    U(t) = 1 + Σ_k u_k(t)/ν^k
    A = κ·( 1/(ν + q) - (½ + t·U'(t)/U(t)) / q² )

Below, exact steps lead down from a dimension in [128, 129], the continued fraction of Gauss:

    Φ_d = Φ_{d+2} + log1p(κ·A_{d+2} / d),    A_d = κ / (d + κ·A_{d+2})

For d = 3 there are closed forms, Φ = κ + log1p(-e^{-2κ}) - log 2κ and A = coth κ - 1/κ; below
κ = 1, where their terms cancel, the power series of sinh κ / κ stands in for them.

Against 40 digits, for d from 2 to 2048 and κ from 1e-3 to 1e4, the relative error of Φ and A is at
most 2e-11 in float64 (largest at d = 128; 5e-15 at d = 512) and 5e-7 in float32. A' is exact to an
absolute rounding error; where κ is far above d, A' itself is as small as (d-1)/2κ².

Source: Debye's expansion and its u_k: NIST DLMF, section 10.41; densities: Mardia and Jupp,
    "Directional Statistics", 2000, section 9.3.
"""

import math
from typing import Any

import torch

from marginface.axes import Float, Tensor

EXPANDED_FROM = 128
CLOSED_FROM = 1.0
SERIES_TERMS = 9

# u_k(t) as {power of t: numerator} over a denominator.
DEBYE = (
    ({1: 3, 3: -5}, 24),
    ({2: 81, 4: -462, 6: 385}, 1152),
    ({3: 30375, 5: -369603, 7: 765765, 9: -425425}, 414720),
    ({4: 4465125, 6: -94121676, 8: 349922430, 10: -446185740, 12: 185910725}, 39813120),
)


def relative_log_normaliser(kappa: Float[Tensor, "*rows"], dim: int) -> Float[Tensor, "*rows"]:
    """Return Φ_d(κ), the log-normaliser against that of the uniform distribution.

    Its gradient is `mean_resultant_length`, which has one in turn.

    Args:
        kappa: Concentrations, at least 0, any shape, float32 or float64.
        dim: d, the number of coordinates, at least 2.

    Raises:
        ValueError: If `dim` is below 2.

    Example:
        >>> relative_log_normaliser(torch.tensor([0.0, 20.0, 512.0]), 512)
        tensor([  0.0000,   0.3903, 193.3220])
    """
    _check_dim(dim)
    return _LogNormaliser.apply(kappa, dim)  # type: ignore[no-untyped-call]


def mean_resultant_length(kappa: Float[Tensor, "*rows"], dim: int) -> Float[Tensor, "*rows"]:
    """Return A_d(κ), the mean cosine with the mean direction; it lies below min(1, κ/d).

    Its gradient is A' = (1 - κ·(A_d - A_{d+2})) / (d + κ·A_{d+2}), the same as 1 - A² - (d-1)·A/κ
    without the division by a κ near 0.

    Args:
        kappa: Concentrations, at least 0, any shape, float32 or float64.
        dim: d, the number of coordinates, at least 2.

    Raises:
        ValueError: If `dim` is below 2.

    Example:
        >>> mean_resultant_length(torch.tensor([0.0, 20.0, 512.0]), 512)
        tensor([0.0000, 0.0390, 0.6183])
    """
    _check_dim(dim)
    return _MeanResultantLength.apply(kappa, dim)  # type: ignore[no-untyped-call]


def _check_dim(dim: int) -> None:
    if dim < 2:
        raise ValueError(f"dim must be at least 2, got {dim}; a circle has two coordinates")


class _LogNormaliser(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kappa: Tensor, dim: int) -> Tensor:
        ctx.save_for_backward(kappa)
        ctx.dim = dim
        if dim == 3:
            return torch.where(kappa < CLOSED_FROM, _series_phi(kappa), _closed_phi(kappa))
        top = _top(dim)
        phi, mean = _expanded_phi(kappa, top), _expanded_mean(kappa, top)
        for d in range(top - 2, dim - 1, -2):
            phi = phi + torch.log1p(kappa * mean / d)
            mean = kappa / (d + kappa * mean)
        return phi

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (kappa,) = ctx.saved_tensors
        return gradients[0] * mean_resultant_length(kappa, ctx.dim), None


class _MeanResultantLength(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kappa: Tensor, dim: int) -> Tensor:
        ctx.save_for_backward(kappa)
        ctx.dim = dim
        if dim == 3:
            return torch.where(kappa < CLOSED_FROM, _series_mean(kappa), _closed_mean(kappa))
        top = _top(dim)
        mean = _expanded_mean(kappa, top)
        for d in range(top - 2, dim - 1, -2):
            mean = kappa / (d + kappa * mean)
        return mean

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (kappa,) = ctx.saved_tensors
        mean = mean_resultant_length(kappa, ctx.dim)
        above = mean_resultant_length(kappa, ctx.dim + 2)
        slope = (1 - kappa * (mean - above)) / (ctx.dim + kappa * above)
        return gradients[0] * slope, None


def _top(dim: int) -> int:
    """Return the dimension where the expansion is taken: the next one, in steps of two."""
    return dim if dim >= EXPANDED_FROM else EXPANDED_FROM + dim % 2


def _expanded_phi(kappa: Tensor, dim: int) -> Tensor:
    nu = dim / 2 - 1
    q = torch.hypot(kappa, torch.full_like(kappa, nu))
    e = kappa * (kappa / (q + nu))
    whole, differences, _ = _corrections(dim)
    # U(1) - U(t) = (1 - t)·D(t), with 1 - t = e/q: no cancellation at small κ.
    fall = (e / q) * _polynomial(nu / q, differences) / math.fsum(whole)
    return e - nu * torch.log1p(e / (2 * nu)) - 0.5 * torch.log1p(e / nu) + torch.log1p(-fall)


def _expanded_mean(kappa: Tensor, dim: int) -> Tensor:
    nu = dim / 2 - 1
    q = torch.hypot(kappa, torch.full_like(kappa, nu))
    whole, _, slopes = _corrections(dim)
    t = nu / q
    bend = _polynomial(t, slopes) / _polynomial(t, whole)
    return kappa * (1 / (q + nu) - (0.5 + bend) / q / q)


def _corrections(dim: int) -> tuple[list[float], list[float], list[float]]:
    """Return the coefficients of U(t), of D(t) = (U(1) - U(t))/(1 - t) and of t·U'(t)."""
    nu = dim / 2 - 1
    whole = [1.0] + [0.0] * 12
    for order, (numerators, denominator) in enumerate(DEBYE, start=1):
        for power, numerator in numerators.items():
            whole[power] += numerator / denominator / nu**order
    # 1 - t^n = (1 - t)·(1 + t + … + t^{n-1})
    differences = [math.fsum(whole[power + 1 :]) for power in range(12)]
    return whole, differences, [power * value for power, value in enumerate(whole)]


def _polynomial(t: Tensor, coefficients: list[float]) -> Tensor:
    """Evaluate Σ_n c_n·t^n by Horner's rule."""
    value = torch.full_like(t, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * t + coefficient
    return value


def _closed_phi(kappa: Tensor) -> Tensor:
    safe = kappa.clamp(min=CLOSED_FROM)
    return safe + torch.log1p(-torch.exp(-2 * safe)) - torch.log(2 * safe)


def _closed_mean(kappa: Tensor) -> Tensor:
    safe = kappa.clamp(min=CLOSED_FROM)
    return 1 / torch.tanh(safe) - 1 / safe


def _series_phi(kappa: Tensor) -> Tensor:
    """Return log1p(κ²/3! + κ⁴/5! + …); the term left out is below 1e-17 of it up to κ = 1."""
    squared = kappa.clamp(max=CLOSED_FROM) ** 2
    factors = [1 / math.factorial(2 * n + 3) for n in range(SERIES_TERMS)]
    return torch.log1p(squared * _polynomial(squared, factors))


def _series_mean(kappa: Tensor) -> Tensor:
    """Return the logarithmic derivative of 1 + κ²/3! + κ⁴/5! + …."""
    small = kappa.clamp(max=CLOSED_FROM)
    squared = small**2
    slopes = [(2 * n + 2) / math.factorial(2 * n + 3) for n in range(SERIES_TERMS)]
    factors = [1 / math.factorial(2 * n + 3) for n in range(SERIES_TERMS)]
    return small * _polynomial(squared, slopes) / (1 + squared * _polynomial(squared, factors))
