"""What holds for every test: a seed from its name, no network, shapes checked while it runs."""

import os
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import install_import_hook

# Shape annotations cost users nothing; they are checked here only.
if os.environ.get("MARGINFACE_SHAPE_HOOK", "1") == "1":
    import tests.typechecker  # noqa: F401  the hook resolves its name, but does not import it

    install_import_hook("marginface", "tests.typechecker.checked")

import torch

FACES = Path(__file__).parents[2] / "shared" / "faces"


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    seed = zlib.crc32(request.node.nodeid.encode())
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        is_local = self.family == socket.AF_UNIX or str(address).startswith(("('127.", "('::1"))
        if not is_local:
            raise AssertionError(f"a test tried to reach {address}")
        original(self, address)

    original = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def faces() -> Iterator[Path]:
    """The development face pictures; absent on users' machines, never absent in CI."""
    if not FACES.is_dir():
        if os.environ.get("CI"):
            pytest.fail(
                f"CI must have the development faces beside the repository, {FACES} is absent"
            )
        pytest.skip("the development face pictures are not on this machine")
    return FACES
