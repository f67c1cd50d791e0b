"""ViT against its published sizes, the names of public weights, and a twin from its equation."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from marginface.backbones import VisionTransformer, make_backbone
from marginface.backbones.vit import Attention, TransformerBlock
from marginface.heads import IdentityHead
from marginface.losses import make_loss
from marginface.recognition import ModelContract, save_onnx
from marginface.training import BackboneConfig, OptimizerConfig, TrainConfig, loop, train
from marginface.training.network_cost import count_memory
from marginface.training.optimizer import make_optimizer
from tests.training.tiny import assert_same_tensors, tiny_config, write_pack

# (width, blocks, billions of multiply-adds at 112 pixels as arcface_torch publishes them)
ROWS = {"vit_t": (256, 12, 1.5), "vit_s": (512, 12, 5.7), "vit_b": (512, 24, 11.4)}
SMALL: dict[str, Any] = {"width": 12, "blocks": 3, "heads": 3, "patch": 4, "dim": 5}


@cache
def on_meta(name: str) -> VisionTransformer:
    with torch.device("meta"):
        return make_backbone(name)


def small(**options: Any) -> VisionTransformer:
    """A network of 12 × 12 pixels in 3 × 3 patches, in float64, nothing at its neutral value."""
    network = VisionTransformer(**(SMALL | {"input_size": 12} | options)).double()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif tensor.is_floating_point():
                # Past 6 ReLU6 bends again, and some of the MLP's values must be there.
                tensor.normal_(0.0, 5.0 if name.endswith("fc1.bias") else 0.5)
    return network


def pictures(count: int = 4, side: int = 12) -> Tensor:
    return torch.rand(count, 3, side, side, dtype=torch.float64) * 2 - 1


# Sizes


def counted_by_hand(width: int, blocks: int) -> int:
    tokens, dim, wide = 12 * 12, 512, 4 * width
    patches = 9 * 9 * 3 * width + width
    attention = width * 3 * width + width * width + width
    mlp = width * wide + wide + wide * width + width
    block = 2 * width + attention + 2 * width + mlp
    output = tokens * width * width + 2 * width + width * dim + 2 * dim
    return patches + tokens * width + width + blocks * block + 2 * width + output


@pytest.mark.parametrize("name", ROWS)
def test_counts(name: str) -> None:
    width, blocks, _ = ROWS[name]
    count = sum(p.numel() for p in on_meta(name).parameters())
    assert count == counted_by_hand(width, blocks)
    assert all(p.requires_grad for p in on_meta(name).parameters())


def test_the_counts_in_words() -> None:
    """What the documents say."""
    counts = {name: counted_by_hand(*row[:2]) for name, row in ROWS.items()}
    assert counts == {"vit_t": 19_137_792, "vit_s": 76_023_296, "vit_b": 113_833_472}


@pytest.mark.parametrize("name", ROWS)
def test_published_multiply_adds(name: str) -> None:
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        on_meta(name).eval()(torch.empty(1, 3, 112, 112))
    # The counter counts a multiplication and an addition as two.
    assert round(counter.get_total_flops() / 2e9, 1) == ROWS[name][2]


@pytest.mark.parametrize("name", ROWS)
def test_stages_are_the_blocks(name: str) -> None:
    blocks = ROWS[name][1]
    names = [stage for stage, _ in on_meta(name).stages()]
    assert names == ["stem", *(f"layer{number}" for number in range(1, blocks + 1)), "output"]
    stem, output = (dict(on_meta(name).stages())[stage] for stage in ("stem", "output"))
    assert any(p is on_meta(name).pos_embed for p in stem.parameters())
    assert any(p is on_meta(name).mask_token for p in output.parameters())


def norm(name: str) -> list[str]:
    parts = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    return [f"{name}.{part}" for part in parts]


def affine(name: str) -> list[str]:
    return [f"{name}.weight", f"{name}.bias"]


def test_names_are_those_of_public_weights() -> None:
    expected = ["pos_embed", "mask_token", *affine("patch_embed.proj")]
    for block in range(12):
        at = f"blocks.{block}"
        expected += [*affine(f"{at}.norm1"), f"{at}.attn.qkv.weight", *affine(f"{at}.attn.proj")]
        expected += [*affine(f"{at}.norm2"), *affine(f"{at}.mlp.fc1"), *affine(f"{at}.mlp.fc2")]
    expected += [*affine("norm"), "feature.0.weight", *norm("feature.1")]
    expected += ["feature.2.weight", *norm("feature.3")]
    assert set(on_meta("vit_t").state_dict()) == set(expected)


def test_shapes_of_public_weights() -> None:
    state = on_meta("vit_s").state_dict()
    shapes = {
        "pos_embed": (1, 144, 512),
        "mask_token": (1, 1, 512),
        "patch_embed.proj.weight": (512, 3, 9, 9),
        "blocks.0.attn.qkv.weight": (1536, 512),
        "blocks.11.attn.proj.bias": (512,),
        "blocks.11.mlp.fc1.weight": (2048, 512),
        "feature.0.weight": (512, 73728),
        "feature.1.running_var": (512,),
        "feature.3.weight": (512,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_how_weights_start() -> None:
    state = make_backbone("vit_t", dim=64, input_size=36).state_dict()
    for name in ("pos_embed", "blocks.3.attn.qkv.weight", "blocks.9.mlp.fc2.weight"):
        assert state[name].std().item() == pytest.approx(0.02, rel=0.05), name
    # Of 256 values only: five deviations of their deviation.
    assert state["mask_token"].std().item() == pytest.approx(0.02, rel=0.22)
    assert not state["blocks.3.attn.proj.bias"].any()
    torch.testing.assert_close(state["blocks.3.norm1.weight"], torch.ones(256), rtol=0, atol=0)


# The equation


def layer_norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred * centred).mean(dim=-1, keepdim=True)
    return centred / torch.sqrt(variance + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]


def attention(x: Tensor, state: dict[str, Tensor], name: str, heads: int) -> Tensor:
    """Eqs. 5 to 8 of the paper's appendix A, a token and a head at a time."""
    batch, tokens, width = x.shape
    d = width // heads
    weight = state[f"{name}.qkv.weight"]
    out = torch.zeros_like(x)
    for b in range(batch):
        for head in range(heads):
            q, k, v = (
                x[b] @ weight[part * width + head * d : part * width + (head + 1) * d].T
                for part in range(3)
            )
            for i in range(tokens):
                shares = [torch.exp((q[i] * k[j]).sum() / math.sqrt(d)) for j in range(tokens)]
                total = sum(shares)
                mixed = sum(share / total * v[j] for j, share in enumerate(shares))
                out[b, i, head * d : (head + 1) * d] = mixed
    return (
        torch.einsum("bti,oi->bto", out, state[f"{name}.proj.weight"]) + state[f"{name}.proj.bias"]
    )


