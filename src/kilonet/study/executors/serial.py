"""The executor that trains one trial after another in this process."""

from __future__ import annotations

from collections import deque
from functools import partial

from kilonet.study.executors.base import EventObserver, Load, Receive, Resources, train_trial
from kilonet.study.trial import AnyTrial


class SerialExecutor:
    """Trains a submitted trial when it is polled.

    Args:
        load: name or path → data set; called for every trial.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._submitted: deque[tuple[AnyTrial, Resources]] = deque()

    def submit(self, trial: AnyTrial, resources: Resources) -> bool:
        """See :class:`kilonet.study.executors.base.Executor`."""
        self._submitted.append((trial, resources))
        return True

    def poll(self, receive: Receive) -> None:
        """Train the first submitted trial to its end."""
        trial, resources = self._submitted.popleft()
        observer = EventObserver(partial(receive, trial))
        end = train_trial(
            trial.run, resources, folder=trial.folder, load=self._load, observer=observer
        )
        receive(trial, end)

    def cancel(self) -> None:
        """Nothing trains outside of :meth:`poll`."""
        self._submitted.clear()

    def shutdown(self, *, wait: bool) -> None:
        """Nothing trains outside of :meth:`poll`."""
