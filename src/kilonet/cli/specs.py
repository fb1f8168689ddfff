"""``kilonet summary``, ``kilonet show`` and ``kilonet data``: before anything trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kilonet.cli.app import app
from kilonet.cli.options import AsJson, Settings
from kilonet.cli.output import console_for, print_and_draw, print_json, print_text, width_of
from kilonet.errors import UsageError
from kilonet.paths import expand


@app.command(epilog="Example: kilonet summary interim --set 'net.layers.0=conv 10'")
def summary(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NET", help="A bundled network (interim), a TOML file or a run's folder."
        ),
    ],
    settings: Settings = None,
    budget: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Most parameters; exit code 1 above. Default: the study's budget.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a network's layers, the paths that change them, and receptive fields."""
    from kilonet.spec import load_net_and_budget
    from kilonet.summary import check_budget, summarize

    net, limit = load_net_and_budget(name, settings=settings or [])
    found = summarize(net)
    if as_json:
        print_json(found.to_json())
    else:
        console = console_for(as_json)
        width = width_of(console)
        print_text(console, str(found) if width is None else found.to_text(width=width))
    check_budget(net, parameters=budget or limit.parameters, where=name)


@app.command(
    short_help="Print a study, a run or a search space as TOML, or list the bundled ones.",
    epilog="Example: kilonet show interim --set train.epochs=5 > mine.toml",
)
def show(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A bundled study, run or space, a TOML file or a folder. Default: a list.",
        ),
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Print a study, a run or a search space as TOML that loads again, or list the bundled ones.

    A spec is printed as it was written. With --set, or from another folder than its data's path
    starts at, it is printed with all defaults and an absolute path.
    """
    from kilonet.search import bundled_spaces, load_space, space_text
    from kilonet.spec import bundled_specs, spec_data, spec_toml

    spaces = bundled_spaces()
    if name is not None and name in (space.name for space in spaces):
        if as_json:
            print_json(load_space(name, settings=settings or []).to_dict())
        else:
            typer.echo(space_text(name, settings=settings or []).rstrip("\n"))
        return
    if name is not None:
        if as_json:
            print_json(spec_data(name, settings=settings or []))
        else:
            typer.echo(spec_toml(name, settings=settings or []).rstrip("\n"))
        return
    if settings:
        raise UsageError("--set: changes a spec; name it, as in 'kilonet show interim'")
    specs = bundled_specs()
    rows = [
        *(spec._asdict() for spec in specs),
        *({"name": s.name, "kind": "space", "description": s.description} for s in spaces),
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        typer.echo(f"{row['name']:12} {row['kind']:6} {row['description']}")


@app.command(epilog="Example: kilonet data mnist --picture digits.png")
def data(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME|PATH", help="mnist, a folder of IDX files or an NPZ file."),
    ],
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=expand, help="Draw samples of each class as PNG."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Describe a data set: counts, class balance, pixel statistics, checksums."""
    from kilonet.data import describe, draw_samples, load_dataset

    dataset = load_dataset(name)
    found = describe(dataset)
    print_and_draw(
        console_for(as_json),
        text=str(found),
        to_json=lambda drawn: {**found.to_json(), "picture": drawn and str(drawn)},
        picture=picture,
        draw=lambda path: draw_samples(dataset, path),
        label="Samples of each class",
        as_json=as_json,
    )
