"""Gradient descent inside the walk back: a chunk's classes move as soon as their gradient is known.

    v ← μ·v + ∂L/∂w + λ·w,     w ← w - η·v          as `torch.optim.SGD` does, after the walk

So not even the gradient of the class vectors is stored. The classes present in the batch wait: part
of their gradient comes from their own rows, and is known only when the walk is over.
"""

from bisect import bisect_left, bisect_right
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.sgd import sgd

from marginface.axes import Int, Tensor


class InWalkSGD:
    """What a head needs of an optimiser to move its class vectors itself.

    Rate, momentum and decay are read anew at every step from the optimiser's group, and the
    momentum lies in the optimiser's state, so schedules and checkpoints need not know of it.

    Args:
        prototypes: The class vectors.
        optimizer: Plain SGD that holds them.

    Raises:
        ValueError: If it does not hold them, or descends in a way the walk does not know.
    """

    def __init__(self, prototypes: nn.Parameter, optimizer: Optimizer) -> None:
        if type(optimizer) is not SGD:
            raise ValueError(
                f"updates in the walk need torch.optim.SGD, got {type(optimizer).__name__}; "
                "leave them out and let it step as usual"
            )
        self.prototypes = prototypes
        self.optimizer = optimizer
        self.walks = 0
        group = self._group()
        for name, plain in (("nesterov", False), ("maximize", False), ("dampening", 0)):
            if group[name] != plain:
                raise ValueError(
                    f"updates in the walk need {name}={plain}, got {group[name]}; leave them out "
                    "and let the optimizer step as usual"
                )

    def begin(self, own: Int[Tensor, " present"]) -> "WalkUpdate":
        """Return the update of one step.

        Args:
            own: The classes present in the batch, rising, by row of the prototypes.
        """
        group = self._group()
        velocity = self._velocity() if group["momentum"] else None
        return WalkUpdate(self, velocity, group, own)

    def _group(self) -> dict[str, Any]:
        """Return the group of the class vectors; loading a state gives an optimiser new ones."""
        for group in self.optimizer.param_groups:
            if any(parameter is self.prototypes for parameter in group["params"]):
                return group
        raise ValueError("the optimizer must hold head.prototypes, got one without them")

    def _velocity(self) -> Tensor:
        state = self.optimizer.state[self.prototypes]
        if state.get("momentum_buffer") is None:
            # Zeros move the first step as no momentum does.
            state["momentum_buffer"] = torch.zeros_like(self.prototypes, requires_grad=False)
        velocity: Tensor = state["momentum_buffer"]
        return velocity


class WalkUpdate:
    """One step of descent, chunk by chunk and then for the classes of the batch."""

    def __init__(
        self, descent: InWalkSGD, velocity: Tensor | None, group: dict[str, Any], own: Tensor
    ) -> None:
        self.descent = descent
        self.weights = weights = descent.prototypes.detach()
        self.velocity = velocity
        self.rate = float(group["lr"])
        self.momentum = float(group["momentum"])
        self.decay = float(group["weight_decay"])
        self.walks_before = descent.walks
        self.own = own
        self.own_list: list[int] = own.tolist()
        self.to_own = weights.new_zeros(len(own), weights.shape[1])

    def check_first_walk(self) -> None:
        """Refuse a second backward pass, and one of two forward passes together.

        Raises:
            RuntimeError: If the classes have moved since forward.
        """
        if self.descent.walks != self.walks_before:
            raise RuntimeError(
                "with updates in the walk there is one backward pass for each forward pass, before "
                "the next one, got a second one; the class vectors that it would differentiate "
                "have moved"
            )
        self.descent.walks += 1

    def move(self, rows: slice | Tensor, gradient: Tensor) -> None:
        """Move the classes of a chunk that the batch does not hold; the others wait.

        Args:
            rows: Where they lie in the prototypes.
            gradient: As far as it is known, shape (classes, dim).
        """
        gradient = gradient.to(self.weights.dtype)
        held, waiting, place = self._waiting(rows)
        self.to_own[held] = gradient[place]
        kept = self._read(waiting)
        if isinstance(rows, slice):
            velocity = None if self.velocity is None else self.velocity[rows]
            self._step(self.weights[rows], gradient, velocity)
        else:
            weights, velocity = self._read(rows)
            self._step(weights, gradient, velocity)
            self._write(rows, weights, velocity)
        self._write(waiting, *kept)

    def finish(self, labels: Tensor, to_own_rows: Tensor) -> None:
        """Move the classes of the batch, now that the gradient of their own rows is known.

        Args:
            labels: Class of each row, -1 for one that is not here, shape (rows,).
            to_own_rows: Gradient of each row's own class vector, shape (rows, dim).
        """
        is_here = labels >= 0
        place = torch.searchsorted(self.own, labels[is_here])
        total = self.to_own.index_add_(0, place, to_own_rows[is_here].to(self.to_own.dtype))
        weights, velocity = self._read(self.own)
        self._step(weights, total, velocity)
        self._write(self.own, weights, velocity)

    def _step(self, moved: Tensor, gradient: Tensor, velocity: Tensor | None) -> None:
        """Descend by the optimiser's own arithmetic, which reads and writes each number once."""
        sgd(
            [moved],
            [gradient],
            [velocity],
            has_sparse_grad=False,
            foreach=False,
            fused=moved.device.type in ("cpu", "cuda"),
            weight_decay=self.decay,
            momentum=self.momentum,
            lr=self.rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )

    def _waiting(self, rows: slice | Tensor) -> tuple[slice, Tensor, Tensor]:
        """Return which classes of the batch lie in a chunk: their places in `own`, and in it."""
        if isinstance(rows, slice):
            first, last = rows.start, rows.stop - 1
        else:
            first, last = int(rows[0]), int(rows[-1])
        held = slice(bisect_left(self.own_list, first), bisect_right(self.own_list, last))
        waiting = self.own[held]
        place = waiting - first if isinstance(rows, slice) else torch.searchsorted(rows, waiting)
        return held, waiting, place

    def _read(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.weights[rows], None if self.velocity is None else self.velocity[rows]

    def _write(self, rows: Tensor, weights: Tensor, velocity: Tensor | None) -> None:
        self.weights[rows] = weights
        if self.velocity is not None and velocity is not None:
            self.velocity[rows] = velocity
