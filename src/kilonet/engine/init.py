"""Initial weights: PyTorch's default distributions, drawn without PyTorch; or another run's."""

from __future__ import annotations

import zlib
from math import prod, sqrt
from typing import TYPE_CHECKING

import numpy as np

from kilonet.errors import StorageError
from kilonet.randomness import Purpose, random_words
from kilonet.spec.graph import Conv2d, Linear, Norm, SqueezeExcitation, walk
from kilonet.spec.lineage import INIT
from kilonet.storage.trained import read_source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kilonet.spec import Net, Run
    from kilonet.spec.graph import Shape

_NORM_CONSTANTS = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}


def starting_weights(run: Run) -> dict[str, NDArray[np.generic]]:
    """What a run's training starts from: :func:`initial_weights`, or those of ``train.init``.

    Raises:
        StorageError: as :func:`with_init`.
    """
    return with_init(initial_weights(run.net, seed=run.train.seed), run)


def with_init(weights: dict[str, NDArray[np.generic]], run: Run) -> dict[str, NDArray[np.generic]]:
    """Weights with those of the run that ``train.init`` names in their place.

    Args:
        weights: parameters and buffers by name, as the network would start.
        run: the run; without ``train.init`` nothing changes.

    Raises:
        StorageError: the folder has no finished run; or a name or a shape differs, unless
            ``strict`` is off; or nothing agrees.
    """
    init = run.train.init
    if init is None:
        return weights
    found = read_source(INIT, init).weights
    agreeing = {
        name: array
        for name, array in found.items()
        if name in weights and weights[name].shape == array.shape
    }
    names = [*weights, *sorted(found)]
    differing = next((name for name in names if name not in agreeing), None)
    if differing is not None and (init.strict or not agreeing):
        own, other = (
            f"of shape {each[differing].shape}" if differing in each else "missing"
            for each in (weights, found)
        )
        remedy = "make the networks equal"
        if agreeing:
            remedy += f", or set {INIT}.strict = false to take what agrees"
        raise StorageError(
            f"{INIT}: {init.folder}: {differing} is {other} there, and {own} in this network; "
            f"{remedy}"
        )
    return {name: agreeing.get(name, array) for name, array in weights.items()}


def initial_weights(net: Net, *, seed: int) -> dict[str, NDArray[np.generic]]:
    """Parameters and buffers before the first step.

    Weights and biases of convolutions and linear layers are uniform in ±1/√fan_in, which equals
    PyTorch's Kaiming uniform with a = √5; a normalization's scale starts as one and its shift as
    zero. Source: ``reset_parameters`` of ``torch.nn.Conv2d``, ``Linear`` and ``BatchNorm2d``.

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
        if isinstance(node.op, Conv2d | Linear | SqueezeExcitation) and not node.shared_with:
            for name, shape in shapes.items():
                fan_in = prod(shapes[f"{name.rpartition('.')[0]}.weight"][1:])
                weights[name] = _uniform(shape, bound=1 / sqrt(fan_in), name=name, seed=seed)
        elif isinstance(node.op, Norm):
            for name, shape in shapes.items():
                part = name.rpartition(".")[2]
                if part == "num_batches_tracked":
                    weights[name] = np.zeros(shape, dtype=np.int64)
                else:
                    weights[name] = np.full(shape, _NORM_CONSTANTS[part], dtype=np.float32)
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
