import numpy as np
import pytest
from numpy.typing import NDArray

from marginface.recognition import Recognizer


@pytest.fixture(scope="session")
def sface() -> Recognizer:
    return Recognizer.load("sface")


@pytest.fixture
def crops() -> NDArray[np.uint8]:
    """Smooth noise: pictures enough for a network, and different from each other."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (5, 14, 14, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)
