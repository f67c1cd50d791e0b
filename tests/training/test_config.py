"""A config says what is wrong with itself, and comes back from JSON as it was."""

import json
from pathlib import Path
from typing import Any

import pytest

from marginface.data import Augmentation
from marginface.reconstruction import ReconstructionConfig
from marginface.training import (
    BackboneConfig,
    DataConfig,
    HeadConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from marginface.training.config import WITHOUT_EFFECT
from marginface.training.plain import flat

DATA = DataConfig(path=Path("faces.pack"))


def test_json_gives_the_same_config_back() -> None:
    config = TrainConfig(
        data=DataConfig(path=Path("a"), identities=Path("b"), augmentation=Augmentation(crop=0.2)),
        backbone=BackboneConfig(options={"dropout": 0.4, "widths": (4, 8, 8, 8)}, weights="sface"),
        loss=LossConfig(name="arcface", options={"scale": 64, "gradient": "true"}),
        head=HeadConfig(chunk=7),
        schedule=ScheduleConfig(kind="step", milestones=(0.5, 0.75)),
        epochs=2.5,
        freeze=("stem",),
        layer_rates={"layer1": 0.1},
        ema_decay=0.99,
    )
    text = json.dumps(config.to_dict(), allow_nan=False)
    again = TrainConfig.from_dict(json.loads(text))
    assert again == config
    assert isinstance(again.loss.options["scale"], int)


def test_what_is_left_out_of_an_optimiser_follows_from_its_name() -> None:
    sgd, adamw = OptimizerConfig(), OptimizerConfig(name="adamw")
    assert (sgd.lr, sgd.weight_decay, sgd.momentum, sgd.betas) == (0.1, 5e-4, 0.9, None)
    assert (adamw.lr, adamw.weight_decay, adamw.betas, adamw.eps) == (1e-3, 0.1, (0.9, 0.999), 1e-8)
    assert (adamw.momentum, adamw.nesterov) == (None, False)
    still = OptimizerConfig(momentum=0.0)
    assert [one.moments for one in (still, sgd, adamw)] == [0, 1, 2]
    for one in (sgd, adamw):
        config = TrainConfig(data=DATA, steps=1, optimizer=one)
        assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_every_field_without_effect_is_a_field() -> None:
    names = flat(TrainConfig(data=DATA, steps=1).to_dict())
    assert names.keys() >= WITHOUT_EFFECT


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "epochs or steps must be given, and not both, got epochs None and steps None"),
        ({"steps": 5, "epochs": 1.0}, "not both, got epochs 1.0 and steps 5"),
        ({"steps": 0}, "steps must be 1 or more, got 0"),
        ({"epochs": 0.0}, "epochs must be a finite number above 0, got 0.0"),
        ({"steps": 5, "batch_size": 1}, "batch_size must be 2 or more, got 1"),
        ({"steps": 5, "batch_size": 10, "accumulate": 4}, "batch_size must be accumulate times"),
        ({"steps": 5, "batch_size": 4, "accumulate": 4}, "got batch_size 4 with accumulate 4"),
        ({"steps": 5, "ema_decay": 1.0}, r"ema_decay must lie in \(0, 1\), got 1.0"),
        ({"steps": 5, "clip_norm": -1.0}, "clip_norm must be a finite number above 0, got -1.0"),
        ({"steps": 5, "seed": -1}, r"seed must be 0 or more and below 2\*\*63, got -1"),
        (
            {"steps": 5, "seed": 1 << 63},
            r"seed must be 0 or more and below 2\*\*63, got 9223372036",
        ),
        ({"steps": 5, "timeout_s": 0.0}, "timeout_s must be a finite number above 0, got 0.0"),
        (
            {"steps": 5, "accumulate": 2, "head": HeadConfig(updates_in_walk=True)},
            "head.updates_in_walk must go with accumulate 1 and .* got 2 and False",
        ),
        (
            {
                "steps": 5,
                "head": HeadConfig(updates_in_walk=True),
                "optimizer": OptimizerConfig(name="adamw"),
            },
            "updates_in_walk must go with optimizer.name 'sgd', got 'adamw'; leave it out, and",
        ),
        (
            {
                "steps": 5,
                "head": HeadConfig(updates_in_walk=True),
                "reconstruction": ReconstructionConfig(canon_weight=0.25),
            },
            "must go with reconstruction.canon_weight 0, got 0.25; the canonical face meets",
        ),
        ({"steps": 5, "layer_rates": {"stem": 0.0}}, "layer_rates.stem must be a finite number"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(data=DATA, **fields)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimizerConfig(lr=float("nan")), "optimizer.lr must be a finite number above 0"),
        (lambda: OptimizerConfig(momentum=1.0), r"optimizer.momentum must lie in \[0, 1\), got 1"),
        (lambda: OptimizerConfig(weight_decay=-0.1), "optimizer.weight_decay must be 0 or"),
        (
            lambda: OptimizerConfig(name="adamw", momentum=0.9),
            "momentum must go with optimizer.name 'sgd', got 0.9 with 'adamw'; leave it out",
        ),
        (
            lambda: OptimizerConfig(name="adamw", nesterov=True),
            "nesterov must go with .* 'sgd', got T",
        ),
        (
            lambda: OptimizerConfig(eps=1e-6),
            "eps must go with optimizer.name 'adamw', got 1e-06 with",
        ),
        (
            lambda: OptimizerConfig(betas=(0.9, 0.95)),
            r"optimizer.betas must go with optimizer.name 'adamw', got \(0.9, 0.95\) with 'sgd'",
        ),
        (
            lambda: OptimizerConfig(name="adamw", betas=(0.9, 1.0)),
            r"optimizer.betas must be two numbers in \[0, 1\), got \[0.9, 1.0\]",
        ),
        (
            lambda: OptimizerConfig(name="adamw", eps=0.0),
            "optimizer.eps must be a finite number ab",
        ),
        (lambda: OptimizerConfig(momentum=0.0, nesterov=True), "nesterov needs a momentum"),
        (lambda: ScheduleConfig(kind="step"), "must be given for schedule.kind 'step'"),
        (lambda: ScheduleConfig(kind="cosine", milestones=(0.5,)), "for no other, got"),
        (
            lambda: ScheduleConfig(kind="step", milestones=(20_000.0,)),
            r"shares of the run in \(0, 1\), got \[20000.0\]; for step 60 of 100 pass 0.6",
        ),
        (lambda: ScheduleConfig(kind="step", milestones=(0.5, 0.5)), "milestones must rise"),
        (lambda: ScheduleConfig(final_ratio=1.5), "schedule.final_ratio must lie in"),
        (lambda: BackboneConfig(dim=0), "backbone.dim must be 1 or more, got 0"),
        (lambda: HeadConfig(chunk=0), "head.chunk must be 1 or more, got 0"),
        (lambda: HeadConfig(sample_rate=0.0), r"head.sample_rate must lie in \(0, 1\], got 0.0"),
        (lambda: HeadConfig(sample_rate=0.5), "below 1 must go with head.updates_in_walk, got 0.5"),
        (lambda: HeadConfig(precision="float31"), "head.precision .*; did you mean 'float32'"),
        (lambda: DataConfig(path=Path("x"), workers=-1), "data.workers must be 0 or more"),
    ],
)
def test_values_out_of_range_are_refused_by_their_dotted_name(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sede": 1}, "field must be one of .*; got 'sede'; did you mean 'seed'"),
        ({"optimizer": {"rl": 1}}, "optimizer.field must be one of .*; got 'rl'"),
        ({"optimizer": {"name": "adam"}}, "optimizer.name must be .*adamw.*got 'adam'"),
        ({"seed": "one"}, "seed must be int, got 'one'"),
        ({"seed": True}, "seed must be int, got True"),
        ({"precision": "fp16"}, "precision must be .*bf16.*got 'fp16'"),
        ({"batch_statistics": "some"}, "batch_statistics must be .*process.*got 'some'"),
        ({"freeze": "stem"}, "freeze must be .*got 'stem'"),
        ({"clip_norm": "five"}, "clip_norm must be float or nothing, got 'five'"),
    ],
)
def test_foreign_json_is_refused(change: dict[str, Any], message: str) -> None:
    plain = TrainConfig(data=DATA, steps=1).to_dict()
    with pytest.raises(ValueError, match=message):
        TrainConfig.from_dict(plain | change)
