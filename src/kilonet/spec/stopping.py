"""Early stopping: when a run ends before its last epoch, and whose weights it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator

from kilonet.spec.base import Spec
from kilonet.spec.invalid import none_if_left_out
from kilonet.spec.ranges import Count, NonNegative


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """What early stopping makes of the epochs so far.

    Attributes:
        best: the best epoch, from 0.
        value: its metric.
        stopped: whether the run ends here.
    """

    best: int
    value: float
    stopped: bool


class EarlyStopping(Spec):
    """Ends a run whose validation split stops improving, as Keras's ``EarlyStopping`` does.

    Needs ``data.validation``: no choice in training may depend on the test set. The run ends after
    ``patience`` epochs in a row that do not improve on the best one. With ``restore_best`` the
    weights of the best epoch are the final ones, in a run that was not stopped too, as in Keras 3.

    Attributes:
        metric: ``loss`` (lower is better) or ``accuracy`` (higher is), on the validation split.
        patience: epochs without an improvement.
        min_delta: a smaller change is no improvement: nats, or percentage points.
        restore_best: whether the final weights are those of the best epoch.
    """

    metric: Literal["loss", "accuracy"] = "loss"
    patience: Count = 3
    min_delta: NonNegative = 0.0
    restore_best: bool = True

    def after(self, values: Sequence[float]) -> Stopping | None:
        """The state after some epochs.

        Args:
            values: the metric of each epoch so far, in order.

        Returns:
            None before the first epoch.
        """
        sign = -1.0 if self.metric == "loss" else 1.0
        best = 0
        for epoch, value in enumerate(values):
            # As Keras computes it: the change is subtracted from the value, or added to it.
            if sign * (value - sign * self.min_delta) > sign * values[best]:
                best = epoch
            elif epoch - best >= self.patience:
                return Stopping(best=best, value=values[best], stopped=True)
        return Stopping(best=best, value=values[best], stopped=False) if values else None


MaybeEarlyStopping = Annotated[EarlyStopping | None, BeforeValidator(none_if_left_out)]
