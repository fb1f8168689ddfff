"""A learning-rate range test whose figures are known."""

from __future__ import annotations

import dataclasses

from kilonet.training.range_test import RangePoint, RangeTest, Suggestion

FOUND = RangeTest(
    points=tuple(
        RangePoint(lr=10.0**e, loss=abs(e + 1) + 0.5, validation_loss=abs(e + 1.0) + 0.4)
        for e in range(-6, 2)
    ),
    smoothed=tuple(abs(e + 1) + 0.5 for e in range(-6, 2)),
    engine="native 1 on cpu",
    key="train.optimizer.lr",
    num_validation=6000,
    held_out=True,
    exploded=True,
    suggestion=Suggestion(steepest=1e-3, minimum=1e-1, best_validation=1e-1, lr=0.002),
)
NOTHING = dataclasses.replace(FOUND, suggestion=None, exploded=False, held_out=False)
