"""Gradients against central differences of a float64 forward pass in plain NumPy."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

import numpy_net
from kilonet.data.batch import Batch
from kilonet.engine import create_engine, initial_weights
from kilonet.randomness import Purpose, random_words
from kilonet.spec import Net, Run, graph

native = pytest.importorskip("kilonet.engine._native", reason="no compiler when installed")

MEAN, STD = 0.5, 0.25
STEP = 1e-5
"""Of a weight; the differences' error is of the order of its square and of 1e-16 / STEP."""

NETS: dict[str, dict[str, Any]] = {
    "conv": {"layers": ["conv 3 kernel=3x2 stride=2x1 pad=2x1 bare bias", "flatten", "linear 3"]},
    "grouped": {"layers": ["conv 4 bare", "conv 6 groups=2 pad=1 bare bias", "gap"]},
    "depthwise": {
        "layers": ["depthwise multiplier=3 kernel=5 pad=2 bias bare", "flatten", "linear 3"]
    },
    "pointwise": {"layers": ["pointwise 5 bare", "gap", "pointwise 3 bare bias"]},
    "relu": {"layers": ["conv 4", "conv 3 kernel=2", "gap", "pointwise 3 bare"]},
    "leaky_relu": {"block": ["conv", "leaky_relu slope=0.2"], "layers": ["conv 4 bias", "gap"]},
    "silu": {"block": ["silu", "conv", "silu"], "layers": ["conv 4", "gap", "pointwise 3 bare"]},
    "hardswish": {"block": ["conv", "hardswish"], "layers": ["conv 4 bias", "gap"]},
    "batchnorm": {
        "block": ["conv", "relu", "batchnorm"],
        "layers": ["conv 4", "conv 3 kernel=2 bias", "flatten", "linear 3"],
    },
    "batchnorm first": {
        "block": ["batchnorm eps=0.1", "conv", "silu"],
        "layers": ["conv 4", "flatten", "linear 4", "batchnorm", "linear 3"],
    },
    "batchnorm noaffine": {
        "block": ["conv", "relu", "batchnorm noaffine"],
        "layers": ["batchnorm noaffine", "conv 4 bias", "conv 3 kernel=2", "flatten", "linear 3"],
    },
    "batchnorm noscale": {
        "block": ["conv", "batchnorm noscale", "relu"],
        "layers": ["conv 4", "conv 3 kernel=2", "flatten", "linear 4", "batchnorm noscale"],
    },
    "groupnorm": {
        "block": ["conv", "groupnorm 2", "silu"],
        "layers": [
            "conv 4",
            "groupnorm 4 noscale eps=0.1",
            "conv 6 kernel=2",
            "flatten",
            "linear 3",
        ],
    },
    "layernorm": {
        "block": ["conv", "relu", "layernorm"],
        "layers": ["conv 4", "layernorm noaffine", "flatten", "linear 4", "layernorm", "linear 3"],
    },
    "instancenorm": {
        "block": ["instancenorm affine", "conv", "silu"],
        "layers": ["conv 4", "instancenorm", "conv 3 kernel=2", "flatten", "linear 3"],
    },
    "se": {
        "block": ["conv", "silu", "se"],
        "layers": [
            "se",
            "conv 6 bias",
            {"residual": ["se reduction=2"]},
            "gap",
            "pointwise 3 bare",
        ],
    },
    "dropout": {
        "block": ["conv", "silu", "dropout 0.3"],
        "layers": ["dropout 0.2", "conv 4", "batchnorm", "dropout 0.4", "flatten", "linear 3"],
    },
    "maxpool": {
        "layers": ["conv 4 bare", "maxpool 2", "maxpool 3x2 stride=1 pad=1", "flatten", "linear 3"]
    },
    "avgpool": {"layers": ["conv 4 bare", "avgpool 3 stride=2 pad=1", "flatten", "linear 3"]},
    "residual": {
        "block": ["conv", "silu"],
        "layers": [
            "conv 3 pad=1",
            {"residual": ["conv 5 pad=1", {"residual": ["batchnorm"]}, "pointwise 3 bare"]},
            {"residual": ["silu", "depthwise pad=1 bare"]},
            "gap",
            "pointwise 3 bare",
        ],
    },
}


def masks_of(net: Net, count: int, *, seed: int, step: int) -> dict[str, Any]:
    """Each dropout's mask, one draw at a time."""
    masks = {}
    for node in graph.walk(net.nodes):
        if not isinstance(node.op, graph.Dropout):
            continue
        elements = int(np.prod(node.input_shape))
        draws = -(-elements // 8)
        code = zlib.crc32(node.name.encode())
        mask = np.empty((count, elements), bool)
        for image in range(count):
            for element in range(elements):
                words = random_words(
                    image * draws + element // 8,
                    seed=seed,
                    purpose=Purpose.DROPOUT,
                    epoch=step,
                    block=code,
                )
                half = int(words[element % 8 // 2]) >> 16 * (element % 2) & 0xFFFF
                mask[image, element] = half >= round(node.op.p * 65536)
        masks[node.name] = mask.reshape(count, *node.input_shape)
    return masks


@pytest.mark.parametrize("name", NETS)
def test_every_kind_of_layer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every instruction set of the machine."""
    net = Net(**{"input": (2, 5, 4), "block": ["conv", "relu"], **NETS[name]})
    run = Run(net=net, train={"label_smoothing": 0.1, "seed": 3})
    count, rng = 5, np.random.default_rng(1)
    batch = Batch(
        images=rng.integers(0, 256, (count, 5, 4, 2), dtype=np.uint8),
        labels=rng.integers(0, net.num_classes, count),
        index=np.arange(count),
        epoch=0,
        step=7,
    )
    x = (batch.images.transpose(0, 3, 1, 2) / 255 - MEAN) / STD
    initial = initial_weights(net, seed=3)
    weights = {n: a.astype(np.float64) for n, a in initial.items()}
    masks = masks_of(net, count, seed=3, step=7)

    def loss() -> float:
        return numpy_net.loss(net, weights, x, batch.labels, smoothing=0.1, masks=masks)

    expected_loss, gradients = loss(), {}
    for parameter in net.parameters:
        flat = weights[parameter].reshape(-1)
        expected = gradients[parameter] = np.empty(len(flat))
        for i, value in enumerate(flat.copy()):
            flat[i] = value + STEP
            above = loss()
            flat[i] = value - STEP
            expected[i] = (above - loss()) / (2 * STEP)
            flat[i] = value
    whole = np.linalg.norm(np.concatenate(list(gradients.values())))
    for isa in native.instruction_sets():
        monkeypatch.setenv("KILONET_ISA", isa)
        engine = create_engine(run, engine="native", threads=1, mean=(MEAN,), std=(STD,))
        assert engine.step(batch, 0.0).loss == pytest.approx(expected_loss, rel=1e-6)
        found = engine.gradients(batch)
        for parameter, expected in gradients.items():
            error = np.linalg.norm(found[parameter].reshape(-1) - expected)
            # The gradient of a bias before a batch norm is zero: 1e-6 of the others'.
            assert error <= max(1e-4 * np.linalg.norm(expected), 1e-6 * whole), (isa, parameter)