def block_twin(x: Tensor, state: dict[str, Tensor], name: str, heads: int) -> Tensor:
    """Eqs. 2 and 3 of the paper, with ReLU6."""
    y = x + attention(layer_norm(x, state, f"{name}norm1"), state, f"{name}attn", heads)
    wide = layer_norm(y, state, f"{name}norm2") @ state[f"{name}mlp.fc1.weight"].T
    wide = (wide + state[f"{name}mlp.fc1.bias"]).clamp(0, 6)
    return y + wide @ state[f"{name}mlp.fc2.weight"].T + state[f"{name}mlp.fc2.bias"]


def network_twin(network: VisionTransformer, images: Tensor) -> Tensor:
    """The network in evaluation mode, from the equation of the module and nothing else."""
    state, patch = network.state_dict(), SMALL["patch"]

    def bn(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 2e-5) * weight + bias

    across = images.shape[-1] // patch
    tokens = []
    for row in range(across):
        for column in range(across):
            part = images[:, :, row * patch :, column * patch :][:, :, :patch, :patch]
            token = torch.einsum("bchw,ochw->bo", part, state["patch_embed.proj.weight"])
            tokens.append(token + state["patch_embed.proj.bias"])
    x = torch.stack(tokens, dim=1) + state["pos_embed"]
    for block in range(SMALL["blocks"]):
        x = block_twin(x, state, f"blocks.{block}.", SMALL["heads"])
    x = layer_norm(x, state, "norm").reshape(len(x), -1)
    x = bn(x @ state["feature.0.weight"].T, "feature.1")
    return bn(x @ state["feature.2.weight"].T, "feature.3")


