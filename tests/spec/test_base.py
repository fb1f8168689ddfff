"""What holds for every spec: frozen, hashed by content, changed by dotted paths."""

from __future__ import annotations

import hashlib
import json
import pickle

import pytest

from kilonet.errors import NetError, SpecError
from kilonet.spec import (
    SGD,
    Data,
    InvalidSpecError,
    Net,
    Run,
    Train,
    load_run,
    load_study,
)

INTERIM = load_run("interim")

INTERIM_CONTENT = {
    "net": {
        "input": [1, 28, 28],
        "block": ["conv", "relu", "batchnorm", "dropout 0.01"],
        "layers": [
            "conv 8",
            "conv 16",
            "maxpool 2",
            "pointwise 8",
            "conv 12",
            "conv 12",
            "conv 16",
            "conv 16 pad=1",
            "gap",
            "pointwise 10 bare",
        ],
    },
    "data": {
        "name": "mnist",
        "mean": [0.1307],
        "std": [0.3081],
        "augment": [{"name": "rotation", "degrees": [-7.0, 7.0], "resample": "nearest", "fill": 1}],
        "validation": 0,
        "validation_seed": 0,
        "subset": 1.0,
        "subset_seed": 0,
        "test": True,
    },
    "train": {
        "epochs": 15,
        "batch_size": 128,
        "drop_last": False,
        "optimizer": {
            "name": "sgd",
            "lr": 0.01,
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 0.0,
            "decay": "all",
        },
        "schedule": {"name": "constant", "warmup": 0.0, "warmup_start": 0.01},
        "label_smoothing": 0.0,
        "seed": 1,
    },
}


# What is hashed, written out: a change here renames every run folder.
HASHED = {
    "version": 2,
    "spec": {
        "net": {
            "input": [1, 28, 28],
            "block": [None, "relu", "batchnorm", "dropout 0.01"],
            "layers": INTERIM_CONTENT["net"]["layers"],
        },
        "data": {
            "mean": [0.1307],
            "std": [0.3081],
            "augment": [{"name": "rotation", "degrees": [-7.0, 7.0], "fill": 1}],
        },
    },
}


def test_content_hash_is_of_the_values_that_differ_from_defaults():
    assert INTERIM.to_dict() == INTERIM_CONTENT
    text = json.dumps(HASHED, sort_keys=True, separators=(",", ":"))
    assert INTERIM.content_hash == hashlib.sha256(text.encode()).hexdigest()
    assert INTERIM.content_hash == (
        "00b11faa71f1e1e06860056e4aa40deb75475892ed8a278c9b0603355599ba18"
    )


def test_a_new_field_with_a_default_leaves_the_content_hash():
    class LaterData(Data):
        colors: str = "rgb"

    class LaterRun(Run):
        data: LaterData = LaterData()

    later = LaterRun.from_dict(INTERIM.to_dict())
    assert later.to_dict()["data"]["colors"] == "rgb"
    assert later.content_hash == INTERIM.content_hash
    assert later.replace({"data.colors": "gray"}).content_hash != INTERIM.content_hash


def test_content_hash_does_not_see_the_order_of_keys():
    def backwards(value):
        if isinstance(value, dict):
            return {key: backwards(value[key]) for key in reversed(value)}
        return [backwards(item) for item in value] if isinstance(value, list) else value

    other = Run.from_dict(backwards(INTERIM_CONTENT))
    assert list(backwards(INTERIM_CONTENT)) == ["train", "data", "net"]
    assert other == INTERIM
    assert other.content_hash == INTERIM.content_hash


@pytest.mark.parametrize(
    ("stated", "implied"),
    [
        ({"epochs": 15}, {}),
        ({"optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9}}, {}),
        ({"optimizer": {"name": "adam", "lr": 1e-3, "eps": 1e-8}}, {"optimizer": "adam"}),
        ({"schedule": {"name": "constant"}}, {"schedule": "constant"}),
        ({"average": {"name": "ema", "decay": 0.99}}, {"average": "ema"}),
        ({"average": None}, {}),
        ({"label_smoothing": 0}, {"label_smoothing": 0.0}),
    ],
)
def test_content_hash_of_stated_and_implied_defaults(stated, implied):
    assert Train(**stated).content_hash == Train(**implied).content_hash


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Data(augment=[{"name": "rotation", "degrees": 7}]),
         Data(augment=[{"name": "rotation", "degrees": [-7, 7.0], "fill": 0}])),
        (Data(validation=0.0), Data()),
            (Net(input=(1, 4, 4), layers=["maxpool 2 stride=2", "gap"]),
         Net(input=[1, 4, 4], layers=["maxpool 2x2", "gap"])),
    ],
)  # fmt: skip
def test_content_hash_of_two_ways_to_say_it(one, other):
    assert one == other
    assert one.content_hash == other.content_hash


