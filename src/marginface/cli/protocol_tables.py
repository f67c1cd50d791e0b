"""Protocol records as tables for the terminal: those of their pages, 1:1 with a line per rate."""

from typing import Any

from rich.console import RenderableType

from marginface.report import evaluation_table, grid_tables, grids_of, systems_of


def protocol_tables(record: dict[str, Any]) -> list[RenderableType]:
    """Return 1:1 rates, public figures, CMC, FNIR at FPIR, distractors: whichever there is."""
    grids = [grid for grid in grids_of(systems_of({"this": record})) if grid.part != "verification"]
    verified = record.get("verification", record)
    if "metrics" in verified:
        origin = {key: record[key] for key in ("model", "features") if key in record}
        return [evaluation_table(verified | origin), *grid_tables(grids)]
    return [*grid_tables(grids)]
