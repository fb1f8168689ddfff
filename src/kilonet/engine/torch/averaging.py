"""A spec's weight averaging as PyTorch's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from kilonet.spec import EMA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

    from kilonet.spec import Train


class Average:
    """The averaged weights of a run; they begin as a copy of its weights.

    Args:
        train: with an average.
        module: whose weights are averaged.
    """

    def __init__(self, train: Train, module: nn.Module) -> None:
        assert train.average is not None
        self._spec = train.average
        self._epochs = train.epochs
        self._live = module
        if isinstance(train.average, EMA):
            rule = get_ema_multi_avg_fn(train.average.decay)  # type: ignore[no-untyped-call]
            self.model = AveragedModel(module, multi_avg_fn=rule, use_buffers=True)
        else:
            self.model = AveragedModel(module)

    @property
    def begun(self) -> bool:
        """Whether the average is what is evaluated: an equal one begins late in the run."""
        return isinstance(self._spec, EMA) or bool(self.model.n_averaged)

    def end_step(self, epoch: int) -> None:
        """Average the weights after a step of ``epoch``."""
        if isinstance(self._spec, EMA):
            self.model.update_parameters(self._live)
        elif self._spec.every == "step":
            self._average_equally(epoch)

    def end_epoch(self, epoch: int, inputs: Iterable[Tensor]) -> None:
        """Average the weights after the last step of ``epoch``; renew batch norm's statistics.

        Args:
            epoch: from 0.
            inputs: of the training steps of the epoch.
        """
        if not isinstance(self._spec, EMA) and self._spec.every == "epoch":
            self._average_equally(epoch)
        if self._spec.recompute_statistics and self.begun:
            update_bn(inputs, self.model.module)

    def _average_equally(self, epoch: int) -> None:
        assert not isinstance(self._spec, EMA)
        if epoch >= self._spec.first_epoch(self._epochs):
            self.model.update_parameters(self._live)
