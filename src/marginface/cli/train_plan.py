"""What `marginface train --plan` tells of a run that has not started."""

from pathlib import Path

from rich.table import Column, Table

from marginface.cli.output import say, show_or_write
from marginface.training import TrainConfig
from marginface.training.advice import Advice
from marginface.training.build import open_training_data
from marginface.training.plan import Plan, plan

GIB, MIB = 1 << 30, 1 << 20


def show_plan(
    config: TrainConfig, *, identities: int | None, processes: int, json: Path | None
) -> None:
    """Show or write what a run costs.

    Args:
        config: The run.
        identities: How many people; nothing for those of the set, which is opened then.
        processes: How many share batch and classes.
        json: Where the record goes.
    """
    faces = open_training_data(config) if identities is None else None
    count = identities if faces is None else len(faces.identities)
    found = plan(config, count or 0, processes=processes, faces=faces)
    record = found.to_dict() | {"config": config.to_dict()}
    show_or_write(record, json, _title(config, found), _costs(found), _sum(found), _advice(found))
    for line in (*found.warnings, *found.notes):
        say(line)


def _title(config: TrainConfig, found: Plan) -> str:
    each = f", shared by {found.processes} processes; of one of them" * (found.processes > 1)
    return (
        f"{config.loss.name}, {config.backbone.name}, {found.identities:,} identities of "
        f"{config.backbone.dim} dimensions, batch {config.batch_size} on {config.device}{each}:"
    )


def _costs(found: Plan) -> Table:
    table = Table("part", *_right("between steps, MiB", "at the peak, MiB", "s a step"))
    for part in found.parts:
        memory = (f"{size / MIB:,.0f}" for size in (part.kept_bytes, part.peak_bytes))
        table.add_row(part.name, *memory, _number(part.seconds))
    return table


def _sum(found: Plan) -> str:
    free = "" if found.free_bytes is None else f" of {found.free_bytes / GIB:.1f} GiB"
    lines = [f"{found.peak_bytes / GIB:.2f} GiB{free} at the peak of a step"]
    if found.step_s is not None:
        lines.append(f"{found.step_s:.3g} s a step, {found.images_per_s:.3g} images/s")
    if found.hours is not None:
        lines.append(f"{found.hours:.3g} hours for {found.steps:,} steps")
    return "\n".join(lines)


def _advice(found: Plan) -> Table:
    gains = _right("saves s a step", "saves MiB")
    table = Table("setting", "now", "advised", *gains, "why")
    for one in found.advice:
        table.add_row(one.setting, _word(one.now), _word(one.better), *_gains(one), one.reason)
    return table


def _gains(one: Advice) -> tuple[str, str]:
    if not one.is_change:
        return "", ""
    return _number(one.saved_s), f"{one.saved_bytes / MIB:,.0f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]


def _word(value: object) -> str:
    if value is None:
        return "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
