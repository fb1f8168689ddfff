"""What commands print: text for people, or JSON alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from kilonet.errors import KilonetError, StorageError


def console_for(as_json: bool) -> Console:
    """The console for people: standard error if standard output is JSON."""
    from kilonet.report.terminal.text import DisplayConsole

    return DisplayConsole(stderr=as_json, highlight=False)


def width_of(console: Console) -> int | None:
    """Columns of the terminal; None in a file or a pipe, which have no width."""
    return console.width if console.is_terminal else None


def print_text(console: Console, text: str) -> None:
    """Print text as it is: no markup, no wrapping."""
    from kilonet.report.terminal.text import print_text as print_as_it_is

    print_as_it_is(console, text)


def print_json(value: Any) -> None:
    """Print plain data as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_and_draw(
    console: Console,
    *,
    text: str,
    to_json: Callable[[Path | None], Any],
    picture: Path | None,
    draw: Callable[[Path], None],
    label: str,
    as_json: bool,
) -> None:
    """Print a result, and draw its picture if one was asked for.

    A picture that cannot be written is an error, but only after the result was printed.
    """
    from kilonet.storage.atomic import check_picture

    if not as_json:
        print_text(console, text)
    failure: KilonetError | None = None
    if picture is not None:
        try:
            check_picture(picture)
            draw(picture)
        except KilonetError as error:
            failure = error
        except OSError as error:  # Matplotlib's, which wants a folder of its own
            failure = StorageError(f"{picture}: cannot be drawn: {error}")
    if as_json:
        print_json(to_json(picture if failure is None else None))
    if failure is not None:
        raise failure
    if picture is not None and not as_json:
        print_text(console, f"{label}: {picture}")
