"""Finished run folders that other runs build on, without a training: weights are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kilonet.engine import initial_weights
from kilonet.spec import Net, Run
from kilonet.storage.provenance import DataInfo, Normalization, Provenance
from kilonet.storage.run_folder import RunFolder
from run_folders import checkpoint

NORMALIZATION = Normalization(mean=(0.2,), std=(0.4,))
"""Another one than the tests' students have."""


def trained(
    path: Path, net: Net, *, seed: int = 1, classes: tuple[str, ...] = (), **run: Any
) -> RunFolder:
    """A run of one epoch, whose batch norms' running statistics are not those of the start."""
    rng = np.random.default_rng(seed)
    weights = {
        name: array + rng.uniform(0.05, 0.5, array.shape).astype(np.float32)
        if name.endswith(("running_mean", "running_var"))
        else array
        for name, array in initial_weights(net, seed=seed).items()
    }
    folder = RunFolder(path)
    spec = Run(net=net, train={"epochs": 1}, **run)
    data = DataInfo(name="drawn", classes=classes)
    folder.begin(spec, Provenance(data=data, normalization=NORMALIZATION))
    folder.save(checkpoint(1))
    folder.finish(weights=weights, logits=np.eye(4, net.num_classes, dtype=np.float32))
    return folder
