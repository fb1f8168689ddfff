"""The commands that reproduce a report's numbers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from kilonet.data.sources import DATASET_NAMES
from kilonet.formatting import percent
from kilonet.report.content import Content
from kilonet.report.tables import relative
from kilonet.table import Table

SAME_NUMBERS = (
    "Every random choice is a function of the seed, so the same engine on the same kind of machine "
    "with the same number of threads gives the same numbers."
)


class Commands(NamedTuple):
    """Where to run the commands, as the start of a sentence; (purpose, command); a row a run."""

    folder: str
    whole: list[tuple[str, str]]
    runs: Table


def commands(content: Content, *, folder: Path) -> Commands:
    """The commands of a study or a run; paths are relative to ``folder``, the report's."""
    result = content.result
    # Images named by a relative path are found from the folder that the study was started in only.
    elsewhere = any(is_relative(stage.run.data.name) for stage in result.study.stages)
    prefix = "PATH/" if elsewhere else ""

    def quoted(path: Path) -> str:
        return shlex.quote(f"{prefix}{relative(path, folder)}".removesuffix("/."))

    def again(name: str) -> str:
        return f"--out {shlex.quote(f'again-{name}')}"

    data = shlex.quote(result.stages[0].stage.run.data.name)
    first = quoted(result.stages[0].records[0].path)
    whole = [
        ("Both reports, from the records alone", f"kilonet report {quoted(result.path)}"),
        ("A network's layers and receptive fields", f"kilonet summary {first}"),
        ("The data set: counts, classes, checksums", f"kilonet data {data}"),
    ]
    if content.has_target:
        study = quoted(result.path / "study.toml")
        whole.insert(0, ("All runs, tables and charts", f"kilonet study {study} --out again"))
    rows = tuple(
        (
            str(stage.stage.number),
            str(record.run.train.seed),
            percent(record.final_test_accuracy),
            f"kilonet train {quoted(record.path / 'run.toml')} {again(record.path.name)}",
        )
        for stage in result.stages
        for record in stage.records
    )
    columns = ("Stage", "Seed", "Final test accuracy", "Command")
    return Commands(
        folder="In the folder that the study was started in, as its images are named relative to "
        "it (PATH is this report's folder):"
        if elsewhere
        else "In this report's folder:",
        whole=whole,
        runs=Table(columns=columns, rows=rows, left=frozenset({3})),
    )


def is_relative(name: str) -> bool:
    """Whether a data set's name is a path relative to the folder that a training started in."""
    return not (name in DATASET_NAMES or name.startswith("~") or Path(name).is_absolute())
