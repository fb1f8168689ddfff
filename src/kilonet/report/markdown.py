"""``report.md``: the study in brief, for a pull request or a README, figures beside it."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jinja2

from kilonet.analysis import RungAnalysis, StudyAnalysis
from kilonet.analysis.words import count, percent
from kilonet.atomic import write_atomically
from kilonet.data.catalogue import DATASET_NAMES
from kilonet.report import figures, standing, tables
from kilonet.report.provenance import environment_lines
from kilonet.study import RungResult, StudyResult
from kilonet.table import Table

FIGURES = "figures"
"""The folder beside the report that its pictures are in."""


def write_report(
    result: StudyResult, analysis: StudyAnalysis, path: Path, *, drawn: Collection[int] = ()
) -> None:
    """Write the report and, in ``figures/`` beside it, its pictures.

    Args:
        result: the study, or the part of it that has run.
        analysis: of the same rungs.
        path: the Markdown file.
        drawn: numbers of rungs of which the pictures are there: they do not change any more, and
            take most of a report's time.

    Raises:
        StoreError: if a file cannot be written.
    """
    folder = path.parent
    # Pictures first: a report never links to one that is not there.
    figures.ladder(result, analysis, folder / _ladder_figure())
    for ran in result.rungs:
        if ran.rung.number not in drawn:
            figures.learning_curves(
                ran, target=analysis.target, path=folder / _rung_figure(ran.rung.number)
            )
    write_atomically(path, render(result, analysis, folder=folder))


def render(result: StudyResult, analysis: StudyAnalysis, *, folder: Path) -> str:
    """The report's text.

    Args:
        result: the study, or the part of it that has run.
        analysis: of the same rungs.
        folder: where the report will stand: links are relative to it, so that the study's folder
            can be moved and published as it is.
    """
    study = result.study
    names = [rung.step.name for rung in study.rungs]
    text = _template().render(
        study=study,
        target=percent(analysis.target),
        budget=budget_words(result),
        seeds=f"{count(min(rung.seeds for rung in analysis.rungs), 'seed')} a rung.",
        unfinished=standing.unfinished(result),
        conclusions=analysis.conclusions,
        ladder_figure=_ladder_figure(),
        ladder=tables.ladder(result, analysis),
        ladder_note=_note(tables.LADDER_NOTE),
        seeds_note=_note(f"* Best epoch: {tables.OPTIMISTIC}."),
        rungs=[
            _rung(ran, rung, budget=study.budget.parameters, folder=folder)
            | {"next_rung": names[rung.number] if rung.number < len(names) else ""}
            for ran, rung in zip(result.rungs, analysis.rungs, strict=True)
        ],
        study_file=tables.relative(result.path / "study.toml", folder),
        images_from_the_start=images_named_from_the_start(result),
        environment=environment_lines(result),
    )
    # Conditions in the template leave blank lines; Markdown needs one, readers like one.
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip() + "\n"


def _rung(
    ran: RungResult, rung: RungAnalysis, *, budget: int | None, folder: Path
) -> dict[str, Any]:
    return {
        "number": rung.number,
        "name": rung.name,
        "target": ran.rung.step.target,
        "change": tables.change_line(ran),
        "result": tables.result_lines(ran, rung, budget=budget),
        "seeds": tables.seeds(ran, rung, links_from=folder),
        "sentences": rung.sentences,
        "suggestions": rung.next_steps[: tables.NUM_SUGGESTIONS],
        "next_note": tables.NEXT_NOTES[rung.judged_on],
        "logs": [
            {"seed": record.run.train.seed, "table": record.log_table} for record in ran.records
        ],
        "figure": _rung_figure(rung.number),
    }


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kilonet.report", "."),
        undefined=jinja2.StrictUndefined,
        # By the file's name: HTML would be escaped, Markdown is by `prose`.
        autoescape=jinja2.select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"prose": _prose, "table": _table, "quote": shlex.quote}
    return environment.get_template("report.md.j2")


def _prose(text: str) -> str:
    """A user's words on one line and without tags; Markdown in them is theirs to use."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")


def _table(table: Table) -> str:
    """A Markdown table whose cells hold no tags."""
    rows = tuple(tuple(map(_prose, row)) for row in table.rows)
    return Table(columns=table.columns, rows=rows, left=table.left).to_markdown()


def _note(text: str) -> str:
    """A line that begins with an asterisk would be a list."""
    return text.replace("*", "\\*", 1)


def budget_words(result: StudyResult) -> str:
    """The study's limits, to go on with after a target; "" without any."""
    budget = result.study.budget
    limits = [
        count(limit, noun)
        for limit, noun in ((budget.parameters, "parameter"), (budget.epochs, "epoch"))
        if limit is not None
    ]
    return f", with at most {' and '.join(limits)}" if limits else ""


def images_named_from_the_start(result: StudyResult) -> bool:
    """Whether a rung's images are named from the folder the study was started in."""
    return any(is_named_from_the_start(rung.run.data.name) for rung in result.study.rungs)


def is_named_from_the_start(name: str) -> bool:
    """Whether a data set is found by a path that leads on from the folder a training began in."""
    named = name in DATASET_NAMES or name.startswith("~") or Path(name).is_absolute()
    return not named


def _ladder_figure() -> str:
    return f"{FIGURES}/ladder.png"


def _rung_figure(number: int) -> str:
    return f"{FIGURES}/rung-{number}.png"
