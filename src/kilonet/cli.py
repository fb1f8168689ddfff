"""The command line: parse, call, print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from kilonet.environment import package_version
from kilonet.errors import StudyError, UsageError

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
        "--set", metavar="PATH=VALUE", help="Change a value, e.g. train.epochs=5. May be repeated."
    ),
]
_Engine = Annotated[
    str, typer.Option(metavar="NAME", help="auto (native, else torch), native or torch.")
]
_Device = Annotated[
    str, typer.Option(metavar="NAME", help="auto, cpu, cuda or mps. A GPU needs torch.")
]
_Threads = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Threads of the engine. Default: all.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, nothing else.")]


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

    Begin with 'kilonet study': it climbs the bundled ladder on MNIST and writes a report.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(
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
        typer.Option(min=1, metavar="N", help="Runs at once, at most. Default: one a thread."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for another process's study in the folder.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Train every step of a ladder with every seed, and report.

    Steps that are finished are not trained again; stopped ones go on where they stopped, and failed
    ones are tried again.
    """
    from kilonet.report.climb import Climb
    from kilonet.spec import load_study
    from kilonet.study import IncompleteStudyError, run_study

    spec = load_study(name, settings=settings or [])
    console = _console(as_json)
    failures: list[object] = []
    with Climb(spec, console) as climb:
        try:
            result = run_study(
                spec,
                folder=out,
                engine=engine,
                device=device,
                threads=threads,
                jobs=jobs,
                wait=wait,
                observer=climb,
            )
        except IncompleteStudyError as error:
            failures, result = list(error.failures), error.result
        summary = climb.conclude(result)
    if climb.unreported is not None:
        failures.append(climb.unreported)
    if as_json:
        _print_json({**summary, "failures": [str(failure) for failure in failures]})
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
            help="Folder for the run. Default: one under kilonet-runs, named by what is trained.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an unfinished run stopped.")
    ] = False,
    find_lr: Annotated[
        bool,
        typer.Option("--find-lr", help="Train nothing; sweep the learning rate and suggest one."),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where --find-lr draws its curve, as PNG."),
    ] = None,
    engine: _Engine = "auto",
    device: _Device = "auto",
    threads: _Threads = None,
    as_json: _Json = False,
) -> None:
    """Train one network and print its log table."""
    from kilonet import run as training
    from kilonet.report.live import Live
    from kilonet.report.records import run_json
    from kilonet.spec import is_folder, load_run
    from kilonet.store import RunFolder

    if is_folder(name) and RunFolder(name).exists():
        RunFolder(name).run()  # says what is wrong with a damaged one, not with its spec alone
    spec = load_run(name, settings=settings or [])
    if find_lr:
        if out is not None or resume:
            raise UsageError(
                "--find-lr keeps no run: leave out --out and --resume; "
                "--picture says where its curve goes"
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
        raise UsageError("--picture: only --find-lr draws one")
    if out is None and not settings and is_folder(name):
        out = Path(name)
    console = _console(as_json)
    with Live(console) as live:
        record = training.train(
            spec,
            folder=out,
            engine=engine,
            device=device,
            threads=threads,
            resume=resume,
            observer=live,
        )
    if as_json:
        _print_json(run_json(record))
        return
    width, log = _width(console), record.log_table
    _say(console, str(log) if width is None else log.to_text(width=width))
    _say(console, f"Run folder: {record.path}")


@app.command(
    short_help="Rebuild a study's or a run's reports.",
    epilog="Example: kilonet report kilonet-studies/mnist-8k",
)
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A study's folder, or a run's.")],
    as_json: _Json = False,
) -> None:
    """Rebuild report.md and report.html of a study or a run from its records."""
    from kilonet.report.rebuild import rebuild

    rebuilt = rebuild(folder)
    if as_json:
        _print_json(rebuilt.data)
        return
    for file in rebuilt.files:
        typer.echo(f"Report: {file}")


