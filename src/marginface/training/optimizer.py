"""Gradient descent: which parameter learns how fast, which one decays, which one stays."""

from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from marginface.axes import Tensor
from marginface.backbones.base import Backbone
from marginface.errors import unknown_name
from marginface.training.config_parts import OptimizerConfig

NORM_LAYERS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.InstanceNorm2d,
)
# What a checkpoint calls what an optimiser keeps beside a weight, by what torch calls it.
KEPT = {
    "momentum_buffer": "momentum",
    "step": "adamw/step",
    "exp_avg": "adamw/exp_avg",
    "exp_avg_sq": "adamw/exp_avg_sq",
}


def make_optimizer(
    backbone: nn.Module,
    head: nn.Module,
    config: OptimizerConfig,
    *,
    layer_rates: dict[str, float],
    head_lr_ratio: float,
) -> SGD | AdamW:
    """Return an optimiser of all parameters that learn, in groups of equal rate and decay.

    Each group carries `ratio`, its share of the learning rate; `set_rate` applies it. Momentum
    starts as zeros, which is the same as starting without it, so that a checkpoint always has the
    same tensors; so do the two means of AdamW.

    Args:
        backbone: A network with `stages()`; its frozen parameters are left out.
        head: The class vectors and the loss.
        config: Which one, and its rates.
        layer_rates: Multiplier of the rate by name of stage; 1 for the others.
        head_lr_ratio: Multiplier of the rate for the head.
    """
    ratios = _ratio_by_parameter(backbone, layer_rates)
    without_decay = set() if config.decay_norm_and_bias else _norms_and_biases(backbone)
    if not config.decay_positions and isinstance(backbone, Backbone):
        without_decay |= {id(parameter) for parameter in backbone.positions_and_tokens()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in backbone.parameters():
        decay = 0.0 if id(parameter) in without_decay else config.weight_decay
        if parameter.requires_grad:
            groups.setdefault((ratios.get(id(parameter), 1.0), decay), []).append(parameter)
    head_parameters = [parameter for parameter in head.parameters() if parameter.requires_grad]
    described = [
        {"params": parameters, "ratio": ratio, "weight_decay": decay}
        for (ratio, decay), parameters in groups.items()
    ]
    described.append(
        {"params": head_parameters, "ratio": head_lr_ratio, "weight_decay": config.weight_decay}
    )
    # Measured 5 times faster than the default over a large matrix of class vectors.
    is_fused = {parameter.device.type for parameter in head_parameters} <= {"cpu", "cuda"}
    optimizer = _optimizer_over(described, config, is_fused=is_fused)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter].update(_first_state(parameter, config, is_fused=is_fused))
    return optimizer


def kept_tensors(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
    """Return what an optimiser keeps beside a parameter, by the name it has in a checkpoint."""
    if parameter not in optimizer.state:
        return {}
    return {KEPT[name]: tensor for name, tensor in optimizer.state[parameter].items()}


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of every group to `rate` times its ratio."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["ratio"]


def freeze(backbone: nn.Module, names: tuple[str, ...]) -> list[nn.Module]:
    """Stop the named stages from learning and return them; keep them in evaluation mode.

    Raises:
        ValueError: If a stage is unknown.
    """
    stages = stages_of(backbone)
    frozen = []
    for name in names:
        if name not in stages:
            raise unknown_name("freeze", name, stages)
        frozen.append(stages[name].requires_grad_(False))
    return frozen


def stages_of(backbone: nn.Module) -> dict[str, nn.Module]:
    """Return a backbone's stages by name, from input to output."""
    return dict(backbone.stages())  # type: ignore[operator]


def _ratio_by_parameter(backbone: nn.Module, layer_rates: dict[str, float]) -> dict[int, float]:
    stages = stages_of(backbone)
    ratios: dict[int, float] = {}
    for name, ratio in layer_rates.items():
        if name not in stages:
            raise unknown_name("layer_rates", name, stages)
        ratios |= {id(parameter): ratio for parameter in stages[name].parameters()}
    return ratios


def _norms_and_biases(backbone: nn.Module) -> set[int]:
    found = set()
    for module in backbone.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, NORM_LAYERS) or name == "bias":
                found.add(id(parameter))
    return found


def _optimizer_over(
    groups: list[dict[str, Any]], config: OptimizerConfig, *, is_fused: bool
) -> SGD | AdamW:
    if config.name == "sgd":
        assert config.momentum is not None
        return SGD(
            groups,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            fused=is_fused,
        )
    assert config.betas is not None
    assert config.eps is not None
    return AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=is_fused)


def _first_state(
    parameter: nn.Parameter, config: OptimizerConfig, *, is_fused: bool
) -> dict[str, Tensor]:
    """Return the zeros that torch would begin with at the first step."""
    zeros = parameter.detach().clone().zero_()
    if config.name == "sgd":
        return {"momentum_buffer": zeros} if config.momentum else {}
    # A fused step counts on the device, any other one on the processor.
    step = torch.zeros((), device=parameter.device if is_fused else "cpu")
    return {"step": step, "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
