"""The entry point of the command line: streams, signals, exit codes, one-line errors."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import typer

from kilonet.cli import app
from kilonet.errors import KilonetError, StudyError, is_out_of_memory
from kilonet.formatting import visible

INTERRUPTED = 130
"""The exit code after Ctrl-C, as in shells: 128 + SIGINT."""

_STOPPED = {
    "search": "stopped; any finished epoch is kept, and the same command resumes",
    "study": "stopped; any finished epoch is kept, and the same command resumes",
    "train": "stopped; any finished epoch is kept; add --resume to the same command to continue",
}


def main() -> None:
    """Run the command line: exit code 0 (done), 1 (could not), 2 (wrong use) or 130 (Ctrl-C).

    SIGTERM (from a scheduler) and SIGHUP (from a terminal that closes) end it as Ctrl-C does, with
    the exit code 128 + the signal's number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the parent; no other file may take its number
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # for a console without × or →
    # Without shared memory joblib says that it works serially; kilonet's workers do not.
    warnings.filterwarnings("ignore", module=r"joblib\._multiprocessing_helpers")
    os.environ.setdefault("PYTHONWARNINGS", "ignore:::joblib._multiprocessing_helpers")
    received: list[int] = []

    def interrupt(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # A signal that the parent ignores, as `nohup` does with SIGHUP, stays ignored.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, interrupt)
    code = run_command(sys.argv[1:])
    if code == INTERRUPTED:
        # Another one would interrupt the exit.
        for number in (signal.SIGINT, *received):
            signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + received[0] if code == INTERRUPTED and received else code)


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
        # "Did you mean …?" already says what to do.
        return _fail(message + ("" if message.endswith("?") else hint), 2)
    except KeyboardInterrupt:  # a second one, while the first is handled
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader has ended, as `head` does; nobody reads a message.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if is_out_of_memory(error):
            kept = "; any finished epoch is kept" if _is_training(arguments) else ""
            return _fail(f"out of memory{kept}: free some, or lower train.batch_size", 1)
        if not isinstance(error, OSError):
            raise
        if error.filename is not None:  # what the system refuses is no bug
            return _fail(f"{os.fsdecode(error.filename)}: {error.strerror}", 1)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        # Without a name it is of standard output.
        return _fail(f"standard output: cannot be written: {error.strerror}", 1)
    if code == INTERRUPTED:
        return _fail(_STOPPED[arguments[0]] if _is_training(arguments) else "stopped", INTERRUPTED)
    return 0


def _is_training(arguments: list[str]) -> bool:
    """Whether the command writes epochs, which are kept whatever happens."""
    return arguments[0] in _STOPPED and "--find-lr" not in arguments


def _fail(message: str, code: int) -> int:
    with suppress(OSError):  # a closed terminal, a full disk: the exit code remains
        print(f"kilonet: {visible(' '.join(message.split()))}", file=sys.stderr)
    return code


def _fail_each(messages: Iterable[object], code: int) -> int:
    for message in messages:
        _fail(str(message), code)
    return code
