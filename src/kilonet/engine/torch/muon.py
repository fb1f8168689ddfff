"""Muon as kilonet's spec has it, in float32: :class:`kilonet.spec.Muon`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

_A, _B, _C = 3.4445, -4.7750, 2.0315
_EPS = 1e-7


class Muon(torch.optim.Optimizer):
    """``torch.optim.Muon`` for matrices, and SGD with decoupled decay for other parameters.

    PyTorch's iterates in bfloat16, with two or three digits; the engines could not agree to
    1e-4. This one iterates in the parameters' own type, and takes weights of convolutions.

    Args:
        groups: each with ``params``, ``matrices``, ``rest_ratio``, ``lr``, ``momentum``,
            ``nesterov``, ``weight_decay`` and ``ns_steps``; of matrices, (rows, …) each, also
            ``rate_factor``. Their rate is ``rate_factor * lr``, that of others
            ``rest_ratio * lr``.
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; ``closure`` is not supported."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                buffer = self.state[parameter]["momentum_buffer"]
                update = _matrix_step if group["matrices"] else _rest_step
                update(parameter, parameter.grad, buffer, group)


def _matrix_step(
    parameter: Tensor, gradient: Tensor, buffer: Tensor, group: dict[str, Any]
) -> None:
    momentum, lr = group["momentum"], group["lr"]
    buffer.lerp_(gradient, 1 - momentum)
    direction = gradient.lerp(buffer, momentum) if group["nesterov"] else buffer
    orthogonal = orthogonalized(direction.flatten(1), steps=group["ns_steps"])
    parameter.mul_(1 - lr * group["weight_decay"])
    parameter.sub_(orthogonal.view_as(parameter), alpha=lr * group["rate_factor"])


def _rest_step(parameter: Tensor, gradient: Tensor, buffer: Tensor, group: dict[str, Any]) -> None:
    momentum, lr = group["momentum"], group["lr"] * group["rest_ratio"]
    parameter.mul_(1 - lr * group["weight_decay"])
    direction = gradient
    if momentum:
        buffer.mul_(momentum).add_(gradient)
        direction = gradient.add(buffer, alpha=momentum) if group["nesterov"] else buffer
    parameter.sub_(direction, alpha=lr)


def orthogonalized(matrix: Tensor, *, steps: int) -> Tensor:
    """Newton-Schulz: about U Vᵀ of the singular value decomposition U S Vᵀ.

    The coefficients are PyTorch's; singular values end between about 0.7 and 1.2, or below where
    they are less than a thousandth of the norm.

    Args:
        matrix: (rows, columns) of any floating type, in which it iterates.
        steps: iterations.

    Returns:
        (rows, columns) of the same type.
    """
    wide = matrix.T if matrix.size(0) > matrix.size(1) else matrix
    wide = wide / wide.norm().clamp(min=_EPS)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=_B, alpha=_C), wide, beta=_A)
    return wide.T if matrix.size(0) > matrix.size(1) else wide
