"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a value, for example train.epochs=5. Repeatable, in any order.",
    ),
]

DataName = Annotated[
    str | None,
    typer.Option(metavar="NAME|PATH", help="Short for --set data.name=NAME|PATH."),
]

Epochs = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Short for --set train.epochs=N.")
]

EngineName = Annotated[
    str,
    typer.Option(metavar="NAME", help="auto (native if possible, else torch), native or torch."),
]

Device = Annotated[
    str, typer.Option(metavar="NAME", help="auto, cpu, cuda or mps. A GPU needs torch.")
]

Threads = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Threads of the engine. Default: all.")
]

On = Annotated[
    str,
    typer.Option(
        metavar="PLACE",
        help="Where runs train: local, dask (Dask workers started here) or dask://HOST:PORT.",
    ),
]

AllThreads = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Threads of all runs together; default: all. With Dask: of each run; default: 1.",
    ),
]

Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Most runs at a time; default: one per thread. With dask: the workers.",
    ),
]

Wait = Annotated[
    bool, typer.Option("--wait", help="If another process uses the folder, wait for it.")
]

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only the result and where it is.")
]

AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
