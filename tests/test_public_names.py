"""The names that users and their scripts call; everything else is free to move."""

import inspect
import subprocess
import sys

import pytest
import torch

import marginface
from marginface.backbones import BACKBONES, make_backbone
from marginface.heads import IdentityHead
from marginface.losses import LOSSES, make_loss

# The stable option names of each loss; a loss may have more.
OPTIONS = {
    "softmax": {"scale"},
    "sphereface": {"scale"},
    "cosface": {"scale", "margin_cosine"},
    "arcface": {"scale", "margin_rad", "boundary", "gradient"},
    "curricularface": {"scale"},
    "magface": {"scale", "lambda_g"},
    "adaface": {"scale", "margin", "h", "momentum"},
    "sface": {"scale", "slope", "intra_rad", "inter_rad"},
    "elasticface-arc": {"scale", "margin_rad", "std_rad", "boundary"},
    "elasticface-cos": {"scale", "margin_cosine", "std_cosine"},
    "elasticface-arc-plus": {"scale", "margin_rad", "std_rad", "boundary", "ordering"},
    "elasticface-cos-plus": {"scale", "margin_cosine", "std_cosine", "ordering"},
    "lh2face": {
        "margin_ratio",
        "mean_norm",
        "proxy_family",
        "proxy_weights",
        "vmf_weight",
        "detach_mean",
        "proxy_offset",
        "proxy_similarity",
        "proxy_scale",
        "norm_range",
    },
}
CHOICES = [
    ("arcface", "boundary", "none"),
    ("arcface", "boundary", "straight"),
    ("arcface", "gradient", "true"),
    ("arcface", "gradient", "straight-through"),
    ("elasticface-arc", "boundary", "straight"),
    ("elasticface-arc-plus", "ordering", "rank"),
    ("elasticface-arc-plus", "ordering", "released"),
    ("elasticface-cos-plus", "ordering", "released"),
    ("lh2face", "mean_norm", "ema"),
    ("lh2face", "proxy_family", "angular"),
    ("lh2face", "proxy_family", "likelihood"),
    ("lh2face", "proxy_similarity", "cosine"),
    ("lh2face", "proxy_weights", (1.0, 0.0, 0.5)),
]


def test_every_loss_has_its_name_and_options() -> None:
    assert OPTIONS.keys() <= LOSSES.keys()
    for name, options in OPTIONS.items():
        assert options <= inspect.signature(LOSSES[name]).parameters.keys(), name
        assert type(make_loss(name)) is LOSSES[name]


@pytest.mark.parametrize(("name", "option", "value"), CHOICES)
def test_choices(name: str, option: str, value: str) -> None:
    assert getattr(make_loss(name, **{option: value}), option) == value


def test_defaults_that_papers_state() -> None:
    assert make_loss("arcface").gradient == "true"
    assert make_loss("elasticface-arc").boundary == "none"
    assert make_loss("elasticface-arc-plus").ordering == "rank"


def test_the_example_of_the_elastic_loss() -> None:
    loss = make_loss("elasticface-arc", margin_rad=0.5, std_rad=0.05, scale=64.0)
    assert loss.sample_margins(7, device="cpu").shape == (7,)


def test_the_head() -> None:
    loss = make_loss("cosface")
    head = IdentityHead(
        num_identities=5, dim=4, loss=loss, chunk=None, sample_rate=1.0, process_group=None
    )
    assert isinstance(head.prototypes, torch.nn.Parameter)
    assert head.prototypes.shape == (5, 4)
    features, labels = torch.randn(3, 4), torch.tensor([0, -1, 4])
    assert head(features, labels).shape == ()
    assert head.logits(features, labels).shape == (3, 5)


def test_backbones_of_this_version() -> None:
    iresnets = {f"iresnet{depth}" for depth in (18, 34, 50, 100, 200)}
    assert BACKBONES.keys() >= iresnets | {"iresnet_tiny", "mobilefacenet", "sface"}
    backbone = make_backbone("iresnet_tiny", dim=8, input_size=32)
    assert (backbone.dim, backbone.input_size) == (8, 32)


def test_the_recognizer() -> None:
    assert marginface.Recognizer.load
    assert marginface.Recognizer.verify


def test_the_package_loads_no_torch() -> None:
    code = "import sys, marginface; assert 'torch' not in sys.modules; marginface.Recognizer"
    subprocess.run([sys.executable, "-c", code], check=True)
