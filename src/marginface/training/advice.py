"""Which settings of the head suit a run better, and what each would gain.

Every setting is tried in the prediction on top of those advised before it, so the gains add up.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from marginface.heads.precision import PRECISIONS
from marginface.training.build import CHUNK, DENSE_CLASSES, most_processes
from marginface.training.config import TrainConfig
from marginface.training.head_cost import head_cost
from marginface.training.prediction import Facts, Prediction, predict

# A share of the time or the memory of a step below which nothing is worth a change.
LEAST_GAIN = 0.05
# Changes that move the numbers of a run must gain more.
LEAST_GAIN_INEXACT = 0.1
SAMPLED = 0.1
SAMPLING_NEEDS_IT = "head.sample_rate below 1 needs it"
MOST_PROCESSES = 1024
GIB, MIB = 1 << 30, 1 << 20


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One setting: what it is, what would be better, and why.

    Args:
        setting: Its name, `processes` or a dotted name of the config.
        now: What it is.
        better: What is advised; the same where nothing is gained.
        reason: Why.
        saved_s: Seconds a step it saves in one process; None where no time was measured.
        saved_bytes: Memory of one process it saves at the peak.
    """

    setting: str
    now: Any
    better: Any
    reason: str
    saved_s: float | None = None
    saved_bytes: int = 0

    @property
    def is_change(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.now != self.better)


def advise(
    config: TrainConfig, identities: int, facts: Facts, *, processes: int = 1
) -> tuple[Advice, ...]:
    """Return advice on all settings that decide what the head costs, in the order to follow it."""
    trial = _Trial(config, identities, facts, processes)
    chunk, walk, *others = (
        trial.chunk(),
        trial.updates_in_walk(),
        trial.sharing(),
        trial.sample_rate(),
        trial.precision(),
    )
    if trial.config.head.updates_in_walk != walk.better:
        walk = replace(walk, better=True, reason=SAMPLING_NEEDS_IT, saved_s=None, saved_bytes=0)
    return chunk, walk, *others


