"""Runs that are stopped by Ctrl-C at a chosen step."""

from __future__ import annotations

from kilonet.training.observer import Observer


class StopAt(Observer):
    """Ctrl-C in a step, which counts from 1 in what is trained here."""

    def __init__(self, step: int) -> None:
        self.left = step

    def step(self, *, step: int, batch: int, loss: float, accuracy: float, lr: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
