"""A network as the engines run it: operations with known shapes.

Operations have PyTorch's class names and arguments; a node's name is the module path that PyTorch's
``state_dict`` has for its parameters. :mod:`kilonet.spec.expansion` makes nodes of a network's
lines, and names them.

Shapes are without the batch: (channels, height, width), or (features,) once flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

Shape = tuple[int, ...]
Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Conv2d:
    """Convolution; weight (out_channels, in_channels / groups, *kernel), bias (out_channels,).

    ``padding`` is at the top and bottom, and at the left and right; ``extra_padding`` is what
    PyTorch's ``padding="same"`` has at the bottom and right beyond it, 0 or 1.
    """

    in_channels: int
    out_channels: int
    kernel: Pair
    stride: Pair
    padding: Pair
    groups: int
    bias: bool
    dilation: Pair = (1, 1)
    extra_padding: Pair = (0, 0)


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A normalization; weight (the scale) and bias (the shift), each (features,) or left out."""

    features: int
    eps: float
    scale: bool
    shift: bool


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Norm):
    """Batch normalization; also running_mean and running_var, each (features,)."""

    momentum: float


@dataclass(frozen=True, kw_only=True)
class GroupNorm(Norm):
    """Normalization of each image over groups of channels and their pixels."""

    groups: int


@dataclass(frozen=True, kw_only=True)
class InstanceNorm(Norm):
    """Normalization of each image and channel over its pixels: a group norm of single channels."""


@dataclass(frozen=True, kw_only=True)
class SqueezeExcitation:
    """x · sigmoid(fc2(relu(fc1(mean of x over its pixels)))).

    fc1.weight (hidden, channels, 1, 1), fc1.bias (hidden,), fc2.weight (channels, hidden, 1, 1),
    fc2.bias (channels,): the names of ``torchvision.ops.SqueezeExcitation``.
    """

    channels: int
    hidden: int


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
    """The body's output plus its input, or plus the output of the shortcut if it has nodes."""

    body: tuple[Node, ...]
    shortcut: tuple[Node, ...] = ()


Op = (
    Conv2d
    | BatchNorm
    | GroupNorm
    | InstanceNorm
    | SqueezeExcitation
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


SHARING = (Conv2d, Linear, SqueezeExcitation)
"""Operations with one set of parameters for all applications of a repeat."""


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
        applications: of each repeat around it, outermost first, which application it is in, from 1.
        shared_with: name of the node in the first application whose parameters it uses; "" if it
            has its own, or none.
    """

    name: str
    op: Op
    path: str
    text: str
    input_shape: Shape
    output_shape: Shape
    applications: tuple[int, ...] = ()
    shared_with: str = ""

    @property
    def where(self) -> str:
        """Its line for messages, with the path to change it: ``net.layers.0 'conv 8'``."""
        return f"{self.path} '{self.text}'"

    @property
    def owner(self) -> str:
        """Module path of its parameters: ``weights[f"{node.owner}.weight"]``."""
        return self.shared_with or self.name

    @property
    def parameters(self) -> dict[str, Shape]:
        """Name → shape of the trained parameters; those of a residual's body are its nodes'.

        Empty for a node that uses another's.
        """
        return {} if self.shared_with else self.parameters_used

    @property
    def parameters_used(self) -> dict[str, Shape]:
        """Name → shape of the parameters that its operation reads, its own or another node's."""
        op = self.op
        shapes: dict[str, Shape] = {}
        if isinstance(op, Conv2d):
            shapes["weight"] = (op.out_channels, op.in_channels // op.groups, *op.kernel)
        elif isinstance(op, Linear):
            shapes["weight"] = (op.out_features, op.in_features)
        elif isinstance(op, Norm):
            parts = {"weight": op.scale, "bias": op.shift}
            shapes = {part: (op.features,) for part, trained in parts.items() if trained}
        elif isinstance(op, SqueezeExcitation):
            for part, out, channels in (
                ("fc1", op.hidden, op.channels),
                ("fc2", op.channels, op.hidden),
            ):
                shapes[f"{part}.weight"] = (out, channels, 1, 1)
                shapes[f"{part}.bias"] = (out,)
        if isinstance(op, Conv2d | Linear) and op.bias:
            shapes["bias"] = shapes["weight"][:1]
        return {f"{self.owner}.{part}": shape for part, shape in shapes.items()}

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
    """All nodes in the order in which they run: a residual comes after its body and shortcut."""
    flat: list[Node] = []
    for node in nodes:
        if isinstance(node.op, Residual):
            flat += walk(node.op.body) + walk(node.op.shortcut)
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


def show(shape: Shape) -> str:
    """A shape as text: ``16 × 5 × 5``."""
    return " × ".join(map(str, shape))
