"""Imports go down only: every import of src is read and compared with the floors."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "marginface"

FLOORS = {
    "errors": 0,
    "axes": 0,
    "files": 0,
    "progress": 0,
    "weights": 1,
    "sphere": 1,
    "alignment": 1,
    "rendering": 1,
    "losses": 2,
    "backbones": 2,
    "detection": 2,
    "evaluation": 2,
    "search": 2,
    "heads": 3,
    "data": 3,
    "reconstruction": 3,
    "recognition": 4,
    "report": 4,
    "training": 5,
    "protocols": 5,
    "recipes": 6,
    "comparison": 7,
    "cli": 8,
}
# Within floor 0 the arrow is errors <- files; everything else of one floor stands alone.
SAME_FLOOR = {("files", "errors")}


def room_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            parts = (node.module or "").split(".")
            if parts[0] == "marginface":
                rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "marginface" and len(parts) > 1:
                    rooms.add(parts[1])
    return rooms


FILES = sorted(p for p in SRC.rglob("*.py") if p.name != "__init__.py" or p.parent != SRC)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_go_down(path: Path) -> None:
    room = room_of(path)
    if room == "__main__":
        return
    assert room in FLOORS, f"{path} stands in no room of the table"
    for other in imported_rooms(path) - {room}:
        is_below = FLOORS[other] < FLOORS[room] or (room, other) in SAME_FLOOR
        assert is_below, f"{path}: {room} (floor {FLOORS[room]}) imports {other} ({FLOORS[other]})"


@pytest.mark.parametrize("room", ["evaluation", "report"])
def test_rooms_without_torch(room: str) -> None:
    code = f"import marginface.{room}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
