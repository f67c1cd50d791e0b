"""The identity head: it owns the class vectors, walks over the classes and applies a loss."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from marginface.axes import Float, Int, Tensor
from marginface.heads.pooling import Rows, gather_own, pool_chunked, pool_dense
from marginface.losses.base import Batch, Loss, OwnClass
from marginface.losses.options import check_choice
from marginface.sphere import clamp_cosine, inverse_lengths, normalise

INITIAL_STD = 0.01


class IdentityHead(nn.Module):
    """Hold one prototype per identity and turn raw features and labels into the loss.

    All arithmetic is float32, or float64 if features or prototypes are, whatever autocast says: the
    largest bf16 below 1 is already 5 degrees away from it. Rows with the label -1 are left out
    before anything else, so they neither draw a margin nor move a statistic.

    Args:
        num_identities: Number of classes, at least 2.
        dim: Length of a feature vector.
        loss: A loss from `marginface.losses`; it becomes part of the module and its state.
        chunk: None forms the whole batch × classes matrix; a number streams that many classes at a
            time, with the same value and gradients. Take 512 to 4096 from about 10,000 classes on.
        sample_rate: Only 1.0; sampling the classes is not available yet.
        process_group: Only None; spreading the classes over processes is not available yet.
        generator: Draws the initial prototypes; None for the default generator.

    Raises:
        ValueError: If a number is out of range or a switch is not available yet.

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
        process_group: object | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if num_identities < 2:
            raise ValueError(
                f"num_identities must be at least 2, got {num_identities}; one person alone has "
                "nobody to be told apart from"
            )
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be None or at least 1 class, got {chunk}")
        if sample_rate != 1.0:
            raise ValueError(
                f"sample_rate must be 1.0, got {sample_rate}; sampling the classes is not "
                "available yet"
            )
        if process_group is not None:
            raise ValueError(
                f"process_group must be None, got {process_group!r}; spreading the classes over "
                "processes is not available yet"
            )
        self.num_identities = num_identities
        self.dim = dim
        self.loss = loss
        self.chunk = chunk
        start = torch.empty(num_identities, dim).normal_(0, INITIAL_STD, generator=generator)
        self.prototypes = nn.Parameter(start)
        self.last_statistics: dict[str, Tensor] = {}

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
            labels = self._checked(features, labels)
            is_labelled = labels >= 0
            if not bool(is_labelled.all()):
                features, labels = features[is_labelled], labels[is_labelled]
            embeddings, norms = self._embedded(features)
            if labels.numel() == 0:
                self.last_statistics = {}
                # Empty sums, so that gradients exist and are zero.
                return embeddings.sum() + self.prototypes[:0].to(embeddings.dtype).sum()
            own, rows, prototypes = self._rows(embeddings, norms, labels)
            target = self.loss.target(own)
            if self.chunk is None:
                pooled, sums = pool_dense(self.loss, rows, prototypes)
            else:
                pooled, sums = pool_chunked(self.loss, rows, prototypes, chunk=self.chunk)
            count = len(labels)
            losses = self.loss.row_losses(target, pooled[:count], own)
            batch = Batch(labels, pooled[:count], pooled[count:], sums, self.num_identities)
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
            labels = self._checked(features, labels)
            embeddings, norms = self._embedded(features)
            cosines = embeddings @ normalise(self.prototypes.to(embeddings.dtype)).T
            scores = self._scores_without_own(cosines, norms)
            is_labelled = labels >= 0
            embeddings, norms, labels = (x[is_labelled] for x in (embeddings, norms, labels))
            own = _own_class(embeddings, self.prototypes[labels], norms)
            rows = self.loss.logits(cosines[is_labelled], labels, own)
            return scores.index_put((is_labelled,), rows)

    def extra_repr(self) -> str:
        """Show the sizes and the switch."""
        return f"num_identities={self.num_identities}, dim={self.dim}, chunk={self.chunk}"

    def _rows(
        self, embeddings: Tensor, norms: Tensor, labels: Tensor
    ) -> tuple[OwnClass, Rows, Tensor]:
        """Return what is known of the samples, what walks over the classes, and the prototypes."""
        has_proxies = self.loss.has_proxy_rows
        present = torch.unique(labels) if has_proxies else labels[:0]
        row_labels = torch.cat([labels, present]) if has_proxies else labels
        own_rows, prototypes = gather_own(self.prototypes, row_labels)
        own = _own_class(embeddings, own_rows[: len(labels)], norms)
        own = replace(own, state=self.loss.observe(own.cosine, norms))
        own = replace(own, prepared=self.loss.prepare(own))
        if not has_proxies:
            return own, Rows(embeddings, labels, own), prototypes
        proxies = normalise(own_rows[len(labels) :].to(embeddings.dtype))
        lengths = self.loss.proxy_norm(own).expand(len(present))
        walking = replace(
            own,
            cosine=torch.cat([own.cosine, torch.ones_like(lengths)]),
            norms=torch.cat([norms, lengths]),
            proxies=len(present),
            prepared=None if own.prepared is None else F.pad(own.prepared, (0, len(present))),
        )
        return own, Rows(torch.cat([embeddings, proxies]), row_labels, walking), prototypes

    def _statistics(
        self, losses: Tensor, own: OwnClass, terms: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return scalars of the last batch for the log, without gradient."""
        own = replace(own, cosine=own.cosine.detach(), norms=own.norms.detach())
        common = {"own_cosine": own.cosine.mean(), "norm": own.norms.mean()}
        added = {name: term.detach() for name, term in terms.items()}
        return common | self.loss.statistics(losses, own) | added

    def _checked(self, features: Tensor, labels: Tensor) -> Tensor:
        """Check shapes, type and range; return the labels as int64."""
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise ValueError(
                f"features must have shape (batch, {self.dim}), got {tuple(features.shape)}"
            )
        if labels.shape != features.shape[:1]:
            raise ValueError(
                f"labels must have shape ({features.shape[0]},), got {tuple(labels.shape)}"
            )
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise TypeError(f"labels must be int64 class indices, got {labels.dtype}")
        labels = labels.to(torch.int64)
        if labels.numel():
            low, high = (int(end) for end in labels.aminmax())
            if low < -1 or high >= self.num_identities:
                raise ValueError(
                    f"labels must lie in [0, {self.num_identities - 1}], or be -1 to ignore a row, "
                    f"got {low if low < -1 else high}; is num_identities that of the data set?"
                )
        return labels

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
