"""Which parameter learns how fast and decays, and which one stays."""

import pytest
import torch
from torch import nn

from marginface.training import OptimizerConfig
from marginface.training.optimizer import freeze, make_optimizer, set_rate


class TwoStages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4))
        self.high = nn.Linear(4, 2)

    def stages(self) -> list[tuple[str, nn.Module]]:
        return [("low", self.low), ("high", self.high)]


def optimizer_for(
    backbone: nn.Module,
    head: nn.Module | None = None,
    *,
    layer_rates: dict[str, float] | None = None,
    head_lr_ratio: float = 1.0,
    decay_norm_and_bias: bool = True,
) -> torch.optim.SGD:
    config = OptimizerConfig(lr=0.5, weight_decay=0.01, decay_norm_and_bias=decay_norm_and_bias)
    return make_optimizer(
        backbone,
        head or nn.Linear(2, 5, bias=False),
        config,
        layer_rates=layer_rates or {},
        head_lr_ratio=head_lr_ratio,
    )


def group_of(optimizer: torch.optim.SGD, parameter: nn.Parameter) -> dict[str, float]:
    return next(
        group
        for group in optimizer.param_groups
        if any(parameter is other for other in group["params"])
    )


def test_everything_decays_unless_norms_and_biases_are_left_out() -> None:
    net = TwoStages()
    assert all(group["weight_decay"] == 0.01 for group in optimizer_for(net).param_groups)
    spared = optimizer_for(net, decay_norm_and_bias=False)
    conv, norm, slope = net.low
    for parameter in (norm.weight, norm.bias, conv.bias, net.high.bias):
        assert group_of(spared, parameter)["weight_decay"] == 0
    for parameter in (conv.weight, net.high.weight, slope.weight):
        assert group_of(spared, parameter)["weight_decay"] == 0.01


def test_every_parameter_is_in_one_group() -> None:
    net, head = TwoStages(), nn.Linear(2, 5)
    optimizer = optimizer_for(net, head, layer_rates={"low": 0.1}, decay_norm_and_bias=False)
    grouped = [id(item) for group in optimizer.param_groups for item in group["params"]]
    assert sorted(grouped) == sorted(map(id, [*net.parameters(), *head.parameters()]))


def test_stages_and_head_have_their_own_rates() -> None:
    net, head = TwoStages(), nn.Linear(2, 5, bias=False)
    optimizer = optimizer_for(net, head, layer_rates={"low": 0.1}, head_lr_ratio=10.0)
    set_rate(optimizer, 0.2)
    assert group_of(optimizer, net.low[0].weight)["lr"] == pytest.approx(0.02)
    assert group_of(optimizer, net.high.weight)["lr"] == pytest.approx(0.2)
    assert group_of(optimizer, head.weight)["lr"] == pytest.approx(2.0)


def test_a_frozen_stage_does_not_learn() -> None:
    net = TwoStages()
    freeze(net, ("low",))
    optimizer = optimizer_for(net)
    learning = {id(item) for group in optimizer.param_groups for item in group["params"]}
    assert not learning & set(map(id, net.low.parameters()))
    assert {id(net.high.weight), id(net.high.bias)} <= learning


def test_unknown_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="freeze must be one of low, high; got 'hihg'"):
        freeze(TwoStages(), ("hihg",))
    with pytest.raises(ValueError, match="layer_rates must be one of low, high; got 'lwo'"):
        optimizer_for(TwoStages(), layer_rates={"lwo": 0.1})


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_momentum_from_zeros_is_momentum_from_nothing(layout: torch.memory_format) -> None:
    conv = nn.Conv2d(3, 4, 3, bias=False).to(memory_format=layout)
    twin = nn.Conv2d(3, 4, 3, bias=False)
    twin.load_state_dict(conv.state_dict())

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv

        def stages(self) -> list[tuple[str, nn.Module]]:
            return [("conv", self.conv)]

    ours = optimizer_for(Alone())
    plain = torch.optim.SGD(twin.parameters(), lr=0.5, momentum=0.9, weight_decay=0.01)
    for _ in range(3):
        gradient = torch.randn(4, 3, 3, 3)
        conv.weight.grad = gradient.clone().to(memory_format=layout)
        twin.weight.grad = gradient.clone()
        ours.step()
        plain.step()
        torch.testing.assert_close(conv.weight, twin.weight, check_stride=False)
