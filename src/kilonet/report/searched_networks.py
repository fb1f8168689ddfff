"""The networks to take from a search, and the commands that go on from them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from kilonet.formatting import count, interval, percent
from kilonet.report.reproduction import with_engine
from kilonet.report.searched import SearchContent
from kilonet.report.tables import relative
from kilonet.search.files import SPEC, space_to_toml
from kilonet.search.networks import run_to_train
from kilonet.search.result import Candidate
from kilonet.spec import to_toml
from kilonet.summary import Summary, summarize

MAX_NETWORKS = 8
"""Networks with a part of their own, the best first; files and commands name them all."""


class BestNetwork(NamedTuple):
    """A network to take from a search.

    Attributes:
        title: its trial and size.
        accuracy: what it reached, and over what.
        values: of its choices, as TOML in a line.
        summary: its layers.
        toml: its run, ready for ``kilonet train``.
        commands: (purpose, command), to be run in the report's folder.
    """

    title: str
    accuracy: str
    values: str
    summary: Summary
    toml: str
    commands: list[tuple[str, str]]


def networks(content: SearchContent, *, folder: Path) -> list[BestNetwork]:
    """The best, the other confirmed networks, and the rest of the front."""
    return [_network(each, folder=folder) for each in content.shown[:MAX_NETWORKS]]


def space_toml(content: SearchContent, *, folder: Path) -> str:
    """The space as TOML."""
    return space_to_toml(content.result.space, folder=folder)


def search_commands(content: SearchContent, *, folder: Path) -> list[tuple[str, str]]:
    """(Purpose, command) of the search, to be run in the report's folder."""
    result = content.result
    space = shlex.quote(relative(result.path / SPEC, folder))
    again = f"kilonet search {space} --trials {result.num_trials}"
    if result.confirmed:
        seeds = len(result.confirmed[0].seeds)
        again += f" --confirm {len(result.confirmed)} --seeds {seeds}"
    again += " --jobs 1 --out again"
    engines = {engine for record in content.records for engine in record.provenance.engines}
    if len(engines) == 1:
        again = with_engine(again, next(iter(engines)))
    lines = [("The whole search", again)]
    here = shlex.quote(relative(result.path, folder))
    lines.append(("Both reports, from the records alone", f"kilonet report {here}"))
    if result.study_toml is not None:
        study = shlex.quote(relative(result.study_toml, folder))
        purpose = "The best networks on all training images, and their test accuracy"
        lines.insert(0, (purpose, f"kilonet study {study}"))
    return lines


def _network(each: Candidate, *, folder: Path) -> BestNetwork:
    from kilonet.report.search_tables import values_text

    run = each.trial.run
    assert run is not None  # it was trained
    size = count(each.parameters, "parameter")
    if each.confirmed is None:
        accuracy = f"{percent(each.validation_accuracy)} in the single run that chose it"
    else:
        within = "" if each.ci95 is None else f" {interval(*each.ci95)}"
        seeds = count(len(each.confirmed.seeds), "fresh seed")
        accuracy = f"{percent(each.validation_accuracy)}{within}, the mean of {seeds}"
    commands = []
    if each.toml is not None:
        file = shlex.quote(relative(each.toml, folder))
        commands = [
            ("Train it", f"kilonet train {file}"),
            ("Train it with five seeds", f"kilonet train {file} --seeds 5"),
            ("Its layers and receptive fields", f"kilonet summary {file}"),
        ]
    return BestNetwork(
        title=f"Trial {each.trial.number}: {size}",
        accuracy=accuracy,
        values=values_text(each.trial),
        summary=summarize(run.net),
        toml=_text(each.toml) or to_toml(run_to_train(run), folder=folder),
        commands=commands,
    )


def _text(path: Path | None) -> str:
    """A file's text; "" without one that can be read."""
    try:
        return "" if path is None else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
