"""`marginface verify`: are two pictures of one person?"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from marginface.cli.output import Json, show_or_write
from marginface.recognition import Recognizer, Verification

Model = Annotated[
    str, Parameter(help="A model file, an ONNX file, or the name of public weights: sface.")
]
Threshold = Annotated[
    float | None, Parameter(help="A cosine in place of the model's own threshold.")
]
Weights = Annotated[Path | None, Parameter(help="The file behind a public name.")]
Engine = Annotated[
    str | None,
    Parameter(help="What runs an ONNX file: onnxruntime (default), openvino or openvino-bf16."),
]


def verify(
    model: Model,
    first: Annotated[Path, Parameter(help="A picture.")],
    second: Annotated[Path, Parameter(help="The other one; the order does not matter.")],
    *,
    threshold: Threshold = None,
    weights: Weights = None,
    engine: Engine = None,
    json: Json = None,
) -> None:
    """Compare the largest central faces of two pictures.

    The answer is the word on the first line and `is_match` of the record; the exit code is 0 for
    both answers, and 1 where there is none: a picture that does not open or shows no face.

    **Examples**

        marginface verify sface passport.jpg door.jpg

        marginface verify runs/mine/model.safetensors a.jpg b.jpg --threshold 0.4 --json -
    """
    recognizer = Recognizer.load(model, weights=weights, engine=engine)
    said = recognizer.verify(first, second, threshold=threshold)
    record = {"model": model, "first": str(first), "second": str(second), **asdict(said)}
    show_or_write(record, json, _words(said))


def _words(said: Verification) -> str:
    if said.threshold is None:
        return f"score {said.score:.4f}; no answer: {without_threshold()}"
    answer = "match" if said.is_match else "no match"
    sign = "≥" if said.is_match else "<"
    return (
        f"{answer}: score {said.score:.4f} {sign} threshold {said.threshold:.4f}\n"
        f"threshold: {said.fixed_on}, {fmr_words(said.fmr)}"
    )


def without_threshold() -> str:
    """Say what to do about a model without a threshold."""
    return (
        "the model has no threshold; give --threshold, or fix one with "
        "`marginface evaluate … --freeze-fmr`"
    )


def fmr_words(fmr: float | None) -> str:
    """Say at which false match rate a threshold was fixed."""
    return "false match rate not stated" if fmr is None else f"false match rate {100 * fmr:.3g} %"
