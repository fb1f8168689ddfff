"""Expands a network's lines to the nodes of :mod:`kilonet.spec.graph`: names, and shapes that fit.

Lines with convolutions are ``convblock1``, ``convblock2``, … with members numbered as in
``nn.Sequential``, so the bundled network's weights load into the notebook's class unchanged.

A repeat's applications are members ``0``, ``1``, … of a sequence: ``repeat1.1.convblock1.0`` is the
first convolution in the second one. Convolutions and linear layers have parameters in the first
application alone, so a ``state_dict`` holds each shared array once, under the name that it has
there (``repeat1.0.convblock1.0.weight``). Normalizations have their own parameters and statistics
in each application, as the values that they see differ.

A residual's shortcut is its member ``shortcut``: ``residual1.shortcut.convblock1.0``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

from kilonet.errors import NetError
from kilonet.spec import layers as spec
from kilonet.spec import notation
from kilonet.spec.graph import (
    SHARING,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    GroupNorm,
    Hardswish,
    InstanceNorm,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Node,
    Op,
    Pair,
    ReLU,
    Residual,
    Shape,
    SiLU,
    SqueezeExcitation,
    show,
)

MAX_NODES = 10_000
"""The most operations of a network: repeats in repeats multiply, and each needs its memory."""


def expand(
    layers: Sequence[spec.Layer],
    *,
    block: Sequence[spec.Layer | None],
    input_shape: Shape,
) -> tuple[Node, ...]:
    """Expand lines to nodes and compute the shapes.

    Args:
        layers: the network's lines.
        block: what a convolution expands to; None is the convolution itself.
        input_shape: (channels, height, width).

    Raises:
        NetError: naming the line, its text and the shapes that do not fit.
    """
    return _expand(layers, input_shape=input_shape, scope=_Scope(block=block))


@dataclass(frozen=True, kw_only=True)
class _Scope:
    """Where lines are: in the network, in a residual, or in an application of a repeat.

    Attributes:
        block: what a convolution expands to.
        name: prefix of names.
        owner: that prefix with 0 for each application: what owns the shared parameters.
        path: of the list of lines.
        applications: as of :class:`Node`.
        within: those in words, for messages.
        owners: name → node of the convolutions and linear layers of first applications.
        counted: nodes so far.
    """

    block: Sequence[spec.Layer | None]
    name: str = ""
    owner: str = ""
    path: str = "net.layers"
    applications: tuple[int, ...] = ()
    within: str = ""
    owners: dict[str, Node] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)

    def inside(self, layer: str, part: str) -> _Scope:
        """Of a list in a layer, such as ``residual1``, at ``3.residual`` of this scope's path."""
        return replace(
            self,
            name=f"{self.name}{layer}.",
            owner=f"{self.owner}{layer}.",
            path=f"{self.path}.{part}",
        )

    def application(self, number: int, times: int) -> _Scope:
        """Of an application of the repeat whose scope this is; numbers from 1."""
        outer = f" inside{self.within}" if self.within else ""
        return replace(
            self,
            name=f"{self.name}{number - 1}.",
            owner=f"{self.owner}0.",
            applications=(*self.applications, number),
            within=f" application {number} of {times}{outer}",
        )


def _expand(layers: Sequence[spec.Layer], *, input_shape: Shape, scope: _Scope) -> tuple[Node, ...]:
    nodes: list[Node] = []
    counts: Counter[str] = Counter()
    shape = input_shape
    for position, layer in enumerate(layers):
        group = _GROUPS.get(layer.word, layer.word)
        counts[group] += 1
        name = f"{group}{counts[group]}"
        if isinstance(layer, notation.Repeat):
            inside = scope.inside(name, f"{position}.repeat")
            for number in range(1, layer.times + 1):
                again = inside.application(number, layer.times)
                nodes += _expand(layer.layers, input_shape=shape, scope=again)
                shape = nodes[-1].output_shape
            continue
        for i, member in enumerate(_members(layer, scope.block)):
            place = _Place(
                name=f"{name}.{i}" if group == "convblock" else name,
                position=position,
                text=str(layer),
                shape=shape,
                scope=scope,
            )
            node = place.build(member)
            place.check_mean(node, before=nodes)
            nodes.append(node)
            shape = node.output_shape
    return tuple(nodes)


_GROUPS = {
    "conv": "convblock",
    "pointwise": "convblock",
    "depthwise": "convblock",
    "maxpool": "pool",
    "avgpool": "pool",
}


