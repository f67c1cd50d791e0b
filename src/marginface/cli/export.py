"""`marginface export`: a model file of a run that is not finished."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from marginface.cli.output import say
from marginface.training.export import export_model


def export(
    run: Annotated[Path, Parameter(help="Folder of a run, finished or not.")],
    out: Annotated[Path, Parameter(help="The model file to write.")],
) -> None:
    """Write the network of a run's last checkpoint as a model file.

    The run may go on, or have been stopped, on any number of processes; its data is not needed.

    **Examples**

        marginface export runs/arcface arcface.safetensors
    """
    step = export_model(run, out)
    say(f"{out}: the network after step {step:,} of {run}")
