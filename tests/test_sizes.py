"""Files up to 300 lines (backbones 400), functions up to 60 lines with their docstring."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "marginface"
FILES = sorted(SRC.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_file_length(path: Path) -> None:
    limit = 400 if "backbones" in path.parts else 300
    assert len(path.read_text().splitlines()) <= limit


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_function_length(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert code_lines(node) <= 40, f"{path.name}:{node.lineno} {node.name}"
