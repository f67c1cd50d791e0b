"""What makes two runs the same: a checkpoint and a run, or the processes of one run."""

import json
from pathlib import Path
from typing import Any

from marginface.errors import CheckpointMismatchError, ProcessMismatchError
from marginface.training.processes import Processes

ABSENT = "absent"
SHOWN = 4


def check_same_run(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse a checkpoint whose settings are not those of the run.

    Args:
        path: The checkpoint, for the message.
        found: Its identity.
        expected: The identity of the run that wants to go on.

    Raises:
        CheckpointMismatchError: If they differ; it says in what.
    """
    if names := _differing(found, expected):
        told = _told(names, found, expected, "there", "here")
        raise CheckpointMismatchError(
            f"{path} must belong to this run, got another one's: {told}; use another run folder, "
            "or start anew without resuming"
        )


def check_same_everywhere(processes: Processes, described: dict[str, Any]) -> None:
    """Refuse processes that were not started for the same run, in all of them.

    Args:
        processes: Those of the run.
        described: What must be the same in all, by name; plain values.

    Raises:
        ProcessMismatchError: If they differ; it says which process, and in what.
    """
    mine = json.loads(json.dumps(described))
    rows = [json.loads(text) for text in processes.texts(json.dumps(mine))]
    for rank, row in enumerate(rows):
        if names := _differing(rows[0], row):
            told = _told(names, rows[0], row, "in process 0", f"in process {rank}")
            raise ProcessMismatchError(
                f"process {rank} must be started for the same run as process 0, got {told}; start "
                "all of them with the same command, data and versions"
            )


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    names = sorted(one.keys() | other.keys())
    return [name for name in names if one.get(name, ABSENT) != other.get(name, ABSENT)]


def _told(
    names: list[str], one: dict[str, Any], other: dict[str, Any], there: str, here: str
) -> str:
    told = [
        f"{name} is {one.get(name, ABSENT)!r} {there} and {other.get(name, ABSENT)!r} {here}"
        for name in names[:SHOWN]
    ]
    return ", ".join(told) + (f", and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
