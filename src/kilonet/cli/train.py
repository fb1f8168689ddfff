"""``kilonet train``: one run, several seeds, or a learning-rate range test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kilonet.cli.app import app
from kilonet.cli.options import (
    AsJson,
    DataName,
    Device,
    EngineName,
    Epochs,
    Quiet,
    Settings,
    Threads,
)
from kilonet.cli.output import console_for, print_and_draw, print_json, print_text, width_of
from kilonet.errors import StudyError, UsageError
from kilonet.paths import expand

if TYPE_CHECKING:
    from kilonet.spec import Run


@app.command(
    epilog="Example: kilonet train interim --epochs 5 --set train.optimizer.lr=0.02 --out quick",
)
def train(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A bundled run (interim), a TOML file or a run's folder."
        ),
    ] = "interim",
    data: DataName = None,
    epochs: Epochs = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Short for --set train.seed=N.")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Train N runs, with seeds 1 to N. Default: what a file without stages states.",
        ),
    ] = None,
    settings: Settings = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            parser=expand,
            help="Folder for the run; of several seeds, for seed-1, seed-2, … Default: in "
            "kilonet-runs, named by a hash of the spec.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an unfinished run, or begin a new one.")
    ] = False,
    extend: Annotated[
        bool,
        typer.Option(
            "--extend",
            help="Go on from the finished run in the folder RUN, with --epochs more than it has; "
            "its folder stays as it is.",
        ),
    ] = False,
    find_lr: Annotated[
        bool,
        typer.Option("--find-lr", help="Do not train; sweep the learning rate and suggest one."),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=expand, help="Draw the curve of --find-lr as PNG."),
    ] = None,
    engine: EngineName = "auto",
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train one network and print its log table; with several seeds their accuracies and mean."""
    from kilonet import training
    from kilonet.formatting import percent
    from kilonet.report.json.records import run_json
    from kilonet.report.tables import LOG_NOTE, LOG_NOTE_UNTESTED
    from kilonet.report.terminal.run_progress import RunProgress
    from kilonet.report.terminal.seeds import finals
    from kilonet.spec import is_folder, load_run_and_seeds, with_options
    from kilonet.storage.run_folder import RunFolder

    if is_folder(name):
        RunFolder(name).spec()  # an error names what is damaged in the folder, not the spec alone
    if extend and (find_lr or seeds is not None):
        raise UsageError("--extend goes on from one run: leave out --seeds and --find-lr")
    if find_lr and seeds is not None:
        raise UsageError("--find-lr sweeps one run: leave out --seeds")
    options = {
        "--data": ("data.name", data),
        "--epochs": ("train.epochs", epochs),
        "--seed": ("train.seed", seed),
    }
    settings = with_options(settings or [], options)
    spec, num_seeds = load_run_and_seeds(name, settings=settings, seeds=seeds)
    if find_lr:
        if out is not None or resume:
            raise UsageError(
                "--find-lr writes no run: leave out --out and --resume; --picture names the file "
                "of its curve"
            )
        _find_lr(
            spec,
            picture,
            engine=engine,
            device=device,
            threads=threads,
            quiet=quiet,
            as_json=as_json,
        )
        return
    if picture is not None:
        raise UsageError("--picture: only with --find-lr")
    if num_seeds is not None:
        _train_seeds(
            spec,
            num_seeds,
            out=out,
            engine=engine,
            device=device,
            threads=threads,
            resume=resume,
            quiet=quiet,
            as_json=as_json,
        )
        return
    if extend and not is_folder(name):
        raise UsageError(f"--extend goes on from a finished run: name its folder, not {name}")
    if out is None and not settings and not extend and is_folder(name) and RunFolder(name).exists():
        out = expand(name)
    console = console_for(as_json)
    with RunProgress(console, resume=resume, quiet=quiet) as progress:
        record = training.train(
            spec,
            folder=out,
            engine=engine,
            device=device,
            threads=threads,
            resume=resume,
            extend=expand(name) if extend else None,
            observer=progress,
        )
    if not (progress.begun or quiet):
        print_text(console, f"Finished before; read from {record.path}.")
    if as_json:
        print_json(run_json(record))
        return
    if quiet:
        for accuracy, value in finals(record).items():
            print_text(console, f"{accuracy.capitalize()}: {percent(value)}")
    else:
        width, log = width_of(console), record.log_table
        print_text(console, str(log) if width is None else log.to_text(width=width))
        print_text(console, LOG_NOTE if record.tested else LOG_NOTE_UNTESTED)
    if record.ending:
        print_text(console, record.ending)
    print_text(console, f"Run folder: {record.path}")


def _train_seeds(
    run: Run,
    seeds: int,
    *,
    out: Path | None,
    engine: str,
    device: str,
    threads: int | None,
    resume: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from kilonet.report.json.seeds import seeds_json
    from kilonet.report.terminal.run_progress import RunProgress
    from kilonet.report.terminal.seeds import seeds_text
    from kilonet.training.seeds import train_seeds

    console = console_for(as_json)
    with RunProgress(console, resume=resume, quiet=quiet) as progress:
        found = train_seeds(
            run,
            seeds=seeds,
            folder=out,
            engine=engine,
            device=device,
            threads=threads,
            resume=resume,
            observer=progress,
        )
    if as_json:
        print_json(seeds_json(found))
    elif found.records:
        print_text(console, seeds_text(found, begun=progress.begun))
    if found.failures:
        raise StudyError(found.failures)


def _find_lr(
    run: Run,
    picture: Path | None,
    *,
    engine: str,
    device: str,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from kilonet.report.figures.range_test import range_figure
    from kilonet.report.json.range_test import range_json
    from kilonet.report.terminal.range_test import range_progress, range_text
    from kilonet.storage.atomic import check_picture
    from kilonet.training.range_test import find_lr

    if picture is not None:
        check_picture(picture)
    console = console_for(as_json)
    with range_progress(console, quiet=quiet) as progress:
        found = find_lr(run, engine=engine, device=device, threads=threads, progress=progress)
    print_and_draw(
        console,
        text="" if as_json else range_text(found, width=width_of(console)),
        to_json=lambda drawn: range_json(found, picture=drawn),
        picture=picture,
        draw=lambda path: range_figure(found, path),
        label="Curve",
        as_json=as_json,
    )
