"""The identity head: it owns the class vectors, walks over the classes and applies a loss.

Three switches, each exact and free to be joined with the others: `chunk` streams over the classes,
`process_group` gives each process a slice of them, `sample_rate` visits a share of them at a step.
"""

from dataclasses import replace

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.optim import Optimizer

from marginface.axes import Float, Int, Tensor
from marginface.heads.dense import Rows, gather_own
from marginface.heads.inputs import checked_labels
from marginface.heads.pooling import count_pooled, pool_classes
from marginface.heads.precision import precision_named
from marginface.heads.sampling import choose_classes
from marginface.heads.sharding import (
    classes_here,
    drawn_rows,
    draws_of_first,
    gather_classes,
    gather_features,
    gather_labels,
    leave_sum,
)
from marginface.heads.streaming import Pooling
from marginface.heads.updates import InWalkSGD, WalkUpdate
from marginface.losses.base import Batch, Loss, OwnClass
from marginface.losses.options import check_choice, check_number, check_whole
from marginface.sphere import clamp_cosine, inverse_lengths, normalise

INITIAL_STD = 0.01


class IdentityHead(nn.Module):
    """Hold one prototype per identity and turn raw features and labels into the loss.

    All arithmetic is float32, or float64 if features or prototypes are, whatever autocast says: the
    largest bf16 below 1 is already 5 degrees away from it. Rows with the label -1 are left out
    before anything else, so they neither draw a margin nor move a statistic.

    On several processes each passes its own part of the batch, of any length. Draws, ranks and
    statistics are over the batch of all processes (the authors' code looks at one GPU's part), the
    value is the same on all, and the gradients are those of one process that holds everything.

    Args:
        num_identities: Number of classes, at least 2.
        dim: Length of a feature vector.
        loss: A loss from `marginface.losses`; it becomes part of the module and its state.
        chunk: None forms the whole batch × classes matrix; a number streams that many classes at a
            time, with the same value and gradients. Take 1024 to 8192 from about 10,000 classes on.
        sample_rate: Share of the classes that is visited at each training step, in (0, 1]; the own
            classes of the batch always are. Below 1 combine it with `update_in_walk`: any other
            optimiser moves the classes left out by their momentum.
        process_group: None holds all classes here; a group of n processes holds ⌈classes / n⌉ of
            them on each, on the last ones fewer.
        precision: Of the products with the class vectors, a name of `PRECISIONS`; anything but
            "float32" streams.
        generator: Draws the initial prototypes; None for the default generator.

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If a number or name is out of range.

    Example:
        >>> from marginface.losses import make_loss
        >>> head = IdentityHead(num_identities=3, dim=4, loss=make_loss("cosface"))
        >>> head(torch.randn(5, 4), torch.tensor([0, 1, 2, -1, 0])).shape
        torch.Size([])
    """

    def __init__(
        self,
        num_identities: int,
        dim: int,
        loss: Loss,
        *,
        chunk: int | None = None,
        sample_rate: float = 1.0,
        process_group: dist.ProcessGroup | None = None,
        precision: str = "float32",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, count in (("num_identities", num_identities), ("dim", dim), ("chunk", chunk)):
            if count is not None:
                check_whole(name, count)
        check_number("sample_rate", sample_rate)
        if num_identities < 2:
            raise ValueError(
                f"num_identities must be at least 2, got {num_identities}; one person alone has "
                "nobody to be told apart from"
            )
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be None or at least 1 class, got {chunk}")
        if not 0 < sample_rate <= 1:
            raise ValueError(f"sample_rate must lie in (0, 1], got {sample_rate}")
        self.num_identities = num_identities
        self.dim = dim
        self.loss = loss
        self.chunk = chunk
        self.sample_rate = sample_rate
        self.process_group = process_group
        self.precision = precision
        self._products = precision_named(precision)
        self._descent: InWalkSGD | None = None
        self.classes = classes_here(num_identities, process_group)
        start = drawn_rows(num_identities, dim, self.classes, std=INITIAL_STD, generator=generator)
        self.prototypes = nn.Parameter(start)
        self.last_statistics: dict[str, Tensor] = {}

    def update_in_walk(self, optimizer: Optimizer) -> None:
        """Move the class vectors within `backward` from now on, as `optimizer` would at its step.

        Their gradient is then never stored: `prototypes.grad` stays None, so the optimiser's own
        step skips them; and products cannot wait in its memory, but are computed twice, or kept if
        the precision says so. There must be one backward pass a step, and none that is thrown
        away. A batch without labels moves nothing.

        Args:
            optimizer: Plain SGD that holds the class vectors; its rate, momentum and decay are
                read at every step, and its state keeps the momentum.

        Raises:
            ValueError: If it does not hold them, or descends in a way the walk does not know.
        """
        self._descent = InWalkSGD(self.prototypes, optimizer)

    def forward(
        self,
        features: Float[Tensor, "batch dim"],
        labels: Int[Tensor, " batch"],
        *,
        reduction: str = "mean",
    ) -> Float[Tensor, ""]:
        """Return the loss of a batch, over its labelled rows.

        Afterwards `last_statistics` holds the detached means `own_cosine` and `norm` of these rows,
        and what else the loss has to say: terms that are not of single rows, as they were added.

        Args:
            features: Backbone outputs, raw, any length.
            labels: Class of each row, -1 to ignore the row.
            reduction: "mean" over the labelled rows, or their "sum", for batches in several parts;
                terms that are not of single rows are those of the part, times its labelled rows.

        Raises:
            TypeError: If the labels are not whole numbers.
            ValueError: If a shape or a label is out of range.
        """
        check_choice("reduction", reduction, ("mean", "sum"))
        with torch.autocast(features.device.type, enabled=False):
            labels = checked_labels(features, labels, classes=self.num_identities, dim=self.dim)
            if self.process_group is not None:
                labels, sizes = gather_labels(labels, self.process_group)
                features = gather_features(features, sizes, self.process_group)
            is_labelled = labels >= 0
            if not bool(is_labelled.all()):
                features, labels = features[is_labelled], labels[is_labelled]
            embeddings, norms = self._embedded(features)
            count = len(labels)
            if count == 0:
                self.last_statistics = {}
                # Empty sums, so that gradients exist and are zero.
                nothing = embeddings.sum()
                if self._descent is None:
                    nothing = nothing + self.prototypes[:0].to(embeddings.dtype).sum()
                return nothing
            own, rows, prototypes, update = self._rows(embeddings, norms, labels)
            with draws_of_first(self.process_group, labels.device):
                target = self.loss.target(own)
            how = Pooling(
                chunk=self.chunk,
                precision=self._products,
                visited=self._sampled(rows.labels),
                update=update,
                expected_slope=1 / count if reduction == "mean" else 1.0,
            )
            pooled, sums = pool_classes(self.loss, rows, prototypes, how, self.process_group)
            losses = self.loss.row_losses(target, pooled[:count], own)
            classes = count_pooled(self.num_identities, how.visited, self.process_group)
            batch = Batch(labels, pooled[:count], pooled[count:], sums, classes)
            terms = self.loss.batch_terms(own, batch)
            self.last_statistics = self._statistics(losses.detach(), own, terms)
            value = losses.mean() if reduction == "mean" else losses.sum()
            for term in terms.values():
                value = value + (term if reduction == "mean" else count * term)
            return value

    def logits(
        self, features: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the scores over all classes, dense: what the softmax sees. For study.

        Margins are drawn for labelled rows, running statistics stay as they are. Rows labelled -1
        have no own class: every class scores as another one does, without a margin.
        """
        with torch.autocast(features.device.type, enabled=False):
            labels = checked_labels(features, labels, classes=self.num_identities, dim=self.dim)
            embeddings, norms = self._embedded(features)
            prototypes: Tensor = self.prototypes
            if self.process_group is not None:
                prototypes = gather_classes(prototypes, self.num_identities, self.process_group)
            cosines = embeddings @ normalise(prototypes.to(embeddings.dtype)).T
            scores = self._scores_without_own(cosines, norms)
            is_labelled = labels >= 0
            embeddings, norms, labels = (x[is_labelled] for x in (embeddings, norms, labels))
            own = _own_class(embeddings, prototypes[labels], norms)
            rows = self.loss.logits(cosines[is_labelled], labels, own)
            return scores.index_put((is_labelled,), rows)

    def extra_repr(self) -> str:
        """Show the sizes and the switches."""
        return (
            f"num_identities={self.num_identities}, dim={self.dim}, chunk={self.chunk}, "
            f"sample_rate={self.sample_rate}, classes={self.classes}, precision={self.precision}"
        )

    def _rows(
        self, embeddings: Tensor, norms: Tensor, labels: Tensor
    ) -> tuple[OwnClass, Rows, Tensor, WalkUpdate | None]:
        """Return the samples, what walks over the classes, the prototypes, and their update."""
        has_proxies = self.loss.has_proxy_rows
        present = torch.unique(labels) if has_proxies else labels[:0]
        here = self._places_here(torch.cat([labels, present]) if has_proxies else labels)
        update = None
        if self._descent is not None and torch.is_grad_enabled():
            update = self._descent.begin(torch.unique(here[here >= 0]))
        own_rows, prototypes = gather_own(self.prototypes, here, update)
        if self.process_group is not None:
            own_rows = leave_sum(own_rows, self.process_group)
        own = _own_class(embeddings, own_rows[: len(labels)], norms)
        own = replace(own, state=self.loss.observe(own.cosine, norms))
        own = replace(own, prepared=self.loss.prepare(own))
        if not has_proxies:
            return own, Rows(embeddings, here, own), prototypes, update
        proxies = normalise(own_rows[len(labels) :].to(embeddings.dtype))
        lengths = self.loss.proxy_norm(own).expand(len(present))
        walking = replace(
            own,
            cosine=torch.cat([own.cosine, torch.ones_like(lengths)]),
            norms=torch.cat([norms, lengths]),
            proxies=len(present),
            prepared=None if own.prepared is None else F.pad(own.prepared, (0, len(present))),
        )
        return own, Rows(torch.cat([embeddings, proxies]), here, walking), prototypes, update

    def _places_here(self, labels: Tensor) -> Tensor:
        """Return the row of each class among those held here, -1 for one held elsewhere."""
        places = labels - self.classes.start
        return torch.where((places >= 0) & (places < len(self.classes)), places, -1)

    def _sampled(self, here: Tensor) -> Tensor | None:
        """Return the classes to visit of those held here, None for all; processes differ."""
        if self.sample_rate == 1 or not self.training:
            return None
        with draws_of_first(self.process_group, here.device):
            seed = int(torch.randint(2**62, (), device=here.device))
        generator = torch.Generator(here.device).manual_seed(seed + self.classes.start)
        present = torch.unique(here[here >= 0])
        count, least = len(self.classes), 2 if len(self.classes) == self.num_identities else 1
        return choose_classes(count, self.sample_rate, present, generator, least=least)

    def _statistics(
        self, losses: Tensor, own: OwnClass, terms: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return scalars of the last batch for the log, without gradient."""
        own = replace(own, cosine=own.cosine.detach(), norms=own.norms.detach())
        common = {"own_cosine": own.cosine.mean(), "norm": own.norms.mean()}
        added = {name: term.detach() for name, term in terms.items()}
        return common | self.loss.statistics(losses, own) | added

    def _embedded(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit vectors and lengths, in float32 or more."""
        dtype = torch.promote_types(features.dtype, self.prototypes.dtype)
        features = features.to(torch.promote_types(dtype, torch.float32))
        norms = torch.linalg.vector_norm(features, dim=1)
        return features * inverse_lengths(norms)[:, None], norms

    def _scores_without_own(self, cosines: Tensor, norms: Tensor) -> Tensor:
        """Return the scores of rows of which no class is the own one."""
        own = OwnClass(torch.ones_like(norms), norms)
        if self.loss.pool == "sum":
            # Without a softmax, `logits` only ranks the classes, whatever the label.
            nobody = torch.zeros_like(norms, dtype=torch.int64)
            return self.loss.logits(cosines, nobody, own)
        return self.loss.others(cosines, own)


def _own_class(embeddings: Tensor, prototypes: Tensor, norms: Tensor) -> OwnClass:
    """Return what is known of each row from its own prototype, one row of `prototypes` each."""
    units = normalise(prototypes.to(embeddings.dtype))
    cosine = clamp_cosine((embeddings * units).sum(dim=1))
    return OwnClass(cosine, norms, dim=embeddings.shape[1])
