"""Text on a console as it was written: no markup, no emoji codes, no control characters."""

from __future__ import annotations

import os
from contextlib import suppress
from textwrap import wrap

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from kilonet.formatting import one_line, visible


class DisplayConsole(Console):
    """A console that is silent once its reader has ended, as ``head`` does: what it shows goes on.

    Rich's own would end the process.
    """

    def on_broken_pipe(self) -> None:
        """Drop what is left, now and when the process ends."""
        self.quiet = True
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.file.fileno())
            os.close(nowhere)


def print_text(console: Console, text: str, *, wrapped: bool = False) -> None:
    """Print lines as they are; ``wrapped``: broken at the console's width."""
    # Of a str rich would read ":smile:" as an emoji, also without markup.
    console.print(Text(visible(text)), soft_wrap=not wrapped)


def show(console: Console, renderable: RenderableType, *, terminal: bool) -> None:
    """Print what depends on the console's width; without a terminal, without trailing spaces."""
    if terminal:
        console.print(renderable)
        return
    with console.capture() as capture:
        console.print(renderable)
    print_text(console, "\n".join(line.rstrip() for line in capture.get().splitlines()))


def line_of(text: str, style: str = "") -> Text:
    """Text in a cell or a list, for rich's layouts."""
    return Text(one_line(text), style=style)


def num_lines(text: str, *, width: int) -> int:
    """Lines of ``width`` columns that a text takes; 字 takes two columns."""
    letters = "".join(c if cell_len(c) == 1 else "x" * cell_len(c) for c in one_line(text))
    return len(wrap(letters, max(width, 1)))


def shortened(text: str, *, columns: int) -> str:
    """Text that takes at most so many columns, four at least, with … in place of its end."""
    cut = line_of(text)
    cut.truncate(max(columns, 4), overflow="ellipsis")
    return cut.plain
