"""``kilonet study``."""

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
    short_help="Train all stages of a study, and report.",
    epilog="Example: kilonet study mnist-8k --seeds 3 --epochs 10 --out ladder",
)
def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="A bundled study (mnist-8k), a TOML file or a study's folder."
        ),
    ] = "mnist-8k",
    data: DataName = None,
    epochs: Epochs = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Short for --set seeds=N: seeds 1 to N.")
    ] = None,
    settings: Settings = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            parser=expand,
            help="Folder for the results. Default: kilonet-studies/NAME.",
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
    """Train all stages of a study with all seeds, and report.

    Finished runs are skipped, stopped runs resume, and failed runs are tried again. --data,
    --epochs and --set change the base run; a stage that sets the same value has priority.
    """
    from kilonet.report.terminal.study_progress import StudyProgress
    from kilonet.spec import is_folder, load_study, with_options
    from kilonet.storage.run_folder import RunFolder
    from kilonet.study import IncompleteStudyError, run_study

    options = {
        "--data": ("data.name", data),
        "--epochs": ("train.epochs", epochs),
        "--seeds": ("seeds", seeds),
    }
    spec = load_study(name, settings=with_options(settings or [], options))
    if out is None and is_folder(name) and not RunFolder(name).exists():
        out = expand(name)
    console = console_for(as_json)
    failures: list[object] = []
    with StudyProgress(spec, console, quiet=quiet) as progress:
        try:
            result = run_study(
                spec,
                folder=out,
                on=on,
                engine=engine,
                device=device,
                threads=threads,
                jobs=jobs,
                wait=wait,
                observer=progress,
            )
        except IncompleteStudyError as error:
            failures, result = list(error.failures), error.result
        found = progress.finish(result)
    if progress.report_error is not None:
        failures.append(progress.report_error)
    if as_json:
        print_json({**found, "failures": [str(failure) for failure in failures]})
    if failures:
        raise StudyError(failures)