@pytest.mark.parametrize(("width", "heads"), [(12, 3), (8, 1), (6, 6)])
def test_attention_equals_its_twin(width: int, heads: int) -> None:
    layer = Attention(width, heads=heads).double()
    x = torch.randn(2, 7, width, dtype=torch.float64)
    twin = attention(
        x, {f"a.{key}": value for key, value in layer.state_dict().items()}, "a", heads
    )
    torch.testing.assert_close(layer(x), twin, rtol=1e-12, atol=1e-12)


def test_attention_knows_no_order() -> None:
    layer = Attention(12, heads=3).double()
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    order = torch.randperm(7)
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], rtol=1e-12, atol=1e-12)


def test_a_block_and_its_gradients_equal_their_twin() -> None:
    block = small().blocks[2].eval()
    x = (3 * torch.randn(2, 5, 12, dtype=torch.float64)).requires_grad_()
    state = dict(block.named_parameters())
    goal = torch.randn(2, 5, 12, dtype=torch.float64)
    every = [x, *state.values()]
    ours = torch.autograd.grad((block(x) * goal).sum(), every)
    theirs = torch.autograd.grad((block_twin(x, state, "", 3) * goal).sum(), every)
    torch.testing.assert_close(block(x), block_twin(x, state, "", 3), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_network_equals_its_twin() -> None:
    network, images = small().eval(), pictures(2)
    torch.testing.assert_close(
        network(images).detach(), network_twin(network, images), rtol=1e-9, atol=1e-9
    )


def test_gradients_in_training() -> None:
    """By finite differences, with the same pictures and tokens left out each time."""
    network, images = small(blocks=2, drop_path=0.5, mask_ratio=0.3), pictures(3)
    names = ["mask_token", "pos_embed", "blocks.1.attn.qkv.weight", "norm.weight"]
    given = [network.get_parameter(name).detach().clone().requires_grad_() for name in names]

    def value(*parameters: Tensor) -> Tensor:
        torch.manual_seed(3)
        changed = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(network, changed, (images,))

    assert torch.autograd.gradcheck(value, given, fast_mode=True)


# The edge of the picture


@pytest.mark.parametrize(("side", "seen"), [(112, 108), (36, 36), (40, 36), (44, 36)])
def test_pixels_past_the_last_whole_patch_are_not_seen(side: int, seen: int) -> None:
    options = {"width": 8, "blocks": 1, "heads": 2, "dim": 4}
    network = VisionTransformer(**options, input_size=side).eval()
    assert network.pos_embed.shape == (1, (seen // 9) ** 2, 8)
    images = torch.zeros(1, 3, side, side)
    before = network(images)
    outside = images.clone()
    outside[:, :, seen:] = outside[:, :, :, seen:] = 1.0
    torch.testing.assert_close(network(outside), before, rtol=0, atol=0)
    for place in ((seen - 1, 0), (0, seen - 1)):
        inside = images.clone()
        inside[:, :, place[0], place[1]] = 1.0
        assert not torch.equal(network(inside), before)


def test_a_patch_that_fits_sees_all() -> None:
    network = make_backbone("vit_t", patch=8, width=8, heads=2, blocks=1, dim=4).eval()
    assert network.pos_embed.shape[1] == 14 * 14
    corner = torch.zeros(1, 3, 112, 112)
    corner[:, :, -1, -1] = 1.0
    assert not torch.equal(network(corner), network(torch.zeros_like(corner)))


# Stochastic depth


def test_stochastic_depth_grows_from_nothing_to_its_rate() -> None:
    rates = [block.drop_path for block in on_meta("vit_t").blocks]
    assert rates == pytest.approx([0.1 * number / 11 for number in range(12)])
    assert [block.drop_path for block in small(blocks=1).blocks] == [0.0]


def test_a_branch_is_there_or_not_and_its_mean_stays() -> None:
    rate, count = 0.25, 20_000
    block = TransformerBlock(4, heads=2, drop_path=rate)
    branch = torch.full((count, 2, 4), 3.0)
    got = block._sometimes(branch)
    assert (got.flatten(1) == got[:, :1, 0]).all(), "a picture's tokens go together"
    torch.testing.assert_close(got.unique(), torch.tensor([0.0, 3.0 / 0.75]))
    # Five deviations of a mean of independent draws.
    near = 5 * math.sqrt(rate * (1 - rate) / count)
    assert (got[:, 0, 0] == 0).double().mean().item() == pytest.approx(rate, abs=near)
    assert got.mean().item() == pytest.approx(3.0, abs=near * 4)
    torch.testing.assert_close(block.eval()._sometimes(branch), branch, rtol=0, atol=0)


def test_both_branches_are_left_out_by_themselves() -> None:
    block = TransformerBlock(4, heads=2, drop_path=0.5)
    x = torch.randn(1, 3, 4).expand(400, 3, 4)
    with torch.no_grad():
        ways = (block(x) - x).flatten(1).round(decimals=4).unique(dim=0)
    assert len(ways) == 4, "neither, attention only, the MLP only, both"


# Tokens that skip the blocks


def seen_by(module: nn.Module, run: Callable[[], Any]) -> Tensor:
    """Return what a layer was given."""
    given: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].detach()))
    run()
    handle.remove()
    return given[0]


