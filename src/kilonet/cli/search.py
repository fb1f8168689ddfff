"""``kilonet search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kilonet.cli.app import app
from kilonet.cli.options import (
    AllThreads,
    AsJson,
    DataName,
    Device,
    EngineName,
    Epochs,
    Jobs,
    On,
    Quiet,
    Settings,
    Wait,
)
from kilonet.cli.output import console_for, print_json
from kilonet.errors import StudyError
from kilonet.paths import expand


@app.command(
    short_help="Search for the best network within a budget.",
    epilog="Example: kilonet search digits-small --budget 4000 --trials 100",
)
def search(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SPACE",
            help="A bundled space (digits-small), a TOML file or a search's folder.",
        ),
    ] = "digits-small",
    budget: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Short for --set budget.parameters=N: the most."),
    ] = None,
    trials: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="How many networks to train, in all: a larger number continues a search.",
        ),
    ] = 100,
    confirm: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="How many of the best to train again with fresh seeds."
        ),
    ] = 5,
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many fresh seeds for each of them.")
    ] = 5,
    data: DataName = None,
    epochs: Epochs = None,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of the draws of candidates.")
    ] = 0,
    settings: Settings = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            parser=expand,
            help="Folder for the results. Default: kilonet-searches/NAME-PARAMETERS.",
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="An Optuna storage that several machines share. Default: SQLite in the folder.",
        ),
    ] = None,
    on: On = "local",
    engine: EngineName = "auto",
    device: Device = "auto",
    threads: AllThreads = None,
    jobs: Jobs = None,
    wait: Wait = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search for the most accurate network within a budget of parameters.

    Networks are chosen on the validation split; the test set is never read. Short trainings stop
    most of them early, and the best are trained again with fresh seeds. The same command resumes a
    search that was stopped.
    """
    from kilonet.report.terminal.search_progress import SearchProgress
    from kilonet.search import is_search, load_space
    from kilonet.search import search as run_search
    from kilonet.spec import with_options

    options = {
        "--budget": ("budget.parameters", budget),
        "--data": ("data.name", data),
        "--epochs": ("train.epochs", epochs),
    }
    space = load_space(name, settings=with_options(settings or [], options))
    if out is None and is_search(expand(name)):
        out = expand(name)
    console = console_for(as_json)
    with SearchProgress(console, quiet=quiet) as progress:
        result = run_search(
            space,
            trials=trials,
            confirm=confirm,
            seeds=seeds,
            seed=seed,
            folder=out,
            storage=storage,
            on=on,
            engine=engine,
            device=device,
            threads=threads,
            jobs=jobs,
            wait=wait,
            observer=progress,
        )
        found = progress.finish(result)
    if as_json:
        print_json(found)
    if progress.report_error is not None:
        raise StudyError([progress.report_error])
