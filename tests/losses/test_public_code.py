"""Against pytorch-metric-learning, where it computes the same equation."""

import math
import warnings

import pytest
import torch

from marginface.heads import IdentityHead
from marginface.losses import make_loss

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import touches deprecated names
    from pytorch_metric_learning.losses import (
        ArcFaceLoss,
        CosFaceLoss,
        ProxyAnchorLoss,
        SphereFaceLoss,
    )

BATCH, CLASSES, DIM = 64, 10, 3

# In 3 dimensions the angles cover [0, π], so the branches past the turn are compared too.
PAIRS = [
    (
        "arcface",
        {"boundary": "straight"},
        lambda: ArcFaceLoss(CLASSES, DIM, margin=math.degrees(0.5), scale=64),
    ),
    ("cosface", {}, lambda: CosFaceLoss(CLASSES, DIM, margin=0.35, scale=64)),
    ("sphereface", {}, lambda: SphereFaceLoss(CLASSES, DIM, margin=4, scale=1)),
]


@pytest.mark.parametrize(("name", "options", "make_theirs"), PAIRS, ids=[p[0] for p in PAIRS])
@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # theirs, from NumPy 2
def test_equals_pytorch_metric_learning(name, options, make_theirs, chunk) -> None:
    features = torch.randn(BATCH, DIM, dtype=torch.float64) * 5
    labels = torch.randint(0, CLASSES, (BATCH,))
    head = IdentityHead(CLASSES, DIM, make_loss(name, **options), chunk=chunk).double()
    theirs = make_theirs().double()
    with torch.no_grad():
        head.prototypes.normal_()
        theirs.W.copy_(head.prototypes.T)
    ours_in, theirs_in = features.clone().requires_grad_(), features.clone().requires_grad_()
    ours, expected = head(ours_in, labels), theirs(theirs_in, labels)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=0)
    ours.backward()
    expected.backward()
    torch.testing.assert_close(ours_in.grad, theirs_in.grad, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(head.prototypes.grad, theirs.W.grad.T, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_lh2face_with_cosines_is_their_proxy_anchor(chunk) -> None:
    control = {
        "vmf_weight": 0.0,
        "proxy_weights": (1.0, 1.0, 0.0),
        "proxy_similarity": "cosine",
    }
    features = torch.randn(BATCH, DIM, dtype=torch.float64) * 5
    labels = torch.randint(0, CLASSES - 2, (BATCH,))  # two classes are absent
    head = IdentityHead(CLASSES, DIM, make_loss("lh2face", **control), chunk=chunk).double()
    theirs = ProxyAnchorLoss(CLASSES, DIM, margin=0.1, alpha=32).double()
    with torch.no_grad():
        head.prototypes.normal_()
        theirs.proxies.copy_(head.prototypes)
    ours_in, theirs_in = features.clone().requires_grad_(), features.clone().requires_grad_()
    ours, expected = head(ours_in, labels), theirs(theirs_in, labels)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=0)
    ours.backward()
    expected.backward()
    torch.testing.assert_close(ours_in.grad, theirs_in.grad, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(head.prototypes.grad, theirs.proxies.grad, rtol=1e-6, atol=1e-9)
