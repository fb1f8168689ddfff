"""The command line: parse, call, print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from kilonet.errors import StudyError, UsageError
from kilonet.storage.environment import package_version

if TYPE_CHECKING:
    from kilonet.spec import Run

app = typer.Typer(
    name="kilonet",
    epilog="Each command has an example: 'kilonet study --help'.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a value, for example train.epochs=5. Repeatable.",
    ),
]
_Engine = Annotated[
    str,
    typer.Option(metavar="NAME", help="auto (native if possible, else torch), native or torch."),
]
_Device = Annotated[
    str, typer.Option(metavar="NAME", help="auto, cpu, cuda or mps. A GPU needs torch.")
]
_Threads = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Threads of the engine. Default: all.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"kilonet {package_version('kilonet')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """A workbench for image classifiers of a few thousand parameters.

    Start with 'kilonet study': it runs the bundled study on MNIST and writes a report.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(
    short_help="Train all stages of a study, and report.",
    epilog="Example: kilonet study mnist-8k --set seeds=3 --out ladder",
)
def study(
    name: Annotated[
        str, typer.Argument(metavar="STUDY", help="A bundled study (mnist-8k) or a TOML file.")
    ] = "mnist-8k",
    settings: _Set = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Folder for the results. Default: kilonet-studies/NAME."
        ),
    ] = None,
    engine: _Engine = "auto",
    device: _Device = "auto",
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Threads of all runs together. Default: all."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Most runs at a time. Default: one per thread."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="If another process uses the folder, wait for it.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Train all stages of a study with all seeds, and report.

    Finished runs are skipped, stopped runs resume, and failed runs are tried again.
    """
    from kilonet.report.terminal.study_progress import StudyProgress
    from kilonet.spec import load_study
    from kilonet.study import IncompleteStudyError, run_study

    spec = load_study(name, settings=settings or [])
    console = _console(as_json)
    failures: list[object] = []
    with StudyProgress(spec, console) as progress:
        try:
            result = run_study(
                spec,
                folder=out,
                engine=engine,
                device=device,
                threads=threads,
                jobs=jobs,
                wait=wait,
                observer=progress,
            )
        except IncompleteStudyError as error:
            failures, result = list(error.failures), error.result
        data = progress.finish(result)
    if progress.report_error is not None:
        failures.append(progress.report_error)
    if as_json:
        _print_json({**data, "failures": [str(failure) for failure in failures]})
    if failures:
        raise StudyError(failures)


@app.command(
    epilog="Example: kilonet train interim --set train.epochs=5 --out quick",
)
def train(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A bundled run (interim), a TOML file or a run's folder."
        ),
    ] = "interim",
    settings: _Set = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for the run. Default: in kilonet-runs, named by a hash of the spec.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an unfinished run.")] = False,
    find_lr: Annotated[
        bool,
        typer.Option("--find-lr", help="Do not train; sweep the learning rate and suggest one."),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The PNG file for the curve of --find-lr."),
    ] = None,
    engine: _Engine = "auto",
    device: _Device = "auto",
    threads: _Threads = None,
    as_json: _Json = False,
) -> None:
    """Train one network and print its log table."""
    from kilonet import training
    from kilonet.report.json.records import run_json
    from kilonet.report.terminal.run_progress import RunProgress
    from kilonet.spec import is_folder, load_run
    from kilonet.storage.run_folder import RunFolder

    if is_folder(name):
        RunFolder(name).spec()  # an error names what is damaged in the folder, not the spec alone
    spec = load_run(name, settings=settings or [])
    if find_lr:
        if out is not None or resume:
            raise UsageError(
                "--find-lr writes no run: leave out --out and --resume; --picture names the file "
                "of its curve"
            )
        _find_lr(
            spec,
            picture or Path(f"{Path(name).resolve().stem}-learning-rate.png"),
            engine=engine,
            device=device,
            threads=threads,
            as_json=as_json,
        )
        return
    if picture is not None:
        raise UsageError("--picture: only with --find-lr")
    if out is None and not settings and is_folder(name):
        out = Path(name)
    console = _console(as_json)
    with RunProgress(console) as progress:
        record = training.train(
            spec,
            folder=out,
            engine=engine,
            device=device,
            threads=threads,
            resume=resume,
            observer=progress,
        )
    if as_json:
        _print_json(run_json(record))
        return
    width, log = _width(console), record.log_table
    _print(console, str(log) if width is None else log.to_text(width=width))
    _print(console, f"Run folder: {record.path}")


@app.command(
    short_help="Rebuild a study's or a run's reports.",
    epilog="Example: kilonet report kilonet-studies/mnist-8k",
)
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study or a run.")],
    as_json: _Json = False,
) -> None:
    """Rebuild report.md and report.html of a study or a run from its records."""
    from kilonet.report.rebuild import rebuild

    files, data = rebuild(folder)
    if as_json:
        _print_json(data)
        return
    for file in files:
        typer.echo(f"Report: {file}")


@app.command(
    short_help="Compare studies or runs.",
    epilog="Example: kilonet compare kilonet-studies/mnist-8k other-ladder",
)
def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="Folders of studies or runs.")
    ],
    as_json: _Json = False,
) -> None:
    """Compare studies or runs: accuracies, paired differences, settings that differ.

    Each is compared with the first; pairs are runs of the same seed on the same test images.
    """
    from kilonet.report.comparison import compare_folders
    from kilonet.report.json.comparison import comparison_json
    from kilonet.report.terminal.comparison import comparison_text

    comparison = compare_folders(folders)
    if as_json:
        _print_json(comparison_json(comparison))
        return
    console = _console(as_json)
    _print(console, comparison_text(comparison, width=_width(console)))


def _find_lr(
    run: Run, picture: Path, *, engine: str, device: str, threads: int | None, as_json: bool
) -> None:
    from kilonet.report.figures.range_test import range_figure
    from kilonet.report.json.range_test import range_json
    from kilonet.report.terminal.range_test import range_progress, range_text
    from kilonet.training.range_test import find_lr

    console = _console(as_json)
    with range_progress(console) as progress:
        found = find_lr(run, engine=engine, device=device, threads=threads, progress=progress)
    range_figure(found, picture)
    if as_json:
        _print_json(range_json(found, picture=picture))
        return
    _print(console, range_text(found, width=_width(console)))
    _print(console, f"Curve: {picture}")


@app.command(epilog="Example: kilonet summary interim --json")
def summary(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NET", help="A bundled network (interim), a TOML file or a run's folder."
        ),
    ],
    budget: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Most parameters; exit code 1 above. Default: the study's budget.",
        ),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Print a network's layers and receptive fields."""
    from kilonet.spec import load_net_and_budget
    from kilonet.summary import check_budget, summarize

    net, limit = load_net_and_budget(name)
    found = summarize(net)
    if as_json:
        _print_json(found.to_json())
    else:
        console = _console(as_json)
        width = _width(console)
        _print(console, str(found) if width is None else found.to_text(width=width))
    check_budget(net, parameters=budget or limit.parameters, where=name)


