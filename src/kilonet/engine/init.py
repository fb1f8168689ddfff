"""Initial weights: PyTorch's default distributions, drawn without PyTorch."""

from __future__ import annotations

import zlib
from math import prod, sqrt
from typing import TYPE_CHECKING

import numpy as np

from kilonet.randomness import Purpose, random_words
from kilonet.spec.graph import BatchNorm, Conv2d, Linear, walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kilonet.spec import Net
    from kilonet.spec.graph import Shape

_BATCHNORM_CONSTANTS = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}


def initial_weights(net: Net, *, seed: int) -> dict[str, NDArray[np.generic]]:
    """Parameters and buffers before the first step.

    Weights and biases of convolutions and linear layers are uniform in ±1/√fan_in, which equals
    PyTorch's Kaiming uniform with a = √5; batch norm starts as the identity. Source:
    ``reset_parameters`` of ``torch.nn.Conv2d``, ``Linear`` and ``BatchNorm2d``.

    An array depends on the seed and its name alone, so layers that two networks have in common
    start with equal weights: stages of a study can be compared in pairs.

    Args:
        net: the network.
        seed: the run's.

    Returns:
        Name → array, in the order of PyTorch's ``state_dict``; float32, counts int64.
    """
    weights: dict[str, NDArray[np.generic]] = {}
    for node in walk(net.nodes):
        shapes = {**node.parameters, **node.buffers}
        if isinstance(node.op, Conv2d | Linear):
            fan_in = prod(shapes[f"{node.name}.weight"][1:])
            for name, shape in shapes.items():
                weights[name] = _uniform(shape, bound=1 / sqrt(fan_in), name=name, seed=seed)
        elif isinstance(node.op, BatchNorm):
            for name, shape in shapes.items():
                part = name.rpartition(".")[2]
                if part == "num_batches_tracked":
                    weights[name] = np.zeros(shape, dtype=np.int64)
                else:
                    weights[name] = np.full(shape, _BATCHNORM_CONSTANTS[part], dtype=np.float32)
    return weights


def _uniform(shape: Shape, *, bound: float, name: str, seed: int) -> NDArray[np.float32]:
    """Uniform numbers strictly between −bound and bound.

    Element i is word i % 4 of index i // 4. A draw is the center of one of 2²³ equal bins. The
    outermost centers are a float32 spacing inside the bound, so that none is rounded to it.
    """
    count = prod(shape)
    block = zlib.crc32(name.encode())
    index = np.arange(-(-count // 4))
    words = random_words(index, seed=seed, purpose=Purpose.INITIAL_WEIGHTS, block=block)
    bins = (words.ravel()[:count] >> np.uint32(9)).astype(np.float64)
    draws = ((bins + 0.5) * 2.0**-22 - 1.0) * bound
    return draws.astype(np.float32).reshape(shape)
