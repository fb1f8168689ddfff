"""A search's results: its trials, the networks confirmed with several seeds, and the front."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from kilonet.spec import Run
from kilonet.storage.record import data_frame

if TYPE_CHECKING:
    from pandas import DataFrame

    from kilonet.search.space import Space


class State(StrEnum):
    """What became of a trial. Rejected trials and duplicates trained nothing."""

    COMPLETE = "complete"
    """Trained at full length."""
    PRUNED = "pruned"
    """Stopped at a rung: too few of its epochs promised more."""
    RUNNING = "running"
    """Trains, or waits for the search to resume."""
    FAILED = "failed"
    """The training failed, as by a divergence."""
    DUPLICATE = "duplicate"
    """Equal to an earlier trial, whose values it has."""
    OVER_BUDGET = "over budget"
    """More parameters than the budget."""
    INVALID = "invalid"
    """No network: shapes that do not fit, values that exclude each other."""


TRAINED = (State.COMPLETE, State.PRUNED, State.RUNNING, State.FAILED)
"""The states of the trials that count toward the number of a search."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One training of a trial: a short one, or the full one.

    Attributes:
        epochs: of the training.
        images: trained on in an epoch.
        accuracy: on the validation split after the last epoch, percent.
        loss: likewise, nats.
        seconds: of all epochs.
        folder: the run's.
    """

    epochs: int
    images: int
    accuracy: float
    loss: float
    seconds: float
    folder: Path


@dataclass(frozen=True, kw_only=True)
class SearchTrial:
    """One candidate of a search.

    Attributes:
        number: from 0, in the order in which candidates were drawn; rejected ones have one too.
        state: what became of it.
        values: name of each choice that it uses → the chosen value, or the name of the option.
        run: at full length; None if it is invalid.
        parameters, macs: of its network; None if it is invalid.
        rungs: its trainings, shortest first; of a duplicate those of the earlier trial.
        reason: why it was rejected or failed, in a line; else "".
        duplicate_of: number of the equal trial, or None.
        began, ended: seconds since the search began, without the time in which it was stopped;
            ``ended`` is None while it runs.
    """

    number: int
    state: State
    values: Mapping[str, Any]
    run: Run | None
    parameters: int | None
    macs: int | None
    rungs: tuple[Rung, ...] = ()
    reason: str = ""
    duplicate_of: int | None = None
    began: float = 0.0
    ended: float | None = None

    @property
    def accuracy(self) -> float | None:
        """Of the longest training, on the validation split, percent; None without one."""
        return self.rungs[-1].accuracy if self.rungs else None

    @property
    def seconds(self) -> float:
        """Of all of its trainings; 0 for a duplicate, which trained nothing."""
        return 0.0 if self.state is State.DUPLICATE else sum(rung.seconds for rung in self.rungs)

    @property
    def folder(self) -> Path | None:
        """Of its longest training."""
        return self.rungs[-1].folder if self.rungs else None


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """One of the best networks, trained again at full length with seeds that chose nothing.

    Attributes:
        trial: the trial, whose own accuracy chose it, and so is optimistic.
        seeds: the fresh seeds.
        accuracies: on the validation split, percent, by seed.
        folders: of the runs, by seed.
        ci95: 95 % interval of the mean, by Student's t; None with a single seed. Wide seeds, not
            the images of the split, are what it covers.
    """

    trial: SearchTrial
    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]
    folders: tuple[Path, ...]
    ci95: tuple[float, float] | None

    @property
    def mean(self) -> float:
        """Mean validation accuracy, percent."""
        return fmean(self.accuracies)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network of the front, or the best: what a user takes from a search.

    Attributes:
        trial: the trial.
        confirmed: its runs with fresh seeds; None if it has not been confirmed.
        toml: the file of its run, for ``kilonet train``; None before one is written.
    """

    trial: SearchTrial
    confirmed: Confirmed | None
    toml: Path | None = None

    @property
    def parameters(self) -> int:
        """Trained parameters."""
        assert self.trial.parameters is not None
        return self.trial.parameters

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        assert self.trial.macs is not None
        return self.trial.macs

    @property
    def validation_accuracy(self) -> float:
        """Percent: the mean of the fresh seeds, or the single run's, which is optimistic."""
        if self.confirmed is not None:
            return self.confirmed.mean
        assert self.trial.accuracy is not None
        return self.trial.accuracy

    @property
    def ci95(self) -> tuple[float, float] | None:
        """95 % interval of the mean; None if it has not been confirmed with two seeds."""
        return None if self.confirmed is None else self.confirmed.ci95


