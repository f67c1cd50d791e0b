"""Which parameter learns how fast and decays, and which one stays."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from marginface.backbones import make_backbone
from marginface.training import OptimizerConfig
from marginface.training.optimizer import freeze, kept_tensors, make_optimizer, set_rate


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
    **options: Any,
) -> torch.optim.Optimizer:
    config = OptimizerConfig(lr=0.5, weight_decay=0.01, **options)
    return make_optimizer(
        backbone,
        head or nn.Linear(2, 5, bias=False),
        config,
        layer_rates=layer_rates or {},
        head_lr_ratio=head_lr_ratio,
    )


def group_of(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> dict[str, float]:
    return next(
        group
        for group in optimizer.param_groups
        if any(parameter is other for other in group["params"])
    )


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_everything_decays_unless_norms_and_biases_are_left_out(name: str) -> None:
    net = TwoStages()
    groups = optimizer_for(net, name=name).param_groups
    assert all(group["weight_decay"] == 0.01 for group in groups)
    spared = optimizer_for(net, name=name, decay_norm_and_bias=False)
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


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_stages_and_head_have_their_own_rates(name: str) -> None:
    net, head = TwoStages(), nn.Linear(2, 5, bias=False)
    optimizer = optimizer_for(net, head, layer_rates={"low": 0.1}, head_lr_ratio=10.0, name=name)
    set_rate(optimizer, 0.2)
    assert group_of(optimizer, net.low[0].weight)["lr"] == pytest.approx(0.02)
    assert group_of(optimizer, net.high.weight)["lr"] == pytest.approx(0.2)
    assert group_of(optimizer, head.weight)["lr"] == pytest.approx(2.0)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_frozen_stage_does_not_learn(name: str) -> None:
    net = TwoStages()
    freeze(net, ("low",))
    optimizer = optimizer_for(net, name=name)
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


def spared_by(names: dict[str, bool], **sizes: Any) -> set[str]:
    net = make_backbone("vit_t", dim=4, width=8, heads=2, blocks=1, patch=8, input_size=32, **sizes)
    optimizer = optimizer_for(net, name="adamw", **names)
    return {
        name for name, p in net.named_parameters() if not group_of(optimizer, p)["weight_decay"]
    }


def test_positions_and_tokens_decay_unless_they_are_left_out() -> None:
    assert spared_by({}) == set()
    assert spared_by({"decay_positions": False}) == {"pos_embed", "mask_token"}
    both = spared_by({"decay_positions": False, "decay_norm_and_bias": False})
    assert {"pos_embed", "mask_token", "patch_embed.proj.bias", "norm.weight"} <= both
    assert "patch_embed.proj.weight" not in both


def as_published(weight: Tensor, gradients: list[Tensor], rate: float, decay: float) -> Tensor:
    """Algorithm 2 of arXiv:1711.05101, lines 6 to 12, one number after another."""
    first, second, eps = 0.8, 0.95, 1e-3
    numbers = []
    for place in range(weight.numel()):
        theta, m, v = float(weight.flatten()[place]), 0.0, 0.0
        for t, gradient in enumerate(gradients, start=1):
            g = float(gradient.flatten()[place])
            m = first * m + (1 - first) * g
            v = second * v + (1 - second) * g * g
            m_hat, v_hat = m / (1 - first**t), v / (1 - second**t)
            theta -= rate * m_hat / (v_hat**0.5 + eps) + rate * decay * theta
        numbers.append(theta)
    return torch.tensor(numbers, dtype=torch.float64).reshape(weight.shape)


def test_adamw_is_the_published_one() -> None:
    net, head = TwoStages().double(), nn.Linear(2, 5, bias=False).double()
    optimizer = optimizer_for(
        net,
        head,
        head_lr_ratio=3.0,
        name="adamw",
        betas=(0.8, 0.95),
        eps=1e-3,
        decay_norm_and_bias=False,
    )
    set_rate(optimizer, 0.1)
    watched = [(net.high.weight, 0.1, 0.01), (net.high.bias, 0.1, 0.0), (head.weight, 0.3, 0.01)]
    gradients = [[torch.randn_like(p) for _ in range(4)] for p, _, _ in watched]
    expected = [
        as_published(p.detach(), found, rate, decay)
        for (p, rate, decay), found in zip(watched, gradients, strict=True)
    ]
    for step in range(4):
        for (parameter, _, _), found in zip(watched, gradients, strict=True):
            parameter.grad = found[step].clone()
        optimizer.step()
    for (parameter, _, _), wanted in zip(watched, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_means_from_zeros_are_those_torch_begins_with(layout: torch.memory_format) -> None:
    net = TwoStages()
    net.low.to(memory_format=layout)
    twin = TwoStages()
    twin.load_state_dict(net.state_dict())
    twin.low.to(memory_format=layout)
    ours = optimizer_for(net, name="adamw")
    kept = kept_tensors(ours, net.low[0].weight)
    assert list(kept) == ["adamw/step", "adamw/exp_avg", "adamw/exp_avg_sq"]
    theirs = torch.optim.AdamW(twin.parameters(), lr=0.5, weight_decay=0.01, fused=True)
    for _ in range(3):
        for one, other in zip(net.parameters(), twin.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        ours.step()
        theirs.step()
    for one, other in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)
        state = theirs.state[other]
        for name, item in kept_tensors(ours, one).items():
            there = state[name.removeprefix("adamw/")]
            assert torch.equal(item, there)
            assert (item.dtype, item.stride()) == (there.dtype, there.stride())
    assert kept["adamw/step"] == 3
