"""Where the rows' own classes lie in a walk, found for each chunk without a look at the others."""

from bisect import bisect_left

import torch

from marginface.axes import Float, Int, Tensor


class OwnPlaces:
    """The own classes of a batch by their place in the walk.

    Args:
        labels: Place of each row's own class, -1 for one that is not visited.
    """

    def __init__(self, labels: Int[Tensor, " rows"]) -> None:
        self.labels = labels
        places, self._rows = labels.sort()
        self._places: list[int] = places.tolist()

    def fill(self, values: Float[Tensor, "rows classes"], start: int, value: float) -> None:
        """Write a value at each row's own class, where it is among those from `start` on."""
        first = bisect_left(self._places, start)
        last = bisect_left(self._places, start + values.shape[1])
        if first < last:
            rows = self._rows[first:last]
            values[rows, self.labels[rows] - start] = value

    def mask(self, values: Float[Tensor, "rows classes"], start: int) -> Tensor:
        """Return where the own classes lie among those from `start` on, shape (rows, classes)."""
        columns = torch.arange(start, start + values.shape[1], device=self.labels.device)
        return self.labels[:, None] == columns
