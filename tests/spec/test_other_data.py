"""What is said of a stated normalization when its data set is replaced."""

from __future__ import annotations

import logging

import pytest

from kilonet.spec import load_run, load_study
from kilonet.spec.other_data import _warn

HEAD = """name = "s"
target = 99
[net]
input = [1, 28, 28]
layers = ["conv 8", "gap", "pointwise 10 bare"]
[data]
mean = [0.1]
std = [0.3]
"""


@pytest.fixture(autouse=True)
def nothing_said(caplog):
    _warn.cache_clear()
    caplog.set_level(logging.WARNING)


def beginnings(caplog):
    return [record.getMessage().partition(", whose")[0] for record in caplog.records]


def test_what_is_dropped_is_said_once(caplog):
    for _ in range(2):
        assert load_run("interim", settings=["data.name=x.npz"]).data.mean is None
    load_run("interim", settings=["data.name=y.npz", "data.mean=[0.5]", "data.std=[0.5]"])
    load_run("interim", settings=["data.name=mnist"])
    load_study("mnist-8k", settings=["data.name=z.npz", "data.mean=[0.5]"])
    assert beginnings(caplog) == [
        "kilonet: dropped data.mean and data.std of mnist, as data.name is now x.npz",
        "kilonet: dropped data.std of mnist, as data.name is now z.npz",
    ]


def test_what_a_stage_drops_is_said_but_not_by_the_studys_folder(caplog, tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(f'{HEAD}[[stage]]\nname = "B"\nchange = {{ "data.name" = "x.npz" }}\n')
    assert load_study(str(path)).stages[0].run.data.std is None
    assert beginnings(caplog) == [
        "kilonet: stage 1 'B': dropped data.mean and data.std of mnist, as data.name is now %s"
        % (tmp_path / "x.npz"),
    ]
    # Reports and comparisons read it, after the training has said it.
    (tmp_path / "s" / "runs").mkdir(parents=True)
    path.rename(tmp_path / "s" / "study.toml")
    _warn.cache_clear()
    caplog.clear()
    load_study(str(tmp_path / "s"))
    assert not caplog.records


def test_what_stages_state_for_the_former_data_is_said(caplog, tmp_path):
    path = tmp_path / "my.toml"
    changes = ['"data.mean" = [0.2]', '"data.name" = "x.npz"', '"data.std" = [0.2]']
    stages = [f'[[stage]]\nname = "{i}"\nchange = {{ {c} }}\n' for i, c in enumerate(changes)]
    path.write_text(HEAD + "".join(stages))
    load_study(str(path))
    load_study(str(path), settings=["train.epochs=2"])
    assert len(caplog.records) == 1  # of stage 2
    study = load_study(str(path), settings=["data.name=z.npz"])
    assert study.stages[0].run.data.mean == (0.2,)
    assert beginnings(caplog)[1:3] == [
        "kilonet: dropped data.mean and data.std of mnist, as data.name is now z.npz",
        "kilonet: stage 1 '0': sets data.mean, stated for mnist, though data.name is now z.npz",
    ]
