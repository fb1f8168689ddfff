"""Where a training step's time goes, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kilonet.engine.native.network import appended_nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from kilonet.spec import Net


@dataclass(frozen=True, kw_only=True)
class ProfileRow:
    """One stage of one operation, all threads and calls together.

    Attributes:
        layer: module path of the operation, as ``convblock1.0``; of several that run as one, the
            first's; "" for what belongs to no layer.
        operation: its class, as ``Conv2d``; "" likewise.
        stage: ``forward``, ``forward_join`` (sums over the batch), ``forward_finish`` (what waits
            for them); ``weight_gradient`` and ``backward`` (the gradient to the input), their
            ``backward_join`` and ``backward_finish``; without a layer ``input`` (images laid out),
            ``loss``, ``prepare`` (weights put in the kernels' order), ``wait`` (for other threads)
            and ``sum`` (gradients of chunks added up).
        seconds: by the clock, summed over the threads.
        calls: how often.
    """

    layer: str
    operation: str
    stage: str
    seconds: float
    calls: int


def profile_network(network: Any, net: Net, work: Callable[[], object]) -> list[ProfileRow]:
    """What the extension's network measured of the training steps in ``work``, in the net's order.

    Reading the clock costs some 50 ns a call, well under 1 % of a step.
    """
    nodes = appended_nodes(net)
    network.profile(True)
    try:
        work()
    finally:
        network.profile(False)
    return [
        ProfileRow(
            layer="" if layer < 0 else nodes[layer].name,
            operation="" if layer < 0 else type(nodes[layer].op).__name__,
            stage=stage,
            seconds=nanoseconds * 1e-9,
            calls=calls,
        )
        for layer, stage, nanoseconds, calls in network.profiled()
    ]
