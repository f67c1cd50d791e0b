"""What holds for every test: a seed from its name, no network, shapes checked while it runs."""

import os
import socket
import zlib
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# Shape annotations cost users nothing; they are checked here only.
if os.environ.get("MARGINFACE_SHAPE_HOOK", "1") == "1":
    import tests.typechecker  # noqa: F401  the hook resolves its name, but does not import it

    install_import_hook("marginface", "tests.typechecker.checked")

import torch

# The first example pays for the imports, and a busy machine for its neighbours.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

FACES = Path(__file__).parents[2] / "shared" / "faces"


def seed_of(name: str) -> None:
    seed = zlib.crc32(name.encode())
    torch.manual_seed(seed)
    np.random.seed(seed)


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    seed_of(request.node.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
    """Draw what several tests share from a seed of its own, whichever of them comes first."""
    if fixturedef.scope == "function":
        return (yield)
    before = torch.get_rng_state(), np.random.get_state()
    seed_of(f"{fixturedef.baseid}::{fixturedef.argname}")
    try:
        return (yield)
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])


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
def faces() -> Path:
    """The development face pictures, outside the repository; a machine may be told to have them.

    `.ci/run` sets MARGINFACE_FACES_REQUIRED=1, so that no check on them is skipped unseen there.
    """
    if not FACES.is_dir():
        absent = f"the development face pictures are not on this machine, {FACES} is absent"
        if os.environ.get("MARGINFACE_FACES_REQUIRED") == "1":
            pytest.fail(absent)
        pytest.skip(absent)
    return FACES
