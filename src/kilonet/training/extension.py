"""More epochs of a finished run, to the same bits as a training from the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kilonet.data import Dataset
from kilonet.errors import StorageError
from kilonet.formatting import count
from kilonet.spec import Run
from kilonet.spec.averages import SWA
from kilonet.spec.schedules import Cosine
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.trained import ancestor, read_finished
from kilonet.training.resume import check_same_data, difference
from kilonet.training.schedule import Schedule, ValidationResult

EXTENDED = "extended"
"""The role, among a run's ancestors, of the one whose last checkpoint it began with."""


def begin_extended(
    store: RunFolder,
    run: Run,
    folder: Path | str,
    *,
    dataset: Dataset,
    num_steps: Sequence[int],
) -> None:
    """Write the last checkpoint of a finished run as that of a run with more epochs.

    The run then resumes as one that was stopped after as many epochs, to the same bits: no random
    draw, and no value of the schedules that are let through, depends on the number of epochs.

    Args:
        store: of the new run, empty.
        run: the new run.
        folder: of the finished run; it stays as it is.
        dataset: its images.
        num_steps: of each epoch of the new run.

    Raises:
        StorageError: there is no finished run in the folder, or one that differs in more than the
            number of epochs or was trained on other images, or whose finished epochs would have
            been others in a run of so many.
    """
    extended, state = read_finished(folder)
    check_same_data(state, dataset)
    check_extends(state.record, run, num_steps=num_steps)
    provenance = state.record.provenance
    own = ancestor(EXTENDED, state.record)
    checkpoint = extended.last_checkpoint(state)
    store.begin(run, replace(provenance, lineage=(*provenance.lineage, own)))
    store.save(checkpoint)


def check_extends(record: RunRecord, run: Run, *, num_steps: Sequence[int]) -> None:
    """Raise StorageError unless a run has the finished epochs of another, and more.

    Args:
        record: the finished run.
        run: the longer one.
        num_steps: of each of its epochs.
    """
    where, epochs = record.path, record.run.train.epochs
    if run.train.epochs <= epochs:
        raise StorageError(
            f"{where}: has {count(epochs, 'epoch')}; to go on, set train.epochs to more than that"
        )
    before = _stated(record.run)
    if (found := difference(_with_epochs(before, run.train.epochs), _stated(run))) != "":
        hint = _hint(record.run, run)
        raise StorageError(
            f"{where}: is not this run with fewer epochs: it has {found}; "
            f"{hint or 'make them equal'}, or train from the start"
        )
    if not _same_rates(record, run, num_steps=num_steps):
        raise StorageError(
            f"{where}: train.schedule {run.train.schedule.name!r} spans all epochs of a run, so "
            f"the first {epochs} of {run.train.epochs} have other learning rates than these; train "
            "from the start"
        )


def _with_epochs(run: Run, epochs: int) -> Run:
    return run.replace({"train.epochs": epochs})


def _stated(run: Run) -> Run:
    """The run with the values stated that follow from its number of epochs where they are not."""
    train, changes = run.train, {}
    if isinstance(train.schedule, Cosine) and train.schedule.t_max is None:
        changes["train.schedule.t_max"] = train.epochs
    if isinstance(train.average, SWA) and train.average.start is None:
        changes["train.average.start"] = train.average.first_epoch(train.epochs)
    return run.replace(changes) if changes else run


def _hint(before: Run, run: Run) -> str:
    """What to set so that a value that follows from the number of epochs stays as it was."""
    schedule, average = run.train.schedule, run.train.average
    kept = _stated(before).train
    if isinstance(schedule, Cosine) and isinstance(kept.schedule, Cosine) and not schedule.t_max:
        return f"set train.schedule.t_max = {kept.schedule.t_max}, as in the finished epochs"
    if isinstance(average, SWA) and isinstance(kept.average, SWA) and average.start is None:
        return f"set train.average.start = {kept.average.start}, as in the finished epochs"
    return ""


def _same_rates(record: RunRecord, run: Run, *, num_steps: Sequence[int]) -> bool:
    """Whether every finished step has the learning rate and momentum that it has in ``run``."""
    short = Schedule(record.run.train, steps_per_epoch=num_steps[: record.run.train.epochs])
    long = Schedule(run.train, steps_per_epoch=num_steps)
    history = [
        ValidationResult(loss=row.validation_loss, accuracy=row.validation_accuracy)
        for row in record.rows
        if row.validation_loss is not None and row.validation_accuracy is not None
    ]
    return all(
        short.at(epoch=epoch, step=step, history=history)
        == long.at(epoch=epoch, step=step, history=history)
        for epoch in range(len(record.rows))
        for step in range(num_steps[epoch])
    )
