"""Weight averaging: what is evaluated and saved in place of the last step's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from kilonet.spec.base import Spec
from kilonet.spec.invalid import LEFT_OUT, named


class EMA(Spec):
    """Exponential moving average of weights and running statistics, used in evaluation.

    Equal to ``torch.optim.swa_utils.AveragedModel`` with ``get_ema_multi_avg_fn(decay)`` and
    ``use_buffers=True``: the first update copies, later ones keep ``decay`` of the average.

    Attributes:
        decay: share of the average that a step keeps.
        recompute_statistics: whether the running statistics of batch norm are computed anew at the
            end of each epoch, see :class:`SWA`, instead of averaged.
    """

    name: Literal["ema"] = "ema"
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    recompute_statistics: bool = False


class SWA(Spec):
    """Stochastic weight averaging: the equal average of weights late in the run, for evaluation.

    Equal to ``torch.optim.swa_utils.AveragedModel`` without arguments, updated after each epoch
    from ``start`` on. Before that the weights are evaluated as they are. Source: Izmailov et al.,
    "Averaging weights leads to wider optima and better generalization", UAI 2018.

    Attributes:
        start: the first epoch, counted from 0, whose weights are averaged; left out: three quarters
            of the run's epochs.
        every: ``epoch``: the weights at the end of each epoch; ``step``: those of every step.
        recompute_statistics: whether the running statistics of batch norm are computed anew for the
            averaged weights at the end of each epoch, equal to
            ``torch.optim.swa_utils.update_bn`` over the batches of that epoch, as they were trained
            on: augmented, with dropout. If not, they are those of the last step's weights, which do
            not fit.
    """

    name: Literal["swa"] = "swa"
    start: Annotated[int, Field(ge=0)] | None = None
    every: Literal["epoch", "step"] = "epoch"
    recompute_statistics: bool = True

    def first_epoch(self, epochs: int) -> int:
        """The first epoch, from 0, whose weights are averaged in a run of ``epochs``."""
        return epochs * 3 // 4 if self.start is None else self.start


def _averaging(value: Any) -> Any:
    if isinstance(value, Mapping) and "name" not in value:
        value = {"name": "ema", **value}  # for long the only kind, which needed no name
    return None if value == LEFT_OUT else named(value)


Averaging = Annotated[
    Annotated[EMA | SWA, Field(discriminator="name")] | None, BeforeValidator(_averaging)
]
