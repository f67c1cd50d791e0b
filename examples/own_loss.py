"""Train a loss of one's own on people who do not exist, and judge it on others.

    python examples/own_loss.py folder [steps]

The margin of this loss fades as a face turns away from its class: 0 at 180°, whole at 0°. A loss
says what becomes of the cosine with the own class; the head does the rest.
"""

import sys
from dataclasses import replace
from pathlib import Path

from marginface import Recognizer
from marginface.data import generate_world, make_pairs, write_pairs
from marginface.losses import LOSSES, OwnClass, SoftmaxLoss
from marginface.recipes import demo
from marginface.recognition import evaluate_pairs
from marginface.training import LossConfig, train


class FadingMargin(SoftmaxLoss):
    """Subtract `margin_cosine` from the own cosine, less of it the further away a face is."""

    paper, arxiv = "mine", ""
    formula = "CE, target s·(cos θ_y - m·(1 + cos θ_y) / 2)"

    def __init__(self, *, margin_cosine: float = 0.35, scale: float = 64.0) -> None:
        super().__init__(scale=scale)
        self.margin_cosine = margin_cosine

    def target(self, own: OwnClass):
        """Return the logit of the own class, one a row."""
        return self.scale * (own.cosine - self.margin_cosine * (1 + own.cosine) / 2)


LOSSES["fading"] = FadingMargin


def main(folder: str, steps: int = 150) -> None:
    """Make two worlds, train on one and judge on the other."""
    here = Path(folder)
    generate_world(here / "learn.pack", identities=60, images_per_identity=16, size=32, workers=1)
    unseen = generate_world(
        here / "unseen.pack",
        identities=30,
        images_per_identity=8,
        size=32,
        first_identity=60,
        workers=1,
    )
    pairs = make_pairs(unseen.names, folds=5, pairs_per_fold=100, seed=0)
    write_pairs(pairs, here / "pairs.txt")
    recipe = demo(here / "learn.pack")
    config = replace(
        recipe,
        loss=LossConfig(name="fading", options={"scale": 32.0}),
        backbone=replace(recipe.backbone, input_size=32),
        epochs=None,
        steps=steps,
    )
    result = train(config, here / "run", is_quiet=True)
    record = evaluate_pairs(
        Recognizer.load(result.model_path), here / "unseen.pack", here / "pairs.txt"
    )
    for name in ("accuracy", "auc"):
        found = record["metrics"][name]
        print(f"{name}: {found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
