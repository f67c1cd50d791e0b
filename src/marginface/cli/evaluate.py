"""`marginface evaluate`: one model, one list of pairs."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from marginface.cli.output import Json, show_or_write
from marginface.recognition import Recognizer
from marginface.recognition.benchmark import evaluate_pairs
from marginface.report import evaluation_table


def evaluate(
    model: Annotated[str, Parameter(help="A model file, or the name of public weights: sface.")],
    *,
    images: Annotated[Path, Parameter(help="A folder in LFW's layout, as it is, or a pack.")],
    pairs: Annotated[Path, Parameter(help="The pairs, in LFW's format.")],
    flip_average: Annotated[
        bool | None, Parameter(help="Add the mirrored face; by default as the model says.")
    ] = None,
    fmr: Annotated[tuple[float, ...], Parameter(help="FMR targets, fractions.", negative="")] = (
        0.001,
        0.01,
        0.1,
    ),
    resamples: Annotated[int, Parameter(help="Bootstrap resamples of the identities.")] = 1000,
    seed: Annotated[int, Parameter(help="Seed of the bootstrap.")] = 0,
    weights: Annotated[Path | None, Parameter(help="The file behind a public name.")] = None,
    json: Json = None,
) -> None:
    """Judge a model on pairs of pictures: accuracy, FNMR at FMR, EER, AUC, with 95 % intervals.

    Faces are found and aligned on the fly; pictures of a pack are taken as they are. A picture
    without a face counts as failure to acquire.

    **Examples**

        marginface evaluate sface --images lfw --pairs pairs.txt --json lfw.json

        marginface evaluate runs/arcface/model.safetensors --images val.pack --pairs pairs.txt
    """
    record = evaluate_pairs(
        Recognizer.load(model, weights=weights),
        images,
        pairs,
        flip_average=flip_average,
        fmr_targets=fmr,
        seed=seed,
        resamples=resamples,
    )
    show_or_write(record, json, evaluation_table(record))
