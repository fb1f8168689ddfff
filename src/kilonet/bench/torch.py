"""Usual PyTorch code: the notebook's network, its training step and its epoch."""

from __future__ import annotations

import itertools
import logging
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from kilonet.bench.native import LR, MOMENTUM, NUM_BATCHES
from kilonet.engine.torch import build_module
from kilonet.spec import load_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from kilonet.data import RunData
    from kilonet.spec import Net, Run

VERSION = str(torch.__version__)

VARIANTS = ("eager", "channels_last", "compile", "compile_channels_last")
"""Configurations of the same float32 module."""


def set_threads(threads: int) -> None:
    """Set PyTorch's threads for the whole process; drops what was compiled for others."""
    torch.set_num_threads(threads)
    torch._dynamo.reset()  # noqa: SLF001


def notebook_net() -> nn.Sequential:
    """The notebook's network; its output is log-probabilities."""
    return nn.Sequential(
        _block(1, 8),
        _block(8, 16),
        nn.MaxPool2d(2, 2),
        nn.Sequential(nn.Conv2d(16, 8, 1, bias=False), nn.ReLU()),
        _block(8, 12),
        _block(12, 12),
        _block(12, 16),
        _block(16, 16, padding=1),
        nn.AvgPool2d(6),
        nn.Conv2d(16, 10, 1, bias=False),
        nn.Flatten(),
        nn.LogSoftmax(dim=-1),
    )


def _block(inputs: int, outputs: int, padding: int = 0) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=padding, bias=False),
        nn.ReLU(),
        nn.BatchNorm2d(outputs),
        nn.Dropout(0.01),
    )


def plain_model(net: Net) -> nn.Module:
    """The network as plain PyTorch layers; its output is log-probabilities.

    The bundled network is written as in the notebook, others are built from their spec. Parameters
    and buffers are in kilonet's order.
    """
    if net == load_run("interim").net:
        return notebook_net()
    return nn.Sequential(build_module(net), nn.LogSoftmax(dim=-1))


class TorchSteps:
    """Training steps of a plain PyTorch loop, on normalized batches in memory.

    Args:
        run: the network, and the batch size.
        images: MNIST.
        variant: one of :data:`VARIANTS`.
    """

    def __init__(self, run: Run, images: RunData, *, variant: str) -> None:
        self._layout = (
            torch.channels_last if variant.endswith("channels_last") else torch.contiguous_format
        )
        self._mean, self._std = images.mean[0], images.std[0]
        self._plain = plain_model(run.net).to(memory_format=self._layout)  # type: ignore[call-overload]
        self._model: Any = self._plain
        if variant.startswith("compile"):
            logging.getLogger("torch").setLevel(logging.ERROR)
            # Evaluation and training have different shapes: each is compiled for its own.
            self._model = torch.compile(self._plain, dynamic=False)
        self._optimizer = torch.optim.SGD(self._plain.parameters(), lr=LR, momentum=MOMENTUM)
        size = run.train.batch_size
        parts = [slice(i * size, (i + 1) * size) for i in range(NUM_BATCHES)]
        self._batches = [
            (self._input(images.train_images[part]), torch.tensor(images.train_labels[part]))
            for part in parts
        ]
        self._steps = itertools.count()

    def step(self) -> Tensor:
        """Take one step; the loss before it, in nats."""
        if not self._plain.training:
            self._plain.train()
        images, labels = self._batches[next(self._steps) % NUM_BATCHES]
        self._optimizer.zero_grad()
        loss = F.nll_loss(self._model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.detach()

    def load_weights(self, weights: dict[str, NDArray[np.generic]]) -> None:
        """Set weights from kilonet's, which have the same order; ValueError if they do not fit."""
        state = self._plain.state_dict()
        for tensor, array in zip(state.values(), weights.values(), strict=True):
            if tuple(tensor.shape) != array.shape:
                raise ValueError(f"weights of shape {array.shape} for {tuple(tensor.shape)}")
            tensor.copy_(torch.tensor(array))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, classes) log-probabilities in evaluation mode, of (n, 28, 28) uint8."""
        self._plain.eval()
        with torch.no_grad():
            parts = [self._model(part) for part in torch.split(self._input(images), _EVAL_IMAGES)]
            found: NDArray[np.float32] = torch.cat(parts).numpy()
        return found

    def evaluation(self, images: NDArray[np.uint8]) -> Callable[[], Tensor]:
        """A function that classifies the images, which are normalized here."""
        batches = torch.split(self._input(images), _EVAL_IMAGES)

        def evaluate() -> Tensor:
            self._plain.eval()
            with torch.no_grad():
                return torch.cat([self._model(batch).argmax(dim=1) for batch in batches])

        return evaluate

    def _input(self, images: NDArray[np.uint8]) -> Tensor:
        """(n, 28, 28) uint8 → (n, 1, 28, 28) float32, normalized."""
        pixels = torch.tensor(images)[:, None].to(torch.float32).div(255)
        return ((pixels - self._mean) / self._std).contiguous(memory_format=self._layout)


_EVAL_IMAGES = 250
"""PyTorch's fastest batch for evaluating the bundled network on two cores; it divides 10,000, so
that a compiled model has one shape."""


class Digits(TorchDataset[tuple[Tensor, int]]):
    """MNIST as torchvision's data set: one Pillow image at a time, transformed."""

    def __init__(self, run: RunData, *, train: bool) -> None:
        self.images = run.train_images if train else run.test_images
        self.labels = run.train_labels if train else run.test_labels
        self.mean, self.std, self.rotate = run.mean[0], run.std[0], train

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.images[index])
        if self.rotate:
            angle = float(torch.empty(1).uniform_(-7.0, 7.0).item())
            picture = picture.rotate(angle, fillcolor=1)
        pixels = torch.from_numpy(np.array(picture)).to(torch.float32).div(255)
        return ((pixels - self.mean) / self.std)[None], int(self.labels[index])


def notebook_epoch(run: Run, images: RunData, *, workers: int = 4) -> Callable[[], float]:
    """The notebook's epoch: a DataLoader with workers, Pillow's rotation, eager PyTorch.

    Returns:
        A function that trains and tests one epoch and returns the test accuracy in percent.
    """
    settings: dict[str, Any] = {
        "batch_size": run.train.batch_size,
        "shuffle": True,
        "num_workers": workers,
    }
    # PyTorch warns of four workers on fewer cores, here and in each epoch; the notebook has four.
    quiet = partial(warnings.filterwarnings, "ignore", message="This DataLoader will create")
    with warnings.catch_warnings():
        quiet()
        train = DataLoader(Digits(images, train=True), **settings)
        test = DataLoader(Digits(images, train=False), **settings)
    torch.manual_seed(1)
    model = plain_model(run.net)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)

    def epoch() -> float:
        with warnings.catch_warnings():
            quiet()
            _train(model, optimizer, train)
            return 100.0 * _correct(model, test) / len(images.test_labels)

    return epoch


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Any]) -> None:
    model.train()
    correct, losses = 0, []
    for images, labels in batches:
        optimizer.zero_grad()
        output = model(images)
        loss = F.nll_loss(output, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        # As in the notebook, which reads both after every batch for its progress bar and log.
        losses.append(loss.item())
        correct += int(output.argmax(dim=1).eq(labels).sum().item())


def _correct(model: nn.Module, batches: Iterable[Any]) -> int:
    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in batches:
            correct += int(model(images).argmax(dim=1).eq(labels).sum().item())
    return correct
