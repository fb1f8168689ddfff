"""The commands that make a report's numbers again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from kilonet.analysis.words import percent
from kilonet.report.markdown import images_named_from_the_start
from kilonet.report.tables import relative
from kilonet.study import StudyResult
from kilonet.table import Table


@dataclass(frozen=True, kw_only=True)
class Command:
    """A line for a shell, and what it makes."""

    what: str
    line: str


@dataclass(frozen=True, kw_only=True)
class Commands:
    """How to make everything again.

    Attributes:
        where: the folder that the commands are run in, as a sentence's beginning.
        whole: what makes many numbers at once.
        runs: one run a row, with the number it ends in and the command that makes it.
    """

    where: str
    whole: tuple[Command, ...]
    runs: Table


def commands(result: StudyResult, *, folder: Path, is_study: bool = True) -> Commands:
    """The commands of a study, or of the one run in ``result``.

    Args:
        result: what is reported.
        folder: where the report stands; paths are relative to it.
        is_study: whether there is a study, not a lone run.
    """
    from_the_start = images_named_from_the_start(result)
    prefix = "PATH/" if from_the_start else ""

    def quoted(path: Path) -> str:
        return shlex.quote(f"{prefix}{relative(path, folder)}".removesuffix("/."))

    here = quoted(result.path)
    data = result.rungs[0].rung.run.data.name
    first = result.rungs[0].records[0].path
    whole = [
        Command(
            what="Both reports, from the records alone",
            line=f"kilonet report {here}",
        ),
        Command(
            what="A network's layers and receptive fields", line=f"kilonet summary {quoted(first)}"
        ),
        Command(
            what="The data set: counts, classes, checksums",
            line=f"kilonet data {shlex.quote(data)}",
        ),
    ]
    if is_study:
        study = quoted(result.path / "study.toml")
        whole.insert(
            0,
            Command(
                what="Every run, table, figure and sentence",
                line=f"kilonet study {study} --out again",
            ),
        )
    rows = tuple(
        (
            str(ran.rung.number),
            str(record.run.train.seed),
            percent(record.final_test_accuracy),
            (
                f"kilonet train {quoted(record.path / 'run.toml')} "
                f"--out {shlex.quote(f'again-{record.path.name}')}"
            ),
        )
        for ran in result.rungs
        for record in ran.records
    )
    return Commands(
        where="From the folder that it was started in, which its images are named from (PATH is "
        "this report's folder):"
        if from_the_start
        else "In this report's folder:",
        whole=tuple(whole),
        runs=Table(
            columns=("Rung", "Seed", "Final test accuracy", "Command"),
            rows=rows,
            left=frozenset({3}),
        ),
    )
