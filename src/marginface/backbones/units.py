"""The convolution unit that the mobile networks are built of, and how its weights start."""

from torch import nn

from marginface.axes import Float, Tensor


class ConvUnit(nn.Module):
    """A convolution without bias, a batch-norm and a PReLU.

    Args:
        channels_in: Channels that come.
        channels: Channels that go.
        kernel: Side of the kernel in pixels.
        stride: Step in pixels.
        groups: Groups of channels; `channels_in` makes it depthwise.
        padding: Zeros on each side; unset, the size is kept at stride 1.
        eps: Of the batch-norm.
        is_linear: Leave the PReLU out.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
        eps: float = 1e-5,
        is_linear: bool = False,
    ) -> None:
        super().__init__()
        zeros = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(
            channels_in, channels, kernel, stride, zeros, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(channels, eps=eps)
        self.prelu = nn.Identity() if is_linear else nn.PReLU(channels)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d p q"]:
        """Return the unit's activation."""
        return self.prelu(self.bn(self.conv(x)))


def draw_convolutions(module: nn.Module) -> None:
    """Draw every convolution anew, normal with deviation sqrt(2 / fan in), in place.

    Fan in, not fan out: torch counts the fan out of a depthwise kernel as if it were dense, and the
    signal of a fresh network would be 1e-7 after fifteen blocks, the same for every picture.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015, arXiv:1502.01852.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
