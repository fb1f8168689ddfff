"""A run as a plain PyTorch loop, beside which benchmarks/sprint.py times kilonet.

The same network as ``torch.nn`` modules, from the same initial weights, with PyTorch's own SGD,
one-cycle schedule and loss, on batches that are in memory as the network sees them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from kilonet.data import RunData
from kilonet.data.batch import Batch
from kilonet.engine.init import starting_weights
from kilonet.engine.native import NativeEngine
from kilonet.engine.torch import build_module
from kilonet.spec import SGD, OneCycle, Run

VARIANTS = ("eager", "channels_last", "compile", "compile_channels_last")

_EVALUATED_AT_ONCE = 1000
"""Images; evaluation is not timed."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One run: test accuracy after the last step in percent, and the seconds of its steps."""

    accuracy: float
    seconds: float


class TorchTraining:
    """Runs of one stage as a plain PyTorch loop.

    The module is built, and compiled, once: each run sets its initial weights.

    Args:
        run: of the stage, of any seed.
        data: its images.
        variant: one of :data:`VARIANTS`.

    Raises:
        SystemExit: for what the loop does not have, such as another optimizer.
    """

    def __init__(self, run: Run, data: RunData, *, variant: str) -> None:
        check_recipe(run)
        self._data = data
        self._layout = (
            torch.channels_last if variant.endswith("channels_last") else torch.contiguous_format
        )
        self._plain = build_module(run.net).to(memory_format=self._layout)
        self._model: Any = self._plain
        if variant.startswith("compile"):
            logging.getLogger("torch").setLevel(logging.ERROR)
            self._model = torch.compile(self._plain, dynamic=False)
        self._optimizer: Any = None
        self._schedule: Any = None
        self._smoothing = run.train.label_smoothing

    def start(self, run: Run) -> None:
        """Set the run's initial weights, with a new optimizer and schedule."""
        initial = {name: torch.tensor(array) for name, array in starting_weights(run).items()}
        self._plain.load_state_dict(initial)
        self._plain.train()
        self._optimizer, self._schedule = optimizer_of(
            run, self._plain, num_steps=num_steps(self._data, run)
        )

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one step; the loss before it, in nats."""
        self._optimizer.zero_grad(set_to_none=True)
        logits = self._model(images)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self._smoothing)
        loss.backward()
        self._optimizer.step()
        if self._schedule is not None:
            self._schedule.step()
        return loss.detach()

    def inputs(self, run: Run, batches: Iterable[Batch]) -> list[tuple[Tensor, Tensor]]:
        """Images as the network sees them, augmented by kilonet's engine, and labels."""
        engine = NativeEngine(run, mean=self._data.mean, std=self._data.std)
        return [
            (self._laid_out(engine.normalized(batch)), torch.tensor(batch.labels))
            for batch in batches
        ]

    def losses(self, run: Run, *, steps: int) -> list[float]:
        """The loss of the run's first steps, before each, in nats."""
        self.start(run)
        batches = islice(all_batches(self._data, run), steps)
        return [float(self.step(*each)) for each in self.inputs(run, batches)]

    def train(self, run: Run) -> Trained:
        """Train the run to its end. An epoch's inputs are made before the clock starts."""
        self.start(run)
        seconds = 0.0
        for epoch in range(run.train.epochs):
            inputs = self.inputs(run, self._data.batches(run, epoch))
            began = time.perf_counter()
            for images, labels in inputs:
                self.step(images, labels)
            seconds += time.perf_counter() - began
        return Trained(accuracy=self._accuracy(), seconds=seconds)

    def _accuracy(self) -> float:
        """Of the test set, in percent."""
        self._plain.eval()
        images, labels = self._data.test_images, torch.tensor(self._data.test_labels)
        mean, std = (
            torch.tensor(each, dtype=torch.float32).reshape(1, -1, 1, 1)
            for each in (self._data.mean, self._data.std)
        )
        correct = 0
        with torch.no_grad():
            for start in range(0, len(labels), _EVALUATED_AT_ONCE):
                part = slice(start, start + _EVALUATED_AT_ONCE)
                pixels = torch.tensor(images[part])
                # (n, h, w[, c]) → (n, c, h, w)
                pixels = pixels.reshape(*pixels.shape[:3], -1).permute(0, 3, 1, 2)
                logits = self._plain((pixels.float() / 255 - mean) / std)
                correct += int(logits.argmax(dim=1).eq(labels[part]).sum())
        return 100.0 * correct / len(labels)

    def _laid_out(self, images: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(images).contiguous(memory_format=self._layout)


def check_recipe(run: Run) -> None:
    """Refuse what the plain loop does not do.

    Raises:
        SystemExit: names the first such setting.
    """
    train = run.train
    only = {
        "train.optimizer": isinstance(train.optimizer, SGD) and train.optimizer.decay == "all",
        "train.schedule": isinstance(train.schedule, OneCycle) or train.schedule.name == "constant",
        "train.average": train.average is None,
        "train.teacher": train.teacher is None,
        "train.early_stopping": train.early_stopping is None,
    }
    for path, known in only.items():
        if not known:
            raise SystemExit(f"{path}: the PyTorch loop of this benchmark has no such setting")


def optimizer_of(run: Run, module: nn.Module, *, num_steps: int) -> tuple[Any, Any]:
    """PyTorch's optimizer and schedule of a run; no schedule where the rate is constant."""
    spec, schedule = run.train.optimizer, run.train.schedule
    assert isinstance(spec, SGD)
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=spec.lr,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        weight_decay=spec.weight_decay,
        fused=True,
    )
    if not isinstance(schedule, OneCycle):
        return optimizer, None
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=spec.lr if schedule.max_lr is None else schedule.max_lr,
        total_steps=num_steps,
        pct_start=schedule.pct_start,
        anneal_strategy=schedule.anneal,
        div_factor=schedule.div_factor,
        final_div_factor=schedule.final_div_factor,
        three_phase=schedule.three_phase,
        cycle_momentum=schedule.cycle_momentum,
        base_momentum=schedule.base_momentum,
        max_momentum=schedule.max_momentum,
    )


def num_steps(data: RunData, run: Run) -> int:
    """Of the whole run."""
    return sum(data.steps_per_epoch(run, epoch) for epoch in range(run.train.epochs))


def all_batches(data: RunData, run: Run) -> Iterable[Batch]:
    """Of the whole run, in order."""
    for epoch in range(run.train.epochs):
        yield from data.batches(run, epoch)
