"""A small network with batch norm and dropout, batches for it, and its optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np

from kilonet.data.batch import Batch
from kilonet.spec import Net, Run

NET = Net(
    input=(1, 8, 8),
    block=["conv", "relu", "batchnorm", "dropout 0.2"],
    layers=["conv 6", "conv 6 pad=1", "gap", "pointwise 4 bare"],
)
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "lr": 0.05, "weight_decay": 0.01},
    "momentum": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True},
    "adam": {"name": "adam", "lr": 0.01, "weight_decay": 0.01, "betas": (0.8, 0.95)},
    "adamw": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
    "muon": {"name": "muon", "lr": 0.02, "weight_decay": 0.1},
}
TORCH_OPTIM = [name for name in OPTIMIZERS if name != "muon"]
"""Those that are PyTorch's own classes."""


def run_of(**train: Any) -> Run:
    return Run(net=NET, train=train)


def batch(step: int, *, count: int = 16, shape: tuple[int, ...] = (8, 8)) -> Batch:
    """Noise: the same for the same step."""
    rng = np.random.default_rng(step)
    return Batch(
        images=rng.integers(0, 256, (count, *shape), dtype=np.uint8),
        labels=rng.integers(0, 4, count),
        index=np.arange(count),
        epoch=step // 4,
        step=step,
    )


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    """The same names in the same order, the same types and the same bits."""
    assert list(a) == list(b)
    for name, array in a.items():
        assert array.dtype == b[name].dtype, name
        assert array.tobytes() == b[name].tobytes(), name
