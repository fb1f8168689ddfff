"""The one training loop: a run and an engine in, a run folder out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kilonet.data import Dataset, load_dataset, normalisation, validation_split
from kilonet.data.resize import resize
from kilonet.engine import ENGINES, Batch, Engine, EvalResult, choose_engine, create_engine
from kilonet.environment import describe_environment
from kilonet.errors import DataError, DivergenceError, StoreError
from kilonet.lock import locked, sweep
from kilonet.randomness import Purpose, permutation
from kilonet.record import EpochRow, RunRecord
from kilonet.schedule import Schedule, ValidationResult
from kilonet.spec import Run
from kilonet.spec.graph import BatchNorm, walk
from kilonet.store import Checkpoint, RunFolder, StepLog
from kilonet.summary import check_data

# For a process that trains in the folder to end: the worker of a study that was killed takes up to
# three seconds, see kilonet.pool, and on a busy machine a moment more.
_PATIENCE = 6.0


class Observer(Protocol):
    """Told what happens in a run, as it happens. What it does changes no result."""

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
        """Training begins, or goes on after ``epochs_done`` epochs; ``engine`` describes it."""

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        """An epoch of ``num_steps`` steps begins."""

    def step(self, *, batch: int, loss: float, accuracy: float) -> None:
        """Batch number ``batch`` of the epoch is done; accuracy is the epoch's so far, percent."""

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        """An epoch is done and saved; ``correct`` of ``count`` test images were right."""


class Silent:
    """An observer that shows nothing."""

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
        """Nothing."""

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        """Nothing."""

    def step(self, *, batch: int, loss: float, accuracy: float) -> None:
        """Nothing."""

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        """Nothing."""


def default_folder(run: Run) -> Path:
    """Where a run goes unless told otherwise: named by its content, so equal runs share it."""
    return Path("kilonet-runs") / folder_name(run)


def folder_name(run: Run) -> str:
    """The first 12 digits of the run's content hash: the name of its folder."""
    return run.content_hash[:12]


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
    """Train a run to its end and keep everything about it in its folder.

    A finished run is not trained again: its record is read back. Every epoch ends in a checkpoint,
    so a run that was stopped or killed resumes to the same bits, on the same kind of machine. To
    that end ``auto`` goes on with the engine that trained so far, and an engine whose bits depend
    on the number of threads with as many as before. Another one that is asked for by name takes
    the run on, to other bits, and ``environment.json`` tells from which epoch.

    Args:
        run: what to train.
        folder: where to; default ``kilonet-runs/HASH``.
        engine: ``auto`` or an engine's name; or an engine of the run that was made already, as one
            with a module of your own.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; for engines that know more than one.
        threads: how many the engine may use; default all, or as many as before on resuming.
        resume: go on where an unfinished run in the folder stopped, if there is one.
        dataset: the images, if they are already loaded; default: what ``run.data.name`` names.
        observer: told of every step and epoch.

    Returns:
        The record, as :meth:`kilonet.store.RunFolder.record` reads it back.

    Raises:
        DataError: if the images cannot be read or do not fit the network.
        EngineError: if no engine can train it here, or the loss is no longer a number.
        StoreError: if the folder cannot be written, holds another run, or an unfinished one
            and ``resume`` is off; or if another process is training in it.
    """
    store = RunFolder(default_folder(run) if folder is None else folder)
    dataset = load_dataset(run.data.name) if dataset is None else dataset
    images = Images.of(run, dataset)
    # What is finished is read without a lock, so in folders that cannot be written too.
    if isinstance(_standing(store, run, dataset, resume=True), _Finished):
        sweep(store.path)
        return store.record()
    with locked(store.path, patience=_PATIENCE):
        # Another process may have gone on with it, or finished it, up to now.
        done = _standing(store, run, dataset, resume=resume)
        if isinstance(done, _Finished):
            return store.record()
        told = ""
        if isinstance(engine, str):
            if done is not None:
                engine = engine_to_resume(store, engine)
                last = store.last_engine()
                if threads is None and last.get("name") == engine:
                    threads = last.get("threads")
            choice = choose_engine(run.net, engine=engine, device=device)
            engine = create_engine(
                run,
                engine=choice.engine,
                device=device,
                threads=threads,
                mean=images.mean,
                std=images.std,
            )
            told = choice.told(engine.description)
        environment = _environment(engine, dataset)
        if done is None:
            store.begin(run, environment)
            rows: list[EpochRow] = []
            steps = StepLog(loss=np.empty(0), correct=np.empty(0, np.int64))
        else:
            engine.load_state(done.state)
            store.bring_up_to_date()
            store.note_resumption(environment, after_epoch=done.epochs - 1)
            rows, steps = list(done.rows), done.steps
        observer = Silent() if observer is None else observer
        observer.begin(
            run, engine=told or engine.description, folder=store.path, epochs_done=len(rows)
        )
        _Loop(run, images, engine, store, observer).go(rows, steps)
        return store.record()


