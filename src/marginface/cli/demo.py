"""`marginface demo`: the main job on people who do not exist, offline, in minutes."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from marginface.cli.compare import DEFAULT_LOSSES, loss_config, publish
from marginface.cli.output import Json, say
from marginface.comparison import ComparisonPlan, compare_losses, usual_jobs
from marginface.data import PairList, generate_world, make_pairs, write_pairs
from marginface.recipes import demo as recipe

TRAIN_PEOPLE, TRAIN_PICTURES = 300, 16
UNSEEN_PEOPLE, UNSEEN_PICTURES = 150, 8
SIZE_PX = 64


def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder of the demo; an unfinished one goes on.")] = Path(
        "runs/demo"
    ),
    losses: Annotated[
        tuple[str, ...], Parameter(help="Names of losses.", consume_multiple=True, negative="")
    ] = DEFAULT_LOSSES,
    seeds: Annotated[
        tuple[int, ...],
        Parameter(help="One run a loss and seed.", consume_multiple=True, negative=""),
    ] = (0,),
    epochs: Annotated[float | None, Parameter(help="Length of each training.")] = None,
    jobs: Annotated[int | None, Parameter(help="Runs at a time; by default one a core.")] = None,
    json: Json = None,
) -> None:
    """Make a world of procedural faces, train several losses on it, and report who is better.

    Nothing is downloaded and no real face is used. The people judged on are not those trained on. A
    second call shows the finished result at once.

    **Examples**

        marginface demo

        marginface demo --losses softmax arcface adaface --seeds 0 1 --out runs/mine
    """
    train_pack, unseen_pack = out / "data" / "train.pack", out / "data" / "unseen.pack"
    pair_file = out / "data" / "pairs.txt"
    shared = recipe(train_pack) if epochs is None else recipe(train_pack, epochs=epochs)
    plan = ComparisonPlan(
        losses=tuple(loss_config(name, shared, {}) for name in losses),
        baseline="softmax" if "softmax" in losses else losses[0],
        seeds=seeds,
        config=shared,
        images=unseen_pack,
        pairs=pair_file,
        references=("untrained",),
        title="Losses compared on the procedural face world",
    )
    _make_world(train_pack, unseen_pack, pair_file)  # after the words of the call were checked
    command = shlex.join(["marginface", *sys.argv[1:]])
    record = compare_losses(plan, out, jobs=jobs or usual_jobs(plan), command=command)
    publish(record, out, json)


def _make_world(train_pack: Path, unseen_pack: Path, pair_file: Path) -> None:
    """Make, or find, the people to train on, the people to judge on, and their pairs."""
    if not (train_pack.exists() and unseen_pack.exists()):
        say("making a world of procedural faces")
    generate_world(
        train_pack,
        identities=TRAIN_PEOPLE,
        images_per_identity=TRAIN_PICTURES,
        size=SIZE_PX,
        seed=0,
    )
    unseen = generate_world(
        unseen_pack,
        identities=UNSEEN_PEOPLE,
        images_per_identity=UNSEEN_PICTURES,
        size=SIZE_PX,
        seed=0,
        first_identity=TRAIN_PEOPLE,
    )
    if not pair_file.is_file():
        drawn: PairList = make_pairs(unseen.names, folds=10, pairs_per_fold=300, seed=0)
        write_pairs(drawn, pair_file)
