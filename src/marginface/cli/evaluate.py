"""`marginface evaluate`: one model, one list of pairs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from marginface.cli.output import Json, say, show_or_write
from marginface.cli.verify import Engine, Weights
from marginface.evaluation import FrozenThreshold
from marginface.recognition import Recognizer, write_with_threshold
from marginface.recognition.benchmark import evaluate_pairs
from marginface.recognition.freeze import check_freezable
from marginface.recognition.similarity import check_score
from marginface.report import evaluation_table

SHOWN_SHARES = (0.0, 0.1, 0.2, 0.5)


def evaluate(
    model: Annotated[str, Parameter(help="A model file, or the name of public weights: sface.")],
    *,
    images: Annotated[Path, Parameter(help="A folder in LFW's layout, as it is, or a pack.")],
    pairs: Annotated[Path, Parameter(help="The pairs, in LFW's format.")],
    score: Annotated[
        str, Parameter(help="How two faces are compared: cosine, vmf-mutual or vmf-symmetric.")
    ] = "cosine",
    flip_average: Annotated[
        bool | None, Parameter(help="Add the mirrored face; by default as the model says.")
    ] = None,
    fmr: Annotated[tuple[float, ...], Parameter(help="FMR targets, fractions.", negative="")] = (
        0.001,
        0.01,
        0.1,
    ),
    at_fmr: Annotated[
        float, Parameter(help="FMR of the common threshold of error versus reject and of groups.")
    ] = 0.01,
    groups: Annotated[
        Path | None, Parameter(help="A CSV with a column `picture` and others: rates by group.")
    ] = None,
    group_by: Annotated[str, Parameter(help="The column of --groups.")] = "",
    bins: Annotated[
        int, Parameter(help="Groups a column of numbers is cut into; 0 takes every number.")
    ] = 3,
    freeze_fmr: Annotated[
        float | None, Parameter(help="Fix the model's threshold at this FMR; needs --out-model.")
    ] = None,
    out_model: Annotated[
        Path | None, Parameter(help="Where the copy of the model with that threshold goes.")
    ] = None,
    resamples: Annotated[int, Parameter(help="Bootstrap resamples of the identities.")] = 1000,
    seed: Annotated[int, Parameter(help="Seed of the bootstrap.")] = 0,
    weights: Weights = None,
    engine: Engine = None,
    json: Json = None,
) -> None:
    """Judge a model on pairs of pictures: accuracy, FNMR at FMR, EER, AUC, with 95 % intervals.

    Faces are found and aligned on the fly; pictures of a pack are taken as they are. A picture
    without a face counts as failure to acquire.

    **Examples**

        marginface evaluate sface --images lfw --pairs pairs.txt --json lfw.json

        marginface evaluate sface --images lfw --pairs pairs.txt --groups pose.csv --group-by yaw

        marginface evaluate model.safetensors --images val.pack --pairs pairs.txt
        --freeze-fmr 0.001 --out-model fixed.safetensors
    """
    check_score(score)
    _check_partners(groups, group_by, freeze_fmr, out_model)
    recognizer = Recognizer.load(model, weights=weights, engine=engine)
    if out_model is not None:
        check_freezable(recognizer, out_model, score=score, flip_average=flip_average)
    record = evaluate_pairs(
        recognizer,
        images,
        pairs,
        score=score,
        flip_average=flip_average,
        fmr_targets=fmr,
        at_fmr=at_fmr,
        groups=groups,
        group_by=group_by,
        bins=bins,
        freeze_fmr=freeze_fmr,
        seed=seed,
        resamples=resamples,
    )
    if out_model is not None:
        frozen = FrozenThreshold(**record["frozen_threshold"])
        write_with_threshold(recognizer, out_model, frozen, fixed_on=pairs.name)
    show_or_write(record, json, evaluation_table(record), *_further(record, score))
    if out_model is not None:
        say(_frozen_words(record["frozen_threshold"], out_model))


def _check_partners(
    groups: Path | None, group_by: str, freeze_fmr: float | None, out_model: Path | None
) -> None:
    if (groups is None) != (group_by == ""):
        raise ValueError("--groups FILE and --group-by COLUMN go together, got one of them")
    if (freeze_fmr is None) != (out_model is None):
        raise ValueError("--freeze-fmr and --out-model go together, got one of them")


def _further(record: Mapping[str, Any], score: str) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if score != "cosine":
        parts.append(f"score: {score}, {record['score']['meaning']}")
    if "rejection" in record:
        parts.append(_rejection_words(record["rejection"]))
    if "groups" in record:
        parts.append(_group_part(record["groups"]))
    return parts


def _rejection_words(rejection: Mapping[str, Any]) -> str:
    if "refused" in rejection:
        return f"error versus reject: not measured: {rejection['refused']}"
    part = rejection["fnmr"]
    rates = dict(zip(part["shares"], part["rates"], strict=True))
    seen = ", ".join(
        f"{_percent(rates[share])} without the worst {_percent(share)}"
        for share in SHOWN_SHARES
        if share
    )
    found, apart = part["area"]["value"], part["difference_to_random"]
    verdict = "shown" if apart["is_shown"] else "not shown"
    return (
        f"quality (length of the feature), FNMR at FMR {_percent(rejection['target_fmr'])}: "
        f"{_percent(part['random'])} of all pairs, {seen}\n"
        f"  mean over the shares refused: {_percent(found)}, random {_percent(part['random'])}, "
        f"best possible {_percent(part['area_oracle'])}; difference to random "
        f"{100 * apart['value']:+.2f} [{100 * apart['low']:+.2f}, {100 * apart['high']:+.2f}] "
        f"points, {verdict}"
    )


def _group_part(groups: Mapping[str, Any]) -> RenderableType:
    if "refused" in groups:
        return f"by {groups['column']}: not measured: {groups['refused']}"
    at = f"FMR {_percent(groups['target_fmr'])} of all pairs"
    table = Table(
        title=f"By {groups['column']}, one threshold at {at}",
        caption=f"{groups['unlabelled_pairs']:,} pairs without a label; * few errors, see record",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("pictures of")
    for name in ("mated", "FNMR", "95 % interval", "non-mated", "FMR", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in groups["rows"]:
        cells = [f"{row['mated']:,}", *_rate_words(row, "fnmr")]
        table.add_row(row["name"], *cells, f"{row['nonmated']:,}", *_rate_words(row, "fmr"))
    return table


def _rate_words(row: Mapping[str, Any], kind: str) -> tuple[str, str]:
    rate = row[kind]
    if rate is None:
        return "–", ""
    mark = "*" if kind in row["cautions"] else ""
    return f"{_percent(rate['value'])}{mark}", f"{100 * rate['low']:.2f} – {100 * rate['high']:.2f}"


def _frozen_words(frozen: Mapping[str, Any], out: Path) -> str:
    caution = f"; {frozen['caution']}" if frozen["caution"] else ""
    return (
        f"threshold {frozen['value']:.4f} at FMR {_percent(frozen['fmr'])} "
        f"({frozen['false_matches']:,} of {frozen['nonmated_pairs']:,} non-mated pairs) "
        f"is in {out}{caution}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
