"""What a training step has to compute: nominal FLOP, and the bytes that they are done on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from kilonet.spec import Net, graph
from kilonet.summary import summarise

BYTES_PER_VALUE = 4


@dataclass(frozen=True, kw_only=True)
class LayerWork:
    """A convolution or linear layer: each of its kernels does the same number of multiply-adds.

    Attributes:
        layer: module path: ``convblock1.0``.
        text: its line of the network.
        macs: multiply-adds of the forward kernel for one image, padding's zeros included, as
            everyone counts them.
        macs_inside: without those zeros, which no good kernel multiplies.
        needs_input_gradient: whether anything before it is trained.
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
        """Nominal, of one kernel and one image: two a multiply-add."""
        return 2 * self.macs

    @property
    def flop_inside(self) -> int:
        """Without padding's zeros: what can be held against a ceiling without passing it."""
        return 2 * self.macs_inside

    def intensity(self, *, batch_size: int) -> float:
        """FLOP a byte of the tensors that one kernel reads and writes.

        Each kernel touches the input or its gradient, the output or its gradient, and the weights
        or their gradient.
        """
        moved = batch_size * self.image_bytes + self.weight_bytes
        return batch_size * self.flop_inside / moved


def layer_work(net: Net) -> list[LayerWork]:
    """The convolutions and linear layers in the order in which they run."""
    macs = {layer.module: layer.macs for layer in summarise(net).layers}
    found: list[LayerWork] = []

    def follow(nodes: Sequence[graph.Node], trained: bool) -> bool:
        """Append the nodes' work; ``trained``: whether anything before is. Gives it for after."""
        for node in nodes:
            if isinstance(node.op, graph.Residual):
                trained = follow(node.op.body, trained)
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
                        weight_bytes=BYTES_PER_VALUE * sum(map(prod, node.parameters.values())),
                    )
                )
            trained = trained or bool(node.parameters)
        return trained

    follow(net.nodes, False)
    return found


def step_flop(net: Net) -> int:
    """Nominal FLOP of a training step for one image.

    Two a multiply-add of forward, gradient to the weights, and gradient to the input where a layer
    before it is trained. Activations, normalisation and the update are not counted, so a share of
    the ceiling says how much of the time went into the multiply-adds that nobody can avoid.
    """
    return sum(layer.flop * (3 if layer.needs_input_gradient else 2) for layer in layer_work(net))


def _inside(node: graph.Node, macs: int) -> int:
    """The multiply-adds whose input is not padding."""
    op = node.op
    if not isinstance(op, graph.Conv2d):
        return macs
    for axis in range(2):
        size, outputs = node.input_shape[1 + axis], node.output_shape[1 + axis]
        kernel, stride, pad = op.kernel[axis], op.stride[axis], op.padding[axis]
        taps = sum(
            0 <= output * stride + tap - pad < size
            for output in range(outputs)
            for tap in range(kernel)
        )
        macs = macs * taps // (outputs * kernel)
    return macs
