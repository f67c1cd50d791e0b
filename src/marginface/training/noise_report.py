"""What a trained network made of wrong labels: did it learn them by heart, or see through them?

    given cosine   of a training picture with the class vector of the label it was trained under
    true cosine    with the class vector of the person who is on it

A network that learnt a wrong label by heart has a high given and a low true cosine there. All
pictures are embedded once more as they lie, without augmentation or mirror.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from marginface.data import CorruptedFaces, FaceSet
from marginface.errors import CheckpointMismatchError, DataError
from marginface.evaluation.means import identity_mean, identity_share
from marginface.recognition import Recognizer
from marginface.sphere import normalise
from marginface.training.build import open_training_data
from marginface.training.checkpoint import all_checkpoints, read_state, read_tensors
from marginface.training.rundir import MODEL, read_config

BATCH = 128
PROTOTYPES = "head/prototypes"
# Of every picture: cosine with the given and the true class, and whether either is the nearest.
COLUMNS = ("given_cosine", "true_cosine", "nearest_is_given", "nearest_is_true")


def noise_report(
    run_dir: Path, *, faces: FaceSet | None = None, seed: int = 0, resamples: int = 1000
) -> dict[str, Any]:
    """Measure how a finished run holds its own training pictures, clean and spoilt ones apart.

    The network is that of the model file, so an average where the run keeps one; the class vectors
    are those of its last step, all of them read into memory.

    Args:
        run_dir: The run's folder, with its model file and its checkpoint.
        faces: What `training_pictures` returns for the run; otherwise it is called here.
        seed: Of the bootstrap over people; network and class vectors are held as they are.
        resamples: Its draws.

    Returns:
        `corruption`, and by group of pictures, where it has any (`clean`, `flipped`, `good`,
        `damaged`), the number of `pictures` and each of `COLUMNS` with its interval.

    Raises:
        DataError: If the set is not the one the run was trained on.
        CheckpointMismatchError: If the folder holds no finished run with its checkpoint.
    """
    read_config(run_dir)  # which says where no run is
    if not (found := all_checkpoints(run_dir)) or not (run_dir / MODEL).is_file():
        raise CheckpointMismatchError(
            f"{run_dir} must hold a finished run with its checkpoint, got none; run the same "
            "command again to finish it"
        )
    faces = training_pictures(run_dir) if faces is None else faces
    trained_on = read_state(found[-1]).identity["data.fingerprint"]
    if faces.fingerprint != trained_on:
        raise DataError(
            f"{faces.path} must be what {run_dir} was trained on, fingerprint {trained_on[:12]}, "
            f"got {faces.fingerprint[:12]}"
        )
    spoilt = isinstance(faces, CorruptedFaces)
    true = faces.true_labels if isinstance(faces, CorruptedFaces) else faces.labels
    prototypes = normalise(read_tensors(found[-1], PROTOTYPES)[PROTOTYPES].float())
    values = _values(Recognizer.load(run_dir / MODEL), faces, true, prototypes)
    people = np.asarray(faces.identities)[true]
    return {
        "corruption": faces.counts() if isinstance(faces, CorruptedFaces) else None,
        "groups": {
            name: _group(values[chosen], people[chosen], seed, resamples)
            for name, chosen in _groups(faces).items()
            if chosen.any() and (spoilt or name == "clean")
        },
    }


def training_pictures(run_dir: Path, path: Path | None = None) -> FaceSet:
    """Open what a run was trained on, whatever device it ran on.

    Args:
        run_dir: The run's folder.
        path: Where the set lies now; None for where it was.

    Raises:
        CheckpointMismatchError: If there is no run.
        DataError: If the set is missing or broken.
    """
    config = read_config(run_dir)
    data = config.data if path is None else replace(config.data, path=path)
    # Pictures are looked at on the processor; the run's device may be another machine's.
    return open_training_data(replace(config, data=data, device="cpu"))


def _groups(faces: FaceSet) -> dict[str, NDArray[np.bool_]]:
    """Return which pictures stand together; by label and by damage, which are drawn apart."""
    if not isinstance(faces, CorruptedFaces):
        return {"clean": np.ones(len(faces), np.bool_)}
    by_label = {"clean": ~faces.is_flipped, "flipped": faces.is_flipped}
    if not faces.corruption.low_quality:
        return by_label
    return by_label | {"good": ~faces.is_low_quality, "damaged": faces.is_low_quality}


def _values(
    recognizer: Recognizer, faces: FaceSet, true: NDArray[np.int64], prototypes: torch.Tensor
) -> NDArray[np.float64]:
    """Return `COLUMNS` of every picture, shape (images, 4)."""
    values = np.empty((len(faces), len(COLUMNS)))
    for start in range(0, len(faces), BATCH):
        rows = np.arange(start, min(start + BATCH, len(faces)))
        embeddings = recognizer.embed_aligned(faces.read(rows), flip_average=False)
        cosines = (torch.from_numpy(embeddings) @ prototypes.T).numpy()
        nearest, places = cosines.argmax(axis=1), np.arange(len(rows))
        given, own = faces.labels[rows], true[rows]
        columns = (cosines[places, given], cosines[places, own], nearest == given, nearest == own)
        values[rows] = np.stack(columns, axis=1)
    return values


def _group(
    values: NDArray[np.float64], people: NDArray[Any], seed: int, resamples: int
) -> dict[str, Any]:
    found: dict[str, Any] = {"pictures": len(values)}
    _, owner = np.unique(people, return_inverse=True)
    for name, column in zip(COLUMNS, values.T, strict=True):
        if name.startswith("nearest"):
            hits, trials = np.bincount(owner, column), np.bincount(owner)
            interval = identity_share(hits, trials, seed=seed, resamples=resamples)
        else:
            interval = identity_mean(column, people.tolist(), seed=seed, resamples=resamples)
        found[name] = interval.as_dict()
    return found
