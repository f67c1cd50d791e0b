"""ViT: the Vision Transformer as face recognition trains it, its patches read by attention.

    tokens = conv9×9 stride 9(picture) + position
    block(x) = y + MLP(LN(y))     y = x + proj(softmax(q·kᵀ / √d)·v)     q, k, v from LN(x)

Twelve or more blocks, d = width / heads, an MLP four times as wide as the tokens, LN; then all
tokens side by side, a linear layer, BN, a linear layer and a BN. In training the branches of a
block are left out of some pictures, the later the block the more of them (stochastic depth), and
some tokens of every picture skip all blocks; a learnt mask token stands in their places before the
flattening. The names of weights are those of insightface's arcface_torch, so public weights load
with `load_state_dict`.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv:2010.11929, eqs. 1 to
    3; Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, arXiv:1603.09382; He et al.,
    "Masked Autoencoders", CVPR 2022, arXiv:2111.06377, for tokens that skip. Sizes and output are
    those of arcface_torch, An et al., "Killing Two Birds with One Stone", CVPR 2022,
    arXiv:2203.15565.
Differs: from eqs. 1 to 4 as arcface_torch does: no class token, ReLU6 in place of GELU, no bias for
    q, k and v. From arcface_torch: any input size; `mask_ratio` holds as given, where its code
    skips 10 % of the tokens for every ratio above 0; attention computes in autocast's type, where
    its code goes to float32; activations are never computed twice to save memory.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from marginface.axes import Float, Int, Tensor
from marginface.backbones.base import Backbone

MLP_RATIO = 4


class Attention(nn.Module):
    """Give every token a mean of all tokens' values, weighted anew in each of the heads."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Return the tokens' weighted means, projected."""
        # (batch, tokens, 3 · heads · d) to three of (batch, heads, tokens, d)
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """Attention over the tokens, then an MLP on each, both added to what came.

    Args:
        width: Values of a token.
        heads: Of the attention; they share the width.
        drop_path: Share of pictures that go past a branch in training, in [0, 1); what a branch
            adds to the others grows by 1 / (1 - drop_path), so that its mean stays.
    """

    def __init__(self, width: int, *, heads: int, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(width, MLP_RATIO * width),
                act=nn.ReLU6(),
                fc2=nn.Linear(MLP_RATIO * width, width),
            )
        )

    def forward(
        self, x: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Return the tokens with what both branches add."""
        x = x + self._sometimes(self.attn(self.norm1(x)))
        return x + self._sometimes(self.mlp(self.norm2(x)))

    def _sometimes(
        self, branch: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch tokens width"]:
        if not self.training or self.drop_path == 0:
            return branch
        kept = 1 - self.drop_path
        # Drawn in float32 whatever the branch is in: bf16 has 256 steps below 1.
        is_kept = torch.rand(len(branch), 1, 1, device=branch.device) < kept
        return branch * (is_kept / kept).to(branch.dtype)


class VisionTransformer(Backbone):
    """Vision Transformer of any depth and width, without a class token.

    Linear layers, positions and the mask token start normal with deviation 0.02, biases at 0,
    norms at identity, the patches' convolution uniform as torch does.

    Args:
        width: Values of a token; a multiple of `heads`.
        blocks: How many, one after the other.
        heads: Of every attention.
        patch: Side of a patch in pixels. Where it does not divide the input, the pixels that are
            left over at the right and at the bottom are not seen: at 112, 9 leaves 12 × 12 patches
            and four columns and rows unseen.
        dim: Length of the feature.
        input_size: Side of the square input in pixels, at least one patch.
        drop_path: Share of pictures that go past the last block's branches in training, in [0, 1);
            it grows in a straight line from 0 at the first block.
        mask_ratio: Share of a picture's tokens that skip the blocks in training, in [0, 1); one
            token stays.
    """

    def __init__(
        self,
        *,
        width: int,
        blocks: int,
        heads: int = 8,
        patch: int = 9,
        dim: int = 512,
        input_size: int = 112,
        drop_path: float = 0.1,
        mask_ratio: float = 0.1,
    ) -> None:
        super().__init__(dim=dim, input_size=input_size)
        _check_counts(width=width, blocks=blocks, heads=heads, patch=patch)
        _check_shares(drop_path=drop_path, mask_ratio=mask_ratio)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, {heads}, got {width}")
        if input_size < patch:
            raise ValueError(f"input_size must be at least one patch, {patch}, got {input_size}")
        tokens = (input_size // patch) ** 2
        # The nudge keeps whole counts whole: in binary, 100 · (1 - 0.9) is a little below 10.
        self.kept_tokens = max(1, int(tokens * (1 - mask_ratio) + 1e-9))
        self.pos_embed = nn.Parameter(torch.empty(1, tokens, width))
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, width, patch, stride=patch)))
        shares = (drop_path * number / max(1, blocks - 1) for number in range(blocks))
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads=heads, drop_path=share) for share in shares
        )
        self.norm = nn.LayerNorm(width)
        self.feature = nn.Sequential(
            nn.Linear(tokens * width, width, bias=False),
            nn.BatchNorm1d(width, eps=2e-5),
            nn.Linear(width, dim, bias=False),
            nn.BatchNorm1d(dim, eps=2e-5),
        )
        self._draw()
        # Where no token skips, it stands nowhere and could only decay.
        self.mask_token.requires_grad_(self.kept_tokens < tokens)

    def extract(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim"]:
        """Return the features of images whose shape has been checked."""
        x = self.patch_embed(images).flatten(2).transpose(1, 2) + self.pos_embed
        batch, tokens, width = x.shape
        if not self.training or self.kept_tokens == tokens:
            return self.feature(self._through_blocks(x).flatten(1))
        places = _drawn_places(x, self.kept_tokens).unsqueeze(2).expand(-1, -1, width)
        x = self._through_blocks(x.gather(1, places))
        masks = self.mask_token.to(x.dtype).expand(batch, tokens, width)
        return self.feature(masks.scatter(1, places, x).flatten(1))

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Return stem, a layer for every block, and output."""
        positions, mask = nn.ParameterList([self.pos_embed]), nn.ParameterList([self.mask_token])
        return [
            ("stem", nn.ModuleList([positions, self.patch_embed])),
            *((f"layer{number}", block) for number, block in enumerate(self.blocks, start=1)),
            ("output", nn.ModuleList([self.norm, mask, self.feature])),
        ]

    def positions_and_tokens(self) -> list[nn.Parameter]:
        """Return positions and mask token."""
        return [self.pos_embed, self.mask_token]

    def _through_blocks(
        self, x: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch tokens width"]:
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def _draw(self) -> None:
        nn.init.normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def _drawn_places(
    x: Float[Tensor, "batch tokens width"], count: int
) -> Int[Tensor, "batch {count}"]:
    """Draw `count` places of each picture's tokens, every set of them as likely as any other."""
    return torch.rand(x.shape[:2], device=x.device).argsort(dim=1)[:, :count]


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def _check_shares(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be a fraction in [0, 1), got {value}")