@pytest.mark.parametrize(
    "change",
    [
        {"train.seed": 2},
        {"train.optimizer.lr": 0.02},
        {"net.layers.0": "conv 9"},
        {"data.augment": []},
        {"train.average": "ema"},
    ],
)
def test_content_hash_sees_every_change(change):
    assert INTERIM.replace(change).content_hash != INTERIM.content_hash


def test_replace_by_key_and_position():
    run = INTERIM.replace(
        {
            "train.optimizer.lr": 0.02,
            "net.layers.1": "conv 20 bias",
            "net.input.0": 3,
            "data.augment.0.degrees": [0, 5],
            "train.average.decay": 0.9,
            "data.mean": [0.5, 0.4, 0.3],
        }
    )
    assert run.train.optimizer == SGD(lr=0.02, momentum=0.9)
    assert str(run.net.layers[1]) == "conv 20 bias"
    assert run.net.input == (3, 28, 28)
    assert run.data.augment[0].degrees == (0.0, 5.0)
    assert run.train.average.decay == 0.9
    assert run.data.mean == (0.5, 0.4, 0.3)
    # The original is as it was.
    assert INTERIM.to_dict() == INTERIM_CONTENT


def test_replace_inside_a_residual():
    run = Run(net={"input": [1, 8, 8], "layers": [{"residual": ["relu", "conv 1 pad=1"]}, "gap"]})
    changed = run.replace({"net.layers.0.residual.0": "silu"})
    assert str(changed.net.layers[0]) == "residual [silu, conv 1 pad=1]"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"train.epoch": 3}, SpecError, "train.epoch: unknown key; did you mean 'epochs'?"),
        ({"trian.epochs": 3}, SpecError, "trian: unknown key; did you mean 'train'?"),
        ({"": 3}, SpecError, "'': unknown key; known: data, module, net, train"),
        ({"a\nb": 3}, SpecError, r"'a\nb': unknown key; known: data, module, net, train"),
        ({"train.epochs.x": 3}, SpecError, "train.epochs: is 15, which has no 'x'"),
        ({"net.layers.0.out": 3}, SpecError, "net.layers.0: is 'conv 8', which has no 'out'"),
        ({"net.layers.10": "relu"}, SpecError, "net.layers.10: no such position; it goes from 0"),
        ({"net.layers.-1": "relu"}, SpecError, "net.layers.-1: no such position; it goes from 0"),
        ({"net.layers.x": "relu"}, SpecError, "net.layers.x: no such position; it goes from 0"),
        ({"train.epochs": 0}, SpecError, "train.epochs: 0 should be greater than or equal to 1"),
        ({"train.epochs": True}, SpecError, "train.epochs: 'true' should be a whole number"),
        ({"train.epochs": 1.5}, SpecError, "train.epochs: 1.5 should be a whole number"),
        ({"net": 3}, SpecError, "net: 3 should be a table"),
        ({"data.augment": 3}, SpecError, "data.augment: 3 should be a list"),
        ({"net.layers.0": "conv 8 kernel=29"}, NetError, "net.layers.0 'conv 8 kernel=29': kernel"),
    ],
)
def test_replace_that_leads_nowhere(change, error, message):
    with pytest.raises(error) as raised:
        INTERIM.replace(change)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_invalid_specs_are_value_errors_that_know_their_path():
    with pytest.raises(ValueError, match="epochs") as raised:
        Train(epochs=0)
    assert isinstance(raised.value, InvalidSpecError)
    assert raised.value.path == ("epochs",)
    assert raised.value.problem == "0 should be greater than or equal to 1"


@pytest.mark.parametrize(
    "spec", [INTERIM, INTERIM.net, INTERIM.data, INTERIM.train, load_study("mnist-8k")]
)
def test_specs_are_frozen(spec):
    for name in type(spec).model_fields:
        with pytest.raises(ValueError, match="frozen"):
            setattr(spec, name, None)
    with pytest.raises(ValueError, match="frozen"):
        spec.brand_new = 1


def test_specs_can_be_sent_to_another_process():
    copy = pickle.loads(pickle.dumps(INTERIM))
    assert copy == INTERIM
    assert copy.net.nodes == INTERIM.net.nodes
