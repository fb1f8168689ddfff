"""The observer of a search: receives its events. Its errors never affect the search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kilonet.search.result import SearchResult
from kilonet.search.space import Space
from kilonet.spec import Run
from kilonet.storage.record import RunRecord
from kilonet.training.observer import Guard, GuardedObserver, Observer


@dataclass(frozen=True, kw_only=True)
class SearchRun:
    """One training of a search: of a trial at a rung, or a confirmation with a fresh seed.

    Attributes:
        run: what is trained.
        folder: its run folder.
        number: the trial's.
        rung: from 0.
        num_rungs: of the trial; the last one is the full training.
        confirms: whether it is a confirmation, at full length.
    """

    run: Run
    folder: Path
    number: int
    rung: int
    num_rungs: int
    confirms: bool = False


class SearchObserver:
    """Receives a search's events. Every method does nothing; override those of interest.

    Several runs may train at once. All methods are called in the process and thread that called
    :func:`kilonet.search.loop.search`. Any object with some of these methods will do, and a method
    that raises an ``Exception`` ends the events, not the search.
    """

    def wait(self, line: str) -> None:
        """The search waits for another process, or for a cluster's workers; ``line`` says which."""

    def note(self, line: str) -> None:
        """What the search does with trials that exist, and why it ends early."""

    def begin_search(
        self, space: Space, *, folder: Path, engine: str, num_trials: int, num_jobs: int
    ) -> None:
        """The search begins or goes on; ``num_jobs`` runs train at once, with the engine described.

        Not called if nothing is to train.
        """

    def begin_confirmation(self, runs: list[SearchRun]) -> None:
        """The trials have ended; the best networks train with fresh seeds."""

    def begin_run(self, run: SearchRun) -> Observer | None:
        """A training begins; the observer that is returned receives its steps and epochs."""

    def end_run(self, run: SearchRun, record: RunRecord) -> None:
        """A training is finished, now or before."""

    def fail_run(self, run: SearchRun, reason: str) -> None:
        """A training failed; the others go on."""

    def update(self, so_far: SearchResult) -> None:
        """A trial has ended, or a network is confirmed."""


METHODS = (
    "wait",
    "note",
    "begin_search",
    "begin_confirmation",
    "begin_run",
    "end_run",
    "fail_run",
    "update",
)
"""Of a :class:`SearchObserver`."""


class GuardedSearchObserver(SearchObserver):
    """A search's observer, and those that it returns, behind a :class:`Guard`.

    Args:
        observer: any object with some of a search observer's methods; None for nothing.
    """

    def __init__(self, observer: object) -> None:
        self._told: set[str] = set()
        watcher = SearchObserver() if observer is None else observer
        self._guard = Guard(watcher, methods=METHODS, told=self._told)

    def wait(self, line: str) -> None:
        """Pass it on."""
        self._guard.call("wait", line)

    def note(self, line: str) -> None:
        """Pass it on."""
        self._guard.call("note", line)

    def begin_search(
        self, space: Space, *, folder: Path, engine: str, num_trials: int, num_jobs: int
    ) -> None:
        """Pass it on."""
        self._guard.call(
            "begin_search",
            space,
            folder=folder,
            engine=engine,
            num_trials=num_trials,
            num_jobs=num_jobs,
        )

    def begin_confirmation(self, runs: list[SearchRun]) -> None:
        """Pass it on."""
        self._guard.call("begin_confirmation", runs)

    def begin_run(self, run: SearchRun) -> GuardedObserver:
        """Pass it on; the observer that is returned is guarded too."""
        return GuardedObserver(self._guard.call("begin_run", run), told=self._told)

    def end_run(self, run: SearchRun, record: RunRecord) -> None:
        """Pass it on."""
        self._guard.call("end_run", run, record)

    def fail_run(self, run: SearchRun, reason: str) -> None:
        """Pass it on."""
        self._guard.call("fail_run", run, reason)

    def update(self, so_far: SearchResult) -> None:
        """Pass it on."""
        self._guard.call("update", so_far)
