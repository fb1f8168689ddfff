"""Optimizers: how a gradient changes the weights.

Each has a key ``decay``: which parameters its weight decay shrinks. ``all`` is PyTorch's default;
``weights`` leaves out those of one dimension, the biases and the scales and shifts of
normalizations, as two parameter groups do in PyTorch, of which one has ``weight_decay = 0``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from kilonet.spec.base import InvalidSpecError, Spec
from kilonet.spec.invalid import named
from kilonet.spec.ranges import Momentum, NonNegative, Rate

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


Optimizer = Annotated[SGD | Adam | AdamW, Field(discriminator="name"), BeforeValidator(named)]
