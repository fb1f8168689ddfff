"""Changes by dotted paths: the kind first, then its values, in every order."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.errors import KilonetError
from kilonet.spec import (
    EMA,
    SGD,
    Adam,
    AdamW,
    Cosine,
    Crop,
    Data,
    Erasing,
    InvalidSpecError,
    MultiStep,
    OneCycle,
    Rotation,
    Step,
    Study,
    load_run,
)

RUN = load_run("interim")
ADAM = Adam(lr=0.005)


def outcome(changes):
    """The changed run, or the error's line."""
    try:
        return RUN.replace(changes)
    except KilonetError as error:
        return str(error)


@pytest.mark.parametrize(
    ("changes", "optimizer"),
    [
        ({"train.optimizer": "adam", "train.optimizer.lr": 0.005}, ADAM),
        ({"train.optimizer.name": "adam", "train.optimizer.lr": 0.005}, ADAM),
        ({"train.optimizer": {"name": "adam"}, "train.optimizer.lr": 0.005}, ADAM),
        ({"train.optimizer": {"name": "adam", "lr": 3}, "train.optimizer.lr": 0.005}, ADAM),
        ({"train.optimizer": {"lr": 0.005}, "train.optimizer.name": "adam"}, ADAM),
        ({"train.optimizer": Adam(lr=3), "train.optimizer.lr": 0.005}, ADAM),
        (
            {"train.optimizer": "adam", "train.optimizer.name": "adam", "train.optimizer.lr": 5e-3},
            ADAM,
        ),
        ({"train": {"optimizer": "adam"}, "train.optimizer.lr": 0.005}, ADAM),
        ({"train": {"epochs": 3}, "train.optimizer.lr": 0.005}, SGD(lr=0.005, momentum=0.9)),
        # A kind begins with its own defaults: lr and weight_decay too, which others have as well.
        ({"train.optimizer.name": "adam"}, Adam()),
        ({"train.optimizer": "adamw"}, AdamW()),
        ({"train.optimizer.name": "adam", "train.optimizer.betas.1": 0.9}, Adam(betas=(0.9, 0.9))),
        # The kind that is there already keeps its values; a name alone is a whole value.
        ({"train.optimizer.name": "sgd"}, SGD(lr=0.01, momentum=0.9)),
        ({"train.optimizer": "sgd"}, SGD()),
    ],
)  # fmt: skip
def test_the_optimizer_is_chosen_before_its_values(changes, optimizer):
    for order in permutations(changes.items()):
        assert RUN.replace(dict(order)).train.optimizer == optimizer


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        (
            {"train.schedule.gamma": 0.5, "train.schedule": "step", "train.schedule.step_size": 3},
            "schedule",
            Step(step_size=3, gamma=0.5),
        ),
        (
            {"train.schedule.milestones": [2, 4], "train.schedule.name": "multistep"},
            "schedule",
            MultiStep(milestones=[2, 4]),
        ),
        ({"train.schedule.max_lr": 0.2, "train.schedule": "onecycle"}, "schedule",
         OneCycle(max_lr=0.2)),
        ({"train.schedule.t_max": 5, "train.schedule": Cosine()}, "schedule", Cosine(t_max=5)),
        ({"train.average.decay": 0.9, "train.average": "ema"}, "average", EMA(decay=0.9)),
        ({"train.average.decay": 0.9, "train.average.name": "ema"}, "average", EMA(decay=0.9)),
        ({"train.average.decay": 0.9}, "average", EMA(decay=0.9)),
        ({"train.average": "none"}, "average", None),
    ],
)  # fmt: skip
def test_schedules_and_averages_likewise(changes, field, value):
    for order in permutations(changes.items()):
        assert getattr(RUN.replace(dict(order)).train, field) == value


@pytest.mark.parametrize(
    ("changes", "augment"),
    [
        ({"data.augment.0": "erasing", "data.augment.0.p": 0.3}, [Erasing(p=0.3)]),
        ({"data.augment.0.name": "crop", "data.augment.0.padding": 2}, [Crop(padding=2)]),
        ({"data.augment": ["erasing"], "data.augment.0.p": 0.3}, [Erasing(p=0.3)]),
        ({"data.augment.0.name": "rotation"}, [Rotation(degrees=7, fill=1)]),
        ({"data.augment": [Rotation(degrees=3)], "data.augment.0.fill": 2},
         [Rotation(degrees=3, fill=2)]),
    ],
)  # fmt: skip
def test_augmentations_likewise(changes, augment):
    for order in permutations(changes.items()):
        assert list(RUN.replace(dict(order)).data.augment) == augment


def test_a_list_comes_before_its_positions():
    changes = {"net.layers.0": "conv 9", "net.layers": ["conv 4", "gap", "pointwise 10 bare"]}
    for order in permutations(changes.items()):
        assert list(map(str, RUN.replace(dict(order)).net.layers)) == [
            "conv 9", "gap", "pointwise 10 bare",
        ]  # fmt: skip


def test_values_that_are_given_are_not_changed():
    optimizer = {"name": "adam"}
    RUN.replace({"train.optimizer": optimizer, "train.optimizer.lr": 0.005})
    assert optimizer == {"name": "adam"}