@dataclass(frozen=True, kw_only=True)
class CoursePoint:
    """The search after one more finished trial.

    Attributes:
        number: the trial's.
        trained: how many trials have ended by now, this one included.
        seconds: since the search began, without the time in which it was stopped.
        accuracy: the trial's, percent, if it was trained at full length; else None.
        best: the highest such accuracy so far; None before the first.
    """

    number: int
    trained: int
    seconds: float
    accuracy: float | None
    best: float | None


_COLUMNS = (
    "number",
    "state",
    "parameters",
    "macs",
    "validation_accuracy",
    "confirmed_mean",
    "epochs",
    "seconds",
    "folder",
)


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """A search's results, finished or not; ``print`` shows the networks to take from it.

    Every accuracy is of the validation split: a search never reads the test set.

    Attributes:
        space: what was searched.
        path: the search's folder.
        num_trials: how many trials were asked for.
        seconds: since it began, without the time in which it was stopped.
        trials: all candidates, by number; rejected ones and duplicates too.
        confirmed: the networks confirmed with several seeds, best mean first; empty before.
        tomls: number of a trial → the file of its run.
        study_toml: the file of the best networks' study; None before it is written.
    """

    space: Space
    path: Path
    num_trials: int
    seconds: float
    trials: tuple[SearchTrial, ...]
    confirmed: tuple[Confirmed, ...] = ()
    tomls: Mapping[int, Path] = field(default_factory=dict)
    study_toml: Path | None = None

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of trials in each state; states without one are 0."""
        found = Counter(trial.state for trial in self.trials)
        return {state.value: found[state] for state in State}

    @property
    def trained(self) -> int:
        """Number of trials that count toward ``num_trials``."""
        return sum(trial.state in TRAINED for trial in self.trials)

    @cached_property
    def complete(self) -> tuple[SearchTrial, ...]:
        """The trials trained at full length, best first; of equal ones the smaller, the earlier."""
        found = [trial for trial in self.trials if trial.state is State.COMPLETE]
        return tuple(sorted(found, key=_rank, reverse=True))

    @property
    def finished(self) -> bool:
        """Whether no trial runs, and as many have ended as were asked for or the best confirmed.

        A space that is searched through ends with fewer trials.
        """
        running = any(trial.state is State.RUNNING for trial in self.trials)
        return not running and (self.trained >= self.num_trials or bool(self.confirmed))

    @cached_property
    def best(self) -> Candidate | None:
        """The confirmed network with the highest mean; before that, the best single run.

        None if no trial was trained at full length.
        """
        if self.confirmed:
            return self.candidate(self.confirmed[0].trial)
        return self.candidate(self.complete[0]) if self.complete else None

    @cached_property
    def front(self) -> tuple[Candidate, ...]:
        """The Pareto front of accuracy against parameters; see :meth:`front_by`."""
        return self.front_by(lambda candidate: candidate.parameters)

    def front_by(self, size: Callable[[Candidate], int]) -> tuple[Candidate, ...]:
        """The networks that no other one equals with a smaller ``size``, smallest first.

        Confirmed networks compete by their means. A network of a single run joins only below the
        smallest confirmed one, and only if it is less accurate: a lucky run must not push out a
        confirmed one.

        Args:
            size: a network's, as its parameters or its multiply-adds.
        """
        confirmed = [self.candidate(each.trial) for each in self.confirmed]
        front = _front(confirmed, size)
        single = [self.candidate(trial) for trial in self.complete]
        if front:
            smallest = front[0]
            single = [
                each
                for each in single
                if size(each) < size(smallest)
                and each.validation_accuracy < smallest.validation_accuracy
            ]
        return (*_front(single, size), *front)

    @cached_property
    def course(self) -> tuple[CoursePoint, ...]:
        """How the best accuracy rose, by the order in which trials ended."""
        ended = [
            trial
            for trial in self.trials
            if trial.state in TRAINED and trial.state is not State.RUNNING
        ]
        ended.sort(key=lambda trial: (trial.ended or 0.0, trial.number))
        points: list[CoursePoint] = []
        best: float | None = None
        for i, trial in enumerate(ended):
            accuracy = trial.accuracy if trial.state is State.COMPLETE else None
            if accuracy is not None:
                best = accuracy if best is None else max(best, accuracy)
            points.append(
                CoursePoint(
                    number=trial.number,
                    trained=i + 1,
                    seconds=trial.ended or 0.0,
                    accuracy=accuracy,
                    best=best,
                )
            )
        return tuple(points)

    def to_frame(self) -> DataFrame:
        """A pandas data frame with a row a candidate, and a column a choice: ``choose.NAME``.

        Accuracies are in percent, of the validation split; ``epochs`` are those of the longest
        training. What a candidate lacks is missing (None or NaN).

        Raises:
            UsageError: pandas is not installed.
        """
        means = {each.trial.number: each.mean for each in self.confirmed}
        names = [f"choose.{name}" for name in self.space.choices]
        rows = [
            {
                "number": trial.number,
                "state": trial.state.value,
                "parameters": trial.parameters,
                "macs": trial.macs,
                "validation_accuracy": trial.accuracy,
                "confirmed_mean": means.get(trial.number),
                "epochs": trial.rungs[-1].epochs if trial.rungs else None,
                "seconds": trial.seconds,
                "folder": None if trial.folder is None else str(trial.folder),
                **{f"choose.{name}": value for name, value in trial.values.items()},
            }
            for trial in self.trials
        ]
        return data_frame(rows, columns=[*_COLUMNS, *names])

    def report(self) -> tuple[Path, Path]:
        """Write ``report.md`` and ``report.html`` into the search's folder; returns their paths.

        Raises:
            StorageError: if one cannot be written, or no trial has ended.
        """
        from kilonet.report.search_report import report_search

        return report_search(self)

    def __str__(self) -> str:
        from kilonet.report.search_report import networks_of

        return str(networks_of(self))

    def _repr_html_(self) -> str:
        from kilonet.report.search_report import networks_of

        return networks_of(self).to_html()

    def candidate(self, trial: SearchTrial) -> Candidate:
        """A trial that was trained, with its confirmation and its file, if it has them."""
        confirmed = {each.trial.number: each for each in self.confirmed}
        return Candidate(
            trial=trial,
            confirmed=confirmed.get(trial.number),
            toml=self.tomls.get(trial.number),
        )


def _rank(trial: SearchTrial) -> tuple[float, int, int]:
    """Order of complete trials: accuracy, then fewer parameters, then the earlier one."""
    assert trial.accuracy is not None
    assert trial.parameters is not None
    return trial.accuracy, -trial.parameters, -trial.number


def _front(candidates: list[Candidate], size: Callable[[Candidate], int]) -> list[Candidate]:
    """Those more accurate than every smaller one, smallest first."""
    ordered = sorted(candidates, key=lambda each: (size(each), -each.validation_accuracy))
    front: list[Candidate] = []
    for each in ordered:
        if not front or each.validation_accuracy > front[-1].validation_accuracy:
            front.append(each)
    return front
