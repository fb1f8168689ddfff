"""More epochs of a finished run, to the same bits as a training from the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kilonet.data import Dataset
from kilonet.errors import StorageError
from kilonet.formatting import count
from kilonet.spec import Run
from kilonet.spec.changes import flattened
from kilonet.spec.lengths import implied_epochs
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.trained import ancestor, read_finished
from kilonet.training.resume import check_same_data, difference
from kilonet.training.schedule import Schedule, validation_results

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
    draw, and no rate of a schedule that is accepted, depends on the number of epochs.

    Args:
        store: of the new run, empty.
        run: the new run.
        folder: of the finished run; it stays as it is.
        dataset: its images.
        num_steps: of each epoch of the new run.

    Raises:
        StorageError: there is no finished run in the folder, or one that differs in more than the
            number of epochs or was trained on other images, or whose learning rates depend on the
            number of epochs.
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
    """Raise StorageError unless a run begins with the finished epochs of another.

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
    # What follows from the number of epochs is compared by its value.
    before, implied = implied_epochs(record.run), implied_epochs(run)
    longer = record.run.replace({**before, "train.epochs": run.train.epochs})
    if (found := difference(longer, run.replace(implied))) != "":
        hint, values = "make them equal", flattened(longer.to_dict())
        if moved := next((p for p, value in implied.items() if values.get(p, value) != value), ""):
            hint = f"set {moved} = {values[moved]}, as in the finished epochs"
        raise StorageError(
            f"{where}: is not this run with fewer epochs: it has {found}; {hint}, or train from "
            "the start"
        )
    if not _same_rates(record, run, num_steps=num_steps):
        raise StorageError(
            f"{where}: train.schedule {run.train.schedule.name!r} spans all epochs of a run, so "
            f"the first {epochs} of {run.train.epochs} have other learning rates than these; train "
            "from the start"
        )


def _same_rates(record: RunRecord, run: Run, *, num_steps: Sequence[int]) -> bool:
    """Whether every finished step has the learning rate and momentum that it has in ``run``."""
    short = Schedule(record.run.train, steps_per_epoch=num_steps[: record.run.train.epochs])
    long = Schedule(run.train, steps_per_epoch=num_steps)
    history = validation_results(record.rows)
    return all(
        short.at(epoch=epoch, step=step, history=history)
        == long.at(epoch=epoch, step=step, history=history)
        for epoch in range(len(record.rows))
        for step in range(num_steps[epoch])
    )