VALUES = {
    "train.optimizer": ["sgd", "adam", "adma", {"name": "adamw", "lr": 0.1}, {"lr": 0.2}, 3],
    "train.optimizer.name": ["sgd", "adam", "adamw", "x"],
    "train.optimizer.lr": [0.3, 0],
    "train.optimizer.momentum": [0.5],
    "train.optimizer.betas": [[0.5, 0.6]],
    "train.optimizer.betas.0": [0.7],
    "train.schedule": ["cosine", "step", {"name": "step", "step_size": 4}],
    "train.schedule.name": ["cosine", "step"],
    "train.schedule.gamma": [0.5],
    "train.schedule.step_size": [2],
    "train.average": ["ema", "swa", "none"],
    "train.average.decay": [0.5],
    "train.early_stopping": ["none", {"patience": 2}],
    "train.early_stopping.patience": [4],
    "data.augment": [[], ["erasing"], [{"name": "crop", "padding": 3}]],
    "data.augment.0": ["erasing", {"name": "rotation", "degrees": 3}],
    "data.augment.0.name": ["erasing", "crop"],
    "data.augment.0.fill": [7],
    "data.name": ["mnist", "x.npz", "./x.npz"],
    "data.mean": [[0.5]],
    "net.layers": [["conv 4", "gap", "pointwise 10 bare"]],
    "net.layers.0": ["conv 5"],
    "trian.epochs": [3],
}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_order_of_changes_does_not_matter(data):
    paths = data.draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=5))
    changes = {path: data.draw(st.sampled_from(VALUES[path])) for path in paths}
    shuffled = data.draw(st.permutations(list(changes.items())))
    assert outcome(dict(shuffled)) == outcome(changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train.optimizer": "adam", "train.optimizer.momentum": 0.5},
            "train.optimizer.momentum: unknown key of adam; known: betas, decay, eps, lr, name",
        ),
        (
            {"train.optimizer": "adma", "train.optimizer.lr": 0.5},
            "train.optimizer: unknown name 'adma'; did you mean 'adam'?",
        ),
        (
            {"train.optimizer": {"name": "sgd"}, "train.optimizer.name": "adam"},
            "train.optimizer.name: is 'adam', but train.optimizer is 'sgd'; leave one of",
        ),
        (
            {"data.augment.0": "crop", "data.augment.0.name": "erasing"},
            "data.augment.0.name: is 'erasing', but data.augment.0 is 'crop'; leave one of them",
        ),
        ({"train.schedule.gamma": 0.5}, "train.schedule.gamma: unknown key of constant; known:"),
        (
            {"train.schedule": "step", "train.schedule.gamma": 0.5},
            "train.schedule.step_size: is missing; step needs it",
        ),
        (
            {"train.average": "none", "train.average.decay": 0.5},
            "train.average: is 'none', which has no 'decay'",
        ),
        ({"data.augment": [], "data.augment.0.fill": 1}, "data.augment.0: no such position; the"),
        ({"data.resize.0": 28}, "data.resize: is not set; set it whole"),
        (
            {"train.schedule": "multistep", "train.schedule.milestones.0": 3},
            "train.schedule.milestones: is not set; set it whole",
        ),
    ],
)  # fmt: skip
def test_errors_say_what_is_true_in_every_order(changes, message):
    for order in permutations(changes.items()):
        with pytest.raises(InvalidSpecError) as raised:
            RUN.replace(dict(order))
        assert str(raised.value).startswith(message)


def test_a_stage_chooses_the_kind_and_its_values_together():
    base = {"name": "s", "target": 99, "net": RUN.net, "train": RUN.train}
    change = {"train.optimizer.lr": 0.005, "train.optimizer": "adam"}
    for order in permutations(change.items()):
        study = Study(**base, stage=[{"name": "Adam", "change": dict(order)}])
        assert study.stages[0].run.train.optimizer == ADAM


@pytest.mark.parametrize(
    ("changes", "normalization"),
    [
        # The normalization of MNIST belongs to MNIST.
        ({"data.name": "letters.npz"}, (None, None)),
        ({"data.name": "letters.npz", "data.mean": [0.2]}, ((0.2,), None)),
        ({"data.name": "letters.npz", "data.mean.0": 0.2, "data.std": [0.3]}, ((0.2,), (0.3,))),
        ({"data": {"name": "letters.npz", "std": [0.3]}}, (None, (0.3,))),
        ({"data": {"name": "x", "std": [0.3]}, "data.name": "letters.npz"}, (None, (0.3,))),
        ({"data.name": "mnist"}, ((0.1307,), (0.3081,))),
        ({"data.name": "mnist", "data.mean": [0.2]}, ((0.2,), (0.3081,))),
        ({"data.validation": 100}, ((0.1307,), (0.3081,))),
    ],
)
def test_a_normalization_goes_with_its_data(changes, normalization):
    for order in permutations(changes.items()):
        data = RUN.replace(dict(order)).data
        assert (data.mean, data.std) == normalization


def test_another_spelling_of_a_path_is_the_same_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link.npz").symlink_to("letters.npz")
    stated = Data(name="letters.npz", mean=[0.5], std=[0.25])
    same = [
        "letters.npz",
        "./letters.npz",
        str(tmp_path / "letters.npz"),
        "~/letters.npz",
        "link.npz",
    ]
    for name in same:
        assert stated.replace({"name": name}).mean == (0.5,)
    for name in ["letters", "../letters.npz", "mnist", "letters.npz.npz"]:
        assert stated.replace({"name": name}).mean is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["adam", "ema", "none", "conv 4", "crop"]),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.sampled_from(["name", "lr", "residual", "a"]), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*VALUES, "train", "data", "net", ""]), ANYTHING, max_size=3)
)
def test_any_change_is_a_run_or_one_line(changes):
    result = outcome(changes)
    assert not isinstance(result, str) or "\n" not in result
