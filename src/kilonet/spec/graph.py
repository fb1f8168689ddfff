"""A network as the engines run it: each line expanded to operations with known shapes.

Operations have PyTorch's class names and arguments; a node's name is the module path that PyTorch's
``state_dict`` has for its parameters. Lines with convolutions are ``convblock1``, ``convblock2``, …
with members numbered as in ``nn.Sequential``, so the bundled network's weights load into the
notebook's class unchanged.

Shapes are without the batch: (channels, height, width), or (features,) once flat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from kilonet.errors import NetError
from kilonet.spec import layers as spec

LAYERS = "net.layers"
"""The path of a network's lines in a run."""

Shape = tuple[int, ...]
Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Conv2d:
    """Convolution; weight (out_channels, in_channels / groups, *kernel), bias (out_channels,)."""

    in_channels: int
    out_channels: int
    kernel: Pair
    stride: Pair
    padding: Pair
    groups: int
    bias: bool


@dataclass(frozen=True, kw_only=True)
class BatchNorm:
    """Batch normalization; weight, bias, running_mean and running_var, each (features,)."""

    features: int
    eps: float
    momentum: float


@dataclass(frozen=True, kw_only=True)
class ReLU:
    """max(x, 0)."""


@dataclass(frozen=True, kw_only=True)
class LeakyReLU:
    """x where positive, else slope · x."""

    slope: float


@dataclass(frozen=True, kw_only=True)
class SiLU:
    """x · sigmoid(x)."""


@dataclass(frozen=True, kw_only=True)
class Hardswish:
    """x · clamp(x + 3, 0, 6) / 6."""


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Sets elements to zero with probability p, in training."""

    p: float


@dataclass(frozen=True, kw_only=True)
class Pool2d:
    """Pooling; the number of windows is rounded down."""

    kernel: Pair
    stride: Pair
    padding: Pair


@dataclass(frozen=True, kw_only=True)
class MaxPool2d(Pool2d):
    """The largest value of each window."""


@dataclass(frozen=True, kw_only=True)
class AvgPool2d(Pool2d):
    """The mean of each window, padding counted as zeros.

    Global average pooling is this with the input's size as kernel.
    """


@dataclass(frozen=True, kw_only=True)
class Flatten:
    """(channels, height, width) → (features,), channels slowest."""


@dataclass(frozen=True, kw_only=True)
class Linear:
    """y = x Wᵀ + b; weight (out_features, in_features), bias (out_features,)."""

    in_features: int
    out_features: int
    bias: bool


@dataclass(frozen=True, kw_only=True)
class Residual:
    """The body's output plus its input."""

    body: tuple[Node, ...]


Op = (
    Conv2d
    | BatchNorm
    | ReLU
    | LeakyReLU
    | SiLU
    | Hardswish
    | Dropout
    | MaxPool2d
    | AvgPool2d
    | Flatten
    | Linear
    | Residual
)


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation of a network.

    Attributes:
        name: module path, as in PyTorch's ``state_dict``: ``convblock1.0``.
        op: the operation.
        path: of the network's line that it comes from, as ``--set`` and a stage's change take it:
            ``net.layers.3``, in a residual ``net.layers.3.residual.1``.
        text: that line.
        input_shape, output_shape: of one image.
    """

    name: str
    op: Op
    path: str
    text: str
    input_shape: Shape
    output_shape: Shape

    @property
    def where(self) -> str:
        """Its line for messages, with the path to change it: ``net.layers.0 'conv 8'``."""
        return f"{self.path} '{self.text}'"

    @property
    def parameters(self) -> dict[str, Shape]:
        """Name → shape of the trained parameters; those of a residual's body are its nodes'."""
        op = self.op
        shapes: dict[str, Shape] = {}
        if isinstance(op, Conv2d):
            shapes["weight"] = (op.out_channels, op.in_channels // op.groups, *op.kernel)
        elif isinstance(op, Linear):
            shapes["weight"] = (op.out_features, op.in_features)
        elif isinstance(op, BatchNorm):
            shapes["weight"] = shapes["bias"] = (op.features,)
        if isinstance(op, Conv2d | Linear) and op.bias:
            shapes["bias"] = shapes["weight"][:1]
        return {f"{self.name}.{part}": shape for part, shape in shapes.items()}

    @property
    def buffers(self) -> dict[str, Shape]:
        """Name → shape of what is not trained: batch norm's running statistics."""
        if isinstance(self.op, BatchNorm):
            features = (self.op.features,)
            return {
                f"{self.name}.running_mean": features,
                f"{self.name}.running_var": features,
                f"{self.name}.num_batches_tracked": (),
            }
        return {}


def walk(nodes: Sequence[Node]) -> list[Node]:
    """All nodes in the order in which they run: a residual comes after the nodes of its body."""
    flat: list[Node] = []
    for node in nodes:
        if isinstance(node.op, Residual):
            flat += walk(node.op.body)
        flat.append(node)
    return flat


def single_value_norm(nodes: Sequence[Node]) -> Node | None:
    """The first batch norm with one value per channel and image: a batch of one has no variance."""
    return next(
        (
            node
            for node in walk(nodes)
            if isinstance(node.op, BatchNorm) and prod(node.input_shape[1:]) == 1
        ),
        None,
    )


