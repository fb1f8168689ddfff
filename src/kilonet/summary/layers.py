"""The operations of a network with parameters, multiply-adds, receptive field and memory."""

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
    InstanceNorm,
    Linear,
    Node,
    Pair,
    Pool2d,
    Residual,
    Shape,
    SqueezeExcitation,
)

BYTES_PER_VALUE = 4


@dataclass(frozen=True, kw_only=True)
class LayerSummary:
    """One operation: a row of the layer table.

    Attributes:
        name: as in torchsummary, class and number: ``Conv2d-1``.
        module: path in PyTorch's ``state_dict``: ``convblock1.0``.
        path: of the network's line that it comes from, as ``--set`` takes it: ``net.layers.3``, in
            a residual ``net.layers.3.residual.1``.
        text: that line.
        input_shape, output_shape: of one image.
        parameters: trained parameters; 0 for a residual, as its body has its own rows, and in the
            later applications of a repeat for what shares the first's.
        macs: multiply-adds for one image.
        fields: receptive field (height, width), in input pixels.
        jumps: distance between neighboring outputs (height, width), in input pixels.
        applications: of each repeat around it, outermost first, which application it is in, from 1.
        shared_with: module path of the layer whose parameters it uses; "" if it has its own.
    """

    name: str
    module: str
    path: str
    text: str
    input_shape: Shape
    output_shape: Shape
    parameters: int
    macs: int
    fields: Pair
    jumps: Pair
    applications: tuple[int, ...] = ()
    shared_with: str = ""

    @property
    def parameters_text(self) -> str:
        """Its parameters as a cell: ``1,168``, or ``shared``."""
        return "shared" if self.shared_with else f"{self.parameters:,}"

    @property
    def receptive_field(self) -> int:
        """The larger of ``fields``."""
        return max(self.fields)

    @property
    def jump(self) -> int:
        """The larger of ``jumps``."""
        return max(self.jumps)

    @property
    def activation_bytes(self) -> int:
        """Bytes of the output of one image."""
        return prod(self.output_shape) * BYTES_PER_VALUE

    def to_json(self) -> dict[str, Any]:
        """Plain data with the stable keys of ``kilonet summary --json``."""
        return {
            "name": self.name,
            "module": self.module,
            "path": self.path,
            "text": self.text,
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            "parameters": self.parameters,
            "shared_with": self.shared_with or None,
            "macs": self.macs,
            "receptive_field": self.receptive_field,
            "jump": self.jump,
            "activation_bytes": self.activation_bytes,
        }


def summarize_layers(net: Net) -> tuple[LayerSummary, ...]:
    """All operations in the order in which they run; a residual comes after its body."""
    layers = []
    fields = _follow(net.nodes, _Field())
    for number, (node, field) in enumerate(fields, start=1):
        layers.append(
            LayerSummary(
                name=f"{_class_name(node)}-{number}",
                module=node.name,
                path=node.path,
                text=node.text,
                input_shape=node.input_shape,
                output_shape=node.output_shape,
                parameters=sum(map(prod, node.parameters.values())),
                macs=_macs(node),
                fields=field.size,
                jumps=field.jump,
                applications=node.applications,
                shared_with=node.shared_with,
            )
        )
    return tuple(layers)


def peak_values(nodes: Sequence[Node], *, kept: int = 0, input_kept: bool = False) -> int:
    """Most activation values in memory at once; see :attr:`Summary.peak_activation_bytes`.

    Args:
        nodes: a network's, or a residual's body.
        kept: values of the inputs that enclosing residuals keep for their sums.
        input_kept: whether the first node's input is one of those.
    """
    peak = 0
    for node in nodes:
        values_in, values_out = prod(node.input_shape), prod(node.output_shape)
        apart = 0 if input_kept else values_in
        if isinstance(node.op, Residual):
            inside = kept + apart
            body = peak_values(node.op.body, kept=inside, input_kept=True)
            if node.op.shortcut:
                # The body runs first, and its output is kept; the input is free after the shortcut.
                beside = peak_values(
                    node.op.shortcut, kept=kept + values_out, input_kept=input_kept
                )
                peak = max(peak, body, beside)
            else:
                peak = max(peak, body, inside + values_out)
        elif isinstance(node.op, Conv2d | Pool2d | Linear):
            peak = max(peak, kept + apart + values_out)
        elif isinstance(node.op, SqueezeExcitation):
            peak = max(peak, kept + values_out + node.op.channels + node.op.hidden)
        else:
            peak = max(peak, kept + values_out)
        input_kept = False
    return peak


@dataclass(frozen=True, kw_only=True)
class _Field:
    """Receptive field of one output, (height, width), and of the whole map once it is flat."""

    size: Pair = (1, 1)
    jump: Pair = (1, 1)
    map: Pair = (1, 1)

    def window(self, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> _Field:
        (h, w), (jump_h, jump_w) = self.size, self.jump
        size = (
            h + (kernel[0] - 1) * dilation[0] * jump_h,
            w + (kernel[1] - 1) * dilation[1] * jump_w,
        )
        return replace(self, size=size, jump=(jump_h * stride[0], jump_w * stride[1]))

    def after(self, node: Node) -> _Field:
        """The field after one operation other than a residual."""
        op = node.op
        if isinstance(op, Conv2d):
            return self.window(op.kernel, op.stride, op.dilation)
        if isinstance(op, Pool2d):
            return self.window(op.kernel, op.stride)
        if isinstance(op, Flatten):
            _, height, width = node.input_shape
            return replace(self, map=self.window((height, width), (1, 1)).size)
        if isinstance(op, Linear):
            # Each output sees every feature; so a later linear layer does not enlarge the field.
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
    """Every node with the field after it, in the order of :func:`kilonet.spec.graph.walk`."""
    fields: list[tuple[Node, _Field]] = []
    for node in nodes:
        if isinstance(node.op, Residual):
            body, shortcut = _follow(node.op.body, field), _follow(node.op.shortcut, field)
            fields += body + shortcut
            field = body[-1][1].plus(shortcut[-1][1] if shortcut else field)
        else:
            field = field.after(node)
        fields.append((node, field))
    return fields


def _macs(node: Node) -> int:
    op = node.op
    if isinstance(op, Conv2d):
        return prod(node.output_shape) * (op.in_channels // op.groups) * prod(op.kernel)
    if isinstance(op, SqueezeExcitation):
        return 2 * op.channels * op.hidden
    return op.in_features * op.out_features if isinstance(op, Linear) else 0


def _class_name(node: Node) -> str:
    """PyTorch's class name."""
    if isinstance(node.op, BatchNorm):
        return "BatchNorm2d" if len(node.input_shape) == 3 else "BatchNorm1d"
    if isinstance(node.op, InstanceNorm):
        return "InstanceNorm2d"
    return type(node.op).__name__
