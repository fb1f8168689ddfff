"""``kilonet bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kilonet.cli.app import app
from kilonet.cli.options import AsJson, Threads
from kilonet.cli.output import console_for, print_and_draw
from kilonet.paths import expand


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
    threads: Threads = None,
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
        typer.Option(metavar="FILE", parser=expand, help="Draw the kernels' roofline as PNG."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time the native engine, PyTorch and JAX, and compare with the machine's ceiling.

    Results are checked before they are timed; measurements alternate. It takes minutes. PyTorch and
    JAX are optional.
    """
    from kilonet import bench as benchmark
    from kilonet.bench.tables import bench_progress, bench_text, profile_table
    from kilonet.report.figures.roofline import roofline
    from kilonet.storage.atomic import check_picture

    if figure is not None:
        check_picture(figure)
    console = console_for(as_json)
    with bench_progress(console) as progress:
        result = benchmark.bench(
            net, threads=threads, repeats=repeats, quick=quick, progress=progress
        )
    text = bench_text(result)
    if profile:
        text += f"\n\n{profile_table(result.profile, threads=result.step.threads)}"
    print_and_draw(
        console,
        text=text,
        to_json=lambda _: result.to_json(),
        picture=figure,
        draw=lambda path: roofline(result, path),
        label="Roofline",
        as_json=as_json,
    )
