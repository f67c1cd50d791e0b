from pathlib import Path

import pytest

from marginface.training import train
from tests.training.tiny import tiny_config, write_pack


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("training") / "patterns.pack")


@pytest.fixture(scope="session")
def whole(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny run that nothing has stopped."""
    folder = tmp_path_factory.mktemp("whole")
    train(tiny_config(pack), folder)
    return folder
