"""`marginface export`: a model file of a run that is not finished, or a model as an ONNX file."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from marginface.cli.gallery import plain_table
from marginface.cli.output import Json, say, show_or_write, write_json
from marginface.cli.verify import Engine
from marginface.data.splits import read_identity_list
from marginface.errors import counted
from marginface.recognition import ExportPlan, ParityReport, Recognizer, export_onnx
from marginface.recognition.engines import DEFAULT_ENGINE
from marginface.recognition.onnx_export import CALIBRATION_FACES, TOLERANCE, parity_path
from marginface.report.words import title
from marginface.training.export import export_model


def export(
    model: Annotated[
        str,
        Parameter(
            help="Folder of a run, finished or not; for an ONNX file also a model file or the name "
            "of public weights: sface."
        ),
    ],
    out: Annotated[Path, Parameter(help="The file to write: .safetensors, or .onnx.")],
    *,
    precision: Annotated[str, Parameter(help="Of the ONNX file: float32 or int8.")] = "float32",
    images: Annotated[
        Path | None, Parameter(help="A folder, pack or other set to compare on; int8 needs it.")
    ] = None,
    pairs: Annotated[
        Path | None, Parameter(help="Pairs of it, in LFW's format; int8 needs them.")
    ] = None,
    identities: Annotated[
        Path | None,
        Parameter(help="Who of --images int8 is calibrated on; by default all who are in no pair."),
    ] = None,
    calibration: Annotated[
        int, Parameter(help="Faces int8 is calibrated on, at most.")
    ] = CALIBRATION_FACES,
    tolerance: Annotated[
        float, Parameter(help="The accuracy int8 may lose, a fraction, at the end of its interval.")
    ] = TOLERANCE,
    engine: Engine = None,
    resamples: Annotated[int, Parameter(help="Bootstrap resamples of the identities.")] = 1000,
    seed: Annotated[int, Parameter(help="Seed of the bootstrap and of pictures drawn.")] = 0,
    json: Json = None,
) -> None:
    """Write a run's network as a model file, or any model as an ONNX file for other programs.

    Of a run it is the network of the last checkpoint; the run may go on, or have been stopped, on
    any number of processes, and its data is not needed. An ONNX file carries the model's contract,
    and is written only if it is shown to do what the network does; the report goes beside it, as
    OUT.parity.json. In float32 the features must be the same; int8 must not lose more accuracy than
    --tolerance.

    **Examples**

        marginface export runs/arcface arcface.safetensors

        marginface export runs/arcface/model.safetensors arcface.onnx --images val.pack
        --pairs pairs.txt

        marginface export sface small.onnx --precision int8 --images photos --pairs pairs.txt
    """
    # A file of weights has no precision to choose and nothing to be compared with.
    if out.suffix != ".onnx":
        if precision != "float32" or images is not None or pairs is not None:
            raise ValueError(f"precision, images and pairs go with an .onnx file, got {out}")
        if out.suffix != ".safetensors":
            raise ValueError(f"out must end in .safetensors or .onnx, got {out}")
        step = export_model(Path(model), out)
        say(f"{out}: the network after step {step:,} of {model}")
        write_json({"model": model, "out": str(out), "step": step}, json)
        return
    if identities is not None and precision != "int8":
        raise ValueError("identities are who int8 is calibrated on, got them without int8")
    plan = ExportPlan(
        precision=precision,
        engine=engine or DEFAULT_ENGINE,
        images=images,
        pairs=pairs,
        identities=None if identities is None else read_identity_list(identities),
        calibration=calibration,
        tolerance=tolerance,
        seed=seed,
        resamples=resamples,
    )
    if not Path(model).is_dir():
        _write(Recognizer.load(model), out, plan, {"model": model}, json)
        return
    with tempfile.TemporaryDirectory() as folder:
        newest = Path(folder) / "model.safetensors"
        step = export_model(Path(model), newest)
        _write(Recognizer.load(newest), out, plan, {"model": model, "step": step}, json)


def _write(
    recognizer: Recognizer, out: Path, plan: ExportPlan, origin: dict[str, Any], json: Path | None
) -> None:
    of = f"step {origin['step']:,} of {origin['model']}" if "step" in origin else origin["model"]
    # What travels with the file names no path of this machine.
    short = Path(origin["model"]).resolve().name
    called = f"step {origin['step']:,} of {short}" if "step" in origin else short
    report = export_onnx(recognizer, out, plan, name=called)
    say(
        f"{out}: the network of {of}; its features differ from PyTorch's by "
        f"{report.made.feature_largest:.1g} of their length"
    )
    # Here, where it stays, the path is said as well.
    record = {**report.as_dict(), **origin, "out": str(out), "parity": str(parity_path(out))}
    show_or_write({**record, "difference": report.made.feature_largest}, json, _table(report))


def _table(report: ParityReport) -> Table:
    table = plain_table("compared", "on", "found")
    for part in (report.made, report.pictures):
        if part is None:
            continue
        on = f"{part.source}, {part.pictures:,}"
        table.add_row("feature difference, largest", on, f"{part.feature_largest:.2g}")
        table.add_row("feature difference, mean", on, f"{part.feature_mean:.2g}")
        table.add_row("1 - cosine, largest", on, f"{1 - part.cosine_smallest:.2g}")
    if (pairs := report.pairs) is not None:
        on = f"{pairs.source}, {pairs.pairs:,}"
        table.add_row("score difference, largest", on, f"{pairs.score_largest:.2g}")
        if pairs.decisions_changed is not None:
            at = f"decisions changed at {pairs.threshold:.4g}"
            table.add_row(at, on, f"{pairs.decisions_changed:,}")
        for name, each in pairs.metrics.items():
            if name == "accuracy" or name.startswith("fnmr"):
                table.add_row(title(name), on, _metric_words(each))
    if (used := report.calibration) is not None:
        on = f"{used.source}, {counted(used.people, 'person', 'people')}"
        table.add_row("calibrated", on, f"{used.faces:,} faces")
    if (loss := report.highest_loss) is not None and report.tolerance is not None:
        table.add_row(
            "accuracy lost, at most", "95 % interval", f"{loss:.4f} of {report.tolerance:g} allowed"
        )
    return table


def _metric_words(each: dict[str, dict[str, Any]]) -> str:
    value, low, high = (100 * each["difference"][end] for end in ("value", "low", "high"))
    both = f"{_percent(each['network']['value'])} to {_percent(each['file']['value'])}"
    return f"{both}, {value:+.2f} [{low:+.2f}, {high:+.2f}] points"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
