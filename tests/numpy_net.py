"""A network's forward pass in float64 NumPy, as plain as can be: what finite differences are of.

Written from the layers' definitions, with neither PyTorch nor the engine's kernels in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kilonet.spec import Net, graph

Array = NDArray[np.float64]
Arrays = dict[str, Array]


def loss(
    net: Net,
    weights: Arrays,
    x: Array,
    labels: NDArray[np.int64],
    *,
    smoothing: float,
    masks: dict[str, NDArray[np.bool_]],
) -> float:
    """Mean cross-entropy, nats, of a training pass.

    Args:
        net: the network.
        weights: PyTorch's names and layouts.
        x: (n, channels, height, width).
        labels: (n,).
        smoothing: of the labels.
        masks: a dropout's name → what it keeps.
    """
    for node in net.nodes:
        x = _forward(node, weights, x, masks)
    logits = x.reshape(len(x), -1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    target = np.full(log_p.shape, smoothing / log_p.shape[1])
    target[np.arange(len(labels)), labels] += 1 - smoothing
    return float(-(target * log_p).sum() / len(labels))


def _forward(
    node: graph.Node, weights: Arrays, x: Array, masks: dict[str, NDArray[np.bool_]]
) -> Array:
    weight, bias = weights.get(f"{node.owner}.weight"), weights.get(f"{node.owner}.bias")
    match node.op:
        case graph.Conv2d() as op:
            assert weight is not None
            y = _conv(x, weight, op)
            return y if bias is None else y + bias[:, None, None]
        case graph.Linear():
            assert weight is not None
            y = x @ weight.T
            return y if bias is None else y + bias
        case graph.BatchNorm() as op:
            axes = tuple(axis for axis in range(x.ndim) if axis != 1)
            mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
            return _scaled((x - mean) / np.sqrt(variance + op.eps), weight, bias)
        case graph.GroupNorm() as op:
            return _scaled(_normalized_images(x, op.groups, op.eps), weight, bias)
        case graph.InstanceNorm() as op:
            return _scaled(_normalized_images(x, x.shape[1], op.eps), weight, bias)
        case graph.SqueezeExcitation():
            return _excited(x, weights, node.name)
        case graph.ReLU():
            return np.maximum(x, 0.0)
        case graph.LeakyReLU(slope=slope):
            return np.where(x > 0, x, slope * x)
        case graph.SiLU():
            return x / (1 + np.exp(-x))
        case graph.Hardswish():
            return x * np.clip(x + 3, 0, 6) / 6
        case graph.Dropout(p=p):
            return x * masks[node.name] / (1 - p)
        case graph.MaxPool2d() as op:
            return _windows(x, op, fill=-np.inf, join=lambda w: w.max(axis=0))
        case graph.AvgPool2d() as op:
            return _windows(x, op, fill=0.0, join=lambda w: w.mean(axis=0))
        case graph.Flatten():
            return x.reshape(len(x), -1)
        case graph.Residual(body=body, shortcut=shortcut):
            y = x
            for inner in body:
                y = _forward(inner, weights, y, masks)
            for inner in shortcut:
                x = _forward(inner, weights, x, masks)
            return x + y
    raise AssertionError(node.op)


def _normalized_images(x: Array, groups: int, eps: float) -> Array:
    parts = x.reshape(len(x), groups, -1)
    mean, variance = parts.mean(2, keepdims=True), parts.var(2, keepdims=True)
    return ((parts - mean) / np.sqrt(variance + eps)).reshape(x.shape)


def _excited(x: Array, weights: Arrays, name: str) -> Array:
    means = x.mean((2, 3))
    w1, w2 = (weights[f"{name}.{part}.weight"][:, :, 0, 0] for part in ("fc1", "fc2"))
    hidden = np.maximum(means @ w1.T + weights[f"{name}.fc1.bias"], 0.0)
    gates = hidden @ w2.T + weights[f"{name}.fc2.bias"]
    return x / (1 + np.exp(-gates[:, :, None, None]))


def _scaled(x: Array, weight: Array | None, bias: Array | None) -> Array:
    """A normalized input's trained scale and shift per channel, where it has them."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    y = x if weight is None else x * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _taps(x: Array, op: Any, fill: float) -> list[Array]:
    """For each place in the kernel, rows first: what it lies on, (n, channels, height, width)."""
    (kh, kw), (sh, sw), (ph, pw) = op.kernel, op.stride, op.padding
    (eh, ew), (dh, dw) = getattr(op, "extra_padding", (0, 0)), getattr(op, "dilation", (1, 1))
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph + eh), (pw, pw + ew)), constant_values=fill)
    height = (padded.shape[2] - dh * (kh - 1) - 1) // sh + 1
    width = (padded.shape[3] - dw * (kw - 1) - 1) // sw + 1
    return [
        padded[:, :, i : i + sh * (height - 1) + 1 : sh, j : j + sw * (width - 1) + 1 : sw]
        for i, j in product(range(0, dh * kh, dh), range(0, dw * kw, dw))
    ]


def _windows(x: Array, op: Any, *, fill: float, join: Callable[[Array], Array]) -> Array:
    return join(np.stack(_taps(x, op, fill)))


def _conv(x: Array, weight: Array, op: graph.Conv2d) -> Array:
    taps: Sequence[Array] = _taps(x, op, 0.0)
    inputs, outputs = weight.shape[1], weight.shape[0] // op.groups
    parts = []
    for group in range(op.groups):
        w = weight[group * outputs : (group + 1) * outputs].reshape(outputs, inputs, -1)
        mine = slice(group * inputs, (group + 1) * inputs)
        parts.append(
            sum(np.einsum("nihw,oi->nohw", tap[:, mine], w[..., k]) for k, tap in enumerate(taps))
        )
    return np.concatenate(parts, axis=1)
