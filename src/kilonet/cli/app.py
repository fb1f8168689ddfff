"""The application, and the options of no command."""

from __future__ import annotations

from typing import Annotated

import typer

from kilonet.storage.environment import package_version

app = typer.Typer(
    name="kilonet",
    epilog="Each command has an example: 'kilonet study --help'.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
