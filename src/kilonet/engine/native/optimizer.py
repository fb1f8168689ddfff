"""A spec's optimizer in the native engine, with the state that PyTorch's has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from kilonet.engine.native.flat import Flat, zeros_like
from kilonet.spec import SGD, AdamW, Muon

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kilonet.spec.optimizers import Optimizer as OptimizerSpec


class Optimizer:
    """Updates the parameters of a network in place.

    Args:
        spec: SGD, Adam, AdamW or Muon.
        network: the extension's.
        parameters: what it updates, in layer order.
    """

    def __init__(self, spec: OptimizerSpec, network: Any, *, parameters: Flat) -> None:
        self._spec = spec
        self._network = network
        self._parameters = parameters
        one_buffer = isinstance(spec, SGD | Muon)
        parts = ("momentum_buffer",) if one_buffer else ("exp_avg", "exp_avg_sq")
        self._moments = {part: zeros_like(parameters) for part in parts}
        # Equal for all parameters; PyTorch keeps a count for each.
        self._steps: dict[str, NDArray[np.float32]] = (
            {} if one_buffer else {name: np.zeros((), np.float32) for name in parameters.arrays}
        )
        if spec.decay == "weights":
            network.undecayed(parameters.ranges(lambda array: array.ndim <= 1))
        if isinstance(spec, Muon):
            network.matrices(self._matrices(spec))

    def step(self, gradients: Flat, *, lr: float, momentum: float | None) -> None:
        """One update.

        Args:
            gradients: of the parameters, without weight decay.
            lr: learning rate.
            momentum: SGD's and Muon's, or Adam's first beta; None for the spec's.
        """
        spec = self._spec
        if isinstance(spec, SGD):
            [buffer] = self._moments.values()
            self._network.sgd(
                self._parameters.flat,
                gradients.flat,
                buffer.flat,
                lr,
                spec.momentum if momentum is None else momentum,
                spec.weight_decay,
                spec.nesterov,
            )
            return
        if isinstance(spec, Muon):
            [buffer] = self._moments.values()
            self._network.muon(
                self._parameters.flat,
                gradients.flat,
                buffer.flat,
                lr,
                lr * spec.rest_ratio,
                spec.momentum if momentum is None else momentum,
                spec.weight_decay,
                spec.nesterov,
                spec.ns_steps,
            )
            return
        for count in self._steps.values():
            count += 1
        steps = int(next(iter(self._steps.values())))
        beta1 = spec.betas[0] if momentum is None else momentum
        beta2 = spec.betas[1]
        decoupled = isinstance(spec, AdamW)
        first, second = self._moments.values()
        self._network.adam(
            self._parameters.flat,
            gradients.flat,
            first.flat,
            second.flat,
            lr / (1 - beta1**steps),
            1 - beta1,
            beta2,
            1 - beta2,
            math.sqrt(1 - beta2**steps),
            spec.eps,
            0.0 if decoupled else spec.weight_decay,
            1 - lr * spec.weight_decay if decoupled else 1.0,
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """``PARAMETER/PART`` → its array, not copied; the parts have PyTorch's names."""
        live: dict[str, NDArray[np.generic]] = {}
        for name in self._parameters.arrays:
            if name in self._steps:
                live[f"{name}/step"] = self._steps[name]
            for part, moment in self._moments.items():
                live[f"{name}/{part}"] = moment.arrays[name]
        return live

    def _matrices(self, spec: Muon) -> list[tuple[int, int, int, float]]:
        """(first index, rows, columns, factor of the rate) of what Muon updates as matrices."""
        shapes = {name: array.shape for name, array in self._parameters.arrays.items()}
        return [
            (self._parameters.offsets[name], *shape, spec.rate_factor(*shape))
            for name, shape in spec.matrices(shapes).items()
        ]
