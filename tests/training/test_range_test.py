"""The learning-rate range test: its rule on constructed curves, its sweep on real digits."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kilonet.data import RunData, load_dataset
from kilonet.errors import DataError
from kilonet.report.terminal.range_test import range_text
from kilonet.spec import Net, Run
from kilonet.training.range_test import (
    HIGHEST,
    LOWEST,
    NUM_STEPS,
    RangePoint,
    _hold_out,
    find_lr,
    smooth,
    suggest,
)

DECADES = np.linspace(-6, 1, 701)
RATES = (10.0**DECADES).tolist()


def drawn(train: np.ndarray, validation: np.ndarray) -> tuple[list[RangePoint], np.ndarray]:
    """A sweep with these losses, the validation split evaluated every tenth step."""
    points = [
        RangePoint(
            lr=lr, loss=train[i], validation_loss=float(validation[i]) if i % 10 == 0 else None
        )
        for i, lr in enumerate(RATES)
    ]
    return points, train


# Falls from 2.3 as a logistic curve that is steepest at 10^-2, with a parabola that turns it up.
CURVE = 2.3 - 2 / (1 + np.exp(-4 * (DECADES + 2))) + np.maximum(0, DECADES) ** 2


def test_the_suggestion_is_the_mean_of_steepest_and_a_tenth_of_the_minimum() -> None:
    valley = np.abs(DECADES - 0.5)
    found = suggest(*drawn(CURVE, valley))
    assert found is not None
    assert found.steepest == pytest.approx(1e-2)
    # Where the logistic's slope, -8 e^-4(x+2) for large x, is that of the parabola, 2x.
    x = 0.0
    for _ in range(50):
        x = 4 * math.exp(-4 * (x + 2))
    assert found.minimum == pytest.approx(10**x, rel=0.03)
    assert found.best_validation == pytest.approx(10**0.5)
    assert found.lr == pytest.approx(math.sqrt(1e-2 * 10**x / 10), rel=0.05)
    assert float(f"{found.lr:.1e}") == found.lr


def test_the_validation_loss_limits_the_suggestion() -> None:
    found = suggest(*drawn(CURVE, np.abs(DECADES + 3)))
    assert found is not None
    assert found.best_validation == pytest.approx(1e-3)
    assert found.lr == pytest.approx(1e-3)


def test_without_a_limit_the_validation_loss_only_shows_whether_anything_was_learned() -> None:
    valley = drawn(CURVE, np.abs(DECADES + 3))
    limited, free = suggest(*valley), suggest(*valley, limited=False)
    assert limited is not None
    assert free is not None
    assert free.lr == pytest.approx(math.sqrt(free.steepest * free.minimum / 10), rel=0.05)
    assert free.lr > 10 * limited.lr
    assert (limited.limited, free.limited) == (True, False)
    assert suggest(*drawn(CURVE, np.full(701, 2.3)), limited=False) is None


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        (CURVE, np.full(701, 2.3)),
        (CURVE, 2.3 + np.linspace(0, 1, 701)),
        (CURVE, 2.3 - 0.01 * (np.abs(DECADES + 2) < 1)),
        (np.linspace(1, 2, 701), np.abs(DECADES)),
    ],
    ids=["flat", "rising", "a fall within noise", "training loss only rises"],
)
def test_nothing_is_suggested_where_nothing_was_learned(
    train: np.ndarray, validation: np.ndarray
) -> None:
    assert suggest(*drawn(train, validation)) is None


def test_smoothing_keeps_lines_and_minima() -> None:
    """A symmetric window keeps a straight line; a running mean would lag."""
    line = 3 - 0.2 * DECADES
    inside = slice(50, -50)
    np.testing.assert_allclose(smooth(line, RATES)[inside], line[inside], rtol=1e-6)
    valley = 1 + 0.05 * (DECADES + 2) ** 2
    assert abs(DECADES[np.argmin(smooth(valley, RATES))] + 2) < 0.011
    noisy = valley + 0.1 * np.random.default_rng(0).standard_normal(701)
    left = smooth(noisy, RATES) - smooth(valley, RATES)
    # The mean of 0.1 · sqrt(2 pi) / 0.01 = 25 values, weighted: a seventh to an eighth of 0.1.
    assert left[inside].std() < 0.1 / 5


def test_an_explosion_does_not_change_earlier_losses() -> None:
    losses = np.where(DECADES < 0.9, 1.0, 1e30)
    smoothed = smooth(losses, RATES)
    assert smoothed[500] == pytest.approx(1.0)
    assert smoothed.max() <= 2.0


@pytest.fixture(scope="module")
def quick(small_run: Run) -> Run:
    return small_run.replace({"net.layers": ["conv 8 stride=2", "gap", "pointwise 10 bare"]})


def test_a_sweep_over_real_digits(quick: Run) -> None:
    numbers: list[int] = []
    found = find_lr(quick, progress=lambda number, point: numbers.append(number))
    assert numbers == list(range(len(found.points)))
    rates = [point.lr for point in found.points]
    assert rates[0] == pytest.approx(LOWEST)
    # Steps are even on the logarithmic scale: 349 of them over seven decades.
    ratio = (HIGHEST / LOWEST) ** (1 / (NUM_STEPS - 1))
    np.testing.assert_allclose(np.divide(rates[1:], rates[:-1]), ratio, rtol=1e-9)
    assert found.points[0].loss == pytest.approx(math.log(10), abs=0.3)
    assert (found.num_validation, found.held_out) == (64, True)
    evaluated = [i for i, p in enumerate(found.points) if p.validation_loss is not None]
    assert evaluated[:4] == [0, 10, 20, 30]
    assert found.suggestion is not None
    assert 1e-4 < found.suggestion.lr <= found.suggestion.best_validation
    assert found.key == "train.optimizer.lr"


def test_the_same_run_gives_the_same_curve(quick: Run) -> None:
    first = find_lr(quick, num_steps=40)
    assert find_lr(quick, num_steps=40, threads=1).points == first.points
    assert find_lr(quick.replace({"train.seed": 2}), num_steps=40).points != first.points


def test_the_test_images_are_not_used(quick: Run) -> None:
    dataset = load_dataset(quick.data.name)
    turned = dataclasses.replace(
        dataset, test_images=255 - dataset.test_images, test_labels=dataset.test_labels[::-1].copy()
    )
    expected = find_lr(quick, num_steps=40, data=dataset)
    assert find_lr(quick, num_steps=40, data=turned) == expected
    other = dataclasses.replace(dataset, train_images=255 - dataset.train_images)
    assert find_lr(quick, num_steps=40, data=other) != expected


def test_schedule_and_averaging_are_left_out(quick: Run) -> None:
    expected = find_lr(quick, num_steps=40)
    changes = {
        "train.schedule": {"name": "step", "step_size": 1},
        "train.average": {"name": "ema", "decay": 0.99},
        "train.optimizer.lr": 0.5,
    }
    assert find_lr(quick.replace(changes), num_steps=40).points == expected.points


def test_what_changes_during_a_run_is_left_out(quick: Run) -> None:
    changes = {
        "train.schedule": {"name": "cosine", "warmup": 1},
        "train.average": {"name": "swa", "start": 0},
        "train.batch_schedule": {"milestones": [1]},
    }
    expected = find_lr(quick, num_steps=40)
    assert find_lr(quick.replace(changes), num_steps=40).points == expected.points
    # One batch of all images: those held out for the test leave less than one.
    whole = {"train.batch_size": 640, "train.drop_last": True}
    assert len(find_lr(quick.replace(whole), num_steps=3).points) == 3


def test_the_runs_own_validation_split(quick: Run) -> None:
    plateau = {"data.validation": 200, "train.schedule": "plateau"}
    found = find_lr(quick.replace(plateau), num_steps=20)
    assert (found.num_validation, found.held_out) == (200, False)


def test_a_subset_is_swept_alone(quick: Run) -> None:
    """What is held out is held out of it."""
    run = quick.replace({"data.subset": 200})
    found = find_lr(run, num_steps=20)
    assert (found.num_validation, found.held_out) == (20, True)
    images = RunData.of(run, load_dataset(run.data.name))
    data, held_out = _hold_out(run, images)
    assert held_out
    parts = [*data.train_index, *data.validation_index]
    assert sorted(parts) == images.train_index.tolist()


def test_a_peak_that_is_stated_is_the_one_to_change(quick: Run) -> None:
    peak = {"train.schedule": {"name": "onecycle", "max_lr": 0.1}}
    assert find_lr(quick.replace(peak), num_steps=20).key == "train.schedule.max_lr"
    assert find_lr(quick.replace({"train.schedule": "onecycle"}), num_steps=20).key.endswith(".lr")


def test_the_limit_is_rounded_down() -> None:
    """To two digits, never above the rate of the lowest validation loss."""
    for best in (-2.585, -3.0, -2.0043, -2.0001):
        found = suggest(*drawn(CURVE, np.abs(DECADES - best) + 0.0))
        assert found is not None
        assert 0.9 * found.best_validation < found.lr <= found.best_validation * (1 + 1e-9)


@pytest.mark.parametrize(
    ("block", "limited"), [(["conv", "relu"], True), (["conv", "relu", "batchnorm"], False)]
)
def test_batch_norm_takes_the_limit_away(quick: Run, block: list[str], limited: bool) -> None:
    residual = {"residual": ["conv 8 pad=1"]}
    layers = ["conv 8 stride=2 bare", residual, "gap", "pointwise 10 bare"]
    found = find_lr(quick.replace({"net.block": block, "net.layers": layers})).suggestion
    assert found is not None
    assert found.limited is limited
    if limited:
        assert found.lr <= found.best_validation


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_other_optimizers(quick: Run, optimizer: str) -> None:
    found = find_lr(quick.replace({"train.optimizer": optimizer}))
    assert found.suggestion is not None
    assert 1e-4 < found.suggestion.lr < 1


def test_an_explosion_ends_the_sweep(small_run: Run) -> None:
    """A linear network has no batch norm that limits its outputs, and no ReLU that dies."""
    found = find_lr(small_run.replace({"net.layers": ["flatten", "linear 10"]}))
    assert found.exploded
    assert found.points[-1].lr < HIGHEST
    assert all(math.isfinite(point.loss) for point in found.points)


def test_the_engines_agree(quick: Run) -> None:
    pytest.importorskip("torch")
    quick = quick.replace({"net.block": ["conv", "relu", "batchnorm"]})
    native, torch = (find_lr(quick, num_steps=40, engine=name) for name in ("native", "torch"))
    assert torch.engine.startswith("torch ")
    for a, b in zip(native.points[:20], torch.points[:20], strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-4)


def run_on(labels: Any, folder: Path, *, norm: bool = True, **settings: Any) -> Run:
    """A run on noise of 6 × 6 with these labels; batch norm over one value per channel."""
    labels = np.asarray(labels)
    images = np.random.default_rng(3).integers(0, 256, (len(labels), 6, 6), dtype=np.uint8)
    path = folder / "few.npz"
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    layers = ["conv 3", "gap", *["batchnorm"] * norm, f"pointwise {labels.max() + 1} bare"]
    run = Run(net=Net(input=(1, 6, 6), layers=layers))
    return run.replace({"data.name": str(path), **settings})


@pytest.mark.native
@pytest.mark.parametrize("validation", [0, 1, 14, 0.1])
@pytest.mark.parametrize("number", [1, 2, 3, 8, 15, 129, 143, 144, 257])
def test_it_works_wherever_a_training_does(number: int, validation: float, tmp_path: Path) -> None:
    worked = 0
    for norm, size in itertools.product((True, False), (1, 2, 7, 128)):
        changes = {"data.validation": validation, "train.batch_size": size}
        run = run_on(np.arange(number) % 2, tmp_path, norm=norm, **changes)
        try:
            RunData.of(run, load_dataset(run.data.name))
        except DataError as error:
            with pytest.raises(DataError, match=f"^{re.escape(str(error))}$"):
                find_lr(run, num_steps=3)
        else:
            found = find_lr(run, num_steps=3)
            assert len(found.points) == 3
            assert found.points[-1].validation_loss is not None
            assert found.num_validation >= 1
            assert found.held_out == (not validation and number > 2)
            assert found.on_training_images == (not validation and number <= 2)
            worked += 1
    # Without batch norm everything can be trained that the split leaves an image of each class.
    assert worked or (validation and number < 16)


@pytest.mark.native
def test_what_its_own_split_leaves_over_is_skipped(tmp_path: Path) -> None:
    """143 images less 14 are 129: a batch of 128 and one of one image."""
    run = run_on([0] * 71 + [1] * 72, tmp_path, **{"train.batch_size": 128})
    found = find_lr(run, num_steps=5)
    assert (found.num_validation, found.held_out, found.skipped_single) == (14, True, True)
    assert "Batches of one image are left out" in range_text(found)
    other = find_lr(run.replace({"train.batch_size": 127}), num_steps=5)
    assert not other.skipped_single
    assert "left out" not in range_text(other)


@pytest.mark.native
@pytest.mark.parametrize("labels", [[0], [0, 0], [0, 1, 2, 3]])
def test_too_few_images_to_hold_any_out(labels: list[int], tmp_path: Path) -> None:
    found = find_lr(run_on(labels, tmp_path, norm=False), num_steps=3)
    assert (found.num_validation, found.held_out) == (len(labels), False)
    assert f"all {len(labels)} training images, too few to hold any out" in range_text(found)


@pytest.mark.native
def test_of_two_images_a_class_one_stays(tmp_path: Path) -> None:
    found = find_lr(run_on([0, 0, 1, 1, 2, 2], tmp_path), num_steps=3)
    assert (found.num_validation, found.held_out) == (1, True)
