"""Slow float64 twins of every loss, from the papers' equations, with plain loops and arc cosines.

A twin takes raw features, raw prototypes, labels and the options, and returns the mean loss. It
knows nothing of heads, pools or safe sines. Gradients come from autograd through `acos`, so keep
away from cosines of ±1.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Rows = tuple[list[list[Tensor]], list[Tensor]]


def angles_and_norms(features: Tensor, prototypes: Tensor) -> Rows:
    angles, norms = [], []
    for x in features:
        norms.append(torch.sqrt((x * x).sum()))
        row = []
        for w in prototypes:
            cosine = (x * w).sum() / (norms[-1] * torch.sqrt((w * w).sum()))
            row.append(torch.acos(cosine))
        angles.append(row)
    return angles, norms


def cross_entropy(target: Tensor, others: Sequence[Tensor]) -> Tensor:
    # Without the shift, e^-700 leaves the normal numbers even of float64.
    shift = max(float(term.detach()) for term in (target, *others))
    total = torch.exp(target - shift)
    for other in others:
        total = total + torch.exp(other - shift)
    return torch.log(total) + shift - target


def mean(values: Sequence[Tensor]) -> Tensor:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total / len(values)


def softmax_twin(
    angles: list[list[Tensor]],
    labels: Sequence[int],
    target: Callable[[int, Tensor], Tensor],
    other: Callable[[int, Tensor], Tensor],
) -> list[Tensor]:
    """Cross-entropy per row; `target(i, θ_y)` and `other(i, θ_j)` are the scaled logits."""
    rows = []
    for i, y in enumerate(labels):
        others = [other(i, angle) for j, angle in enumerate(angles[i]) if j != y]
        rows.append(cross_entropy(target(i, angles[i][y]), others))
    return rows


def softmax(features, prototypes, labels, *, scale=64.0):
    angles, _ = angles_and_norms(features, prototypes)
    logit = lambda _, angle: scale * torch.cos(angle)  # noqa: E731
    return mean(softmax_twin(angles, labels, logit, logit))


def sphereface(features, prototypes, labels, *, multiplier=4, scale=None, annealing=0.0):
    angles, norms = angles_and_norms(features, prototypes)

    def psi(angle):
        for k in range(multiplier):
            if k * math.pi / multiplier <= angle <= (k + 1) * math.pi / multiplier:
                return (-1) ** k * torch.cos(multiplier * angle) - 2 * k
        raise AssertionError(angle)

    def target(i, angle):
        blended = (annealing * torch.cos(angle) + psi(angle)) / (1 + annealing)
        return (norms[i] if scale is None else scale) * blended

    def other(i, angle):
        return (norms[i] if scale is None else scale) * torch.cos(angle)

    return mean(softmax_twin(angles, labels, target, other))


def cosface(features, prototypes, labels, *, margin_cosine=0.35, scale=64.0):
    angles, _ = angles_and_norms(features, prototypes)
    target = lambda _, angle: scale * (torch.cos(angle) - margin_cosine)  # noqa: E731
    other = lambda _, angle: scale * torch.cos(angle)  # noqa: E731
    return mean(softmax_twin(angles, labels, target, other))


def arc(angle, margin, boundary):
    if boundary == "straight" and angle > math.pi - margin:
        return torch.cos(angle) - margin * math.sin(margin)
    return torch.cos(angle + margin)


def arcface(
    features, prototypes, labels, *, margin_rad=0.5, scale=64.0, boundary="none", gradient="true"
):
    angles, _ = angles_and_norms(features, prototypes)

    def target(_, angle):
        value = arc(angle, margin_rad, boundary)
        if gradient == "straight-through":
            value = value.detach() - torch.cos(angle).detach() + torch.cos(angle)
        return scale * value

    return mean(softmax_twin(angles, labels, target, lambda _, angle: scale * torch.cos(angle)))


def curricularface(
    features,
    prototypes,
    labels,
    *,
    margin_rad=0.5,
    scale=64.0,
    momentum=0.01,
    boundary="straight",
    hardness=0.0,
):
    angles, _ = angles_and_norms(features, prototypes)
    own = [float(torch.cos(angles[i][y]).detach()) for i, y in enumerate(labels)]
    t = momentum * sum(own) / len(own) + (1 - momentum) * hardness

    def other(i, angle):
        cosine = torch.cos(angle)
        if cosine > math.cos(math.acos(own[i]) + margin_rad):
            return scale * cosine * (t + cosine)
        return scale * cosine

    return mean(
        softmax_twin(
            angles, labels, lambda _, angle: scale * arc(angle, margin_rad, boundary), other
        )
    )


def magface(
    features,
    prototypes,
    labels,
    *,
    lower_norm=10.0,
    upper_norm=110.0,
    lower_margin_rad=0.45,
    upper_margin_rad=0.8,
    lambda_g=35.0,
    scale=64.0,
    boundary="easy",
):
    angles, norms = angles_and_norms(features, prototypes)
    a = []
    for norm in norms:
        inside = lower_norm <= norm <= upper_norm
        edge = lower_norm if norm < lower_norm else upper_norm
        a.append(norm if inside else torch.tensor(edge, dtype=norm.dtype))

    def target(i, angle):
        part = (a[i] - lower_norm) / (upper_norm - lower_norm)
        margin = lower_margin_rad + part * (upper_margin_rad - lower_margin_rad)
        if boundary == "easy" and not torch.cos(angle) > 0:
            return scale * torch.cos(angle)
        return scale * torch.cos(angle + margin)

    rows = softmax_twin(angles, labels, target, lambda _, angle: scale * torch.cos(angle))
    regulariser = mean([length / upper_norm**2 + 1 / length for length in a])
    return mean(rows) + lambda_g * regulariser


def adaface(
    features,
    prototypes,
    labels,
    *,
    margin=0.4,
    h=0.333,
    scale=64.0,
    momentum=0.01,
    norm_mean=20.0,
    norm_std=100.0,
):
    epsilon = 1e-3
    angles, norms = angles_and_norms(features, prototypes)
    lengths = [min(max(float(norm.detach()), epsilon), 100.0) for norm in norms]
    average = sum(lengths) / len(lengths)
    norm_mean = momentum * average + (1 - momentum) * norm_mean
    if len(lengths) > 1:
        squares = sum((length - average) ** 2 for length in lengths)
        deviation = math.sqrt(squares / (len(lengths) - 1))
        norm_std = momentum * deviation + (1 - momentum) * norm_std
    z = [min(max(h * (n - norm_mean) / (norm_std + epsilon), -1), 1) for n in lengths]

    def target(i, angle):
        angle = torch.acos(torch.clamp(torch.cos(angle), -1 + epsilon, 1 - epsilon))
        turned = torch.clamp(angle - margin * z[i], epsilon, math.pi - epsilon)
        return scale * (torch.cos(turned) - (margin + margin * z[i]))

    def other(_, angle):
        return scale * torch.clamp(torch.cos(angle), -1 + epsilon, 1 - epsilon)

    return mean(softmax_twin(angles, labels, target, other))


def sface(features, prototypes, labels, *, scale=64.0, slope=80.0, intra_rad=0.87, inter_rad=1.20):
    angles, _ = angles_and_norms(features, prototypes)
    rows = []
    for i, y in enumerate(labels):
        row = torch.zeros((), dtype=features.dtype)
        for j, angle in enumerate(angles[i]):
            theta = float(angle.detach())
            if j == y:
                speed = scale / (1 + math.exp(-slope * (theta - intra_rad)))
                row = row - speed * torch.cos(angle)
            else:
                speed = scale / (1 + math.exp(slope * (theta - inter_rad)))
                row = row + speed * torch.cos(angle)
        rows.append(row)
    return mean(rows)


def by_rank(draws: Sequence[float], cosines: Sequence[float], ordering: str) -> list[float]:
    """The largest cosine gets the smallest draw; "released" indexes with the order instead."""
    smallest_first = sorted(draws)
    easiest_first = sorted(range(len(cosines)), key=lambda i: -cosines[i])
    if ordering == "released":
        return [smallest_first[i] for i in easiest_first]
    margins = [0.0] * len(cosines)
    for rank, i in enumerate(easiest_first):
        margins[i] = smallest_first[rank]
    return margins


def elasticface(features, prototypes, labels, *, draws, kind, scale, boundary, ordering):
    angles, _ = angles_and_norms(features, prototypes)
    margins = list(draws)
    if ordering is not None:
        own = [float(torch.cos(angles[i][y]).detach()) for i, y in enumerate(labels)]
        margins = by_rank(margins, own, ordering)

    def target(i, angle):
        if kind == "arc":
            return scale * arc(angle, margins[i], boundary)
        return scale * (torch.cos(angle) - margins[i])

    return mean(softmax_twin(angles, labels, target, lambda _, angle: scale * torch.cos(angle)))


def elastic(kind: str, ordering: str | None) -> Callable[..., Tensor]:
    def twin(
        features, prototypes, labels, *, draws, scale=64.0, boundary="none", ordering=ordering, **_
    ):
        return elasticface(
            features,
            prototypes,
            labels,
            draws=draws,
            kind=kind,
            scale=scale,
            boundary=boundary,
            ordering=ordering,
        )

    return twin


def log_normaliser(kappa: Tensor, dim: int) -> Tensor:
    """Φ_d(κ) = log 0F1(d/2; κ²/4), term by term; the terms are positive."""
    term = total = torch.ones_like(kappa)
    k = 1
    while float(term.detach()) > 1e-20 * float(total.detach()) and k < 2000:
        term = term * (kappa * kappa / 4) / (k * (dim / 2 + k - 1))
        total = total + term
        k += 1
    return torch.log(total)


def log_one_plus(exponents: Sequence[Tensor]) -> Tensor:
    """log(1 + Σ e^x)."""
    return cross_entropy(torch.zeros((), dtype=exponents[0].dtype), exponents)


def lh2face(
    features,
    prototypes,
    labels,
    *,
    margin_ratio=0.35,
    mean_norm="batch",
    proxy_family="anchor",
    proxy_weights=(1.0, 1.0, 1.0),
    vmf_weight=1.0,
    detach_mean=True,
    momentum=0.01,
    initial_norm=20.0,
    proxy_offset=0.1,
    proxy_similarity="vmf",
    proxy_scale=32.0,
    norm_range=(1.0, 1000.0),
    detach_norm=False,
):
    angles, norms = angles_and_norms(features, prototypes)
    mu = mean(norms).detach()
    margin = margin_ratio * (mu if detach_mean else mean(norms))
    if mean_norm == "ema":
        counted = [min(max(float(norm.detach()), 1e-3), 100.0) for norm in norms]
        mu = momentum * sum(counted) / len(counted) + (1 - momentum) * initial_norm
        margin = margin_ratio * mu
    rows = softmax_twin(
        angles,
        labels,
        lambda i, angle: norms[i] * torch.cos(angle) - margin,
        lambda i, angle: norms[i] * torch.cos(angle),
    )
    phis = [log_normaliser(torch.clamp(k, *norm_range), features.shape[1]) for k in norms]

    def density(i, j, is_constant=False):
        """ℓ_ij, or α·cos θ_ij."""
        if proxy_similarity == "cosine":
            return proxy_scale * torch.cos(angles[i][j])
        if is_constant:
            return norms[i].detach() * torch.cos(angles[i][j]) - phis[i].detach()
        return norms[i] * torch.cos(angles[i][j]) - phis[i]

    between, _ = angles_and_norms(prototypes, prototypes)
    if proxy_similarity == "cosine":
        mu = proxy_scale
    terms = PROXY_TERMS[proxy_family](
        angles, between, norms, labels, density, mu, proxy_offset, detach_norm
    )
    total = vmf_weight * mean(rows)
    for weight, term in zip(proxy_weights, terms, strict=True):
        total = total + weight * term
    return total


def anchor_terms(angles, between, norms, labels, density, mu, offset, _):
    rows, classes, present = range(len(labels)), range(len(between)), sorted(set(labels))
    similar = [[density(i, j) for j in classes] for i in rows]
    pps = [
        log_one_plus([-(similar[i][j] - offset * mu) for i in rows if labels[i] == j])
        for j in present
    ]
    pns = []
    for j in classes:
        apart = [similar[i][j] + offset * mu for i in rows if labels[i] != j]
        pns.append(log_one_plus(apart) if apart else torch.zeros((), dtype=norms[0].dtype))
    pp = [
        log_one_plus([mu * (torch.cos(between[j][k]) + offset) for k in classes if k != j])
        for j in present
    ]
    return mean(pps), mean(pns), mean(pp)


def angular_terms(angles, between, norms, labels, *_):
    classes, present = range(len(between)), sorted(set(labels))
    pps = mean([angles[i][y] for i, y in enumerate(labels)]) / math.pi
    pns = mean([angles[i][j] for i, y in enumerate(labels) for j in classes if j != y]) / math.pi
    pp = mean([between[j][k] for j in present for k in classes if k != j]) / math.pi
    return pps, -pns, -pp


def likelihood_terms(angles, between, norms, labels, density, mu, _, detach_norm):
    classes, present = range(len(between)), sorted(set(labels))
    pps = [-density(i, y, detach_norm) for i, y in enumerate(labels)]

    def log_mean(exponents):
        first, *rest = exponents
        return cross_entropy(first, rest) + first - math.log(len(exponents))

    pns = [log_mean([density(i, j) for j in classes if j != y]) for i, y in enumerate(labels)]
    pp = [log_mean([mu * torch.cos(between[j][k]) for k in classes if k != j]) for j in present]
    return mean(pps), mean(pns), mean(pp)


PROXY_TERMS = {
    "anchor": anchor_terms,
    "angular": angular_terms,
    "likelihood": likelihood_terms,
}

TWINS: dict[str, Callable[..., Tensor]] = {
    "softmax": softmax,
    "sphereface": sphereface,
    "cosface": cosface,
    "arcface": arcface,
    "curricularface": curricularface,
    "magface": magface,
    "adaface": adaface,
    "sface": sface,
    "elasticface-arc": elastic("arc", None),
    "elasticface-cos": elastic("cos", None),
    "elasticface-arc-plus": elastic("arc", "rank"),
    "elasticface-cos-plus": elastic("cos", "rank"),
    "lh2face": lh2face,
}
