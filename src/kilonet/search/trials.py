"""The trials of a search: how this process draws, trains, stores and confirms them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from kilonet.data import Dataset, RunData
from kilonet.errors import KilonetError, StorageError, StudyError
from kilonet.formatting import count
from kilonet.search.candidates import draw, exhausted
from kilonet.search.folder import RUNS, Snapshots, owner_of, seconds_before, write_snapshot
from kilonet.search.networks import to_confirm, write_networks
from kilonet.search.observer import GuardedSearchObserver, SearchRun
from kilonet.search.result import TRAINED, SearchResult, State
from kilonet.search.rungs import goes_on
from kilonet.search.space import SEARCH_SEED, Space
from kilonet.search.storage import Entry, Stored, StoredRung, TrialStore, with_rung
from kilonet.spec import Run
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder
from kilonet.study.places import Place
from kilonet.study.scheduler import PlannedTrial
from kilonet.training.observer import GuardedObserver
from kilonet.training.resume import check_same_data, check_same_run, folder_name

_ALIVE_SECONDS = 60.0
"""Between two signs of life of the trials of this process, in a storage that others share."""

_DEAD_SECONDS = 900.0
"""Without a sign of life for this long, another process takes a trial over."""


class Trials:
    """The trials of one search, as this process sees and trains them."""

    def __init__(
        self,
        space: Space,
        path: Path,
        *,
        store: TrialStore,
        dataset: Dataset,
        num_trials: int,
        seed: int,
        shared: bool,
        observer: GuardedSearchObserver,
    ) -> None:
        self._space = space
        self._path = path
        self._store = store
        self._dataset = dataset
        self._num_trials = num_trials
        self._seed = seed
        self._shared = shared
        self._owner = owner_of(path)
        self._observer = observer
        self._snapshots = Snapshots(space=space, path=path)
        self._before = seconds_before(path)
        self._started = time.monotonic()
        self._entries: dict[int, Entry] = {}
        self._mine: dict[int, Entry] = {}
        """The trials that this process trains."""
        self._ready: deque[SearchRun] = deque()
        self._busy: set[Path] = set()
        self._exhausted = False
        self._next_sign = 0.0
        self._place: Place | None = None
        self._confirmed = store.confirmed()
        self._num_seeds = 0
        """Of each confirmation."""
        self._results: dict[int, list[dict[str, Any]]] = {}
        """Number of a trial → the runs of its confirmation so far."""
        self._read()

    # Trials

    def train(self, place: Place, example: Run) -> None:
        """Train trials until there are as many as asked for."""
        self._place = place
        self._take_over()
        if not self._ready and self._num_counted() >= self._num_trials:
            return
        sample: PlannedTrial[SearchRun] = place.plan(run_in(self._path, example), None)
        self._observer.begin_search(
            self._space,
            folder=self._path,
            engine=place.describe([sample]),
            num_trials=self._num_trials,
            num_jobs=place.num_jobs,
        )
        try:
            place.train([], begin=self._begin, end=self._end, feed=self._next)
        finally:
            self._publish()

    def _next(self) -> PlannedTrial[SearchRun] | None:
        """The next training, of a trial that goes on or of a new one; None while there is none."""
        self._sign()
        while True:
            if self._ready:
                job = self._ready.popleft()
                if job.folder in self._busy:  # equal in this rung to a trial that trains
                    self._ready.append(job)
                    if all(each.folder in self._busy for each in self._ready):
                        return None
                    continue
            else:
                self._read()
                if self._exhausted or self._num_counted() >= self._num_trials:
                    return None
                if not self._draw():
                    continue
                if not self._ready:
                    continue
                job = self._ready.popleft()
            planned = self._plan(job)
            if planned is not None:
                self._busy.add(job.folder)
                return planned

    def _plan(self, job: SearchRun) -> PlannedTrial[SearchRun] | None:
        """How a run trains; None if it has ended: it was trained before, or cannot be."""
        assert self._place is not None
        try:
            state = RunFolder(job.folder).read()
            check_same_run(state, job.run)
            check_same_data(state, self._dataset)
            if state is not None and state.finished:
                self._finish(job, state.record)
                return None
            resumes = state is not None and state.checkpoint is not None
            return self._place.plan(job, state.record if state is not None and resumes else None)
        except KilonetError as error:
            self._fail(job, str(error))
            return None

    def _begin(self, job: SearchRun) -> GuardedObserver:
        return _Signing(self._observer.begin_run(job), sign=self._sign)

    def _end(self, job: SearchRun, reason: str | None) -> None:
        """A training has ended; with a reason if it failed."""
        self._busy.discard(job.folder)
        self._sign()
        if reason is None:
            try:
                record = RunFolder(job.folder).record()
            except KilonetError as error:  # damaged or removed since
                reason = str(error)
            else:
                self._finish(job, record)
                return
        self._fail(job, reason)

    def _finish(self, job: SearchRun, record: RunRecord) -> None:
        self._observer.end_run(job, record)
        if job.confirms:
            self._confirm_run(job, record)
            return
        entry = self._mine[job.number]
        rung = self._rung(job, record)
        stored = with_rung(entry.stored, rung)
        if job.rung + 1 == job.num_rungs:
            stored = replace(stored, state=State.COMPLETE.value, ended=self._seconds())
        elif not self._goes_on(entry, rung):
            stored = replace(stored, state=State.PRUNED.value, ended=self._seconds())
        self._update(entry, stored)

    def _fail(self, job: SearchRun, reason: str) -> None:
        self._observer.fail_run(job, reason)
        if job.confirms:
            return
        entry = self._mine[job.number]
        stored = replace(
            entry.stored, state=State.FAILED.value, reason=reason, ended=self._seconds()
        )
        self._update(entry, stored)

    def _update(self, entry: Entry, stored: Stored) -> None:
        """Store what has become of a trial, and let it go on if it runs."""
        kept = self._store.update(entry, stored)
        now = replace(entry, stored=stored)
        self._entries[entry.number] = now
        if stored.state == State.RUNNING and kept:
            self._mine[entry.number] = now
            self._ready.append(self._job(now))
            return
        self._mine.pop(entry.number, None)
        self._publish()

    def _rung(self, job: SearchRun, record: RunRecord) -> StoredRung:
        last = record.rows[-1]
        assert last.validation_accuracy is not None
        assert last.validation_loss is not None
        return StoredRung(
            epochs=len(record.rows),
            images=len(RunData.check(record.run, self._dataset)[0]),
            accuracy=last.validation_accuracy,
            loss=last.validation_loss,
            seconds=round(sum(row.seconds for row in record.rows), 3),
            folder=job.folder.name,
        )

    def _goes_on(self, entry: Entry, rung: StoredRung) -> bool:
        """Whether a trial goes on from a rung, by the others that have reached the same one."""
        self._read()
        others = [
            each.accuracy
            for other in self._entries.values()
            if other.number != entry.number and other.stored.state != State.DUPLICATE
            for each in other.stored.rungs
            if (each.epochs, each.images) == (rung.epochs, rung.images)
        ]
        factor = self._space.reduction_factor
        return goes_on(rung.accuracy, others=others, reduction_factor=factor)

    # Candidates

    def _draw(self) -> bool:
        """Draw a candidate; whether it is a new trial, whose first training is then ready."""
        before = list(self._entries.values())
        if reason := exhausted(before):
            self._exhausted = True
            self._observer.note(
                f"{reason}: the search ends after {self._num_counted()} of {self._num_trials} "
                "trials"
            )
            return False
        # Processes that share a storage may see the same trials: their draws must differ.
        seed = f"{self._seed} {len(before)}{f' {self._owner}' if self._shared else ''}"
        drawn = draw(before, self._space, seed=seed, owner=self._owner, seconds=self._seconds)
        entry = self._store.add(drawn.trial, drawn.stored)
        if not entry.is_running:
            self._entries[entry.number] = entry
            return False
        self._read()
        if self._num_counted(before=entry.number) >= self._num_trials:
            # Another process took the last place meanwhile.
            surplus = replace(
                drawn.stored,
                state=State.INVALID.value,
                reason="the search was complete",
                ended=drawn.stored.began,
            )
            self._store.update(entry, surplus)
            return False
        self._mine[entry.number] = entry
        self._ready.append(self._job(entry, drawn.run))
        return True

    def _job(self, entry: Entry, run: Run | None = None) -> SearchRun:
        """The next training of a trial."""
        full = self._space.run_of(entry.stored.values) if run is None else run
        runs, rung = self._space.rung_runs(full), len(entry.stored.rungs)
        return SearchRun(
            run=runs[rung],
            folder=self._path / RUNS / folder_name(runs[rung]),
            number=entry.number,
            rung=rung,
            num_rungs=len(runs),
        )

    # Processes

    def _read(self) -> None:
        """Read the trials; of this process's own it knows more."""
        self._entries = {entry.number: entry for entry in self._store.entries()} | self._mine

    def _num_counted(self, *, before: int | None = None) -> int:
        """Trials that count toward the number asked for; those with a lower number than before."""
        return sum(
            State(entry.stored.state) in TRAINED
            for entry in self._entries.values()
            if before is None or entry.number < before
        )

    def _take_over(self) -> None:
        """Go on with the trials that a stopped process left."""
        now, taken = time.time(), 0
        for entry in list(self._entries.values()):
            if not entry.is_running or entry.number in self._mine:
                continue
            own = not self._shared or entry.stored.owner == self._owner
            if not own and now - entry.stored.seen < _DEAD_SECONDS:
                continue
            runs = self._space.rung_runs(self._space.run_of(entry.stored.values))
            stored = replace(
                entry.stored, state=State.RUNNING.value, owner=self._owner, seen=now, ended=None
            )
            if len(stored.rungs) == len(runs) or entry.stored.state != State.RUNNING:
                # Its process stopped between its result and its end.
                whole = len(stored.rungs) == len(runs)
                state = State.COMPLETE.value if whole else entry.stored.state
                ended = self._seconds()
                self._store.update(entry, replace(entry.stored, state=state, ended=ended))
                continue
            if self._store.update(entry, stored):
                self._mine[entry.number] = replace(entry, stored=stored)
                self._ready.append(self._job(self._mine[entry.number]))
                taken += 1
        self._read()
        if taken:
            self._observer.note(f"Continues {count(taken, 'unfinished trial')}.")

    def _sign(self) -> None:
        """Tell other processes that this one lives, and take over from those that do not."""
        if not self._shared or time.monotonic() < self._next_sign:
            return
        self._next_sign = time.monotonic() + _ALIVE_SECONDS
        # A storage that does not answer now may do so when a result is stored.
        with suppress(StorageError):
            for number, entry in list(self._mine.items()):
                stored = replace(entry.stored, seen=time.time())
                if self._store.update(entry, stored):
                    self._mine[number] = replace(entry, stored=stored)
            self._read()
            self._take_over()

    def _seconds(self) -> float:
        """Since the search began, without the time in which it was stopped."""
        return round(self._before + time.monotonic() - self._started, 3)

    # Results

    def confirm(self, place: Place, *, number: int, seeds: int) -> None:
        """Train the best networks with fresh seeds."""
        self._place = place
        self._read()
        others = sum(e.is_running for e in self._entries.values())
        if others:
            self._observer.note(
                f"Other processes still train {count(others, 'trial')}: the last one to end "
                "confirms the best networks"
            )
            return
        chosen = to_confirm(self._so_far(), number=number)
        jobs = [
            SearchRun(
                run=run,
                folder=self._path / RUNS / folder_name(run),
                number=trial.number,
                rung=0,
                num_rungs=1,
                confirms=True,
            )
            for trial in chosen
            if trial.run is not None
            for run in (
                trial.run.replace({"train.seed": SEARCH_SEED + 1 + i}) for i in range(seeds)
            )
            if len(self._confirmed.get(trial.number, ())) < seeds
        ]
        if not jobs:
            return
        self._num_seeds = seeds
        self._results = {}
        self._observer.begin_confirmation(jobs)
        planned = [each for each in map(self._plan, jobs) if each is not None]
        try:
            if planned:
                place.train(planned, begin=self._begin, end=self._end)
        finally:
            self._publish()

    def _confirm_run(self, job: SearchRun, record: RunRecord) -> None:
        runs = self._results.setdefault(job.number, [])
        runs.append(
            {
                "seed": job.run.train.seed,
                "accuracy": record.final_validation_accuracy,
                "folder": job.folder.name,
            }
        )
        # All seeds or none: those that fail are not a random choice, so the rest would be biased.
        if len(runs) == self._num_seeds:
            self._confirmed[job.number] = sorted(runs, key=lambda run: int(run["seed"]))
            self._store.set_confirmed(self._confirmed)
            self._publish()

    def end(self, *, seeds: int) -> SearchResult:
        """Write the networks; the result."""
        self._read()
        result = self._so_far()
        if result.best is None and not result.counts[State.RUNNING]:
            failed = [trial for trial in result.trials if trial.state is State.FAILED]
            why = f"; the first failed: {failed[0].reason}" if failed else ""
            raise StudyError([f"{self._path}: no trial was trained to its end{why}"])
        tomls = write_networks(result, seeds=seeds)
        result = self._so_far(tomls)
        write_snapshot(result, self._stored(), self._confirmed)
        self._observer.update(result)
        return result

    def _publish(self) -> None:
        """Write the snapshot, and show it to the observer."""
        result = self._so_far()
        write_snapshot(result, self._stored(), self._confirmed)
        self._observer.update(result)

    def _so_far(self, tomls: Mapping[int, Path] | None = None) -> SearchResult:
        return self._snapshots.result(
            self._stored(),
            num_trials=self._num_trials,
            seconds=self._seconds(),
            confirmed=self._confirmed,
            tomls=tomls,
        )

    def _stored(self) -> Iterable[tuple[int, Stored]]:
        return [(number, self._entries[number].stored) for number in sorted(self._entries)]


def run_in(path: Path, run: Run) -> SearchRun:
    """A run in its folder, of no trial: to plan and describe what trains."""
    return SearchRun(run=run, folder=path / RUNS / folder_name(run), number=0, rung=0, num_rungs=1)


class _Signing(GuardedObserver):
    """Gives a sign of life in every step: a training may take longer than others wait for one."""

    def __init__(self, observer: GuardedObserver, *, sign: Callable[[], None]) -> None:
        super().__init__(observer)
        self._sign = sign

    def step(self, *, step: int, batch: int, loss: float, accuracy: float, lr: float) -> None:
        """Pass it on."""
        self._sign()
        super().step(step=step, batch=batch, loss=loss, accuracy=accuracy, lr=lr)
