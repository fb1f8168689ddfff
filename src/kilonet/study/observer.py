"""The observer of a study: receives its events. Its errors never affect the study."""

from __future__ import annotations

from collections.abc import Sequence

from kilonet.storage.record import RunRecord
from kilonet.study.result import StudyResult
from kilonet.study.trial import Failure, Trial
from kilonet.training.observer import Guard, GuardedObserver, Observer


class StudyObserver:
    """Receives a study's events. Every method does nothing; override those of interest.

    Several trials may run at once, and may end in another order than they began. All methods are
    called in the process and thread that called :func:`kilonet.study.run_study`. As with
    :class:`kilonet.training.observer.Observer`, any object with some of these methods will do, and
    a method that raises an ``Exception`` ends the events, not the study.
    """

    def wait(self, line: str) -> None:
        """The study waits for another process, or for a cluster's workers; ``line`` says which."""

    def note(self, line: str) -> None:
        """What the study does with runs that exist; before anything trains."""

    def begin_study(self, *, engine: str, trials: Sequence[Trial], num_jobs: int) -> None:
        """``trials`` are to train, ``num_jobs`` at once; ``engine`` describes the engines.

        Not called if all are finished.
        """

    def begin_trial(self, trial: Trial) -> Observer | None:
        """A trial begins; the observer that is returned receives its steps and epochs."""

    def end_trial(self, trial: Trial, record: RunRecord) -> None:
        """A trial is finished, now or before."""

    def fail_trial(self, failure: Failure) -> None:
        """A trial failed; the others continue."""

    def end_stage(self, so_far: StudyResult) -> None:
        """All seeds of the last stage of ``so_far`` are finished; every earlier stage has ended."""


METHODS = ("wait", "note", "begin_study", "begin_trial", "end_trial", "fail_trial", "end_stage")
"""Of a :class:`StudyObserver`."""


class GuardedStudyObserver(StudyObserver):
    """A study's observer, and those that it returns, behind a :class:`Guard`.

    Args:
        observer: any object with some of a study observer's methods; None for nothing.
    """

    def __init__(self, observer: object) -> None:
        self._told: set[str] = set()
        watcher = StudyObserver() if observer is None else observer
        self._guard = Guard(watcher, methods=METHODS, told=self._told)

    def wait(self, line: str) -> None:
        """Pass it on."""
        self._guard.call("wait", line)

    def note(self, line: str) -> None:
        """Pass it on."""
        self._guard.call("note", line)

    def begin_study(self, *, engine: str, trials: Sequence[Trial], num_jobs: int) -> None:
        """Pass it on."""
        self._guard.call("begin_study", engine=engine, trials=trials, num_jobs=num_jobs)

    def begin_trial(self, trial: Trial) -> GuardedObserver:
        """Pass it on; the observer that is returned is guarded too."""
        return GuardedObserver(self._guard.call("begin_trial", trial), told=self._told)

    def end_trial(self, trial: Trial, record: RunRecord) -> None:
        """Pass it on."""
        self._guard.call("end_trial", trial, record)

    def fail_trial(self, failure: Failure) -> None:
        """Pass it on."""
        self._guard.call("fail_trial", failure)

    def end_stage(self, so_far: StudyResult) -> None:
        """Pass it on."""
        self._guard.call("end_stage", so_far)
