"""Translates a spec's network to the extension's: operations in order, and the pixel table."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from kilonet.data.augment import normalize
from kilonet.errors import EngineError, SpecError
from kilonet.spec import graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kilonet.engine.native.flat import Flat
    from kilonet.spec import Net

    Floats = NDArray[np.float32]

COVERED: tuple[type, ...] = (
    graph.AvgPool2d,
    graph.BatchNorm,
    graph.Conv2d,
    graph.Dropout,
    graph.Flatten,
    graph.GroupNorm,
    graph.Hardswish,
    graph.InstanceNorm,
    graph.LeakyReLU,
    graph.Linear,
    graph.MaxPool2d,
    graph.ReLU,
    graph.Residual,
    graph.SiLU,
    graph.SqueezeExcitation,
)
"""Operations that the native engine has kernels for."""


def first_uncovered(net: Net) -> graph.Node | None:
    """The first node, in residuals too, without a kernel; None if all have one."""
    return next((node for node in graph.walk(net.nodes) if not isinstance(node.op, COVERED)), None)


def pixel_table(channels: int, *, mean: Sequence[float], std: Sequence[float]) -> Floats:
    """The normalized value of each of 256 pixel values: (channels, 256) float32.

    The bits are those of :func:`kilonet.data.augment.normalize`.
    """
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise SpecError(f"data.{name}: has {len(values)} values; give 1 or {channels}")
    pixels = np.arange(256, dtype=np.uint8).reshape(256, 1, 1)
    rows = [
        normalize(pixels, mean=(mean[c % len(mean)],), std=(std[c % len(std)],)).ravel()
        for c in range(channels)
    ]
    return np.stack(rows)


def compile_network(net: Net, network: Any, *, parameters: Flat, buffers: Flat) -> Any:
    """Append the network's operations to the extension's empty network and compile it."""

    def run(nodes: Sequence[graph.Node], tensor: int) -> int:
        for node in nodes:
            tensor = append(node, tensor)
        return tensor

    def append(node: graph.Node, tensor: int) -> int:
        weight = parameters.offsets.get(f"{node.owner}.weight", -1)
        bias = parameters.offsets.get(f"{node.owner}.bias", -1)
        result: int
        match node.op:
            case graph.Conv2d() as op:
                result = network.conv(
                    tensor,
                    op.out_channels,
                    op.kernel,
                    op.stride,
                    op.padding,
                    op.extra_padding,
                    op.dilation,
                    op.groups,
                    weight,
                    bias,
                )
            case graph.Linear() as op:
                one, none = (1, 1), (0, 0)
                result = network.conv(
                    tensor, op.out_features, one, one, none, none, one, 1, weight, bias
                )
            case graph.BatchNorm() as op:
                mean = buffers.offsets[f"{node.name}.running_mean"]
                var = buffers.offsets[f"{node.name}.running_var"]
                result = network.norm(tensor, op.eps, op.momentum, weight, bias, mean, var)
            case graph.GroupNorm() as op:
                result = network.group_norm(tensor, op.groups, op.eps, weight, bias)
            case graph.InstanceNorm() as op:
                result = network.group_norm(tensor, op.features, op.eps, weight, bias)
            case graph.SqueezeExcitation() as op:
                one, none = (1, 1), (0, 0)
                size = node.input_shape[1:]
                gates = network.pool(tensor, True, size, size, none)
                for part, out in (("fc1", op.hidden), ("fc2", op.channels)):
                    weight = parameters.offsets[f"{node.owner}.{part}.weight"]
                    bias = parameters.offsets[f"{node.owner}.{part}.bias"]
                    gates = network.conv(gates, out, one, one, none, none, one, 1, weight, bias)
                    gates = network.activation(gates, "relu", 0.0) if part == "fc1" else gates
                result = network.gate(tensor, gates)
            case graph.ReLU():
                result = network.activation(tensor, "relu", 0.0)
            case graph.LeakyReLU(slope=slope):
                result = network.activation(tensor, "leaky_relu", slope)
            case graph.SiLU():
                result = network.activation(tensor, "silu", 0.0)
            case graph.Hardswish():
                result = network.activation(tensor, "hardswish", 0.0)
            case graph.Dropout(p=p):
                code = zlib.crc32(node.name.encode())
                result = network.dropout(tensor, p, code) if p else tensor
            case graph.MaxPool2d() as op:
                result = network.pool(tensor, False, op.kernel, op.stride, op.padding)
            case graph.AvgPool2d() as op:
                result = network.pool(tensor, True, op.kernel, op.stride, op.padding)
            case graph.Flatten():
                result = network.flatten(tensor)
            case graph.Residual(body=body, shortcut=shortcut):
                result = network.add(run(body, tensor), run(shortcut, tensor))
            case _:
                raise EngineError(f"{node.where}: has no native kernel; use engine torch")
        return result

    network.compile(run(net.nodes, 0), len(parameters.flat))
    return network


def appended_nodes(net: Net) -> list[graph.Node]:
    """The node of each operation that :func:`compile_network` appends, in order."""
    nodes: list[graph.Node] = []
    for node in graph.walk(net.nodes):
        match node.op:
            case graph.Dropout(p=0):
                count = 0
            case graph.SqueezeExcitation():
                count = 5  # the mean, two convolutions with a ReLU between them, the gate
            case _:
                count = 1
        nodes += [node] * count
    return nodes
