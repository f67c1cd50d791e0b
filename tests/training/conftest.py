from pathlib import Path

import pytest
from tests.training.tiny import write_pack


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("training") / "patterns.pack")
