"""Every operation of a network with its parameters, multiply-adds, receptive field and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from kilonet.spec import Net
from kilonet.spec.graph import (
    BatchNorm,
    Conv2d,
    Flatten,
    Linear,
    Node,
    Pair,
    Pool2d,
    Residual,
    Shape,
)

BYTES_PER_VALUE = 4


@dataclass(frozen=True, kw_only=True)
class LayerSummary:
    """One operation of the network: one line of the layer table.

    Attributes:
        name: torchsummary's: class and running number, ``Conv2d-1``.
        module: path in PyTorch's ``state_dict``: ``convblock1.0``.
        line: the network's line it comes from, from 1; ``4.2`` inside a residual.
        text: that line.
        input_shape, output_shape: of one image.
        parameters: trained ones; a residual's are its body's, so 0 of its own.
        macs: multiply-adds for one image.
        fields: receptive field (height, width), input pixels.
        jumps: distance between neighbouring outputs (height, width), input pixels.
    """

    name: str
    module: str
    line: str
    text: str
    input_shape: Shape
    output_shape: Shape
    parameters: int
    macs: int
    fields: Pair
    jumps: Pair

    @property
    def receptive_field(self) -> int:
        """The larger axis of ``fields``."""
        return max(self.fields)

    @property
    def jump(self) -> int:
        """The larger axis of ``jumps``."""
        return max(self.jumps)

    @property
    def activation_bytes(self) -> int:
        """Bytes of its output, one image."""
        return prod(self.output_shape) * BYTES_PER_VALUE

    def to_json(self) -> dict[str, Any]:
        """Plain data with the stable keys of ``kilonet summary --json``."""
        return {
            "name": self.name,
            "module": self.module,
            "line": self.line,
            "text": self.text,
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            "parameters": self.parameters,
            "macs": self.macs,
            "receptive_field": self.receptive_field,
            "jump": self.jump,
            "activation_bytes": self.activation_bytes,
        }


def summarise_layers(net: Net) -> tuple[LayerSummary, ...]:
    """Every operation in the order in which they run; a residual follows its body."""
    layers = []
    fields = _follow(net.nodes, _Field())
    for number, (node, field) in enumerate(fields, start=1):
        layers.append(
            LayerSummary(
                name=f"{_class_name(node)}-{number}",
                module=node.name,
                line=node.line,
                text=node.text,
                input_shape=node.input_shape,
                output_shape=node.output_shape,
                parameters=sum(map(prod, node.parameters.values())),
                macs=_macs(node),
                fields=field.size,
                jumps=field.jump,
            )
        )
    return tuple(layers)


def peak_values(nodes: Sequence[Node], *, kept: int = 0, input_kept: bool = False) -> int:
    """Most values of activations held at once; :attr:`Summary.peak_activation_bytes` says how.

    Args:
        nodes: a network's, or a residual's body.
        kept: values of the inputs that the residuals around keep for their sums.
        input_kept: whether the first node's input is among those.
    """
    peak = 0
    for node in nodes:
        values_in, values_out = prod(node.input_shape), prod(node.output_shape)
        apart = 0 if input_kept else values_in
        if isinstance(node.op, Residual):
            inside = kept + apart
            body = peak_values(node.op.body, kept=inside, input_kept=True)
            peak = max(peak, body, inside + values_out)
        elif isinstance(node.op, Conv2d | Pool2d | Linear):
            peak = max(peak, kept + apart + values_out)
        else:
            peak = max(peak, kept + values_out)
        input_kept = False
    return peak


@dataclass(frozen=True, kw_only=True)
class _Field:
    """Receptive field on each axis: of one output, and, once flat, of all of the map's together."""

    size: Pair = (1, 1)
    jump: Pair = (1, 1)
    map: Pair = (1, 1)

    def window(self, kernel: Pair, stride: Pair) -> _Field:
        (h, w), (jump_h, jump_w) = self.size, self.jump
        size = (h + (kernel[0] - 1) * jump_h, w + (kernel[1] - 1) * jump_w)
        return replace(self, size=size, jump=(jump_h * stride[0], jump_w * stride[1]))

    def after(self, node: Node) -> _Field:
        """The field behind one operation other than a residual."""
        op = node.op
        if isinstance(op, Conv2d | Pool2d):
            return self.window(op.kernel, op.stride)
        if isinstance(op, Flatten):
            _, height, width = node.input_shape
            return replace(self, map=self.window((height, width), (1, 1)).size)
        if isinstance(op, Linear):
            # Each output sees every feature. A later linear layer sees the same map, no more.
            return replace(self, size=self.map)
        return self

    def plus(self, other: _Field) -> _Field:
        """The field of a sum of two branches."""
        return _Field(
            size=_larger(self.size, other.size),
            jump=_larger(self.jump, other.jump),
            map=_larger(self.map, other.map),
        )


def _larger(one: Pair, other: Pair) -> Pair:
    return max(one[0], other[0]), max(one[1], other[1])


def _follow(nodes: Sequence[Node], field: _Field) -> list[tuple[Node, _Field]]:
    """Every node with the field behind it, in the order of :func:`kilonet.spec.graph.walk`."""
    fields: list[tuple[Node, _Field]] = []
    for node in nodes:
        if isinstance(node.op, Residual):
            body = _follow(node.op.body, field)
            fields += body
            field = field.plus(body[-1][1])
        else:
            field = field.after(node)
        fields.append((node, field))
    return fields


def _macs(node: Node) -> int:
    op = node.op
    if isinstance(op, Conv2d):
        return prod(node.output_shape) * (op.in_channels // op.groups) * prod(op.kernel)
    return op.in_features * op.out_features if isinstance(op, Linear) else 0


def _class_name(node: Node) -> str:
    """The name of PyTorch's class."""
    if isinstance(node.op, BatchNorm):
        return "BatchNorm2d" if len(node.input_shape) == 3 else "BatchNorm1d"
    return type(node.op).__name__
