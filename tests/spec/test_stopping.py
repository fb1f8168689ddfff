"""Early stopping is Keras's, whose rule is written out here from its source."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonet.spec import EarlyStopping, InvalidSpecError, load_run


def keras(
    values: list[float], *, mode: str, min_delta: float, patience: int
) -> tuple[int, int | None]:
    """The best epoch, and the one that the training stops after, or None.

    As ``keras.callbacks.EarlyStopping`` (3.x) does: ``on_train_begin`` and ``on_epoch_end``.
    """
    if mode == "min":
        monitor_op, min_delta = float.__lt__, -min_delta
    else:
        monitor_op = float.__gt__
    best, best_epoch, wait = None, 0, 0
    for epoch, value in enumerate(values):
        wait += 1
        if best is None or monitor_op(value - min_delta, best):
            best, best_epoch, wait = value, epoch, 0
            continue
        if wait >= patience and epoch > 0:
            return best_epoch, epoch
    return best_epoch, None


VALUES = st.lists(
    st.sampled_from([0.0, 0.5, 0.5001, 0.4999, 0.6, 1.0]) | st.floats(0, 100),
    min_size=1,
    max_size=20,
)


@given(
    values=VALUES,
    metric=st.sampled_from(["loss", "accuracy"]),
    patience=st.integers(1, 5),
    min_delta=st.sampled_from([0.0, 0.0001, 0.1, 1.0]),
)
def test_stops_where_keras_does(
    values: list[float], metric: str, patience: int, min_delta: float
) -> None:
    rule = EarlyStopping(metric=metric, patience=patience, min_delta=min_delta)
    mode = "min" if metric == "loss" else "max"
    best, stopped = keras(values, mode=mode, min_delta=min_delta, patience=patience)
    for number in range(1, len(values) + 1):
        found = rule.after(values[:number])
        assert found is not None
        assert found.stopped == (stopped is not None and number > stopped)
    assert (found.best, found.value) == (best, values[best])


def test_by_hand() -> None:
    rule = EarlyStopping(patience=2, min_delta=0.1)
    assert rule.after([]) is None
    states = [rule.after([1.0, 0.8, 0.75, 0.72, 0.1][:n]) for n in range(1, 6)]
    assert [(s.best, s.stopped) for s in states if s] == [
        (0, False),
        (1, False),
        (1, False),  # 0.05 less is no improvement
        (1, True),
        (1, True),  # what comes after it counts no more
    ]


def test_an_accuracy_is_better_when_higher() -> None:
    found = EarlyStopping(metric="accuracy", patience=1).after([90.0, 91.0, 91.0])
    assert found is not None
    assert (found.best, found.value, found.stopped) == (1, 91.0, True)


def test_a_loss_that_is_no_number_is_no_improvement() -> None:
    found = EarlyStopping(patience=1).after([0.5, math.nan])
    assert found is not None
    assert (found.best, found.stopped) == (0, True)


def test_it_needs_a_validation_split() -> None:
    with pytest.raises(
        InvalidSpecError, match=r"train.early_stopping: needs a validation split; set data.valid"
    ):
        load_run("interim", settings=["train.early_stopping.patience=2"])
    settings = ["train.early_stopping.patience=2", "data.validation=0.1"]
    run = load_run("interim", settings=settings)
    assert run.train.early_stopping == EarlyStopping(patience=2)
    assert run.replace({"train.early_stopping": "none"}).train.early_stopping is None
