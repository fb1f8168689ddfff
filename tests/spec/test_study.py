"""Runs and studies: stages, and values that must fit together."""

from __future__ import annotations

from itertools import pairwise

import pytest

from kilonet.errors import NetError, SpecError
from kilonet.randomness import MAX_SEED
from kilonet.spec import (
    SGD,
    Constant,
    Data,
    InvalidSpecError,
    Net,
    Rotation,
    Run,
    Step,
    Study,
    Train,
    load_study,
)

NET = {"input": [1, 28, 28], "layers": ["conv 8", "gap", "pointwise 10 bare"]}
BUNDLED = load_study("mnist-8k")


def study(**changes):
    good = {
        "name": "s",
        "target": 99,
        "net": NET,
        "stage": [{"name": "Longer", "change": {"train.epochs": 20}}],
    }
    return Study(**{**good, **changes})


def changed_paths(before, after, path=()):
    """Dotted paths at which two specs' data differ; lists and named tables count whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        if before.get("name") != after.get("name"):
            return [".".join(path)]
        keys = sorted(before.keys() | after.keys())
        return [p for k in keys for p in changed_paths(before.get(k), after.get(k), (*path, k))]
    return [".".join(path)] if before != after else []


def test_the_bundled_study_is_the_notebooks():
    assert BUNDLED.target == 99.4
    assert (BUNDLED.budget.parameters, BUNDLED.budget.epochs) == (8000, 15)
    assert [stage.name for stage in BUNDLED.stages] == [
        "Batch normalization",
        "Dropout",
        "Rotation",
        "Step scheduler",
        "Muon, one cycle",
        "Affine",
        "Averaged weights",
    ]
    assert [stage.number for stage in BUNDLED.stages] == [1, 2, 3, 4, 5, 6, 7]
    blocks = [["conv", "relu", "batchnorm"]] + [["conv", "relu", "batchnorm", "dropout 0.01"]] * 3
    layers = [
        "conv 8", "conv 16", "maxpool 2", "pointwise 8", "conv 12", "conv 12", "conv 16",
        "conv 16 pad=1", "gap", "pointwise 10 bare",
    ]  # fmt: skip
    rotation = (Rotation(degrees=[-7, 7], resample="nearest", fill=1),)
    augmentations = [(), (), rotation, rotation]
    schedules = [Constant()] * 3 + [Step(step_size=10, gamma=0.1)]
    for stage, block, augment, schedule in zip(
        BUNDLED.stages[:4], blocks, augmentations, schedules, strict=True
    ):
        assert stage.run == Run(
            net=Net(input=(1, 28, 28), block=block, layers=layers),
            data=Data(name="mnist", mean=[0.1307], std=[0.3081], augment=augment),
            train=Train(
                epochs=15,
                batch_size=128,
                optimizer=SGD(lr=0.01, momentum=0.9),
                schedule=schedule,
                seed=1,
            ),
        )


def test_each_stage_changes_one_thing_on_top_of_the_last():
    runs = [BUNDLED.run, *(stage.run for stage in BUNDLED.stages)]
    changes = [changed_paths(before.to_dict(), after.to_dict()) for before, after in pairwise(runs)]
    assert changes == [
        ["net.block"],
        ["net.block"],
        ["data.augment"],
        ["train.schedule"],
        ["train.optimizer", "train.schedule"],
        ["data.augment"],
        ["train.average"],
    ]
    assert changes == [sorted(stage.change) for stage in BUNDLED.stages]


def test_the_third_stage_is_interim():
    from kilonet.spec import load_run

    assert BUNDLED.stages[2].run == load_run("interim")


def test_stages_build_on_one_another():
    built = study(
        stage=[
            {"name": "A", "change": {"train.epochs": 20, "net.layers.0": "conv 9"}},
            {"name": "B", "target": "More.", "change": {"train.optimizer.lr": 0.1}},
            {"name": "C", "change": {"net.layers.0": "conv 12 pad=1"}},
        ]
    )
    assert [r.run.train.epochs for r in built.stages] == [20, 20, 20]
    assert [r.run.train.optimizer.lr for r in built.stages] == [0.01, 0.1, 0.1]
    assert [str(r.run.net.layers[0]) for r in built.stages] == [
        "conv 9",
        "conv 9",
        "conv 12 pad=1",
    ]
    assert built.stages[1].target == "More."
    assert built.run == Run(net=NET)


def test_seeds():
    built = study(seeds=3)
    assert list(built.seed_numbers()) == [1, 2, 3]
    seeded = [built.stages[0].seeded(seed) for seed in built.seed_numbers()]
    assert [run.train.seed for run in seeded] == [1, 2, 3]
    assert len({run.content_hash for run in seeded}) == 3
    assert built.stages[0].seeded(MAX_SEED).train.seed == MAX_SEED


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"name": "a b"}, SpecError, "name: 'a b' should be letters, digits, '.', '_' and '-'"),
        ({"name": "../x"}, SpecError, "name: '../x' should be letters, digits, '.', '_' and"),
        ({"name": ""}, SpecError, "name: '' should be letters, digits, '.', '_' and '-' alone"),
        ({"name": "s" * 101}, SpecError, "should have at most 100 characters"),
        ({"target": 101}, SpecError, "target: 101 should be less than or equal to 100"),
        ({"target": 0.994}, SpecError, "target: 0.994 is in percent; did you mean 99.4?"),
        ({"target": 0}, SpecError, "target: 0 should be greater than 0"),
        ({"seeds": 0}, SpecError, "seeds: 0 should be greater than or equal to 1"),
        ({"seeds": True}, SpecError, "seeds: 'true' should be a whole number"),
        ({"budget": {"epoch": 3}}, SpecError, "budget.epoch: unknown key; did you mean 'epochs'?"),
        ({"budget": {"parameters": 0}}, SpecError, "budget.parameters: 0 should be greater"),
        ({"stage": {"name": "a"}}, SpecError, "stage: {'name': 'a'} should be a list"),
        ({"stage": ["a"]}, SpecError, "stage 1: 'a' should be a table"),
        ({"stages": []}, SpecError, "stages: unknown key; did you mean 'stage'?"),
        ({"net": {**NET, "layres": []}}, SpecError, "net.layres: unknown key; did you mean"),
        ({"net": {**NET, "layers": ["conv 0"]}}, SpecError, "net.layers.0: 'conv 0': out '0'"),
        (
            {"net": {**NET, "layers": ["conv 8"]}},
            NetError,
            "net.layers.0 'conv 8': the network ends",
        ),
    ],
)
def test_what_is_wrong_with_a_study(changes, error, message):
    with pytest.raises(error) as raised:
        study(**changes)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({}, SpecError, "stage 2 'Second': change: is missing; only the first"),
        (
            {"train.epoch": 3},
            SpecError,
            "stage 2 'Second': change.train.epoch: unknown key; did you mean",
        ),
        (
            {"train.epochs": 0},
            SpecError,
            "stage 2 'Second': change.train.epochs: 0 should be greater",
        ),
        (
            {"seeds": 3},
            SpecError,
            "stage 2 'Second': change.seeds: unknown key; known: data, module, net, train",
        ),
        (
            {"net.layers.7": "relu"},
            SpecError,
            "stage 2 'Second': change.net.layers.7: no such position",
        ),
        (
            {"net.layers.0": "cnov 8"},
            SpecError,
            "stage 2 'Second': change.net.layers.0: 'cnov 8': unknown",
        ),
        (
            {"train.seed": 3},
            SpecError,
            "stage 2 'Second': change: a stage cannot set train.seed; the study",
        ),
        (
            {"train.average": None},
            SpecError,
            "stage 2 'Second': change: 'train.average' has no value; give",
        ),
        (
            {"train": {"epochs": 3}},
            SpecError,
            "stage 2 'Second': change: 'train' is a whole section; give",
        ),
        (
            {"net.layers.0": "conv 8 kernel=29"},
            NetError,
            "stage 2 'Second': net.layers.0 'conv 8 kernel=29': kernel 29 × 29 is larger than",
        ),
        (
            {"train.schedule": "plateau"},
            SpecError,
            "stage 2 'Second': change.train.schedule: plateau needs a validation split; set",
        ),
    ],
)
def test_what_is_wrong_with_a_change(change, error, message):
    first = {"name": "First", "change": {"train.epochs": 16}}
    with pytest.raises(error) as raised:
        study(stage=[first, {"name": "Second", "change": change}])
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_two_stages_of_one_name():
    stage = {"name": "Again", "change": {"train.epochs": 16}}
    with pytest.raises(
        InvalidSpecError, match=r"stage 2 'Again': name: a second stage named 'Again'"
    ):
        study(stage=[stage, stage])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"mean": [0.1, 0.2]}}, "data.mean: 2 values for 1 channels; give one per"),
        ({"data": {"std": [0.1, 0.2]}}, "data.std: 2 values for 1 channels; give one per"),
        (
            {"data": {"resize": [32, 32]}},
            "data.resize: [32, 32] is not the size of the network's input, [28, 28]; make them",
        ),
        (
            {"train": {"schedule": "plateau"}},
            "train.schedule: plateau needs a validation split; set data.validation",
        ),
        ({"foo": 1}, "foo: unknown key; known: data, module, net, train"),
    ],
)
def test_what_does_not_go_together_in_a_run(changes, message):
    with pytest.raises(InvalidSpecError) as raised:
        Run(net=NET, **changes)
    assert str(raised.value).startswith(message)


def test_what_goes_together_in_a_run():
    Run(net=NET, data={"validation": 0.1}, train={"schedule": "plateau"})
    Run(net=NET, data={"resize": [28, 28], "mean": [0.1], "std": [0.2]})
    color = {**NET, "input": [3, 28, 28]}
    Run(net=color, data={"mean": [0.1], "std": [0.1, 0.2, 0.3]})


def test_a_first_stage_may_be_a_baseline():
    built = study(stage=[{"name": "First"}, {"name": "Longer", "change": {"train.epochs": 20}}])
    assert built.stages[0].change == {}
    assert built.stages[0].run == built.run
    assert built.stages[1].run == built.run.replace({"train.epochs": 20})
    assert study(stage=[{"name": "First", "change": {}}]).stages[0].run == built.run


def test_a_study_may_state_no_stages():
    built = study(stage=[], seeds=2)
    assert built == study(seeds=2, stage=())
    [stage] = built.stages
    assert (stage.number, stage.name, stage.target, stage.change) == (1, "Baseline", "", {})
    assert stage.run == built.run
    assert [stage.seeded(seed).train.seed for seed in built.seed_numbers()] == [1, 2]


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"name": "B"}, "stage 2 'B': change: is missing; only the first stage, a baseline, may"),
        ({"name": "A", "change": {"train.epochs": 3}}, "stage 2 'A': name: a second stage named"),
        ({"change": {"train.epochs": 3}}, "stage 2: name: is missing"),
        ({"name": "", "change": {"train.epochs": 3}}, "stage 2: name: '' should have at least 1"),
        ({"name": "B", "chnage": {}}, "stage 2 'B': chnage: unknown key; did you mean 'change'?"),
        ({"name": "B", "change": 3}, "stage 2 'B': change: 3 should be a table"),
        (3, "stage 2: 3 should be a table"),
    ],
)
def test_errors_call_a_stage_by_its_number_and_name(stage, message):
    with pytest.raises(InvalidSpecError) as raised:
        study(stage=[{"name": "A"}, stage])
    assert str(raised.value).startswith(message)
    assert raised.value.path[:2] == ("stage", "1")