def _members(layer: spec.Layer, block: Sequence[spec.Layer | None]) -> list[spec.Layer]:
    """The layers that one line expands to."""
    if not isinstance(layer, spec.Conv | spec.Pointwise | spec.Depthwise) or layer.bare:
        return [layer]
    members = [layer if member is None else member for member in block]
    if isinstance(layer, spec.Pointwise):
        kept = (spec.Pointwise, *spec.ACTIVATIONS)
        members = [member for member in members if isinstance(member, kept)]
    return members


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where an operation goes: its name and line in a scope, and its input shape."""

    name: str
    position: int
    text: str
    shape: Shape
    scope: _Scope

    def error(self, problem: str) -> NetError:
        within = f",{self.scope.within}" if self.scope.within else ""
        return NetError(f"{self.scope.path}.{self.position} '{self.text}'{within}: {problem}")

    def node(self, op: Op, output_shape: Shape) -> Node:
        scope = self.scope
        scope.counted["nodes"] += 1
        if scope.counted["nodes"] > MAX_NODES:
            raise self.error(f"the network has more than {MAX_NODES:,} operations; repeat less")
        node = Node(
            name=f"{scope.name}{self.name}",
            op=op,
            path=f"{scope.path}.{self.position}",
            text=self.text,
            input_shape=self.shape,
            output_shape=output_shape,
            applications=scope.applications,
        )
        if not isinstance(op, SHARING) or not scope.applications:
            return node
        owner = scope.owners.setdefault(f"{scope.owner}{self.name}", node)
        if owner is node:
            return node
        shared = replace(node, shared_with=owner.name)
        if shared.parameters_used != owner.parameters:
            inputs = "features" if isinstance(op, Linear) else "channels"
            raise self.error(
                f"its input is {show(self.shape)}, but it shares its weights with application 1, "
                f"whose input is {show(owner.input_shape)}; all applications need as many {inputs}"
            )
        return shared

    def build(self, layer: spec.Layer) -> Node:
        """The node of one layer; NetError if its input does not fit."""
        match layer:
            case spec.Conv():
                return self.conv(layer, layer.out, groups=layer.groups)
            case spec.Pointwise():
                return self.conv(layer, layer.out, groups=layer.groups)
            case spec.Depthwise():
                channels = self.image()[0]
                return self.conv(layer, channels * layer.multiplier, groups=channels)
            case spec.MaxPool():
                return self.pool(MaxPool2d, layer)
            case spec.AvgPool():
                return self.pool(AvgPool2d, layer)
            case spec.GlobalAvgPool():
                channels, *size = self.image()
                kernel = (size[0], size[1])
                op = AvgPool2d(kernel=kernel, stride=kernel, padding=(0, 0))
                return self.node(op, (channels, 1, 1))
            case spec.Norm():
                return self.norm(layer)
            case spec.SqueezeExcitation():
                channels = self.image()[0]
                hidden = max(1, channels // layer.reduction)
                return self.node(SqueezeExcitation(channels=channels, hidden=hidden), self.shape)
            case spec.Flatten():
                self.image()
                return self.node(Flatten(), (prod(self.shape),))
            case spec.Linear():
                return self.linear(layer)
            case notation.Residual():
                return self.residual(layer)
            case spec.Dropout():
                return self.node(Dropout(p=layer.p), self.shape)
            case spec.Relu():
                return self.node(ReLU(), self.shape)
            case spec.LeakyRelu():
                return self.node(LeakyReLU(slope=layer.slope), self.shape)
            case spec.Silu():
                return self.node(SiLU(), self.shape)
            case spec.HardSwish():
                return self.node(Hardswish(), self.shape)
        raise AssertionError(f"a layer without an operation: {layer!r}")

    def image(self) -> tuple[int, int, int]:
        """The input's (channels, height, width); NetError if it is flat."""
        if len(self.shape) != 3:
            raise self.error(f"needs an image, but its input is flat: {show(self.shape)}")
        return self.shape[0], self.shape[1], self.shape[2]

    def windows(self, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Pair:
        """(height, width) of the output: ⌊(size + 2·padding − extent) / stride⌋ + 1.

        The extent of a kernel is dilation · (kernel − 1) + 1.
        """
        _, *size = self.image()
        dilated = f" with dilation {show(dilation)}" if dilation != (1, 1) else ""
        extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        for length, k, p in zip(size, extent, padding, strict=True):
            if k > length + 2 * p:
                padded = f" with padding {show(padding)}" if any(padding) else ""
                raise self.error(
                    f"kernel {show(kernel)}{dilated} is larger than its input "
                    f"{show(self.shape)}{padded}"
                )
        out = [
            (length + 2 * p - k) // s + 1
            for length, k, s, p in zip(size, extent, stride, padding, strict=True)
        ]
        return out[0], out[1]

    def conv(
        self, layer: spec.Conv | spec.Pointwise | spec.Depthwise, out: int, *, groups: int
    ) -> Node:
        channels, *size = self.image()
        if channels % groups or out % groups:
            raise self.error(
                f"groups={groups} does not divide its {channels} input and {out} output channels "
                f"(input {show(self.shape)})"
            )
        kernel = dilation = (1, 1)
        pad: Pair | Literal["same"] = (0, 0)
        if not isinstance(layer, spec.Pointwise):
            kernel, pad, dilation = layer.kernel, layer.pad, layer.dilation
        padding, extra = _same_padding(kernel, dilation) if pad == "same" else (pad, (0, 0))
        op = Conv2d(
            in_channels=channels,
            out_channels=out,
            kernel=kernel,
            stride=layer.stride,
            padding=padding,
            groups=groups,
            bias=layer.bias,
            dilation=dilation,
            extra_padding=extra,
        )
        if pad != "same":
            size = list(self.windows(kernel, layer.stride, padding, dilation))
        return self.node(op, (out, *size))

    def pool(self, kind: type[MaxPool2d | AvgPool2d], layer: spec.MaxPool | spec.AvgPool) -> Node:
        stride = layer.kernel if layer.stride is None else layer.stride
        if any(2 * p > k for p, k in zip(layer.pad, layer.kernel, strict=True)):
            kernel, pad = show(layer.kernel), show(layer.pad)
            raise self.error(f"padding {pad} is more than half of the kernel {kernel}")
        op = kind(kernel=layer.kernel, stride=stride, padding=layer.pad)
        return self.node(op, (self.image()[0], *self.windows(layer.kernel, stride, layer.pad)))

    def norm(self, layer: spec.Norm) -> Node:
        features = self.shape[0]
        match layer:
            case spec.InstanceNorm(eps=eps, affine=affine):
                self.image()
                self.check_groups(features)
                op: Op = InstanceNorm(features=features, eps=eps, scale=affine, shift=affine)
            case spec.BatchNorm(eps=eps, noaffine=noaffine, noscale=noscale):
                op = BatchNorm(
                    features=features,
                    eps=eps,
                    scale=not (noaffine or noscale),
                    shift=not noaffine,
                    momentum=layer.momentum,
                )
            case (
                spec.GroupNorm(eps=eps, noaffine=noaffine, noscale=noscale)
                | spec.LayerNorm(eps=eps, noaffine=noaffine, noscale=noscale)
            ):
                groups = layer.groups if isinstance(layer, spec.GroupNorm) else 1
                self.check_groups(groups)
                op = GroupNorm(
                    features=features,
                    eps=eps,
                    scale=not (noaffine or noscale),
                    shift=not noaffine,
                    groups=groups,
                )
            case _:
                raise AssertionError(f"a normalization without an operation: {layer!r}")
        return self.node(op, self.shape)

    def check_groups(self, groups: int) -> None:
        """NetError unless each group of channels has the same number of values, more than one."""
        if self.shape[0] % groups:
            raise self.error(
                f"{groups} groups do not divide its {self.shape[0]} channels "
                f"(input {show(self.shape)})"
            )
        if prod(self.shape) == groups:
            raise self.error(
                f"normalizes groups of one value (input {show(self.shape)}), which makes all of "
                "them zero; leave it out, or use batchnorm"
            )

    def check_mean(self, node: Node, *, before: Sequence[Node]) -> None:
        """NetError if the node takes the mean of normalized channels, whatever the image."""
        op = node.op
        whole = isinstance(op, AvgPool2d) and op.kernel == node.input_shape[1:]
        made = next((n.op for n in reversed(before) if not isinstance(n.op, Dropout)), None)
        by_channel = isinstance(made, InstanceNorm) or (
            isinstance(made, GroupNorm) and made.groups == made.features
        )
        if whole and by_channel:
            raise self.error(
                "each channel before it is normalized by itself, so its mean is the same for every "
                "image; put an activation between them, as in block = ['conv', 'instancenorm', "
                "'relu']"
            )

    def linear(self, layer: spec.Linear) -> Node:
        if len(self.shape) != 1:
            raise self.error(
                f"needs a flat input, but gets {show(self.shape)}; put 'flatten' before it"
            )
        op = Linear(in_features=self.shape[0], out_features=layer.out, bias=not layer.nobias)
        return self.node(op, (layer.out,))

    def residual(self, layer: notation.Residual) -> Node:
        inside = self.scope.inside(self.name, f"{self.position}.residual")
        body = _expand(layer.layers, input_shape=self.shape, scope=inside)
        if layer.shortcut is None:
            if body[-1].output_shape != self.shape:
                raise self.error(
                    f"its layers turn {show(self.shape)} into {show(body[-1].output_shape)}; "
                    "a residual must keep the shape, or have a shortcut that changes it alike"
                )
            return self.node(Residual(body=body), self.shape)
        beside = self.scope.inside(f"{self.name}.shortcut", f"{self.position}.shortcut")
        shortcut = _expand(layer.shortcut, input_shape=self.shape, scope=beside)
        shape = shortcut[-1].output_shape
        if body[-1].output_shape != shape:
            raise self.error(
                f"its layers turn {show(self.shape)} into {show(body[-1].output_shape)}, its "
                f"shortcut into {show(shape)}; both must be equal"
            )
        return self.node(Residual(body=body, shortcut=shortcut), shape)


def _same_padding(kernel: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """Padding on both sides that keeps the size at stride 1, and what the end has beyond it."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return (total[0] // 2, total[1] // 2), (total[0] % 2, total[1] % 2)
