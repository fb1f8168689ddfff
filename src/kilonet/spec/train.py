"""Training: optimizer, schedule, loss, weight averaging, seed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from kilonet.randomness import MAX_SEED
from kilonet.spec.base import InvalidSpecError, Spec
from kilonet.spec.invalid import named

_Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Momentum = Annotated[float, Field(ge=0, lt=1)]
_Count = Annotated[int, Field(ge=1)]


class SGD(Spec):
    """Stochastic gradient descent, equal to ``torch.optim.SGD``.

    Attributes:
        lr: learning rate.
        momentum: factor of the momentum buffer.
        nesterov: Nesterov momentum; needs a momentum above 0.
        weight_decay: L2 penalty, added to the gradient.
    """

    name: Literal["sgd"] = "sgd"
    lr: _Rate = 0.01
    momentum: _Momentum = 0.0
    nesterov: bool = False
    weight_decay: _NonNegative = 0.0

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGD:
        if self.nesterov and not self.momentum:
            raise InvalidSpecError("nesterov needs a momentum above 0")
        return self


class Adam(Spec):
    """Adam, equal to ``torch.optim.Adam``; weight_decay is an L2 penalty."""

    name: Literal["adam"] = "adam"
    lr: _Rate = 0.001
    betas: tuple[_Momentum, _Momentum] = (0.9, 0.999)
    eps: _Rate = 1e-8
    weight_decay: _NonNegative = 0.0


class AdamW(Spec):
    """AdamW, equal to ``torch.optim.AdamW``; weight_decay shrinks the weights directly."""

    name: Literal["adamw"] = "adamw"
    lr: _Rate = 0.001
    betas: tuple[_Momentum, _Momentum] = (0.9, 0.999)
    eps: _Rate = 1e-8
    weight_decay: _NonNegative = 0.01


class Constant(Spec):
    """The optimizer's learning rate throughout."""

    name: Literal["constant"] = "constant"


class Step(Spec):
    """lr · gamma^⌊epoch / step_size⌋, equal to ``StepLR``."""

    name: Literal["step"] = "step"
    step_size: _Count
    gamma: _Rate = 0.1


class MultiStep(Spec):
    """lr · gamma^(milestones passed), equal to ``MultiStepLR``."""

    name: Literal["multistep"] = "multistep"
    milestones: tuple[_Count, ...] = Field(min_length=1)
    gamma: _Rate = 0.1


class OneCycle(Spec):
    """Up to max_lr and down again over all steps of the run, equal to ``OneCycleLR``.

    The learning rate changes every step. Source: Smith and Topin, "Super-convergence", 2018.

    Attributes:
        max_lr: the peak; left out: the optimizer's lr.
        pct_start: share of the steps in which lr rises.
        anneal: ``cos`` or ``linear``.
        div_factor: initial lr = max_lr / div_factor.
        final_div_factor: last lr = initial lr / final_div_factor.
        three_phase: up, down to the initial lr, then to the last.
        cycle_momentum: whether momentum (SGD's, or Adam's first beta) moves inversely, from
            max_momentum to base_momentum and back.
    """

    name: Literal["onecycle"] = "onecycle"
    max_lr: _Rate | None = None
    pct_start: Annotated[float, Field(gt=0, lt=1)] = 0.3
    anneal: Literal["cos", "linear"] = "cos"
    div_factor: _Rate = 25.0
    final_div_factor: _Rate = 1e4
    three_phase: bool = False
    cycle_momentum: bool = True
    base_momentum: _Momentum = 0.85
    max_momentum: _Momentum = 0.95


class Cosine(Spec):
    """From lr to eta_min along half a cosine over t_max epochs, equal to ``CosineAnnealingLR``.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, without restarts.

    Attributes:
        t_max: epochs of the descent; left out: those of the run.
        eta_min: the last lr.
    """

    name: Literal["cosine"] = "cosine"
    t_max: _Count | None = None
    eta_min: _NonNegative = 0.0


class Plateau(Spec):
    """lr · factor when the validation split stops improving, equal to ``ReduceLROnPlateau``.

    Needs ``data.validation``: no choice in training may depend on the test set.

    Attributes:
        metric: ``loss`` (lower is better) or ``accuracy`` (higher is), on the validation split.
        factor, patience, threshold, threshold_mode, cooldown, min_lr, eps: as in PyTorch.
    """

    name: Literal["plateau"] = "plateau"
    metric: Literal["loss", "accuracy"] = "loss"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Annotated[int, Field(ge=0)] = 10
    threshold: _NonNegative = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: Annotated[int, Field(ge=0)] = 0
    min_lr: _NonNegative = 0.0
    eps: _NonNegative = 1e-8


class EMA(Spec):
    """Exponential moving average of weights and running statistics, used in evaluation.

    Equal to ``torch.optim.swa_utils.AveragedModel`` with ``get_ema_multi_avg_fn(decay)`` and
    ``use_buffers=True``: the first update copies, later ones keep ``decay`` of the average.
    """

    name: Literal["ema"] = "ema"
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99


LEFT_OUT = "none"
"""TOML has no null, so ``average = "none"`` turns averaging off."""


def _averaging(value: Any) -> Any:
    return None if value == LEFT_OUT else named(value)


Optimizer = Annotated[SGD | Adam | AdamW, Field(discriminator="name"), BeforeValidator(named)]
Schedule = Annotated[
    Constant | Step | MultiStep | OneCycle | Cosine | Plateau,
    Field(discriminator="name"),
    BeforeValidator(named),
]
Averaging = Annotated[EMA | None, BeforeValidator(_averaging)]


class Train(Spec):
    """How a network is trained.

    Attributes:
        epochs: passes over the training set.
        batch_size: images in a step; the last batch of an epoch may be smaller.
        optimizer, schedule: see their classes; a name alone takes the defaults.
        label_smoothing: mixes the labels with the uniform distribution, as PyTorch's
            ``cross_entropy`` does.
        average: the averaged weights to evaluate and save in place of the last step's; left out,
            or ``none``: the last step's.
        seed: of every random choice of the run.
    """

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 15
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 128
    optimizer: Optimizer = SGD(lr=0.01, momentum=0.9)
    schedule: Schedule = Constant()
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    average: Averaging = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 1

    @model_validator(mode="after")
    def _schedule_suits_optimizer(self) -> Train:
        schedule, optimizer = self.schedule, self.optimizer
        cycles = isinstance(schedule, OneCycle) and schedule.cycle_momentum
        if cycles and isinstance(optimizer, SGD) and not optimizer.momentum:
            raise InvalidSpecError(
                "onecycle cycles the momentum, but sgd has none; "
                "set optimizer.momentum or schedule.cycle_momentum = false"
            )
        return self