class _Trial:
    """A config that takes up each advice as it is given."""

    def __init__(self, config: TrainConfig, identities: int, facts: Facts, processes: int) -> None:
        self.config = config
        self.identities = identities
        self.facts = facts
        self.processes = processes
        self.best = self._predicted(config)

    def chunk(self) -> Advice:
        now = self.config.head.chunk
        cost = head_cost(self.config, self.identities, processes=self.processes)
        if self.identities > DENSE_CLASSES:
            matrix = cost.number_bytes * cost.rows * cost.classes
            reason = (
                f"with {self.identities:,} classes the walk saves {cost.matrices:g} matrices of "
                f"rows × classes, {matrix / MIB:,.0f} MiB each; unset it takes {CHUNK:,} at a time"
            )
            if now is None:
                return Advice(setting="head.chunk", now=now, better=now, reason=reason)
            return self._tried("head.chunk", (None,), LEAST_GAIN, lambda _: reason)
        return self._tried(
            "head.chunk",
            (None, CHUNK),
            LEAST_GAIN,
            lambda value: (
                f"{self.identities:,} classes are few enough for one product over all"
                if value is None
                else "no matrix of rows × classes is formed"
            ),
        )

    def updates_in_walk(self) -> Advice:
        name, now = "head.updates_in_walk", self.config.head.updates_in_walk
        if not self._can_walk:
            reason = (
                "goes with SGD, accumulate 1, without Nesterov momentum and without the canonical "
                "term of reconstruction only"
            )
            return Advice(setting=name, now=now, better=now, reason=reason)
        if self.config.head.sample_rate < 1:
            return Advice(setting=name, now=now, better=now, reason=SAMPLING_NEEDS_IT)
        return self._tried(
            name,
            (True, False),
            LEAST_GAIN,
            lambda value: (
                "the gradient of the class vectors is never stored"
                if value
                else "so few class vectors cost little to store a gradient of"
            ),
        )

    def sharing(self) -> Advice:
        now, before, free = self.processes, self.best, self.facts.free_bytes
        if free is None or before.peak_bytes <= free:
            reason = "free memory is not known" if free is None else "it fits"
            return Advice(setting="processes", now=now, better=now, reason=reason)
        most = min(MOST_PROCESSES, most_processes(self.config))
        while self.best.peak_bytes > free and self.processes < most:
            self.processes = min(2 * self.processes, most)
            self.best = self._predicted(self.config)
        if self.best.peak_bytes > free:
            self.processes, self.best = now, before
            reason = (
                f"no number of processes up to {most:,} makes it fit; lower batch_size or "
                "backbone.dim, or raise accumulate"
            )
            return Advice(setting="processes", now=now, better=now, reason=reason)
        return self._advice(
            "processes",
            now,
            self.processes,
            f"each, with {free / GIB:.1f} GiB of its own, holds a share of the classes",
            before,
        )

    def sample_rate(self) -> Advice:
        name, now = "head.sample_rate", self.config.head.sample_rate
        share = self.best.head_s / self.best.step_s if self.best.step_s else 0.0
        if not self._can_walk or now < 1 or share < 0.5:
            reason = f"the head takes {share:.2f} of a step" if self.best.step_s else "exact"
            return Advice(setting=name, now=now, better=now, reason=reason)
        return self._tried(
            name,
            (SAMPLED,),
            LEAST_GAIN_INEXACT,
            lambda _: (
                f"the head takes {share:.2f} of a step; the softmax is then over a sample, "
                "which is another objective"
            ),
            wants_time=True,
            needs={"updates_in_walk": True},
        )

    def precision(self) -> Advice:
        return self._tried(
            "head.precision",
            tuple(PRECISIONS),
            LEAST_GAIN_INEXACT,
            lambda value: (
                f"gradients within {PRECISIONS[value].gradient_error:g} of those in float64"
            ),
            wants_time=True,
        )

    @property
    def _can_walk(self) -> bool:
        """Whether class vectors may move within the walk."""
        descent = self.config.optimizer
        is_plain = descent.name == "sgd" and not descent.nesterov
        return is_plain and self.config.accumulate == 1 and not self.config.canonical_weight

    def _tried(
        self,
        setting: str,
        values: tuple[Any, ...],
        least: float,
        reason: Callable[[Any], str],
        *,
        wants_time: bool = False,
        needs: dict[str, Any] | None = None,
    ) -> Advice:
        """Return the value that gains most, if that is enough; take it and what it needs up."""
        field = setting.removeprefix("head.")
        config, before = self.config, self.best
        now = found = getattr(config.head, field)
        for value in (value for value in values if value != now):
            head = replace(config.head, **{field: value} | (needs or {}))
            changed = replace(config, head=head)
            tried = self._predicted(changed)
            if self._gain(tried, wants_time=wants_time) > (least if found == now else 0):
                found, self.best, self.config = value, tried, changed
        return self._advice(setting, now, found, reason(found), before)

    def _advice(self, setting: str, now: Any, better: Any, reason: str, old: Prediction) -> Advice:
        saved_s = None
        if old.step_s is not None and self.best.step_s is not None:
            saved_s = old.step_s - self.best.step_s
        saved_bytes = old.peak_bytes - self.best.peak_bytes
        return Advice(
            setting=setting,
            now=now,
            better=better,
            reason=reason,
            saved_s=saved_s,
            saved_bytes=saved_bytes,
        )

    def _predicted(self, config: TrainConfig) -> Prediction:
        return predict(config, self.identities, self.facts, processes=self.processes)

    def _gain(self, new: Prediction, *, wants_time: bool) -> float:
        """Return the share saved against the best so far; below 0 is a loss.

        Until it fits it is memory that counts, then time, and memory where time does not suffer.
        """
        old, free = self.best, self.facts.free_bytes
        memory = 1 - new.peak_bytes / old.peak_bytes
        if free is not None and max(old.peak_bytes, new.peak_bytes) > free:
            return memory
        time = 0.0
        if old.step_s is not None and new.step_s is not None:
            time = 1 - new.step_s / old.step_s
        return time if wants_time or time < -LEAST_GAIN / 2 else max(time, memory)
