"""Training: the loop, learning-rate schedules, the learning-rate range test."""

from kilonet.training.loop import train
from kilonet.training.observer import Observer
from kilonet.training.range_test import find_lr

__all__ = ["Observer", "find_lr", "train"]
