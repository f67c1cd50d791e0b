"""The settings a command line can name; a new one is added here on purpose or not at all."""

import dataclasses
import inspect
from collections.abc import Iterator

from marginface.cli.evaluate import evaluate
from marginface.cli.overrides import overrides_class
from marginface.training import TrainConfig

FLAGS = """
    accumulate
    backbone.dim
    backbone.input_size
    backbone.name
    backbone.options
    backbone.weights
    batch_size
    batch_statistics
    channels_last
    checkpoint_every_s
    checkpoint_every_steps
    clip_norm
    data.augmentation.crop
    data.augmentation.erase
    data.augmentation.flip
    data.augmentation.low_resolution
    data.augmentation.photometric
    data.augmentation.shift
    data.augmentation.turn_rad
    data.augmentation.zoom
    data.corruption_seed
    data.identities
    data.label_noise
    data.low_quality
    data.path
    data.workers
    device
    ema_decay
    epochs
    freeze
    head.chunk
    head.precision
    head.sample_rate
    head.updates_in_walk
    head_lr_ratio
    keeps_tensorboard
    layer_rates
    log_every
    loss.name
    loss.options
    optimizer.betas
    optimizer.decay_norm_and_bias
    optimizer.decay_positions
    optimizer.eps
    optimizer.lr
    optimizer.momentum
    optimizer.name
    optimizer.nesterov
    optimizer.weight_decay
    precision
    reconstruction.canon_statistics
    reconstruction.canon_weight
    reconstruction.decoder_input
    reconstruction.depth_range
    reconstruction.flip_weight
    reconstruction.fr_input
    reconstruction.has_confidence
    reconstruction.lr
    reconstruction.perceptual_stage
    reconstruction.perceptual_weight
    reconstruction.planes
    reconstruction.ramp_end
    reconstruction.ramp_start
    reconstruction.reco_weight
    reconstruction.size
    reconstruction.smooth_weight
    reconstruction.view_terms
    reconstruction.view_weight
    reconstruction.weight_decay
    reconstruction.width
    schedule.final_ratio
    schedule.gamma
    schedule.kind
    schedule.milestones
    schedule.power
    schedule.warmup_steps
    seed
    steps
    time_limit_s
    timeout_s
"""

EVALUATE = """
    at_fmr
    bins
    engine
    flip_average
    fmr
    freeze_fmr
    group_by
    groups
    images
    json
    model
    out_model
    pairs
    resamples
    score
    seed
    weights
"""


def dotted(kind: type, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.type) and isinstance(field.type, type):
            yield from dotted(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def test_every_field_of_the_config_is_a_flag_and_no_other() -> None:
    assert sorted(dotted(overrides_class(TrainConfig))) == FLAGS.split()


def test_the_settings_of_evaluate() -> None:
    assert sorted(inspect.signature(evaluate).parameters) == EVALUATE.split()
