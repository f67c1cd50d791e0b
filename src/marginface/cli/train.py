"""`marginface train`: one run."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import Parameter

from marginface.cli.output import Json, say, show_or_write
from marginface.cli.overrides import apply_overrides, overrides_class, pick
from marginface.cli.train_plan import show_plan
from marginface.data import FaceSet
from marginface.recipes import RECIPES
from marginface.recipes import smoke as smoke_scale
from marginface.training import TrainConfig, TrainResult, launch
from marginface.training import train as run_training
from marginface.training.build import open_training_data
from marginface.training.plan import memory_warnings

Overrides: Any = overrides_class(TrainConfig, hidden=frozenset({"data.path"}))
NOTHING_GIVEN = Overrides()


def train(
    data: Annotated[Path, Parameter(help="A packed data set, made by `marginface data pack`.")],
    out: Annotated[Path, Parameter(help="Folder of the run; an unfinished run there goes on.")],
    *,
    recipe: Annotated[str, Parameter(help="Where the settings come from.")] = "small",
    config: Annotated[Overrides, Parameter(name="*")] = NOTHING_GIVEN,
    smoke: Annotated[
        bool,
        Parameter(help="Shrink the recipe to minutes, to see that it runs.", negative=""),
    ] = False,
    nproc: Annotated[
        int, Parameter(help="Processes on this machine that share the batch and the classes.")
    ] = 1,
    restart: Annotated[bool, Parameter(help="Throw away what OUT holds.", negative="")] = False,
    plan: Annotated[
        bool,
        Parameter(help="Train nothing: tell memory, time and better settings.", negative=""),
    ] = False,
    identities: Annotated[
        int | None,
        Parameter(help="With --plan: so many people instead of those of DATA, which is not read."),
    ] = None,
    json: Json = None,
) -> None:
    """Train one model; the same command goes on where a run was stopped or killed.

    Every setting of the recipe can be replaced by its dotted name. The folder then holds the model
    file, the checkpoint, a log and TensorBoard curves.

    **Examples**

        marginface train celeb.pack runs/arcface --loss.name arcface

        marginface train celeb.pack runs/tuned --recipe sface-finetune --loss.name elasticface-arc

        marginface train celeb.pack runs/long --epochs 60 --optimizer.lr 0.05

        marginface train celeb.pack runs/smoke --recipe adaface-r50-casia --smoke

        marginface train celeb.pack runs/two --nproc 2

        marginface train celeb.pack runs/large --plan --identities 2000000

        torchrun --nnodes 2 --nproc-per-node 8 --no-python marginface train celeb.pack runs/many
    """
    settings = pick("recipe", recipe, RECIPES)(data)
    if smoke:
        settings = smoke_scale(settings)
        if config.epochs is not None:  # a run has one length; the smoke scale's gives way
            settings = replace(settings, steps=None, epochs=config.epochs)
    settings = apply_overrides(settings, config)
    settings = replace(settings, data=replace(settings.data, path=data))
    if plan:
        show_plan(settings, identities=identities, processes=nproc, json=json)
        return
    if identities is not None:
        raise ValueError(f"identities must go with --plan, got {identities} without it")
    is_first = os.environ.get("RANK", "0") == "0"  # of those torchrun started
    if smoke and is_first:
        say(f"smoke run of {recipe}: it shows that the recipe runs, and its numbers mean nothing")
    result = _trained(settings, out, nproc, resume=not restart)
    if not is_first:
        return
    record = {
        "model": str(result.model_path),
        "steps": result.steps,
        "seconds": result.seconds,
        "images_per_s": result.images_per_s,
        "final_loss": result.final_loss,
        "is_complete": result.is_complete,
        "is_smoke": smoke,
        "config": settings.to_dict(),
    }
    loss = "none logged" if result.final_loss is None else f"{result.final_loss:.3f}"
    show_or_write(
        record,
        json,
        f"{result.model_path}: {result.steps:,} steps in {result.seconds:.0f} s "
        f"({result.images_per_s:.0f} images/s), last loss {loss}",
    )
    if not result.is_complete:
        say("the time limit came before the last step; the same command goes on")


def _trained(config: TrainConfig, out: Path, processes: int, *, resume: bool) -> TrainResult:
    faces = _open_and_warn(config, processes)
    if processes == 1:
        return run_training(config, out, resume=resume, faces=faces)
    is_debug = "--debug" in sys.argv
    return launch(config, out, processes=processes, resume=resume, is_debug=is_debug)


def _open_and_warn(config: TrainConfig, processes: int) -> FaceSet | None:
    """Say if a run will hardly fit into memory, and return its data; nothing if it cannot be told.

    The run starts all the same.
    """
    if "RANK" in os.environ:
        return None  # torchrun's processes may be on many machines
    if processes > 1 and torch.device(config.device).type == "cuda":
        return None  # to ask a GPU takes memory of it, for as long as this process lives
    faces = open_training_data(config)
    for line in memory_warnings(config, len(faces.identities), processes=processes):
        say(line)
    return faces
