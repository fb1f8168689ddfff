"""The network: an input, layers in order, and the block that a convolution expands to."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from kilonet.errors import NetError
from kilonet.spec import graph
from kilonet.spec.base import InvalidSpecError, Spec
from kilonet.spec.expansion import expand
from kilonet.spec.layers import (
    ACTIVATIONS,
    Dropout,
    Layer,
    Norm,
    SqueezeExcitation,
)
from kilonet.spec.notation import AnyLayer, parse_layer

_Size = Annotated[int, Field(ge=1, le=4096)]


def _parse_block(members: Any) -> Any:
    if isinstance(members, str) or not isinstance(members, list | tuple):
        raise InvalidSpecError(f"{members!r} should be a list such as ['conv', 'relu']")
    block: list[Layer | None] = []
    for i, text in enumerate(members):
        if text == "conv" or text is None:
            block.append(None)
            continue
        try:
            layer = parse_layer(text)
        except InvalidSpecError as error:
            raise InvalidSpecError(error.problem, path=(str(i), *error.path)) from None
        if not isinstance(layer, (*ACTIVATIONS, Norm, SqueezeExcitation, Dropout)):
            problem = f"'{layer}' cannot be in a block, which takes 'conv', an activation, "
            problem += "a normalization such as 'batchnorm', 'se' and 'dropout P'"
            raise InvalidSpecError(problem, path=(str(i),))
        block.append(layer)
    if block.count(None) != 1:
        raise InvalidSpecError("needs 'conv' exactly once")
    return tuple(block)


_Block = Annotated[
    tuple[Layer | None, ...],
    BeforeValidator(_parse_block),
    PlainSerializer(lambda block: ["conv" if m is None else str(m) for m in block]),
]


class Net(Spec):
    """A network.

    Attributes:
        input: (channels, height, width) of an image.
        block: what a ``conv`` line expands to, in order; ``conv`` is the convolution itself.
        layers: lines in the notation of :mod:`kilonet.spec.notation`.

    Raises:
        InvalidSpecError: for a line that cannot be parsed.
        NetError: for shapes that do not fit; names the layer, its text and the shapes.
    """

    input: tuple[_Size, _Size, _Size]
    block: _Block = _parse_block(["conv", "relu"])
    layers: tuple[AnyLayer, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _builds(self) -> Net:
        last = self.nodes[-1]
        if any(size != 1 for size in last.output_shape[1:]):
            raise NetError(
                f"{last.where}: the network ends in "
                f"{graph.show(last.output_shape)}, not in one number per class; "
                "end with 'gap' and 'pointwise CLASSES bare', or 'flatten' and 'linear CLASSES'"
            )
        return self

    @cached_property
    def nodes(self) -> tuple[graph.Node, ...]:
        """The operations in order, with names and shapes; see :mod:`kilonet.spec.graph`."""
        return expand(self.layers, block=self.block, input_shape=self.input)

    @property
    def num_classes(self) -> int:
        """Number of classes: the length of the output."""
        return self.nodes[-1].output_shape[0]

    def uses(self, operation: type[object]) -> bool:
        """Whether the network has an operation of :mod:`kilonet.spec.graph`, also in residuals."""
        return any(isinstance(node.op, operation) for node in graph.walk(self.nodes))

    @property
    def parameters(self) -> dict[str, graph.Shape]:
        """Name → shape of every trained parameter, with PyTorch's names, in layer order."""
        return {k: s for node in graph.walk(self.nodes) for k, s in node.parameters.items()}

    @property
    def num_parameters(self) -> int:
        """Number of trained parameters."""
        return sum(map(prod, self.parameters.values()))

    @property
    def buffers(self) -> dict[str, graph.Shape]:
        """Name → shape of batch norm's running statistics and counts."""
        return {k: s for node in graph.walk(self.nodes) for k, s in node.buffers.items()}
