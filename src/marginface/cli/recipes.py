"""`marginface recipes`: the named runs, what was published of them, and how to repeat one."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import RenderableType
from rich.table import Table

from marginface.cli.output import Json, show_or_write
from marginface.cli.overrides import pick
from marginface.recipes import PUBLISHED, RECIPES, WITHOUT_RECIPE
from marginface.training.config import flat

BINS = {
    "LFW": "lfw",
    "AgeDB-30": "agedb_30",
    "CALFW": "calfw",
    "CPLFW": "cplfw",
    "CFP-FP": "cfp_fp",
}
OWN = "this library"


def recipes(
    name: Annotated[str | None, Parameter(help="One recipe, with its whole config.")] = None,
    *,
    json: Json = None,
) -> None:
    """List the recipes; with NAME, show one in full and the commands that repeat it.

    Expected results are in percent, each with how far a repetition may lie off.

    **Examples**

        marginface recipes

        marginface recipes elasticface-arc-r100-ms1mv2

        marginface recipes adaface-r50-casia --json -
    """
    if name is None:
        record: dict[str, Any] = {
            "recipes": {known: _facts(known) for known in RECIPES},
            "without_recipe": WITHOUT_RECIPE,
        }
        show_or_write(record, json, _overview(record["recipes"]), _left_out())
        return
    pick("recipe", name, RECIPES)
    pack = _pack(name)
    config = RECIPES[name](Path(pack))
    facts = _facts(name)
    record = facts | {
        "name": name,
        "needs": _needs(facts),
        "commands": _commands(name, pack, facts["expected"]),
        "config": config.to_dict(),
    }
    show_or_write(record, json, *_page(record, flat(config.to_dict())))


def _pack(name: str) -> str:
    return PUBLISHED[name].training_set.pack if name in PUBLISHED else "faces.pack"


def _facts(name: str) -> dict[str, Any]:
    config = RECIPES[name](Path(_pack(name)))
    facts: dict[str, Any] = {
        "network": config.backbone.name,
        "loss": config.loss.name,
        "options": dict(config.loss.options),
    }
    if name not in PUBLISHED:
        about = (RECIPES[name].__doc__ or "").splitlines()[0].removeprefix("Return ").rstrip(".")
        own = {"paper": OWN, "label": about, "data": None, "schedule_source": OWN}
        return facts | own | {"expected": [], "inferred": [], "differs": []}
    row = PUBLISHED[name]
    return facts | {
        "paper": row.paper,
        "label": row.label,
        "data": {
            "name": row.training_set.name,
            "identities": row.training_set.identities,
            "images": row.training_set.images,
            "source": row.training_set.source,
        },
        "schedule_source": row.schedule_source,
        "expected": [
            {
                "benchmark": figure.benchmark,
                "metric": figure.metric,
                "value": figure.value,
                "tolerance": figure.tolerance,
                "source": figure.source,
            }
            for figure in row.figures
        ],
        "inferred": list(row.inferred),
        "differs": list(row.differs),
    }


def _needs(facts: dict[str, Any]) -> list[str]:
    data = facts["data"]
    faces = "aligned faces, 112 × 112"
    if data is None:
        return [f"a packed set of {faces}"]
    needs = [f"{data['name']}: {data['identities']:,} people, {data['images']:,} {faces}"]
    benchmarks = dict.fromkeys(figure["benchmark"] for figure in facts["expected"])
    if packs := [f"{BINS[benchmark]}.bin" for benchmark in benchmarks if benchmark in BINS]:
        needs.append(f"the verification packs {', '.join(packs)}")
    needs += [
        f"{benchmark}: its meta files and loose_crop"
        for benchmark in benchmarks
        if benchmark not in BINS
    ]
    return needs


def _commands(name: str, pack: str, expected: list[dict[str, Any]]) -> list[str]:
    run = f"runs/{name}"
    told = ["marginface data convert train.rec " + pack] if name in PUBLISHED else []
    told.append(f"marginface train {pack} {run} --recipe {name} --device cuda")
    for benchmark in dict.fromkeys(figure["benchmark"] for figure in expected):
        if benchmark in BINS:
            told.append(
                f"marginface protocol pairs bin {BINS[benchmark]}.bin "
                f"--model {run}/model.safetensors"
            )
        else:
            folder = benchmark.replace("-", "")
            told.append(
                f"marginface protocol {folder.lower()} --root {folder}/meta "
                f"--model {run}/model.safetensors --images {folder}/loose_crop"
            )
    return [*told, f"marginface train any.pack runs/smoke --recipe {name} --smoke"]


def _overview(facts: dict[str, Any]) -> Table:
    table = Table(show_lines=True)
    # A name is there to be copied, so it is never cut.
    table.add_column("name", no_wrap=True, min_width=max(map(len, facts)))
    for heading in ("row and paper", "data", "network", "loss"):
        table.add_column(heading, overflow="fold")
    table.add_column("expected, %", no_wrap=True)
    for name, one in facts.items():
        paper = f"{one['label']}\n{one['paper']}"
        data = one["data"]["name"] if one["data"] else "any pack"
        table.add_row(name, paper, data, one["network"], one["loss"], _short(one["expected"]))
    return table


def _short(expected: list[dict[str, Any]]) -> str:
    told = []
    for figure in expected:
        # Of the metric what is no matter of course: accuracies are most of the table.
        metric = figure["metric"].removeprefix("TAR at FAR").removeprefix("accuracy").strip()
        told.append(f"{figure['benchmark']} {_percent(figure)}{f' ({metric})' if metric else ''}")
    return "\n".join(told) or "-"


def _percent(figure: dict[str, Any]) -> str:
    value = f"{100 * figure['value']:.2f}"
    off = figure["tolerance"]
    return value if off is None else f"{value} ± {100 * off:.2f}"


def _left_out() -> str:
    rows = "; ".join(f"{label}: {why}" for label, why in WITHOUT_RECIPE.items())
    return f"Rows of ElasticFace's table III without a recipe: {rows}."


def _page(record: dict[str, Any], settings: dict[str, Any]) -> list[RenderableType]:
    config = Table("setting", "value", title="config; every setting is a flag of train")
    for key, value in settings.items():
        config.add_row(key, str(value))
    parts: list[RenderableType] = [
        f"{record['name']}: {record['label']}",
        f"paper: {record['paper']}",
        f"schedule: {record['schedule_source']}",
        config,
    ]
    if record["expected"]:
        expected = Table("benchmark", "metric", "expected, %", "source")
        for figure in record["expected"]:
            cells = (figure["benchmark"], figure["metric"], _percent(figure), figure["source"])
            expected.add_row(*cells)
        parts.append(expected)
    parts += [
        "\n".join([f"{title}:", *(f"  {line}" for line in record[title])])
        for title in ("inferred", "differs", "needs", "commands")
        if record[title]
    ]
    return parts
