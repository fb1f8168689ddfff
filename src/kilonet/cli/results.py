"""``kilonet report`` and ``kilonet compare``: what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kilonet.cli.app import app
from kilonet.cli.options import AsJson
from kilonet.cli.output import console_for, print_json, print_text, width_of
from kilonet.paths import expand


@app.command(
    short_help="Rebuild the reports of a study, a search or a run.",
    epilog="Example: kilonet report kilonet-studies/mnist-8k",
)
def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", parser=expand, help="Folder of a study or a run.")
    ],
    as_json: AsJson = False,
) -> None:
    """Rebuild report.md and report.html of a study, a search or a run from its records."""
    from kilonet.report.rebuild import rebuild

    files, data = rebuild(folder)
    if as_json:
        print_json(data)
        return
    for file in files:
        typer.echo(f"Report: {file}")


@app.command(
    short_help="Compare studies or runs.",
    epilog="Example: kilonet compare kilonet-studies/mnist-8k other-ladder",
)
def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR", parser=expand, help="Folders of studies or runs."),
    ],
    as_json: AsJson = False,
) -> None:
    """Compare studies or runs: accuracies, paired differences, settings that differ.

    Each is compared with the first; pairs are runs of the same seed on the same images.
    """
    from kilonet.report.comparison import compare_folders
    from kilonet.report.json.comparison import comparison_json

    comparison = compare_folders(folders)
    if as_json:
        print_json(comparison_json(comparison))
        return
    console = console_for(as_json)
    print_text(console, comparison.to_text(width=width_of(console)))