@app.command(
    short_help="Set studies or runs side by side.",
    epilog="Example: kilonet compare kilonet-studies/mnist-8k other-ladder",
)
def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="Folders of studies or runs.")
    ],
    as_json: _Json = False,
) -> None:
    """Set studies or runs side by side: accuracy, paired differences, settings that differ.

    Each is held against the first; pairs are runs of the same seed on the same test images.
    """
    from kilonet.report import comparison

    found = comparison.compare_folders(folders)
    if as_json:
        _print_json(comparison.to_json(found))
        return
    console = _console(as_json)
    _say(console, comparison.to_text(found, width=_width(console)))


def _find_lr(
    run: Run, picture: Path, *, engine: str, device: str, threads: int | None, as_json: bool
) -> None:
    from kilonet.range_test import find_lr
    from kilonet.report.range_test import RangeProgress, range_figure, range_json, range_text

    console = _console(as_json)
    with RangeProgress(console) as bar:
        found = find_lr(run, engine=engine, device=device, threads=threads, progress=bar.step)
    range_figure(found, picture)
    if as_json:
        _print_json(range_json(found, picture=picture))
        return
    _say(console, range_text(found, width=_width(console)))
    _say(console, f"Curve: {picture}")


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
            min=1, metavar="N", help="Most parameters, else the study's; exit code 1 when over."
        ),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Print a network's layers and receptive fields."""
    from kilonet.spec import load_net_and_budget
    from kilonet.summary import check_budget, summarise

    net, limit = load_net_and_budget(name)
    found = summarise(net)
    if as_json:
        _print_json(found.to_json())
    else:
        console = _console(as_json)
        width = _width(console)
        _say(console, str(found) if width is None else found.to_text(width=width))
    check_budget(net, parameters=budget or limit.parameters, where=name)


@app.command(epilog="Example: kilonet data mnist --picture digits.png")
def data(
    name: Annotated[
        str, typer.Argument(metavar="NAME|PATH", help="mnist, an IDX folder or an NPZ file.")
    ],
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write samples of each class, as PNG."),
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
    short_help="Time the native engine beside PyTorch and JAX.",
    epilog="Example: kilonet bench --quick --json",
)
def bench(
    net: Annotated[
        str,
        typer.Option(
            metavar="NAME|PATH",
            help="A bundled network, a TOML file or a run's folder; it is trained on MNIST.",
        ),
    ] = "interim",
    threads: _Threads = None,
    repeats: Annotated[int, typer.Option(min=1, metavar="N", help="Turns of each contender.")] = 5,
    quick: Annotated[
        bool, typer.Option("--quick", help="Steps alone: no evaluation, epochs or memory.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Print where a step's time goes, layer by layer.")
    ] = False,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to draw the roofline of the kernels, as PNG."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Time the native engine beside PyTorch, JAX and the machine's own ceiling.

    Contenders are checked first, then take turns. It takes minutes; PyTorch and JAX are optional.
    """
    from kilonet import bench as benchmark
    from kilonet.report.bench import BenchLive, bench_text, profile_text
    from kilonet.report.roofline import roofline

    console = _console(as_json)
    with BenchLive(console) as live:
        result = benchmark.bench(
            net, threads=threads, repeats=repeats, quick=quick, progress=live.say
        )
    if figure is not None:
        roofline(result, figure)
    if as_json:
        _print_json(result.to_json())
        return
    _say(console, bench_text(result))
    if profile:
        _say(console, f"\n{profile_text(result)}")
    if figure is not None:
        _say(console, f"Roofline: {figure}")


def _console(as_json: bool) -> Console:
    """Where people read: standard error when standard output is for a program."""
    return Console(stderr=as_json, highlight=False)


def _width(console: Console) -> int | None:
    """Columns of the screen; None in a file or a pipe, where lines may be as long as they are."""
    return console.width if console.is_terminal else None


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
