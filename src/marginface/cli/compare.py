"""`marginface compare`: losses under equal conditions."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from marginface.cli.output import Json, say, show_or_write
from marginface.cli.overrides import apply_overrides, overrides_class, pick, plain_options
from marginface.comparison import ComparisonPlan, compare_losses, usual_jobs
from marginface.losses import LOSS_FACTS
from marginface.recipes import RECIPES
from marginface.report import comparison_table, write_comparison_page
from marginface.training import LossConfig, TrainConfig

DEFAULT_LOSSES = (
    "softmax",
    "cosface",
    "arcface",
    "elasticface-arc",
    "elasticface-cos-plus",
    "sface",
)
Overrides: Any = overrides_class(TrainConfig, hidden=frozenset({"data.path", "loss", "seed"}))
NOTHING_GIVEN = Overrides()


def compare(
    data: Annotated[Path, Parameter(help="A pack, .rec, .tar shards or Parquet to train on.")],
    out: Annotated[Path, Parameter(help="Folder of the comparison; an unfinished one goes on.")],
    *,
    pairs: Annotated[Path, Parameter(help="Pairs to judge on, in LFW's format.")],
    images: Annotated[
        Path | None, Parameter(help="Where the pairs' pictures are; DATA by default.")
    ] = None,
    losses: Annotated[
        tuple[str, ...], Parameter(help="Names of losses.", consume_multiple=True, negative="")
    ] = DEFAULT_LOSSES,
    baseline: Annotated[str, Parameter(help="The loss the others are compared with.")] = "softmax",
    seeds: Annotated[
        tuple[int, ...],
        Parameter(help="One run a loss and seed.", consume_multiple=True, negative=""),
    ] = (0,),
    recipe: Annotated[str, Parameter(help="Where the shared settings come from.")] = "small",
    references: Annotated[
        tuple[str, ...],
        Parameter(help="Judged too: untrained, starting-weights.", consume_multiple=True),
    ] = ("untrained",),
    reconstructed: Annotated[
        tuple[str, ...],
        Parameter(
            help="Losses to train once more, together with reconstruction.",
            consume_multiple=True,
            negative="",
        ),
    ] = (),
    loss_options: Annotated[
        dict[str, dict[str, str]] | None,
        Parameter(help="Options by loss: --loss-options.sface.intra-rad 0.9."),
    ] = None,
    flip_average: Annotated[bool, Parameter(help="Add the mirrored face.")] = True,
    resamples: Annotated[int, Parameter(help="Bootstrap resamples of the identities.")] = 1000,
    jobs: Annotated[int | None, Parameter(help="Runs at a time; by default one a core.")] = None,
    title: Annotated[str, Parameter(help="Heading of the report.")] = "Comparison of losses",
    config: Annotated[Overrides, Parameter(name="*")] = NOTHING_GIVEN,
    json: Json = None,
) -> None:
    """Train every loss from the same weights on the same batches, and say who is better.

    Each metric comes with its 95 % interval and the paired difference to the baseline. OUT then
    holds every run, results.json and report.html. The same command goes on where it was cut.

    **Examples**

        marginface compare train.pack runs/study --pairs pairs.txt --images val.pack

        marginface compare celeb.pack runs/celeb --data.identities train.txt --pairs val_pairs.txt
        --losses softmax cosface sface --baseline cosface --seeds 0 1 2
    """
    shared = apply_overrides(pick("recipe", recipe, RECIPES)(data), config)
    shared = replace(shared, data=replace(shared.data, path=data))
    options = loss_options or {}
    for name in options:
        pick("loss_options", name, dict.fromkeys(losses))
    plan = ComparisonPlan(
        losses=tuple(loss_config(name, shared, options.get(name, {})) for name in losses),
        baseline=baseline,
        seeds=seeds,
        config=shared,
        images=images or data,
        pairs=pairs,
        flip_average=flip_average,
        resamples=resamples,
        references=references,
        reconstructed=reconstructed,
        title=title,
    )
    command = shlex.join(["marginface", *sys.argv[1:]])
    record = compare_losses(plan, out, jobs=jobs or usual_jobs(plan), command=command)
    publish(record, out, json)


def loss_config(name: str, shared: TrainConfig, options: dict[str, Any]) -> LossConfig:
    """Return a loss with the recipe's options where it has them, and the given ones above them.

    A recipe's `loss.options` (the scale, say) are for whichever losses take them.
    """
    known = LOSS_FACTS[pick("losses", name, {loss: loss for loss in LOSS_FACTS})].defaults
    common = {key: value for key, value in shared.loss.options.items() if key in known}
    return LossConfig(name=name, options=common | plain_options(options))


def publish(record: dict[str, Any], out: Path, json: Path | None = None) -> None:
    """Write the page, show the table, and say where everything is."""
    page = out / "report.html"
    write_comparison_page(record, page)
    show_or_write(record, json, comparison_table(record))
    say(f"report: {page}   record: {out / 'results.json'}")
