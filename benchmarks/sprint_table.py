"""The table of a race; it needs no PyTorch, and so neither does scripts/update_sprint_doc.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kilonet.table import Table


def table(stages: Sequence[dict[str, Any]]) -> Table:
    """A row a stage and side, the ratio in PyTorch's; from what ``race`` of sprint.py returns."""
    rows = []
    for stage in stages:
        ratio = stage["ratio"]
        times = f"{ratio['median']:.1f} ({ratio['min']:.1f} to {ratio['max']:.1f})"
        sides = {"kilonet": ("kilonet", "–"), "torch": (f"PyTorch {stage['variant']}", times)}
        for side, (title, cell) in sides.items():
            accuracy, seconds = stage[side]["accuracy"], stage[side]["seconds"]
            digits = 3 if stage["kilonet"]["seconds"]["mean"] < 1 else 2
            rows.append(
                (
                    f"{stage['name']}: {title}",
                    *_cells(accuracy, digits=2),
                    *_cells(seconds, digits=digits),
                    cell,
                )
            )
    columns = (
        "Stage",
        *("Accuracy (%)", "95 % interval", "Range"),
        *("Seconds", "95 % interval", "Range"),
        "Times kilonet's",
    )
    return Table(columns=columns, rows=tuple(rows), left=frozenset({0}))


def _cells(found: dict[str, Any], *, digits: int) -> tuple[str, str, str]:
    """Mean, interval and range."""

    def span(low: float, high: float) -> str:
        return f"{low:.{digits}f} to {high:.{digits}f}"

    interval = "–" if found["ci95"] is None else span(*found["ci95"])
    return f"{found['mean']:.{digits}f}", interval, span(found["min"], found["max"])
