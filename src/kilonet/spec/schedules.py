"""Learning-rate schedules. :mod:`kilonet.training.schedule` computes them.

``constant``, ``step``, ``multistep`` and ``cosine`` may begin with a linear warm-up: a factor that
multiplies the rate of the schedule in each step. It rises from ``warmup_start`` in the first step
to 1 after ``warmup`` epochs (a fraction is rounded to steps, at least one; 0 is no warm-up). It is
that of PyTorch's ``LinearLR`` in its closed form, with ``start_factor=warmup_start`` and
``total_iters`` in steps. From then on the rates are the schedule's, whose epochs count from the
start of the run: milestones need no shift.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from kilonet.spec.base import Spec
from kilonet.spec.invalid import named
from kilonet.spec.ranges import Count, Momentum, NonNegative, Rate

_Warmup = NonNegative
_WarmupStart = Annotated[float, Field(ge=0, le=1)]


class Constant(Spec):
    """The optimizer's learning rate throughout, after a warm-up if there is one."""

    name: Literal["constant"] = "constant"
    warmup: _Warmup = 0.0
    warmup_start: _WarmupStart = 0.01


class Step(Spec):
    """lr · gamma^⌊epoch / step_size⌋, equal to ``StepLR``."""

    name: Literal["step"] = "step"
    step_size: Count
    gamma: Rate = 0.1
    warmup: _Warmup = 0.0
    warmup_start: _WarmupStart = 0.01


class MultiStep(Spec):
    """lr · gamma^(milestones passed), equal to ``MultiStepLR``."""

    name: Literal["multistep"] = "multistep"
    milestones: tuple[Count, ...] = Field(min_length=1)
    gamma: Rate = 0.1
    warmup: _Warmup = 0.0
    warmup_start: _WarmupStart = 0.01


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
    max_lr: Rate | None = None
    pct_start: Annotated[float, Field(gt=0, lt=1)] = 0.3
    anneal: Literal["cos", "linear"] = "cos"
    div_factor: Rate = 25.0
    final_div_factor: Rate = 1e4
    three_phase: bool = False
    cycle_momentum: bool = True
    base_momentum: Momentum = 0.85
    max_momentum: Momentum = 0.95


class Cosine(Spec):
    """From lr to eta_min along half a cosine over t_max epochs, equal to ``CosineAnnealingLR``.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, without restarts.

    Attributes:
        t_max: epochs of the descent; left out: those of the run.
        eta_min: the last lr.
        every: ``epoch``, or ``step``: the rate changes every step. PyTorch's has no such option: it
            is stepped after each batch, with T_max in steps; the rates are its closed form's.
    """

    name: Literal["cosine"] = "cosine"
    t_max: Count | None = None
    eta_min: NonNegative = 0.0
    every: Literal["epoch", "step"] = "epoch"
    warmup: _Warmup = 0.0
    warmup_start: _WarmupStart = 0.01


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
    threshold: NonNegative = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: Annotated[int, Field(ge=0)] = 0
    min_lr: NonNegative = 0.0
    eps: NonNegative = 1e-8


Warming = Constant | Step | MultiStep | Cosine
"""The schedules that may begin with a warm-up."""

Schedule = Annotated[
    Constant | Step | MultiStep | OneCycle | Cosine | Plateau,
    Field(discriminator="name"),
    BeforeValidator(named),
]
