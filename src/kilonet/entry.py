"""From the shell to a command and back: streams, signals, exit codes, errors in one line."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import typer

from kilonet.cli import app
from kilonet.errors import KilonetError, StudyError, is_out_of_memory

INTERRUPTED = 130
"""The exit code after Ctrl-C: what shells expect, 128 + SIGINT."""

_STOPPED = {
    "study": "stopped; finished epochs are kept, and the same command goes on",
    "train": "stopped; finished epochs are kept, and the same command with --resume goes on",
}


def main() -> None:
    """Run the command line: exit code 0 (done), 1 (could not), 2 (wrong use) or 130 (Ctrl-C).

    SIGTERM and SIGHUP, of a scheduler or a terminal that closes, end it as Ctrl-C does; the code
    tells which, 128 + its number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever began this: no file is to take its place
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  for as long as we live
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console without × or → still gets the rest
    seen: list[int] = []

    def interrupt(number: int, _: object) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # `nohup` ignores one
            signal.signal(number, interrupt)
    code = run_command(sys.argv[1:])
    if code == INTERRUPTED:
        # A second one has nothing left to end.
        for number in (signal.SIGINT, *seen):
            signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + seen[0] if code == INTERRUPTED and seen else code)


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit code; every error is one line on standard error."""
    try:
        code = app(arguments, prog_name="kilonet", standalone_mode=False)
    except StudyError as error:
        return _fail_each(error.failures, error.exit_code)
    except KilonetError as error:
        return _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        message = error.format_message().rstrip(".")
        hint = f"; see '{context.command_path} --help'" if context is not None else ""
        # "Did you mean …?" says what to do already.
        return _fail(message + ("" if message.endswith("?") else hint), 2)
    except KeyboardInterrupt:  # a second one, while the first was seen to
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader went away, as `head` does; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if is_out_of_memory(error):
            return _fail(
                "out of memory; finished epochs are kept: free some, or lower train.batch_size", 1
            )
        full = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
        if not isinstance(error, OSError) or error.errno not in full:
            raise
        # Files have errors of their own; this is what is printed.
        return _fail(f"standard output: cannot be written: {error.strerror}", 1)
    if code == INTERRUPTED:
        return _fail(_STOPPED.get(arguments[0], "stopped"), INTERRUPTED)
    return 0


def _fail(message: str, code: int) -> int:
    with suppress(OSError):  # a terminal that is gone, a full disk: the code tells it too
        print(f"kilonet: {' '.join(message.split())}", file=sys.stderr)
    return code


def _fail_each(messages: Iterable[object], code: int) -> int:
    for message in messages:
        _fail(str(message), code)
    return code