@app.command(epilog="Example: kilonet data mnist --picture digits.png")
def data(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME|PATH", help="mnist, a folder of IDX files or an NPZ file."),
    ],
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The PNG file for samples of each class."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Describe a data set and draw samples of each class."""
    from kilonet.data import describe, draw_samples, load_dataset

    dataset = load_dataset(name)
    found = describe(dataset)
    picture = Path(f"{dataset.name}-samples.png") if picture is None else picture
    draw_samples(dataset, picture)
    if as_json:
        _print_json({**found.to_json(), "picture": str(picture)})
        return
    typer.echo(str(found))
    typer.echo(f"Samples of each class: {picture}")


@app.command(
    short_help="Time the native engine, PyTorch and JAX.",
    epilog="Example: kilonet bench --quick --json",
)
def bench(
    net: Annotated[
        str,
        typer.Option(
            metavar="NAME|PATH",
            help="A bundled network, a TOML file or a run's folder, to train on MNIST.",
        ),
    ] = "interim",
    threads: _Threads = None,
    repeats: Annotated[
        int, typer.Option(min=1, metavar="N", help="Repetitions of each measurement.")
    ] = 5,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only steps: no evaluation, epochs or memory.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Print the times of a step by layer.")
    ] = False,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The PNG file for the roofline of the kernels."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Time the native engine, PyTorch and JAX, and compare with the machine's ceiling.

    Results are checked before they are timed; measurements alternate. It takes minutes. PyTorch and
    JAX are optional.
    """
    from kilonet import bench as benchmark
    from kilonet.bench.tables import bench_progress, bench_text, profile_table
    from kilonet.report.figures.roofline import roofline

    console = _console(as_json)
    with bench_progress(console) as progress:
        result = benchmark.bench(
            net, threads=threads, repeats=repeats, quick=quick, progress=progress
        )
    if figure is not None:
        roofline(result, figure)
    if as_json:
        _print_json(result.to_json())
        return
    _print(console, bench_text(result))
    if profile:
        _print(console, f"\n{profile_table(result.profile, threads=result.step.threads)}")
    if figure is not None:
        _print(console, f"Roofline: {figure}")


def _console(as_json: bool) -> Console:
    """The console for people: standard error if standard output is JSON."""
    return Console(stderr=as_json, highlight=False)


def _width(console: Console) -> int | None:
    """Columns of the terminal; None in a file or a pipe, which have no width."""
    return console.width if console.is_terminal else None


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