def engine_to_resume(store: RunFolder, engine: str) -> str:
    """The engine to go on with: for ``auto`` the one that trained so far, else the one named.

    Raises:
        StoreError: if the run was trained by an engine that kilonet cannot make.
    """
    if engine != "auto":
        return engine
    name = store.last_engine().get("name", engine)
    if name not in ENGINES:
        raise StoreError(
            f"{store.path}: was trained so far by the engine {name!r}, which kilonet has not; "
            f"name one that is to go on: {', '.join(ENGINES[1:])}"
        )
    return str(name)


@dataclass(frozen=True, kw_only=True)
class Images:
    """A run's images in memory, uint8, resized and split as the run says, and their normalisation.

    Attributes:
        train_images, train_labels: the whole training set.
        train_index: (n,) int64, which of them are trained on; the rest validates.
        validation_index: (m,) int64.
        test_images, test_labels: the test set.
        mean, std: one a channel, of pixels scaled to [0, 1].
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    train_index: NDArray[np.int64]
    validation_index: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, run: Run, dataset: Dataset) -> Images:
        """The run's part of ``dataset``; DataError where they do not fit each other."""
        data = run.data
        train_index, validation_index = cls.check(run, dataset)
        train_images, test_images = dataset.train_images, dataset.test_images
        if data.resize is not None:
            train_images = resize(train_images, size=data.resize)
            test_images = resize(test_images, size=data.resize)
        mean, std = data.mean, data.std
        if mean is None or std is None:
            own_mean, own_std = normalisation(dataset)
            mean, std = mean or own_mean, std or own_std
        return cls(
            train_images=train_images,
            train_labels=dataset.train_labels,
            train_index=train_index,
            validation_index=validation_index,
            test_images=test_images,
            test_labels=dataset.test_labels,
            mean=mean,
            std=std,
        )

    @staticmethod
    def check(run: Run, dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What :meth:`of` would refuse is refused here, quickly; else the split's two indices."""
        data = run.data
        channels, *size = dataset.image_shape
        height, width = size if data.resize is None else data.resize
        shape = (channels, height, width)
        check_data(run.net, image_shape=shape, classes=dataset.num_classes, where=data.name)
        labels = dataset.train_labels
        train_index, validation_index = np.arange(len(labels)), np.empty(0, np.int64)
        if data.validation:
            train_index, validation_index = validation_split(
                labels, amount=data.validation, seed=data.validation_seed
            )
        _refuse_lonely_batch(run, len(train_index))
        return train_index, validation_index

    def batches(self, run: Run, epoch: int) -> Iterator[Batch]:
        """The epoch's batches in the order that the run's seed gives them."""
        size = run.train.batch_size
        count = len(self.train_index)
        order = permutation(count, seed=run.train.seed, purpose=Purpose.SHUFFLE, epoch=epoch)
        first_step = epoch * self.steps_per_epoch(run)
        for number, start in enumerate(range(0, count, size)):
            index = self.train_index[order[start : start + size]]
            # `take`, which clips rather than looks for what is outside, takes half as long as
            # indexing; nothing is outside.
            yield Batch(
                images=self.train_images.take(index, axis=0, mode="clip"),
                labels=self.train_labels.take(index, mode="clip"),
                index=index,
                epoch=epoch,
                step=first_step + number,
            )

    def steps_per_epoch(self, run: Run) -> int:
        """Batches an epoch, the last one being what remains."""
        return -(-len(self.train_index) // run.train.batch_size)


def _refuse_lonely_batch(run: Run, count: int) -> None:
    """One image alone has no variance: batch norm over a single value a channel cannot train."""
    size = run.train.batch_size
    if count % size != 1 and size != 1:
        return
    for node in walk(run.net.nodes):
        if isinstance(node.op, BatchNorm) and np.prod(node.input_shape[1:]) == 1:
            raise DataError(
                f"layer {node.line} '{node.text}': batch norm sees one value a channel, and "
                f"{count} images in batches of {size} leave a batch of one; change train.batch_size"
            )


class _Finished:
    """A run that is at its end."""


def _standing(
    store: RunFolder, run: Run, dataset: Dataset, *, resume: bool
) -> Checkpoint | _Finished | None:
    """How far the run in the folder has come: to its end, to a checkpoint, or nowhere."""
    if not store.exists():
        return None
    found = store.run()
    if found != run:
        raise StoreError(
            f"{store.path}: holds another run ({folder_name(found)}, this is {folder_name(run)}); "
            "name another folder"
        )
    if store.environment()["data"].get("sha256") != dataset.fingerprint:
        raise StoreError(
            f"{store.path}: was trained on other images than {run.data.name!r} now holds; "
            "name another folder"
        )
    if store.finished():
        return _Finished()
    checkpoint = store.checkpoint()
    if checkpoint is not None and not resume:
        raise StoreError(
            f"{store.path}: a run stopped here after {checkpoint.epochs} of "
            f"{run.train.epochs} epochs; add --resume to go on, or remove the folder"
        )
    return checkpoint


def _environment(engine: Engine, dataset: Dataset) -> dict[str, Any]:
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "engine": {"name": engine.name, "description": engine.description, **engine.settings},
        "data": {
            "name": dataset.name,
            "sha256": dataset.fingerprint,
            "train_images": len(dataset.train_labels),
            "test_images": len(dataset.test_labels),
        },
        **describe_environment(),
    }


class _Loop:
    """The epochs of one run."""

    def __init__(
        self, run: Run, images: Images, engine: Engine, store: RunFolder, observer: Observer
    ) -> None:
        self.run = run
        self.images = images
        self.engine = engine
        self.store = store
        self.observer = observer
        self.steps_per_epoch = images.steps_per_epoch(run)
        self.schedule = Schedule(run.train, steps_per_epoch=self.steps_per_epoch)

    def go(self, rows: list[EpochRow], steps: StepLog) -> None:
        """Train the epochs that ``rows`` lack, a checkpoint after each, then write the results."""
        for epoch in range(len(rows), self.run.train.epochs):
            row, evaluation, epoch_steps = self.epoch(epoch, rows)
            rows.append(row)
            steps = StepLog(
                loss=np.concatenate([steps.loss, epoch_steps.loss]),
                correct=np.concatenate([steps.correct, epoch_steps.correct]),
            )
            self.store.save(
                Checkpoint(
                    epochs=len(rows), state=self.engine.state(), rows=tuple(rows), steps=steps
                )
            )
            self.observer.end_epoch(row, correct=evaluation.correct, count=evaluation.count)
        final = self.engine.evaluate(self.images.test_images, self.images.test_labels, logits=True)
        assert final.logits is not None
        self.store.finish(weights=self.engine.weights(), logits=final.logits)

    def epoch(self, epoch: int, rows: list[EpochRow]) -> tuple[EpochRow, EvalResult, StepLog]:
        """One pass over the training set, then the validation and the test set."""
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
        for number, batch in enumerate(self.images.batches(self.run, epoch)):
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
        test = self.engine.evaluate(self.images.test_images, self.images.test_labels)
        # The loss of a step is of the weights before it: the last update shows only here.
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
        index = self.images.validation_index
        if not len(index):
            return None
        images, labels = self.images.train_images[index], self.images.train_labels[index]
        return self.engine.evaluate(images, labels)
