"""Protocol records as tables for the terminal, in the words of ISO/IEC 19795."""

from typing import Any

from rich.console import RenderableType
from rich.table import Table

from marginface.report.words import interval_words, number, ordered_metrics, title

Record = dict[str, Any]


def pair_tables(record: Record) -> list[RenderableType]:
    """Return the 1:1 rates with intervals, and the public figures where the record has them."""
    counts = record["pairs"]
    table = Table(
        "metric",
        "value [95 % interval]",
        title=f"{record['protocol']}: {counts['mated']:,} mated, {counts['nonmated']:,} non-mated",
    )
    for name in ordered_metrics(record["metrics"]):
        interval = record["metrics"][name]
        words = f"{number(name, interval['value'])} {interval_words(name, interval)}"
        table.add_row(title(name), words)
    table.add_row("failure to acquire", _percent(record["failure_to_acquire"]))
    parts: list[RenderableType] = [table]
    public = record.get("insightface", {})
    if "mean" in public:
        parts.append(_public_folds(public))
    if "tar_at_far" in public:
        parts.append(_public_rates(public))
    parts += [f"{title(name)}: {reason}" for name, reason in record["refused"].items()]
    return parts + [f"{name}: {remark}" for name, remark in record["cautions"].items()]


def search_tables(record: Record) -> list[RenderableType]:
    """Return CMC, FNIR at FPIR by rule, and MegaFace's identification, whichever there is."""
    parts: list[RenderableType] = []
    if "cmc" in record:
        table = Table("rank", "found within", title=f"{record['protocol']}: CMC")
        for rank, share in record["cmc"].items():
            table.add_row(rank, _rate(share))
        parts.append(table)
    if record.get("fnir_at_fpir"):
        table = Table("rule", "gallery", "FPIR at most", "FPIR met", "FNIR", "threshold")
        for point in record["fnir_at_fpir"]:
            met = "undefined" if point["fpir"] is None else _percent(point["fpir"])
            table.add_row(
                point["rule"],
                point["gallery"],
                _percent(point["target"]),
                met,
                _rate(point, "fnir"),
                f"{point['threshold']:.4f}",
            )
        parts.append(table)
    if "identification" in record:
        ranks = list(record["identification"][0]["cmc"])
        table = Table("distractors", *[f"rank {rank}" for rank in ranks], title=record["protocol"])
        for row in record["identification"]:
            shares = [_rate(row["cmc"][rank]) for rank in ranks]
            table.add_row(f"{row['distractors']:,}", *shares)
        parts.append(table)
    remarks = {**record.get("refused", {}), **record.get("cautions", {})}
    return parts + [f"{name}: {reason}" for name, reason in remarks.items()]


def _public_folds(public: Record) -> Table:
    table = Table("as insightface prints it", "value", caption=public["why_it_differs"])
    table.add_row("accuracy", f"{public['mean']:.5f} +- {public['std']:.5f}")
    table.add_row("TAR at FAR 0.001", f"{public['tar']:.5f} +- {public['tar_std']:.5f}")
    if "exact_minus_public" in public:
        table.add_row("exact accuracy minus this", f"{public['exact_minus_public']:+.5f}")
    return table


def _public_rates(public: Record) -> Table:
    table = Table("FAR", "TAR as published", "FAR met", caption=public["why_it_differs"])
    for row in public["tar_at_far"]:
        table.add_row(f"{row['target']:g}", f"{100 * row['tar']:.2f}", f"{row['far']:.3g}")
    return table


def _rate(ends: Record, key: str = "value") -> str:
    interval = interval_words("eer", ends) if "low" in ends else ""
    return f"{_percent(ends[key])} {interval}".strip()


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