@pytest.mark.parametrize(
    ("side", "ratio", "kept"),
    [(112, 0.1, 129), (112, 0.05, 136), (112, 0.0, 144), (90, 0.9, 10), (9, 0.1, 1), (18, 0.99, 1)],
)
def test_how_many_tokens_go_through_the_blocks(side: int, ratio: float, kept: int) -> None:
    options = {"width": 4, "blocks": 1, "heads": 1, "dim": 2}
    network = VisionTransformer(**options, input_size=side, mask_ratio=ratio)
    images = torch.rand(2, 3, side, side)
    assert seen_by(network.blocks[0], lambda: network(images)).shape == (2, kept, 4)
    whole = seen_by(network.blocks[0], lambda: network.eval()(images))
    assert whole.shape == (2, (side // 9) ** 2, 4)
    assert network.mask_token.requires_grad == (kept < (side // 9) ** 2)


def test_the_mask_token_stands_where_a_token_skipped() -> None:
    """With blocks that do nothing, every other token must come out at its own place."""
    network, images = small(mask_ratio=0.4, drop_path=0.0), pictures(600)
    for block in network.blocks:
        nn.init.zeros_(block.attn.proj.weight)
        nn.init.zeros_(block.attn.proj.bias)
        nn.init.zeros_(block.mlp.fc2.weight)
        nn.init.zeros_(block.mlp.fc2.bias)
    got = seen_by(network.feature, lambda: network(images)).unflatten(1, (9, 12))
    whole = seen_by(network.feature, lambda: network.eval()(images)).unflatten(1, (9, 12))
    is_mask = (got == network.mask_token).all(dim=2)
    assert (is_mask.sum(dim=1) == 9 - 5).all()
    torch.testing.assert_close(got[~is_mask], whole[~is_mask])
    # Each place is as likely as any other: within five deviations.
    near = 5 * math.sqrt(4 / 9 * 5 / 9 / 600)
    assert (is_mask.double().mean(dim=0) - 4 / 9).abs().max() < near
    assert len(is_mask.unique(dim=0)) > 90, "of 126 sets of four places"


def test_nothing_is_drawn_where_nothing_is_left_out() -> None:
    still = small(drop_path=0.0, mask_ratio=0.0)
    for network in (still.train(), small(drop_path=0.3, mask_ratio=0.3).eval()):
        images = pictures()
        before = torch.get_rng_state()
        network(images)
        assert torch.equal(torch.get_rng_state(), before)


def test_the_default_generator_decides_all() -> None:
    network, images = small(drop_path=0.5, mask_ratio=0.3), pictures()
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(network(images))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


# Use


def test_one_picture_in_evaluation_and_float64() -> None:
    network = make_backbone("vit_t", dim=16, input_size=36).double().eval()
    images = pictures(3, 36)
    with torch.no_grad():
        features = network(images)
        assert features.dtype == torch.float64
        torch.testing.assert_close(network(images[:1]), features[:1], rtol=1e-9, atol=1e-12)


def test_autocast_is_near_float32() -> None:
    network = make_backbone("vit_t", dim=32, input_size=36).train()
    images = pictures(8, 36).float()
    with torch.no_grad():
        for _ in range(8):  # running statistics of its own, away from 0 and 1
            network(images)
        network.eval()
        full = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(images).float()
    assert torch.nn.functional.cosine_similarity(full, half).min() > 0.999


@pytest.mark.parametrize(
    ("blocks", "side"), [(4, 36), pytest.param(12, 112, marks=pytest.mark.slow)]
)
def test_eight_pictures_are_learnt_by_heart(blocks: int, side: int) -> None:
    backbone = make_backbone("vit_t", blocks=blocks, dim=32, input_size=side)
    head = IdentityHead(8, 32, make_loss("arcface", scale=16.0))
    images, labels = pictures(8, side).float(), torch.arange(8)
    config = OptimizerConfig(lr=0.05)
    optimizer = make_optimizer(backbone, head, config, layer_rates={}, head_lr_ratio=1.0)
    values = []
    for _ in range(25):
        optimizer.zero_grad()
        value = head(backbone(images), labels)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0] / 10


def test_norms_and_biases_may_stay_without_decay() -> None:
    network, head = small(), IdentityHead(4, 5, make_loss("arcface"))
    config = OptimizerConfig(decay_norm_and_bias=False)
    rates = {"stem": 0.1, "layer2": 0.5}
    optimizer = make_optimizer(network, head, config, layer_rates=rates, head_lr_ratio=1.0)
    found = {
        id(p): (group["ratio"], group["weight_decay"] > 0)
        for group in optimizer.param_groups
        for p in group["params"]
    }
    expected = {
        "pos_embed": (0.1, True),
        "patch_embed.proj.bias": (0.1, False),
        "mask_token": (1.0, True),
        "blocks.0.norm1.weight": (1.0, False),
        "blocks.1.attn.qkv.weight": (0.5, True),
        "blocks.1.norm2.bias": (0.5, False),
        "norm.weight": (1.0, False),
        "feature.3.weight": (1.0, False),
    }
    got = {name: found[id(network.get_parameter(name))] for name in expected}
    assert got == expected


def test_the_onnx_file_is_the_network(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    backbone = make_backbone("vit_t", dim=16, input_size=40)
    contract = ModelContract(architecture="vit_t", dim=16, input_size=(40, 40))
    assert save_onnx(tmp_path / "vit.onnx", backbone, contract) < 1e-5


def vit_config(pack: Path) -> TrainConfig:
    options = {"width": 16, "heads": 2, "blocks": 3, "drop_path": 0.4, "mask_ratio": 0.4}
    part = BackboneConfig(name="vit_t", dim=8, input_size=32, options=options)
    return tiny_config(pack, backbone=part)


class CutError(Exception):
    """The power is gone."""


def test_a_run_that_was_cut_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = vit_config(write_pack(tmp_path / "patterns.pack"))
    train(config, tmp_path / "whole")
    original, left = loop.take_step, 8

    def step(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            raise CutError
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", step)
        with pytest.raises(CutError):
            train(config, tmp_path / "cut")
    torch.manual_seed(99)
    train(config, tmp_path / "cut")
    assert_same_tensors(*(tmp_path / run / "model.safetensors" for run in ("cut", "whole")))


def kept_by_autograd(network: nn.Module, images: Tensor) -> int:
    own = {p.untyped_storage().data_ptr() for p in network.state_dict(keep_vars=True).values()}
    kept: dict[int, Tensor] = {}

    def keep(item: Tensor) -> Tensor:
        kept.setdefault(item.untyped_storage().data_ptr(), item)
        return item

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda item: item):
        network(images)
    return sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in own)


def test_counted_memory_holds_what_is_kept() -> None:
    """Without contents, torch's attention keeps every share; on a CPU it keeps the sums alone."""
    options = {"width": 64, "heads": 2, "blocks": 3}
    part = BackboneConfig(name="vit_t", dim=32, input_size=112, options=options)
    counted = count_memory(replace(vit_config(Path("none.pack")), backbone=part)).per_picture
    network = make_backbone("vit_t", dim=32, **options)
    few, many = (kept_by_autograd(network, torch.zeros(count, 3, 112, 112)) for count in (2, 4))
    taken = (many - few) / 2
    assert 0.99 * taken < counted < 1.5 * taken


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12, "heads": 5}, "width must be a multiple of heads, 5, got 12"),
        ({"heads": 0}, "heads must be at least 1, got 0"),
        ({"patch": 0}, "patch must be at least 1, got 0"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"drop_path": 1.0}, r"drop_path must be a fraction in \[0, 1\), got 1.0"),
        ({"mask_ratio": -0.1}, r"mask_ratio must be a fraction in \[0, 1\), got -0.1"),
        ({"input_size": 3}, "input_size must be at least one patch, 4, got 3"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)
