"""The observer of a run: receives its events; its errors never affect the training."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kilonet.spec import Run
from kilonet.storage.record import EpochRow


class Observer:
    """Receives a run's events. Every method does nothing; override those of interest.

    Any object with some of these methods is an observer. If a method raises an ``Exception``, it is
    reported in one line on standard error, the observer receives no more events, and the training
    goes on. ``KeyboardInterrupt`` and other errors that are no ``Exception`` stop the training. A
    method that does not return holds the training up.
    """

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
        """Training begins, or resumes after ``epochs_done`` epochs, with the engine described."""

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        """An epoch of ``num_steps`` steps begins."""

    def step(self, *, step: int, batch: int, loss: float, accuracy: float, lr: float) -> None:
        """A step is done.

        Args:
            step: its number in the run, from 0.
            batch: its number in the epoch, from 0.
            loss: its mean loss, nats.
            accuracy: of the epoch so far, percent.
            lr: its learning rate.
        """

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        """An epoch is done and saved; it classified ``correct`` of ``count`` test images right.

        Of a run without test images (``data.test = false``): of the validation split.
        """

    def close(self) -> None:
        """The last call, once: training is done, has failed or was interrupted.

        Also called if nothing was trained, and after another method raised.
        """


METHODS = ("begin", "begin_epoch", "step", "end_epoch", "close")
"""Of an :class:`Observer`."""


class Guard:
    """Calls the methods of an object that watches; methods that it lacks do nothing.

    The first error is reported in one line on standard error, and ends the calls.

    Args:
        watcher: an observer, or a callback, whose method is ``__call__``.
        methods: the names of the methods, of which it should have at least one.
        told: the errors that were reported before; an equal one is not reported again.
    """

    def __init__(
        self, watcher: object, *, methods: Iterable[str], told: set[str] | None = None
    ) -> None:
        self._watcher = watcher
        self._told = set() if told is None else told
        self._failed = False
        if not any(map(self._has, methods)):
            self._tell(f"{_name(watcher)} is no observer: it has none of {', '.join(methods)}", "")

    def call(self, method: str, /, *arguments: Any, **options: Any) -> Any:
        """Call a method; None if there is none, or if one has raised before."""
        return None if self._failed else self._call(method, *arguments, **options)

    def close(self) -> None:
        """Call ``close``, also if another method has raised before."""
        self._call("close")

    def _call(self, method: str, /, *arguments: Any, **options: Any) -> Any:
        try:
            function = getattr(self._watcher, method, None)
            return None if function is None else function(*arguments, **options)
        except Exception as error:
            self._fail(method, error)
        except SystemExit as error:
            # So Rich's console ends a process whose output nobody reads any more.
            if not isinstance(error.__context__, BrokenPipeError):
                raise
            self._fail(method, error.__context__)
        return None

    def _fail(self, method: str, error: Exception) -> None:
        where = "" if method == "__call__" else f" in {method}"
        self._tell(f"{_name(self._watcher)} failed{where}", _described(error))

    def _has(self, method: str) -> bool:
        with suppress(Exception):
            return callable(getattr(self._watcher, method, None))
        return True  # calling it tells why

    def _tell(self, what: str, why: str) -> None:
        self._failed = True
        if what in self._told or sys.stderr is None:
            return
        self._told.add(what)
        line = ": ".join(part for part in ("kilonet", what, why) if part)
        with suppress(Exception):  # nobody reads standard error any more
            text = " ".join(line.split())
            print(f"{text}; it receives no more events, training goes on", file=sys.stderr)


class GuardedObserver(Observer):
    """An observer behind a :class:`Guard`; ``close`` is passed on once.

    Args:
        observer: any object with some of an observer's methods; None for nothing.
        told: as in :class:`Guard`.
    """

    def __init__(self, observer: object, *, told: set[str] | None = None) -> None:
        watcher = Observer() if observer is None else observer
        self._guard = Guard(watcher, methods=METHODS, told=told)
        self._closed = False

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
        """Pass it on."""
        self._guard.call("begin", run, engine=engine, folder=folder, epochs_done=epochs_done)

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        """Pass it on."""
        self._guard.call("begin_epoch", epoch, num_steps=num_steps)

    def step(self, *, step: int, batch: int, loss: float, accuracy: float, lr: float) -> None:
        """Pass it on."""
        self._guard.call("step", step=step, batch=batch, loss=loss, accuracy=accuracy, lr=lr)

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        """Pass it on."""
        self._guard.call("end_epoch", row, correct=correct, count=count)

    def close(self) -> None:
        """Pass it on, once."""
        if not self._closed:
            self._closed = True
            self._guard.close()


def _name(watcher: object) -> str:
    """What it is, for a line: ``observer Tracker``, ``callback show``."""
    if isinstance(watcher, type):
        return f"the class {watcher.__qualname__}, which should be an object,"
    name = None
    with suppress(Exception):  # an object may answer for any name, or raise
        name = getattr(watcher, "__qualname__", None)
    return f"callback {name}" if name else f"observer {type(watcher).__qualname__}"


def _described(error: Exception) -> str:
    """Kind, text and place of an error, in one line."""
    kind, text = type(error).__name__, ""
    with suppress(Exception):
        text = str(error)
    frames = traceback.extract_tb(error.__traceback__)
    # The first frame is the guard's.
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames[1:] else ""
    return f"{kind}: {text}{place}" if text else f"{kind}{place}"
