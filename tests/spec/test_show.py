"""Specs as TOML that loads again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kilonet.errors import SpecError
from kilonet.spec import (
    bundled_names,
    bundled_specs,
    load_run,
    load_run_and_seeds,
    load_spec,
    load_study,
    spec_data,
    spec_toml,
)


def test_the_bundled_specs_are_listed_with_a_line_each():
    specs = bundled_specs()
    assert [spec.name for spec in specs] == list(bundled_names())
    kinds = {"interim": "run", "mnist-8k": "study", "sprint": "study"}
    assert {spec.name: spec.kind for spec in specs} == kinds
    for spec in specs:
        assert spec.description
        assert "\n" not in spec.description


@pytest.mark.parametrize("name", bundled_names())
def test_what_is_shown_loads_again(name, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(spec_toml(name))
    assert path.read_text().startswith("# ")  # with its comments
    assert load_spec(str(path)) == load_spec(name)


def test_settings_are_applied(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        spec_toml("interim", settings=["train.optimizer.lr=0.005", "train.optimizer=adam"])
    )
    run = load_run(str(path))
    assert (run.train.optimizer.name, run.train.optimizer.lr) == ("adam", 0.005)
    path.write_text(spec_toml("mnist-8k", settings=["seeds=7"]))
    assert load_study(str(path)) == load_study("mnist-8k").replace({"seeds": 7})


def test_what_is_no_spec_is_not_shown(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[net]\ninput = [1, 8, 8]\nlayers = ["cnov 8"]\n')
    with pytest.raises(SpecError, match="did you mean 'conv'"):
        spec_toml(str(path))


def test_a_target_that_is_not_stated_is_not_made_up(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'seeds = 2\n[net]\ninput = [1, 8, 8]\nlayers = ["conv 8", "gap", "pointwise 3 bare"]\n'
    )
    assert spec_data(str(path)).keys() == {"seeds", "budget", "net", "data", "train", "stage"}
    shown = spec_toml(str(path), settings=["train.epochs=3"])
    assert "target" not in shown
    path.write_text(shown)
    assert load_run_and_seeds(str(path))[1] == 2
    assert spec_data(str(path), settings=["target=98"])["target"] == 98


SMALL = '[net]\ninput = [1, 8, 8]\nlayers = ["conv 8", "gap", "pointwise 3 bare"]\n'
STAGES = """
[[stage]]
name = "A"

[[stage]]
name = "B"
change = { "data.name" = "b.npz" }
"""


@pytest.mark.parametrize("name", ["data/mine.npz", "~/mine.npz", "./mnist", "mnist", "digits"])
@pytest.mark.parametrize("head", ["", 'name = "s"\ntarget = 99.0\n'])
def test_what_is_shown_means_the_same_in_another_folder(name, head, tmp_path, monkeypatch):
    (tmp_path / "project" / "digits").mkdir(parents=True)
    path = tmp_path / "project" / "mine.toml"
    text = f'# A comment.\n{head}{SMALL}[data]\nname = "{name}"\n{STAGES if head else ""}'
    path.write_text(text)
    monkeypatch.chdir(path.parent)
    assert spec_toml("mine.toml") == text
    monkeypatch.chdir(tmp_path)
    shown = spec_toml(str(path))
    Path("copy.toml").write_text(shown)
    copy, spec = load_spec("copy.toml"), load_spec(str(path))
    assert (copy, copy.content_hash) == (spec, spec.content_hash)
    assert (shown == text) == (not head and name in ("~/mine.npz", "mnist"))


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no pipes as files")
@pytest.mark.parametrize("name", bundled_names())
def test_a_pipe_is_read_once(name):
    text = spec_toml(name)
    for read in (spec_toml, lambda path: load_spec(path).to_dict() == load_spec(name).to_dict()):
        end, into = os.pipe()
        os.write(into, text.encode())
        os.close(into)
        try:
            assert read(f"/dev/fd/{end}") in (text, True)
        finally:
            os.close(end)