def expand(
    layers: Sequence[spec.Layer],
    *,
    block: Sequence[spec.Layer | None],
    input_shape: Shape,
    scope: str = "",
    path: str = LAYERS,
) -> tuple[Node, ...]:
    """Expand lines to nodes and compute the shapes.

    Args:
        layers: the network's lines.
        block: what a convolution expands to; None is the convolution itself.
        input_shape: (channels, height, width).
        scope: prefix of names in a residual.
        path: of the list of lines.

    Raises:
        NetError: naming the line, its text and the shapes that do not fit.
    """
    nodes: list[Node] = []
    counts: Counter[str] = Counter()
    shape = input_shape
    for position, layer in enumerate(layers):
        group = _GROUPS.get(layer.word, layer.word)
        counts[group] += 1
        name = f"{scope}{group}{counts[group]}"
        members = _members(layer, block)
        for i, member in enumerate(members):
            place = _Place(
                name=f"{name}.{i}" if group == "convblock" else name,
                path=f"{path}.{position}",
                text=str(layer),
                shape=shape,
                block=block,
            )
            node = place.build(member)
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
    """Where an operation goes: its name, path and input shape."""

    name: str
    path: str
    text: str
    shape: Shape
    block: Sequence[spec.Layer | None]

    def error(self, problem: str) -> NetError:
        return NetError(f"{self.path} '{self.text}': {problem}")

    def node(self, op: Op, output_shape: Shape) -> Node:
        return Node(
            name=self.name,
            op=op,
            path=self.path,
            text=self.text,
            input_shape=self.shape,
            output_shape=output_shape,
        )

    def build(self, layer: spec.Layer) -> Node:
        """The node of one layer; NetError if its input does not fit."""
        match layer:
            case spec.Conv():
                return self.conv(layer.out, layer.kernel, layer.stride, layer.pad, layer)
            case spec.Pointwise():
                return self.conv(layer.out, (1, 1), layer.stride, (0, 0), layer)
            case spec.Depthwise():
                channels = self.image()[0]
                out = channels * layer.multiplier
                return self.conv(out, layer.kernel, layer.stride, layer.pad, layer, groups=channels)
            case spec.MaxPool():
                return self.pool(MaxPool2d, layer)
            case spec.AvgPool():
                return self.pool(AvgPool2d, layer)
            case spec.GlobalAvgPool():
                channels, *size = self.image()
                kernel = (size[0], size[1])
                op = AvgPool2d(kernel=kernel, stride=kernel, padding=(0, 0))
                return self.node(op, (channels, 1, 1))
            case spec.BatchNorm():
                features = self.shape[0]
                norm = BatchNorm(features=features, eps=layer.eps, momentum=layer.momentum)
                return self.node(norm, self.shape)
            case spec.Flatten():
                self.image()
                return self.node(Flatten(), (prod(self.shape),))
            case spec.Linear():
                return self.linear(layer)
            case spec.Residual():
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

    def windows(self, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
        """(height, width) of the output: ⌊(size + 2·padding − kernel) / stride⌋ + 1."""
        _, *size = self.image()
        for length, k, p in zip(size, kernel, padding, strict=True):
            if k > length + 2 * p:
                padded = f" with padding {_pair(padding)}" if any(padding) else ""
                raise self.error(
                    f"kernel {_pair(kernel)} is larger than its input {show(self.shape)}{padded}"
                )
        out = [
            (length + 2 * p - k) // s + 1
            for length, k, s, p in zip(size, kernel, stride, padding, strict=True)
        ]
        return out[0], out[1]

    def conv(
        self,
        out: int,
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        layer: spec.Conv | spec.Pointwise | spec.Depthwise,
        *,
        groups: int | None = None,
    ) -> Node:
        channels = self.image()[0]
        groups = getattr(layer, "groups", 1) if groups is None else groups
        if channels % groups or out % groups:
            raise self.error(
                f"groups={groups} does not divide its {channels} input and {out} output channels "
                f"(input {show(self.shape)})"
            )
        op = Conv2d(
            in_channels=channels,
            out_channels=out,
            kernel=kernel,
            stride=stride,
            padding=padding,
            groups=groups,
            bias=layer.bias,
        )
        return self.node(op, (out, *self.windows(kernel, stride, padding)))

    def pool(self, kind: type[MaxPool2d | AvgPool2d], layer: spec.MaxPool | spec.AvgPool) -> Node:
        stride = layer.kernel if layer.stride is None else layer.stride
        if any(2 * p > k for p, k in zip(layer.pad, layer.kernel, strict=True)):
            kernel, pad = _pair(layer.kernel), _pair(layer.pad)
            raise self.error(f"padding {pad} is more than half of the kernel {kernel}")
        op = kind(kernel=layer.kernel, stride=stride, padding=layer.pad)
        return self.node(op, (self.image()[0], *self.windows(layer.kernel, stride, layer.pad)))

    def linear(self, layer: spec.Linear) -> Node:
        if len(self.shape) != 1:
            raise self.error(
                f"needs a flat input, but gets {show(self.shape)}; put 'flatten' before it"
            )
        op = Linear(in_features=self.shape[0], out_features=layer.out, bias=not layer.nobias)
        return self.node(op, (layer.out,))

    def residual(self, layer: spec.Residual) -> Node:
        body = expand(
            layer.layers,
            block=self.block,
            input_shape=self.shape,
            scope=f"{self.name}.",
            path=f"{self.path}.residual",
        )
        if body[-1].output_shape != self.shape:
            raise self.error(
                f"its layers turn {show(self.shape)} into {show(body[-1].output_shape)}; "
                "a residual must keep the shape"
            )
        return self.node(Residual(body=body), self.shape)


def show(shape: Shape) -> str:
    """A shape as text: ``16 × 5 × 5``."""
    return " × ".join(map(str, shape))


def _pair(pair: Pair) -> str:
    return show(pair)
