"""What the length of a feature learns to say about a picture."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from marginface.data import PackWriter, generate_world
from marginface.evaluation.correlation import rank_correlation
from marginface.recognition import Recognizer
from marginface.training import (
    BackboneConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
    read_log,
    train,
)

SIDE = 32


@pytest.mark.slow
def test_sharp_pictures_get_longer_features_than_blurred_ones(tmp_path: Path) -> None:
    """LH2Face, half of the pictures blurred: mean κ of the sharp ones is the larger."""
    world = generate_world(
        tmp_path / "world", identities=40, images_per_identity=12, size=SIDE, difficulty=0.5
    )
    is_blurred = np.arange(len(world)) % 2 == 1
    with PackWriter(tmp_path / "faces", size=SIDE) as writer:
        for row, name in enumerate(world.names):
            face = world.read([row])[0]
            if is_blurred[row]:
                face = np.asarray(cv2.GaussianBlur(face, (0, 0), 3.0), np.uint8)
            writer.add(face, world.identities[int(world.labels[row])], name)
    config = TrainConfig(
        data=DataConfig(path=tmp_path / "faces"),
        backbone=BackboneConfig(
            name="iresnet_tiny", dim=64, input_size=SIDE, options={"freeze_bn_scale": False}
        ),
        loss=LossConfig(name="lh2face"),
        optimizer=OptimizerConfig(lr=0.05),
        schedule=ScheduleConfig(kind="cosine", warmup_steps=30),
        steps=500,
        batch_size=32,
        channels_last=True,
        keeps_tensorboard=False,
    )
    result = train(config, tmp_path / "run", is_quiet=True)
    faces = world.read(list(range(len(world))))
    blurred = np.stack([cv2.GaussianBlur(face, (0, 0), 3.0) for face in faces]).astype(np.uint8)
    recognizer = Recognizer.load(result.model_path)
    sharp_norms = recognizer.embed_with_norms(faces)[1]
    blurred_norms = recognizer.embed_with_norms(blurred)[1]
    assert sharp_norms.mean() > blurred_norms.mean()
    people = [world.identities[int(label)] for label in world.labels]
    sharpness = np.repeat([1.0, 0.0], len(world))
    correlation = rank_correlation(
        np.concatenate([sharp_norms, blurred_norms]), sharpness, people * 2, resamples=200
    )
    assert correlation.low > 0
    last = read_log(tmp_path / "run" / "log.jsonl")[-1]
    assert last["norm_cosine_correlation"] > 0
