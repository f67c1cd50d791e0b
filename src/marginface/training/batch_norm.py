"""Batch normalisation over the whole batch of all processes, so that N compute what one computes.

    y = w·(x - μ) / √(v + ε) + b       μ, v: mean and variance over all pictures of all processes

Means and variances of the parts are gathered in one exchange and combined as

    μ = Σ n_r·μ_r / n       v = Σ n_r·(v_r + (μ_r - μ)²) / n

which loses no digits where a mean is large beside its deviation. Running statistics are the same,
bit for bit, in every process.

Source: Ioffe and Szegedy, ICML 2015, arXiv:1502.03167; Chan et al. 1979 for combining variances.
Differs: torch's own SyncBatchNorm runs on GPUs only; this one runs wherever a process group does.
Gradient: exact, through the statistics of all processes.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from marginface.axes import Tensor

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class GlobalBatchNorm(nn.BatchNorm2d):
    """Normalise features of any number of axes by the statistics of all processes.

    It is an ordinary batch normalisation in evaluation mode, with the same names in its state.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, and move the running statistics while training."""
        if not self.training:
            return super().forward(x)
        weight = x.new_ones(x.shape[1]) if self.weight is None else self.weight
        bias = x.new_zeros(x.shape[1]) if self.bias is None else self.bias
        y: Tensor
        y, mean, variance, count = _Normalised.apply(  # type: ignore[no-untyped-call]
            x, weight, bias, self.eps
        )
        self._follow(mean, variance, count)
        return y

    def _check_input_dim(self, input: Tensor) -> None:
        """Take what `BatchNorm1d` and `BatchNorm3d` take, too."""

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if not self.track_running_stats:
            return
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        seen = int(self.num_batches_tracked)
        share = 1 / seen if self.momentum is None else self.momentum
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


def share_batch_statistics(module: nn.Module) -> None:
    """Replace every batch normalisation inside `module` by one over all processes.

    Parameters and buffers stay the same tensors.

    Raises:
        ValueError: If a layer is batch normalisation and more, which nothing here can stand in for.
    """
    for name, child in module.named_children():
        if type(child) in PLAIN:
            setattr(module, name, _shared(child))
        elif isinstance(child, PLAIN) and not isinstance(child, GlobalBatchNorm):
            raise ValueError(
                "batch_statistics 'global' must meet plain batch normalisation, got "
                f"{type(child).__name__} at {name}; set batch_statistics to 'process'"
            )
        else:
            share_batch_statistics(child)


def _shared(layer: Any) -> GlobalBatchNorm:
    shared = GlobalBatchNorm(
        layer.num_features,
        eps=layer.eps,
        momentum=layer.momentum,
        affine=layer.affine,
        track_running_stats=layer.track_running_stats,
    )
    for name, parameter in layer.named_parameters(recurse=False):
        setattr(shared, name, parameter)
    for name, buffer in layer.named_buffers(recurse=False):
        setattr(shared, name, buffer)
    shared.train(layer.training)
    return shared


class _Normalised(Function):
    """Normalise by the statistics of all processes; return them with the result."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, variance, count = _global_statistics(x)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.epsilon = epsilon
        y = F.batch_norm(x, mean, variance, weight, bias, training=False, eps=epsilon)
        ctx.mark_non_differentiable(mean, variance, count)
        return y, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        # As if the statistics were constants; what goes through them is taken off after.
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, None, None, False, ctx.epsilon, [True, True, True]
        )
        sums = torch.stack([grad_bias, grad_weight]).to(mean.dtype)
        dist.all_reduce(sums)
        inverse_std = torch.rsqrt(variance + ctx.epsilon)
        scale = weight.to(mean.dtype) * inverse_std / count
        shape = (1, -1, *[1] * (x.dim() - 2))
        through_variance = (x - mean.view(shape)) * (scale * inverse_std * sums[1]).view(shape)
        grad_x = grad_x - through_variance - (scale * sums[0]).view(shape)
        return grad_x.to(x.dtype), grad_weight, grad_bias, None


def _global_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, variance and count of every channel over the pictures of all processes."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    variance, mean = torch.var_mean(x.to(dtype), axes, correction=0)
    mine = torch.cat([mean, variance, mean.new_tensor([x.numel() / x.shape[1]])])
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine)
    channels = x.shape[1]
    table = torch.stack(parts)
    means, variances, counts = table[:, :channels], table[:, channels:-1], table[:, -1:]
    count = counts.sum()
    shares = counts / count
    total_mean = (shares * means).sum(0)
    total_variance = (shares * (variances + (means - total_mean) ** 2)).sum(0)
    return total_mean, total_variance, count
