"""JAX's side of the benchmark, where JAX is installed: equal logits from equal weights."""

from __future__ import annotations

import numpy as np
import pytest

from kilonet.bench.measure import LOGITS_TOLERANCE, log_softmax, loss_problem
from kilonet.bench.native import EngineSteps
from kilonet.data import Dataset, RunData
from kilonet.spec import load_run

pytest.importorskip("jax")


MIXED = {
    "input": [1, 28, 28],
    "block": ["conv", "batchnorm", "silu", "dropout 0.1"],
    "layers": [
        "conv 6 stride=2 pad=1 bias",
        {"residual": ["depthwise pad=1", "pointwise 6"]},
        {"repeat": ["conv 6 kernel=2 pad=same dilation=1x3", "depthwise pad=1"], "times": 2},
        {"residual": ["conv 6 stride=2 pad=1"], "shortcut": ["pointwise 6 stride=2 bare"]},
        "leaky_relu",
        "avgpool 3 stride=2 pad=1",
        "hardswish",
        "groupnorm 2",
        "se",
        "instancenorm affine",
        "layernorm noscale",
        "maxpool 3 stride=2 pad=1",
        "flatten",
        "linear 12",
        "batchnorm noscale",
        "groupnorm 3 noaffine",
        "linear 10",
    ],
}


@pytest.mark.parametrize("net", [None, MIXED], ids=["bundled", "every layer"])
def test_equal_weights_give_equal_logits_and_steps_train(mnist: Dataset, net: dict | None) -> None:
    from kilonet.bench.jax import JaxSteps

    run = load_run("interim")
    run = run if net is None else run.replace({"net": net})
    images = RunData.of(run, mnist)
    native = EngineSteps(run, images, engine="native", threads=1)
    for _ in range(3):
        native.step()
    jax_steps = JaxSteps(run, images)
    jax_steps.load_weights(native.engine.weights())
    digits = images.test_images[:200]
    expected, found = log_softmax(native.logits(digits)), log_softmax(jax_steps.logits(digits))
    assert np.linalg.norm(found - expected) <= LOGITS_TOLERANCE * np.linalg.norm(expected)
    assert loss_problem([jax_steps.step() for _ in range(16)]) is None
