"""`marginface noise`: whether a run learnt its wrong labels by heart."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from marginface.cli.output import Json, show_or_write
from marginface.training import noise_report
from marginface.training.noise_report import training_pictures

TITLES = {
    "given_cosine": "cosine with the given class",
    "true_cosine": "cosine with the true class",
    "nearest_is_given": "given class is the nearest",
    "nearest_is_true": "true class is the nearest",
}


def noise(
    run: Annotated[Path, Parameter(help="Folder of a finished run, its checkpoint in it.")],
    *,
    data: Annotated[
        Path | None, Parameter(help="Where the training set lies now, if not where it was.")
    ] = None,
    resamples: Annotated[int, Parameter(help="Bootstrap resamples of the people.")] = 1000,
    json: Json = None,
) -> None:
    """Show how a run holds its own training pictures: those with true labels, and the others.

    Wrong labels come from --data.label-noise, bad pictures from --data.low-quality. A network that
    learnt a wrong label by heart has a high cosine with the given class there, and a low one with
    the true class. RUN/corruption.csv lists what was replaced.

    **Examples**

        marginface train faces.pack runs/noisy --data.label-noise 0.2

        marginface noise runs/noisy
    """
    faces = None if data is None else training_pictures(run, data)
    record = noise_report(run, faces=faces, resamples=resamples)
    table = Table("pictures", "number", *TITLES.values())
    for name, group in record["groups"].items():
        cells = (_cell(group[key], is_share=key.startswith("nearest")) for key in TITLES)
        table.add_row(name, f"{group['pictures']:,}", *cells)
    show_or_write(record, json, table)


def _cell(interval: dict[str, Any], *, is_share: bool) -> str:
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    if is_share:
        return f"{value:.1%} [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
