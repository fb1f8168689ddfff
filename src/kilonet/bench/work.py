"""The work of a training step: nominal FLOP, and bytes read and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from kilonet.spec import Net, graph
from kilonet.summary import summarize

BYTES_PER_VALUE = 4


@dataclass(frozen=True, kw_only=True)
class LayerWork:
    """A convolution or linear layer; each of its kernels has the same number of multiply-adds.

    Attributes:
        layer: module path: ``convblock1.0``.
        text: its line of the network.
        macs: multiply-adds of the forward kernel for one image, with padding, as is usual.
        macs_inside: without padding, whose zeros a good kernel does not multiply.
        needs_input_gradient: whether a layer before it is trained.
        image_bytes: of its input and output for one image, float32.
        weight_bytes: of its weights and bias.
    """

    layer: str
    text: str
    macs: int
    macs_inside: int
    needs_input_gradient: bool
    image_bytes: int
    weight_bytes: int

    @property
    def flop(self) -> int:
        """Nominal FLOP of one kernel and one image: two for each multiply-add."""
        return 2 * self.macs

    @property
    def flop_inside(self) -> int:
        """FLOP without padding, to compare with the machine's limit."""
        return 2 * self.macs_inside

    def intensity(self, *, batch_size: int) -> float:
        """FLOP per byte of the tensors that one kernel reads and writes.

        Those are the input, the output and the weights, or their gradients.
        """
        moved = batch_size * self.image_bytes + self.weight_bytes
        return batch_size * self.flop_inside / moved


def layer_work(net: Net) -> list[LayerWork]:
    """All convolutions and linear layers in the order in which they run."""
    macs = {layer.module: layer.macs for layer in summarize(net).layers}
    found: list[LayerWork] = []

    def follow(nodes: Sequence[graph.Node], trained: bool) -> bool:
        """Append the nodes' work; whether a layer before them, or one of them, is trained."""
        for node in nodes:
            if isinstance(node.op, graph.Residual):
                before = trained
                trained = follow(node.op.body, before) | follow(node.op.shortcut, before)
            elif isinstance(node.op, graph.Conv2d | graph.Linear):
                found.append(
                    LayerWork(
                        layer=node.name,
                        text=node.text,
                        macs=macs[node.name],
                        macs_inside=_inside(node, macs[node.name]),
                        needs_input_gradient=trained,
                        image_bytes=BYTES_PER_VALUE
                        * (prod(node.input_shape) + prod(node.output_shape)),
                        weight_bytes=BYTES_PER_VALUE
                        * sum(map(prod, node.parameters_used.values())),
                    )
                )
            trained = trained or bool(node.parameters_used)
        return trained

    follow(net.nodes, False)
    return found


def step_flop(net: Net) -> int:
    """Nominal FLOP of a training step for one image.

    Two for each multiply-add of the forward pass, the gradient of the weights, and the gradient of
    the input if a layer before it is trained. Activations, normalization and the update are not
    counted.
    """
    return sum(layer.flop * (3 if layer.needs_input_gradient else 2) for layer in layer_work(net))


def _inside(node: graph.Node, macs: int) -> int:
    """The multiply-adds without those of padding."""
    op = node.op
    if not isinstance(op, graph.Conv2d):
        return macs
    for axis in range(2):
        size, outputs = node.input_shape[1 + axis], node.output_shape[1 + axis]
        kernel, stride, pad = op.kernel[axis], op.stride[axis], op.padding[axis]
        dilation = op.dilation[axis]
        taps = sum(
            0 <= output * stride + tap * dilation - pad < size
            for output in range(outputs)
            for tap in range(kernel)
        )
        macs = macs * taps // (outputs * kernel)
    return macs
