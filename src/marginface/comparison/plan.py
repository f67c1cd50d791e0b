"""What is compared: which losses, from which seeds, trained on what, judged on what."""

from dataclasses import dataclass, replace
from pathlib import Path

from marginface.errors import unknown_name
from marginface.evaluation.settings import check_settings
from marginface.losses import LOSSES, make_loss
from marginface.reconstruction import ReconstructionConfig
from marginface.training import LossConfig, TrainConfig

REFERENCES = ("untrained", "starting-weights")
WITH_RECONSTRUCTION = "+reconstruction"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a comparison: a loss, trained alone or together with reconstruction.

    Args:
        name: What tables and folders call it.
        loss: The loss.
        reconstructs: Whether faces are taken apart and drawn again beside it.
    """

    name: str
    loss: LossConfig
    reconstructs: bool


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """Say everything a comparison needs; two runs of one plan give the same numbers.

    Args:
        losses: The losses, each with its options; a name may stand once.
        baseline: The loss the others are subtracted from.
        reconstructed: Names of losses that are trained once more, together with reconstruction; it
            is set up as the shared config says, or by its defaults.
        seeds: One training run per loss and seed; the seed fixes first weights and data order.
        config: The shared training config; its loss and seed are replaced.
        images: A pack or an identity folder the pairs name their pictures in.
        pairs: A pair list in LFW's format.
        flip_average: Whether embeddings are summed with those of the mirrored faces.
        fmr_targets: False match rates, fractions, at which FNMR is asked for.
        resamples: Bootstrap resamples of the identities.
        references: Networks judged beside the trained ones: `untrained` is the first weights of the
            first seed, `starting-weights` the public or given weights a fine-tuning starts from.
        title: Heading of the report.
    """

    losses: tuple[LossConfig, ...]
    baseline: str
    seeds: tuple[int, ...]
    config: TrainConfig
    images: Path
    pairs: Path
    flip_average: bool = True
    fmr_targets: tuple[float, ...] = (0.1, 0.01, 0.001)
    resamples: int = 1000
    references: tuple[str, ...] = ()
    reconstructed: tuple[str, ...] = ()
    title: str = "Comparison of losses"

    def __post_init__(self) -> None:
        names = [loss.name for loss in self.losses]
        for loss in self.losses:
            if loss.name not in LOSSES:
                raise unknown_name("losses", loss.name, LOSSES)
            make_loss(loss.name, **loss.options)
        if not names or len(set(names)) < len(names):
            raise ValueError(f"losses must be one or more names, each once, got {names}")
        for name in self.reconstructed:
            if name not in names:
                raise unknown_name("reconstructed", name, names)
        if self.baseline not in names:
            raise unknown_name("baseline", self.baseline, names)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be one or more numbers, each once, got {self.seeds}")
        for reference in self.references:
            if reference not in REFERENCES:
                raise unknown_name("references", reference, REFERENCES)
        check_settings(fmr_targets=self.fmr_targets, resamples=self.resamples)
        if "starting-weights" in self.references and self.config.backbone.weights is None:
            raise ValueError(
                "references may name starting-weights only where backbone.weights is given, "
                "got none; name untrained instead"
            )

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Return what is compared: every loss alone, then those with reconstruction."""
        return tuple(
            Variant(
                name=loss.name + (WITH_RECONSTRUCTION if reconstructs else ""),
                loss=loss,
                reconstructs=reconstructs,
            )
            for reconstructs in (False, True)
            for loss in self.losses
            if not reconstructs or loss.name in self.reconstructed
        )

    def run_config(self, variant: Variant, seed: int) -> TrainConfig:
        """Return the config of one run; runs differ in the loss, the seed and reconstruction."""
        shared = self.config.reconstruction or ReconstructionConfig()
        reconstruction = shared if variant.reconstructs else None
        return replace(self.config, loss=variant.loss, seed=seed, reconstruction=reconstruction)
