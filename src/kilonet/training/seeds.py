"""One run with several seeds, one after another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kilonet.errors import DivergenceError
from kilonet.spec import Run
from kilonet.storage.record import RunRecord
from kilonet.training.loop import train
from kilonet.training.observer import Observer


@dataclass(frozen=True, kw_only=True)
class SeedRuns:
    """The runs of several seeds.

    Attributes:
        records: of the finished runs, by seed.
        failures: a line for each run that diverged.
    """

    records: tuple[RunRecord, ...]
    failures: tuple[str, ...]


def train_seeds(
    run: Run,
    *,
    seeds: int,
    folder: Path | str | None = None,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    observer: Observer | None = None,
) -> SeedRuns:
    """Train a run with the seeds 1 to ``seeds``, each as :func:`kilonet.training.loop.train` does.

    A run that diverges does not stop the others; finished runs are not trained again.

    Args:
        run: the run; its own seed is not used.
        seeds: how many.
        folder: holds ``seed-1``, ``seed-2``, …; default: each run's default folder.
        engine: of each run, as there; likewise the rest.
        device: as there.
        threads: as there.
        resume: as there.
        observer: receives every run's steps and epochs.

    Raises:
        KilonetError: as there, except for a divergence.
    """
    records, failures = [], []
    for seed in range(1, seeds + 1):
        try:
            record = train(
                run.replace({"train.seed": seed}),
                folder=None if folder is None else Path(folder) / f"seed-{seed}",
                engine=engine,
                device=device,
                threads=threads,
                resume=resume,
                observer=observer,
            )
        except DivergenceError as error:
            failures.append(f"seed {seed}: {error}")
        else:
            records.append(record)
    return SeedRuns(records=tuple(records), failures=tuple(failures))
