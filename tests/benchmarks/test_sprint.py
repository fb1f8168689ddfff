"""The race: both sides train the same recipe, and what is made of their times."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from file_modules import load
from kilonet.data import Dataset, RunData
from kilonet.spec import Run, load_study
from kilonet.training.schedule import Schedule

load("benchmarks/sprint_table.py")
torch_loop = load("benchmarks/torch_loop.py")
sprint = load("benchmarks/sprint.py")


def dataset(count: int = 100) -> Dataset:
    """Four classes, each a bright quarter of the image in noise: images to train on, 40 to test."""
    generator = np.random.default_rng(3)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 4
        images = generator.integers(0, 60, (count, 12, 12), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = 6 * (label // 2), 6 * (label % 2)
            image[row : row + 6, column : column + 6] += 120
        return images, labels

    train, test = part(count), part(40)
    return Dataset(
        name="quarters",
        train_images=train[0],
        train_labels=train[1],
        test_images=test[0],
        test_labels=test[1],
    )


def run_of(**changes: Any) -> Run:
    run = Run.from_dict(
        {
            "net": {
                "input": [1, 12, 12],
                "block": ["conv", "relu", "batchnorm"],
                "layers": ["conv 4", "maxpool 2", "conv 6", "flatten", "linear 4"],
            },
            "data": {"name": "quarters", "augment": [{"name": "crop", "padding": 1}]},
            "train": {
                "epochs": 3,
                "batch_size": 16,
                "label_smoothing": 0.1,
                "optimizer": {
                    "name": "sgd",
                    "lr": 0.05,
                    "momentum": 0.9,
                    "nesterov": True,
                    "weight_decay": 1e-3,
                },
                "schedule": {"name": "onecycle", "pct_start": 0.25, "div_factor": 5},
            },
        }
    )
    return run.replace({path.replace("__", "."): value for path, value in changes.items()})


def losses(run: Run, *, steps: int, variant: str = "eager") -> tuple[list[float], list[float]]:
    data = RunData.of(run, dataset())
    side = torch_loop.TorchTraining(run, data, variant=variant)
    native = sprint.native_losses(run, data, threads=1, steps=steps)
    return native, side.losses(run, steps=steps)


@pytest.mark.parametrize("variant", ["eager", "channels_last"])
def test_both_sides_take_the_same_steps(variant: str) -> None:
    # Over the end of the first epoch, whose last batch has 4 images.
    native, other = losses(run_of(), steps=10, variant=variant)
    assert native == pytest.approx(other, rel=1e-3)
    sprint.check_agreement(native, other, where="stage")


def test_a_constant_rate_has_no_schedule() -> None:
    native, other = losses(run_of(train__schedule="constant", data__augment=[]), steps=8)
    assert native == pytest.approx(other, rel=1e-3)


@pytest.mark.parametrize(
    "setting",
    [
        {"train__label_smoothing": 0.0},
        {"train__optimizer.nesterov": False},
        {"train__seed": 2},
        {"data__augment": []},
    ],
)
def test_another_recipe_is_not_timed(setting: dict[str, Any]) -> None:
    data = RunData.of(run_of(), dataset())
    native = sprint.native_losses(run_of(), data, threads=1, steps=6)
    other = losses(run_of(**setting), steps=6)[1]
    with pytest.raises(SystemExit, match="Stage 1: losses of the first steps differ"):
        sprint.check_agreement(native, other, where="Stage 1")


def test_losses_that_are_not_finite_do_not_agree() -> None:
    with pytest.raises(SystemExit, match="differ"):
        sprint.check_agreement([float("nan")], [float("nan")], where="x")


def test_rates_and_momenta_are_kilonets_at_every_step() -> None:
    run = run_of()
    module = torch.nn.Linear(2, 2)
    optimizer, schedule = torch_loop.optimizer_of(run, module, num_steps=21)
    own = Schedule(run.train, steps_per_epoch=7)
    for step in range(21):
        group = optimizer.param_groups[0]
        expected = own.at(epoch=step // 7, step=step % 7)
        assert (group["lr"], group["momentum"]) == pytest.approx(expected)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("train.optimizer", "adam"),
        ("train.optimizer.decay", "weights"),
        ("train.schedule", "cosine"),
        ("train.average", "ema"),
    ],
)
def test_what_the_loop_does_not_have_is_refused(path: str, value: str) -> None:
    with pytest.raises(SystemExit, match=f"{path.removesuffix('.decay')}: the PyTorch loop"):
        torch_loop.check_recipe(run_of().replace({path: value}))


def test_the_bundled_study_can_be_raced() -> None:
    for stage in load_study("sprint").stages:
        torch_loop.check_recipe(stage.run)


def test_a_race_has_both_sides_of_each_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprint, "CHOICE_STEPS", 2)
    told: list[str] = []
    found = sprint.race(
        "Quarters",
        [run_of().replace({"train.seed": seed}) for seed in (1, 2, 3)],
        dataset=dataset(1000),  # so that an epoch takes kilonet over a millisecond
        threads=1,
        variants=("eager", "channels_last"),
        tell=told.append,
    )
    assert found == json.loads(json.dumps(found))
    assert (found["seeds"], found["epochs"], found["steps"]) == ([1, 2, 3], 3, 189)
    assert found["variant"] == min(found["step_ms"], key=found["step_ms"].get)
    assert set(found["step_ms"]) == {"eager", "channels_last"}
    for side in ("kilonet", "torch"):
        # Easily told apart: both sides have learned.
        assert found[side]["accuracy"]["min"] >= 95.0, side
        assert found[side]["seconds"]["min"] > 0
    seconds = [found[side]["seconds"]["values"] for side in ("torch", "kilonet")]
    ratios = [theirs / own for theirs, own in zip(*seconds, strict=True)]
    assert found["ratio"]["values"] == pytest.approx(ratios)
    assert found["ratio"]["median"] == sorted(found["ratio"]["values"])[1]
    assert [line.split(":")[0] for line in told] == [f"Quarters, seed {s}" for s in (1, 2, 3)]
    lines = sprint.table([found]).to_markdown().splitlines()
    assert lines[2].startswith("| Quarters: kilonet |")
    assert f"| {found['ratio']['median']:.1f} (" in lines[3]


def test_statistics_are_those_of_the_seeds() -> None:
    trained = [
        torch_loop.Trained(accuracy=99.0, seconds=1.0),
        torch_loop.Trained(accuracy=99.2, seconds=2.0),
    ]
    found = sprint.statistics_of(trained)
    assert found["accuracy"]["mean"] == pytest.approx(99.1)
    # Student's t of two values: 99.1 ± 12.706 · 0.1, cut at 100 %.
    assert found["accuracy"]["ci95"] == pytest.approx([99.1 - 1.2706, 100.0], abs=1e-4)
    assert (found["seconds"]["min"], found["seconds"]["max"]) == (1.0, 2.0)
    one = sprint.statistics_of(trained[:1])
    assert one["seconds"]["ci95"] is None
