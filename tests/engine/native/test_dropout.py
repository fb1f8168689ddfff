"""Dropout's masks, read off the gradients of a network that shows them."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kilonet.data.batch import Batch
from kilonet.engine.native import NativeEngine
from kilonet.spec import Net, Run

torch = pytest.importorskip("torch")

from float64_twin import kept_values  # noqa: E402

pytestmark = pytest.mark.usefixtures("isa")

IMAGES, SIZE = 64, 20
ELEMENTS = SIZE * SIZE


def masks(p: float, *, seed: int = 1, step: int = 0, layer: int = 1) -> NDArray[np.bool_]:
    """What a step keeps, (images, elements).

    White images, each its own class, and weights of zero: the gradient of class c's weight at
    element e is the mean over the images of mask[e], less image c's own. It is negative where c's
    is kept and positive where it is dropped; nothing where all are alike, and p says which.
    """
    earlier = ["dropout 0"] * (layer - 1)
    net = Net(
        input=(1, SIZE, SIZE),
        layers=[*earlier, f"dropout {p}", "flatten", f"linear {IMAGES} nobias"],
    )
    engine = NativeEngine(Run(net=net, train={"seed": seed}), mean=(0.0,), std=(1.0,))
    engine.load_weights({"linear1.weight": np.zeros((IMAGES, ELEMENTS), np.float32)})
    batch = Batch(
        images=np.full((IMAGES, SIZE, SIZE), 255, np.uint8),
        labels=np.arange(IMAGES),
        index=np.arange(IMAGES),
        epoch=0,
        step=step,
    )
    gradient = engine.gradients(batch)["linear1.weight"]
    kept: NDArray[np.bool_] = gradient < (1e-6 if p < 0.5 else -1e-6)
    # Where the sizes fit as well: 1 / (1 − p) for what is kept, over images and classes.
    share = kept.mean(axis=0)
    expected = (share - kept) / (1 - p) / IMAGES
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)
    return kept


@pytest.mark.parametrize(
    "settings",
    [
        {"p": 0.3, "seed": 2**40 + 17, "step": 6},
        {"p": 0.5, "seed": 0, "step": 100_000},
        {"p": 0.1, "layer": 3},
    ],
)
def test_masks_are_philoxs(settings: dict[str, Any]) -> None:
    """To the bit those of ``kilonet.randomness``, for two chunks of images."""
    code = zlib.crc32(f"dropout{settings.get('layer', 1)}".encode())
    expected = kept_values(
        (IMAGES, ELEMENTS),
        p=settings["p"],
        seed=settings.get("seed", 1),
        step=settings.get("step", 0),
        code=code,
    )
    np.testing.assert_array_equal(masks(**settings), expected)


@pytest.mark.parametrize("p", [0.01, 0.2, 0.5, 0.9])
def test_the_rate_is_right(p: float) -> None:
    """Within five standard deviations of a binomial, for all values and for each image's."""
    kept = masks(p)
    for values in (kept.ravel(), *kept):
        deviation = np.sqrt(p * (1 - p) / len(values))
        assert abs(values.mean() - (1 - p)) < 5 * deviation


def test_masks_are_independent() -> None:
    """Steps, seeds, layers, images and elements: two masks agree as often as two of chance."""
    p = 0.4
    one = masks(p)
    others = {
        "step": masks(p, step=1),
        "seed": masks(p, seed=2),
        "seed's high word": masks(p, seed=1 + 2**32),
        "layer": masks(p, layer=2),
        "image": np.roll(one, 1, axis=0),
        "chunk": np.roll(one, 32, axis=0),
        "element": np.roll(one, 1, axis=1),
        "draw": np.roll(one, 8, axis=1),
    }
    agree = p**2 + (1 - p) ** 2
    deviation = np.sqrt(agree * (1 - agree) / one.size)
    for name, other in others.items():
        assert abs((one == other).mean() - agree) < 6 * deviation, name
    np.testing.assert_array_equal(one, masks(p))
