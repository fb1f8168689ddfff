"""Optimizers: how a gradient changes the weights.

Each has a key ``decay``: which parameters its weight decay shrinks. ``all`` is PyTorch's default;
``weights`` leaves out those of one dimension, the biases and the scales and shifts of
normalizations, as two parameter groups do in PyTorch, of which one has ``weight_decay = 0``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from kilonet.spec.base import InvalidSpecError, Spec
from kilonet.spec.invalid import named
from kilonet.spec.ranges import Momentum, NonNegative, Rate

MAX_NS_STEPS = 99
"""As in ``torch.optim.Muon``."""

Decayed = Literal["all", "weights"]


class SGD(Spec):
    """Stochastic gradient descent, equal to ``torch.optim.SGD``.

    Attributes:
        lr: learning rate.
        momentum: factor of the momentum buffer.
        nesterov: Nesterov momentum; needs a momentum above 0.
        weight_decay: L2 penalty, added to the gradient.
        decay: the parameters with weight decay, ``all`` or ``weights``.
    """

    name: Literal["sgd"] = "sgd"
    lr: Rate = 0.01
    momentum: Momentum = 0.0
    nesterov: bool = False
    weight_decay: NonNegative = 0.0
    decay: Decayed = "all"

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGD:
        if self.nesterov and not self.momentum:
            raise InvalidSpecError("nesterov needs a momentum above 0")
        return self


class Adam(Spec):
    """Adam, equal to ``torch.optim.Adam``; weight_decay is an L2 penalty."""

    name: Literal["adam"] = "adam"
    lr: Rate = 0.001
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    eps: Rate = 1e-8
    weight_decay: NonNegative = 0.0
    decay: Decayed = "all"


class AdamW(Spec):
    """AdamW, equal to ``torch.optim.AdamW``; weight_decay shrinks the weights directly."""

    name: Literal["adamw"] = "adamw"
    lr: Rate = 0.001
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    eps: Rate = 1e-8
    weight_decay: NonNegative = 0.01
    decay: Decayed = "all"


class Muon(Spec):
    """Momentum whose direction is made orthogonal, matrix by matrix, by Newton-Schulz iterations.

    Matrices are the weights of convolutions and linear layers, of which a convolution's is
    flattened to (out, in / groups · height · width); they are updated as in ``torch.optim.Muon``.
    What has one dimension is updated by SGD with the same momentum, at ``rest_ratio`` times the
    rate: a schedule changes both rates by the same factor. So is the last matrix, the output
    layer's, with ``output = "sgd"``, as the author advises for large networks.

    Source: Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024; defaults are
    those of its implementation. PyTorch's are an ``lr`` of 0.001 and a ``weight_decay`` of 0.1.

    Attributes:
        lr: learning rate of the matrices.
        momentum: of both; the matrices' buffer is a mean, SGD's a sum.
        nesterov: Nesterov momentum, in both.
        weight_decay: shrinks the weights directly, by its product with their own rate.
        decay: the parameters with weight decay, ``all`` or ``weights``.
        ns_steps: Newton-Schulz iterations.
        adjust_lr: the factor of a matrix's rate: ``original``, √max(1, rows / columns), or
            ``match_rms_adamw``, 0.2 · √max(rows, columns).
        rest_ratio: SGD's rate, in terms of ``lr``.
        output: what updates the last matrix in layer order, ``muon`` or ``sgd``.
    """

    name: Literal["muon"] = "muon"
    lr: Rate = 0.02
    momentum: Momentum = 0.95
    nesterov: bool = True
    weight_decay: NonNegative = 0.0
    decay: Decayed = "all"
    ns_steps: Annotated[int, Field(ge=1, le=MAX_NS_STEPS)] = 5
    adjust_lr: Literal["original", "match_rms_adamw"] = "original"
    rest_ratio: Rate = 3.0
    output: Literal["muon", "sgd"] = "muon"

    def matrices(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, int]]:
        """The parameters that are updated as matrices, and their rows and columns.

        Args:
            shapes: name → shape of each trained parameter, in layer order.
        """
        names = [name for name, shape in shapes.items() if len(shape) > 1]
        if self.output == "sgd":
            names = names[:-1]
        return {name: (shapes[name][0], math.prod(shapes[name][1:])) for name in names}

    def rate_factor(self, rows: int, columns: int) -> float:
        """What ``adjust_lr`` makes of the learning rate of a matrix."""
        if self.adjust_lr == "match_rms_adamw":
            return 0.2 * math.sqrt(max(rows, columns))
        return math.sqrt(max(1.0, rows / columns))


Optimizer = Annotated[
    SGD | Adam | AdamW | Muon, Field(discriminator="name"), BeforeValidator(named)
]
