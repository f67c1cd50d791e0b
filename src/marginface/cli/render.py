"""`marginface render`: a face taken apart, as a sheet of pictures."""

from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray
from rich.table import Table

from marginface.cli.output import Json, show_or_write
from marginface.comparison.depth_study import METHODS, METRICS, judge_depth, true_depth
from marginface.comparison.trained import TrainedReconstruction
from marginface.data import PackedFaces
from marginface.data.pack_format import is_pack
from marginface.detection import Detector
from marginface.files import write_atomically
from marginface.recognition.acquisition import find_face, open_picture
from marginface.reconstruction.portrait import PANELS, centred, depth_pictures
from marginface.report import contact_sheet

CELL_PX = 128


def render(
    run: Annotated[Path, Parameter(help="Folder of a run trained with reconstruction.")],
    pictures: Annotated[
        tuple[Path, ...], Parameter(help="Photos, or one packed data set.", negative="")
    ],
    *,
    out: Annotated[Path, Parameter(help="The sheet to write, a PNG.")] = Path("sheet.png"),
    count: Annotated[int, Parameter(help="Pictures to show of a pack.")] = 8,
    aligned: Annotated[
        bool, Parameter(help="The photos are aligned crops already.", negative="")
    ] = False,
    judged: Annotated[
        int, Parameter(help="Pictures of a procedural pack to judge the depth on; 0 for none.")
    ] = 240,
    json: Json = None,
) -> None:
    """Show what a trained model makes of faces: depth, normals, albedo, new light, new views.

    One row a face: the picture, drawn again, the canonical face, depth (white is near), normals,
    albedo, lit from both sides, turned both ways. For a pack of the procedural world the predicted
    and the true depth in the picture's own view stand beside them, and the errors are judged over
    many pictures against an untrained network, the mean depth and a flat face.

    **Examples**

        marginface render runs/lh2face portrait.jpg --out sheet.png

        marginface render runs/lh2face unseen.pack --count 12 --json depth.json
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if not pictures:
        raise ValueError("pictures must be photos or one packed data set, got none")
    trained = TrainedReconstruction.open(run)
    record: dict[str, Any] = {"run": str(run), "sheet": str(out), "panels": list(PANELS)}
    parts: list[Any] = []
    if len(pictures) == 1 and is_pack(pictures[0]):
        pack = PackedFaces.open(pictures[0])
        chosen = np.unique(np.linspace(0, len(pack) - 1, min(count, len(pack))).astype(int))
        faces = pack.read(chosen)
        sheet = _sheet(trained, faces, pack if "world" in pack.meta else None, chosen.tolist())
        if "world" in pack.meta and judged:
            record["depth"] = judge_depth(trained, pack, pictures=judged)
            parts.append(_table(record["depth"]))
    else:
        detector = None if aligned else Detector.load()
        faces = np.stack(
            [
                _fitted(open_picture(p) if detector is None else find_face(p, detector))
                for p in pictures
            ]
        )
        sheet = _sheet(trained, faces, None, [])
    is_done, png = cv2.imencode(".png", sheet[:, :, ::-1])
    assert is_done
    write_atomically(out, png.tobytes())
    show_or_write(record, json, *parts, f"{out}: {len(faces)} faces, {', '.join(PANELS)}")


def _fitted(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(face, (112, 112), interpolation=cv2.INTER_AREA), np.uint8)


def _sheet(
    trained: TrainedReconstruction,
    faces: NDArray[np.uint8],
    world: PackedFaces | None,
    indices: list[int],
) -> NDArray[np.uint8]:
    images = trained.take_in(faces)
    rows = trained.panels(images)
    names = list(PANELS)
    if world is not None:
        names += ["depth here", "true depth"]
        truth = true_depth(world, indices, size=trained.networks.size)
        drawn = trained.networks.draw(trained.scene(images))
        here = depth_pictures(centred(drawn.depth, drawn.mask))
        true = depth_pictures(centred(truth.depth, truth.mask))
        for row, *panels in zip(rows, here, true, strict=True):
            row += panels
    cells = [
        cv2.resize(panel, (CELL_PX, CELL_PX), interpolation=cv2.INTER_CUBIC)
        for row in rows
        for panel in row
    ]
    return contact_sheet(
        [np.asarray(cell, np.uint8) for cell in cells], len(names), names * len(rows)
    )


def _table(depth: dict[str, Any]) -> Table:
    table = Table(title=f"depth of {depth['pictures']} pictures, {depth['identities']} people")
    for column in ("method", "scale-invariant depth error", "normal angle error"):
        table.add_column(column)
    for name in METHODS:
        first, second = (depth["methods"][name][metric] for metric in METRICS)
        degrees = {end: float(np.degrees(value)) for end, value in second.items()}
        table.add_row(
            name,
            "{value:.4f} [{low:.4f}, {high:.4f}]".format(**first),
            "{value:.1f}° [{low:.1f}, {high:.1f}]".format(**degrees),
        )
    return table
