"""The epochs of a run: steps, the evaluation after each epoch, the checkpoint, the results."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kilonet.errors import DivergenceError
from kilonet.storage.record import EpochRow, Split, stopping
from kilonet.storage.run_state import Checkpoint, StepLog
from kilonet.training.schedule import Schedule, validation_results
from kilonet.training.teaching import known_targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kilonet.data import RunData
    from kilonet.engine import Engine, EvalResult
    from kilonet.spec import Run
    from kilonet.storage.checksums import Arrays
    from kilonet.storage.run_folder import RunFolder
    from kilonet.training.observer import Observer


class Epochs:
    """Trains the epochs of one run.

    Args:
        run: the run.
        data: its images.
        engine: which holds its weights.
        store: its folder, begun or resumed.
        observer: receives the steps and epochs; it raises no error.
    """

    def __init__(
        self, run: Run, data: RunData, engine: Engine, store: RunFolder, observer: Observer
    ) -> None:
        self.run = run
        self.data = data
        self.engine = engine
        self.store = store
        self.observer = observer
        self.num_steps = [data.steps_per_epoch(run, epoch) for epoch in range(run.train.epochs)]
        self.schedule = Schedule(run.train, steps_per_epoch=self.num_steps)
        self.targets = known_targets(run, data, engine)

    def train(self, checkpoint: Checkpoint | None) -> tuple[EpochRow, ...]:
        """Train the epochs after ``checkpoint``, save each, write the results; all rows."""
        rows: tuple[EpochRow, ...] = ()
        steps = StepLog(loss=np.empty(0), correct=np.empty(0, np.int64))
        best: Arrays = {}
        if checkpoint is not None:
            rows, steps, best = checkpoint.rows, checkpoint.steps, checkpoint.best
        rule = self.run.train.early_stopping
        for epoch in range(len(rows), self.run.train.epochs):
            state = stopping(self.run, rows)
            if state is not None and state.stopped:
                break
            row, evaluation, epoch_steps = self.epoch(epoch, rows)
            rows = (*rows, row)
            steps = StepLog(
                loss=np.concatenate([steps.loss, epoch_steps.loss]),
                correct=np.concatenate([steps.correct, epoch_steps.correct]),
            )
            state = stopping(self.run, rows)
            if state is not None and rule is not None and rule.restore_best and state.best == epoch:
                best = self.engine.weights()
            self.store.save(
                Checkpoint(
                    epochs=len(rows), state=self.engine.state(), rows=rows, steps=steps, best=best
                )
            )
            self.observer.end_epoch(row, correct=evaluation.correct, count=evaluation.count)
        if best:
            self.engine.load_weights(best)
        split = Split.TEST if self.run.data.test else Split.VALIDATION
        logits = self.engine.logits(self.images(split)[0])
        self.store.finish(weights=self.engine.weights(), logits=logits, split=split)
        return rows

    def epoch(self, epoch: int, rows: tuple[EpochRow, ...]) -> tuple[EpochRow, EvalResult, StepLog]:
        """Train one epoch, then evaluate the validation split and, if it is used, the test set.

        Returns:
            The row; the evaluation of the test set, or else of the validation split; the steps.
        """
        began = time.perf_counter()
        history = validation_results(rows)
        self.observer.begin_epoch(epoch, num_steps=self.num_steps[epoch])
        losses, corrects, sizes = [], [], []
        num_correct = num_seen = 0
        lr = 0.0
        for number, batch in enumerate(self.data.batches(self.run, epoch)):
            if self.targets is not None:
                batch = replace(batch, targets=self.targets[batch.index])
            lr, momentum = self.schedule.at(epoch=epoch, step=number, history=history)
            result = self.engine.step(batch, lr, momentum=momentum)
            losses.append(result.loss)
            corrects.append(result.correct)
            sizes.append(len(batch.labels))
            num_correct += result.correct
            num_seen += len(batch.labels)
            accuracy = 100.0 * num_correct / num_seen
            self.observer.step(
                step=batch.step,
                batch=number,
                loss=result.loss,
                accuracy=accuracy,
                lr=lr,
            )
        trained = time.perf_counter()
        if self.run.train.average is not None:
            self.engine.end_epoch(epoch, self.data.batches(self.run, epoch))
        validation, test = self.evaluate(Split.VALIDATION), self.evaluate(Split.TEST)
        split, last = (Split.VALIDATION, validation) if test is None else (Split.TEST, test)
        assert last is not None, "the spec demands a validation split without test images"
        # A step's loss is that of the weights before it: the last update shows only here.
        if not math.isfinite(last.loss):
            raise DivergenceError(
                f"epoch {epoch}, after its last step: the training diverged, its {split} loss is "
                f"{last.loss}; lower train.optimizer.lr (it is {lr:g})"
            )
        row = EpochRow(
            epoch=epoch,
            train_accuracy=100.0 * num_correct / num_seen,
            train_loss=float(np.average(losses, weights=sizes)),
            test_accuracy=test.accuracy if test else None,
            test_loss=test.loss if test else None,
            lr=lr,
            seconds=round(time.perf_counter() - began, 3),
            validation_accuracy=validation.accuracy if validation else None,
            validation_loss=validation.loss if validation else None,
            train_seconds=round(trained - began, 3),
        )
        return row, last, StepLog(loss=np.array(losses), correct=np.array(corrects, np.int64))

    def evaluate(self, split: Split) -> EvalResult | None:
        """Of the weights so far; None if the run has no images of the split."""
        images, labels = self.images(split)
        return self.engine.evaluate(images, labels) if len(labels) else None

    def images(self, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The images and labels of a split."""
        if split is Split.TEST:
            return self.data.test_images, self.data.test_labels
        index = self.data.validation_index
        return self.data.train_images[index], self.data.train_labels[index]
