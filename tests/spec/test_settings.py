"""Short options: exactly the settings that they stand for."""

from __future__ import annotations

import pytest

from kilonet.errors import UsageError
from kilonet.spec import load_run, with_options


@pytest.mark.parametrize(
    "name", ["e.npz", "a b=c.npz", "5", "true", 'qu"ote\\.npz', "mnist", "[1]"]
)
def test_an_option_is_a_setting_whatever_its_text(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = with_options([], {"--data": ("data.name", name), "--seed": ("train.seed", 7)})
    run = load_run("interim", settings=settings)
    # A path is absolute in the spec; a word that is none is kept, for the message about it.
    path = str(tmp_path / name) if "." in name else name
    assert (run.data.name, run.train.seed) == (path, 7)


def test_options_that_are_not_given_are_no_settings():
    settings = ["train.epochs=2"]
    assert with_options(settings, {"--epochs": ("train.epochs", None)}) == settings


def test_an_option_and_a_setting_of_one_path():
    epochs = {"--epochs": ("train.epochs", 3)}
    assert with_options(["train.epochs=3"], epochs) == ["train.epochs=3", "train.epochs=3"]
    with pytest.raises(UsageError) as raised:
        with_options(["train.epochs=5"], epochs)
    assert str(raised.value) == (
        "--epochs 3 and --set train.epochs=5 disagree; leave one of them out"
    )
