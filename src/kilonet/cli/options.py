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

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only the result and where it is.")
]

AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
