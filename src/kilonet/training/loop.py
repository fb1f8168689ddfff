"""The training loop: trains a run with an engine and writes its folder."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np

from kilonet.data import Dataset, RunData, load_dataset
from kilonet.engine import Engine, EvalResult, choose_engine, create_engine
from kilonet.errors import DivergenceError, StorageError
from kilonet.spec import Run
from kilonet.storage.lock import locked, remove_abandoned
from kilonet.storage.provenance import DataInfo, Provenance
from kilonet.storage.record import EpochRow, RunRecord
from kilonet.storage.run_folder import Checkpoint, RunFolder, RunState, StepLog
from kilonet.training.observer import Observer
from kilonet.training.resume import (
    check_same_data,
    check_same_run,
    default_folder,
    folder_name,
    resuming_engine,
    resuming_threads,
)
from kilonet.training.schedule import Schedule, ValidationResult

__all__ = ["default_folder", "folder_name", "train"]

_LOCK_TIMEOUT = 6.0
"""Seconds to wait for a process that trains in the folder: the worker of a killed study takes up to
three to end, see :mod:`kilonet.study.executors.local`, and more on a busy machine."""


def train(
    run: Run,
    *,
    folder: Path | str | None = None,
    engine: str | Engine = "auto",
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    dataset: Dataset | None = None,
    observer: Observer | None = None,
) -> RunRecord:
    """Train a run to its end and write its spec, provenance, measurements and weights.

    A finished run is not trained again: its record is returned. Every epoch ends with a checkpoint,
    so a run that was stopped or killed resumes to the same bits on the same kind of machine. For
    that, ``auto`` continues with the engine of the last epoch, and an engine whose bits depend on
    the number of threads with as many as before. An engine that is requested by name continues the
    run too, to other bits; ``environment.json`` records from which epoch.

    Args:
        run: the run.
        folder: its folder; default ``kilonet-runs/HASH``.
        engine: ``auto`` or an engine's name; or an existing engine of this run, such as one with a
            module of your own.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: of the engine; default all processors, or as many as before when it resumes.
        resume: continue an unfinished run in the folder, if there is one.
        dataset: the images, if they are already loaded; default: those of ``run.data.name``.
        observer: receives every step and epoch.

    Raises:
        DataError: the images cannot be read or do not fit the network.
        EngineError: no engine can train the network here, or the training diverged.
        StorageError: the folder cannot be written, is damaged, holds another run, or an unfinished
            one without ``resume``; or another process uses it.
    """
    store = RunFolder(default_folder(run) if folder is None else folder)
    # A finished run needs no lock, so it can be read where nothing can be written.
    state = store.read()
    check_same_run(state, run)
    dataset = load_dataset(run.data.name) if dataset is None else dataset
    check_same_data(state, dataset)
    if state is not None and state.finished:
        remove_abandoned(store.path)
        return state.record
    data = RunData.of(run, dataset)
    with locked(store.path, timeout=_LOCK_TIMEOUT):
        # Read again: by now another process may have continued or finished the run.
        state = store.read()
        check_same_run(state, run)
        check_same_data(state, dataset)
        if state is not None and state.finished:
            return state.record
        checkpoint = None if state is None else state.checkpoint
        if checkpoint is not None and not resume:
            raise StorageError(
                f"{store.path}: a run stopped here after {checkpoint.epochs} of "
                f"{run.train.epochs} epochs; add --resume to continue it, or remove the folder"
            )
        description = ""
        if isinstance(engine, str):
            engine, description = _create_engine(
                run,
                data,
                engine=engine,
                device=device,
                threads=threads,
                resumed=state if checkpoint is not None else None,
            )
        provenance = _provenance(engine, dataset)
        if state is None or checkpoint is None:
            store.begin(run, provenance)
        else:
            engine.load_state(checkpoint.state)
            provenance = store.resume(state, provenance)
        observer = Observer() if observer is None else observer
        observer.begin(
            run,
            engine=description or engine.description,
            folder=store.path,
            epochs_done=0 if checkpoint is None else checkpoint.epochs,
        )
        rows = _Training(run, data, engine, store, observer).train(checkpoint)
        return RunRecord(path=store.path, run=run, rows=rows, provenance=provenance)


def _create_engine(
    run: Run,
    data: RunData,
    *,
    engine: str,
    device: str,
    threads: int | None,
    resumed: RunState | None,
) -> tuple[Engine, str]:
    """The engine and its description, which includes why ``auto`` did not take the native one."""
    if resumed is not None:
        engine = resuming_engine(resumed.record, engine)
        if threads is None:
            threads = resuming_threads(resumed.record, engine)
    choice = choose_engine(run.net, engine=engine, device=device)
    created = create_engine(
        run, engine=choice.engine, device=device, threads=threads, mean=data.mean, std=data.std
    )
    return created, choice.describe(created.description)


def _provenance(engine: Engine, dataset: Dataset) -> Provenance:
    return Provenance.of_now(
        engine=engine.info,
        data=DataInfo(
            name=dataset.name,
            sha256=dataset.fingerprint,
            train_images=len(dataset.train_labels),
            test_images=len(dataset.test_labels),
        ),
    )


class _Training:
    """The epochs of one run."""

    def __init__(
        self, run: Run, data: RunData, engine: Engine, store: RunFolder, observer: Observer
    ) -> None:
        self.run = run
        self.data = data
        self.engine = engine
        self.store = store
        self.observer = observer
        self.steps_per_epoch = data.steps_per_epoch(run)
        self.schedule = Schedule(run.train, steps_per_epoch=self.steps_per_epoch)

    def train(self, checkpoint: Checkpoint | None) -> tuple[EpochRow, ...]:
        """Train the epochs after ``checkpoint``, save each, write the results; all rows."""
        rows: tuple[EpochRow, ...] = ()
        steps = StepLog(loss=np.empty(0), correct=np.empty(0, np.int64))
        if checkpoint is not None:
            rows, steps = checkpoint.rows, checkpoint.steps
        for epoch in range(len(rows), self.run.train.epochs):
            row, evaluation, epoch_steps = self.epoch(epoch, rows)
            rows = (*rows, row)
            steps = StepLog(
                loss=np.concatenate([steps.loss, epoch_steps.loss]),
                correct=np.concatenate([steps.correct, epoch_steps.correct]),
            )
            self.store.save(
                Checkpoint(epochs=len(rows), state=self.engine.state(), rows=rows, steps=steps)
            )
            self.observer.end_epoch(row, correct=evaluation.correct, count=evaluation.count)
        final = self.engine.evaluate(self.data.test_images, self.data.test_labels, logits=True)
        assert final.logits is not None
        self.store.finish(weights=self.engine.weights(), logits=final.logits)
        return rows

    def epoch(self, epoch: int, rows: tuple[EpochRow, ...]) -> tuple[EpochRow, EvalResult, StepLog]:
        """Train one epoch, then evaluate the validation split and the test set."""
        began = time.perf_counter()
        history = [
            ValidationResult(loss=row.validation_loss, accuracy=row.validation_accuracy)
            for row in rows
            if row.validation_loss is not None and row.validation_accuracy is not None
        ]
        self.observer.begin_epoch(epoch, num_steps=self.steps_per_epoch)
        losses, corrects, sizes = [], [], []
        num_correct = num_seen = 0
        lr = 0.0
        for number, batch in enumerate(self.data.batches(self.run, epoch)):
            lr, momentum = self.schedule.at(epoch=epoch, step=number, history=history)
            result = self.engine.step(batch, lr, momentum=momentum)
            losses.append(result.loss)
            corrects.append(result.correct)
            sizes.append(len(batch.labels))
            num_correct += result.correct
            num_seen += len(batch.labels)
            accuracy = 100.0 * num_correct / num_seen
            self.observer.step(batch=number, loss=result.loss, accuracy=accuracy)
        validation = self.validate()
        test = self.engine.evaluate(self.data.test_images, self.data.test_labels)
        # A step's loss is that of the weights before it: the last update shows only here.
        if not math.isfinite(test.loss):
            raise DivergenceError(
                f"epoch {epoch}, after its last step: the training diverged, its test loss is "
                f"{test.loss}; lower train.optimizer.lr (it is {lr:g})"
            )
        row = EpochRow(
            epoch=epoch,
            train_accuracy=100.0 * num_correct / num_seen,
            train_loss=float(np.average(losses, weights=sizes)),
            test_accuracy=test.accuracy,
            test_loss=test.loss,
            lr=lr,
            seconds=round(time.perf_counter() - began, 3),
            validation_accuracy=validation.accuracy if validation else None,
            validation_loss=validation.loss if validation else None,
        )
        return row, test, StepLog(loss=np.array(losses), correct=np.array(corrects, np.int64))

    def validate(self) -> EvalResult | None:
        index = self.data.validation_index
        if not len(index):
            return None
        images, labels = self.data.train_images[index], self.data.train_labels[index]
        return self.engine.evaluate(images, labels)
