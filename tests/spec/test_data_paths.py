"""Paths of data sets: relative to the file that says them, absolute in memory."""

from __future__ import annotations

import json
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.errors import SpecError, UsageError
from kilonet.spec import (
    Run,
    Study,
    data_path,
    load_run,
    load_study,
    parse_run,
    to_toml,
    with_absolute_data,
)

NET: dict[str, Any] = {"input": [1, 28, 28], "layers": ["conv 8", "gap", "pointwise 10 bare"]}
TOML = '[net]\ninput = [1, 28, 28]\nlayers = ["conv 8", "gap", "pointwise 10 bare"]\n'


def run_of(name: object) -> Run:
    return Run(net=NET, data={"name": str(name)})


def study_of(*names: object) -> Study:
    """The base has the first name, each stage one of the others."""
    stages = [
        {"name": str(i), "change": {"data.name": str(name)}} for i, name in enumerate(names[1:])
    ]
    return Study(name="s", target=90, net=NET, data={"name": str(names[0])}, stage=stages)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("name", ["mine.npz", "./mine.npz", "sub/../mine.npz", "../a/mine.npz"])
def test_in_a_file_relative_to_the_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a" / "run.toml", f'{TOML}[data]\nname = "{name}"\n')
    (tmp_path / "elsewhere").mkdir()
    for start, spelled in (("a", "run.toml"), ("elsewhere", "../a/run.toml"), (".", str(file))):
        monkeypatch.chdir(tmp_path / start)
        assert load_run(spelled) == run_of(tmp_path / "a" / "mine.npz")


def test_in_a_stage_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a" / "s.toml", to_toml(study_of("mine.npz", "other.npz", "mnist")))
    monkeypatch.chdir(tmp_path)
    study = load_study("a/s.toml")
    folder = tmp_path / "a"
    assert study == study_of(folder / "mine.npz", folder / "other.npz", "mnist")
    assert study.stages[0].run.data.name == str(folder / "other.npz")
    # Up to version 0.1 a stage was a step.
    old = to_toml(study_of("mine.npz", "other.npz")).replace("stage", "step")
    write(tmp_path / "a" / "old.toml", old)
    assert load_study("a/old.toml").stages[0].run.data.name == str(folder / "other.npz")


def test_a_setting_is_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a" / "run.toml", TOML)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for text, path in {"x.npz": "x.npz", "~/x.npz": "home/x.npz", "a/../x": "x"}.items():
        found = load_run("a/run.toml", settings=[f"data.name={text}"])
        assert found.data.name == str(tmp_path / path)
    change = 'stage.0.change={"data.name"="x.npz"}'
    found_study = load_study("mnist-8k", settings=[change])
    assert found_study.stages[0].run.data.name == str(tmp_path / "x.npz")
    with pytest.raises(UsageError, match=r"^--set: data.name: ~nobody-here: the home folder"):
        load_run("interim", settings=["data.name=~nobody-here"])


def test_names_stay_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "digits").mkdir()
    for name, expected in {
        "mnist": "mnist",
        "./mnist": str(tmp_path / "mnist"),
        "digits": str(tmp_path / "digits"),
        "mnits": "mnits",  # so that the message can say which name was meant
    }.items():
        run = with_absolute_data(run_of(name))
        assert run == run_of(expected)
        assert data_path(run.data.name) == (expected if expected.startswith("/") else "")


def test_every_spelling_has_one_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("x.npz", "./x.npz", tmp_path / "x.npz", f"../{tmp_path.name}/x.npz")
    assert len({with_absolute_data(run_of(name)).content_hash for name in names}) == 1


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6
).filter(lambda name: name not in (".", ".."))


@settings(deadline=None)
@given(data=st.lists(NAMES, min_size=1, max_size=3), folder=st.lists(NAMES, max_size=3))
def test_written_relative_and_read_back_equal(data: list[str], folder: list[str]) -> None:
    """Whatever the files are called: a word, the name of a data set, a home folder."""
    root = Path(tempfile.gettempdir()).resolve()
    path, place = root.joinpath(*data), root.joinpath(*folder)
    run, study = run_of(path), study_of("mnist", path)
    text = to_toml(run, folder=place)
    assert tomllib.loads(text)["data"]["name"].startswith(".")
    assert parse_run(text.encode(), file=place / "run.toml") == run
    assert str(root) not in to_toml(study, folder=place)


def test_an_error_names_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "run.toml", f'{TOML}[data]\nname = "a\\u0000b"\n')
    with pytest.raises(SpecError, match=r"run\.toml: data\.name: 'a\\x00b' is not a path"):
        load_run(str(file))
    file.write_text(f'{TOML}[data]\nname = ""\n')
    with pytest.raises(SpecError, match=r"data\.name: '' should have at least 1 character"):
        load_run(str(file))
    file.write_text(f"{TOML}[data]\nname = 3\n")
    with pytest.raises(SpecError, match=r"data\.name: 3 should be a string"):
        load_run(str(file))


def run_folder(path: Path, *, name: str, read_from: Path | None) -> Path:
    """What of a run's folder says where its images are."""
    write(path / "run.toml", to_toml(run_of(name)))
    data = {} if read_from is None else {"path": str(read_from)}
    write(path / "environment.json", json.dumps({"format": 2, "data": data}))
    return path


def test_a_run_that_was_moved_without_its_images(tmp_path: Path) -> None:
    images = write(tmp_path / "data" / "x.npz", "")
    folder = run_folder(tmp_path / "deep" / "er" / "run", name="../data/x.npz", read_from=images)
    assert load_run(str(folder)) == run_of(images)
    # Images that are found as the file says come first.
    near = write(tmp_path / "deep" / "er" / "data" / "x.npz", "")
    assert load_run(str(folder)) == run_of(near)
    for file in (near, images):
        file.unlink()
    assert load_run(str(folder)) == run_of(near)


def test_a_study_that_was_moved_without_its_images(tmp_path: Path) -> None:
    images = write(tmp_path / "data" / "x.npz", "")
    folder = tmp_path / "deep" / "er" / "study"
    write(folder / "study.toml", to_toml(study_of("mnist", "../data/x.npz")))
    run_folder(folder / "runs" / "1", name="mnist", read_from=None)
    run_folder(folder / "runs" / "2", name="../../../data/x.npz", read_from=images)
    write(folder / "runs" / "3" / "run.toml", "damaged")
    assert load_study(str(folder)) == study_of("mnist", images)


def test_a_folder_of_version_0_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its path is relative to where the training was started: here, or above the folder."""
    folder = run_folder(tmp_path / "a" / "kilonet-runs" / "1", name="x.npz", read_from=None)
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    assert load_run(str(folder)) == run_of("x.npz")
    above = write(tmp_path / "a" / "x.npz", "")
    assert load_run(str(folder)) == run_of(above)
    here = write(tmp_path / "b" / "x.npz", "")
    assert load_run(str(folder)) == run_of(here)


def test_a_users_file_is_never_searched_for_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "x.npz", "")
    write(tmp_path / "a" / "run.toml", to_toml(run_of("x.npz")))
    monkeypatch.chdir(tmp_path)
    assert load_run("a/run.toml") == run_of(tmp_path / "a" / "x.npz")
