"""``kilonet search``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kilonet.entry import run_command
from kilonet.search.files import load_space, space_to_toml
from kilonet.spec import load_run
from small_spaces import small_space

FEW = ["--trials", "3", "--confirm", "1", "--seeds", "2", "--jobs", "1"]


@pytest.fixture
def spec(small_mnist: Path, tmp_path: Path) -> str:
    pytest.importorskip("optuna")
    (tmp_path / "mine.toml").write_text(space_to_toml(small_space(small_mnist), folder=tmp_path))
    return "mine.toml"


def test_the_bundled_space_is_the_default() -> None:
    import inspect

    from kilonet.cli.search import search

    default = inspect.signature(search).parameters["name"].default
    assert load_space(default) == load_space()
    assert load_space().name == "digits-small"


def test_search_prints_the_best_and_writes_what_trains_it(
    spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["search", spec, *FEW]) == 0
    out = capsys.readouterr().out
    folder = Path("kilonet-searches/small-1200")
    assert f"kilonet train {folder}/networks/best-1.toml" in out
    assert f"kilonet study {folder}/networks/study.toml" in out
    assert "the test set was not read" in out
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert load_run(str(folder / "networks" / "best-1.toml")).net.num_parameters <= 1200

    # The folder names its search: nothing is left to train, and the figures are the same.
    assert run_command(["search", str(folder), *FEW, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"]["complete"] + found["trials"]["pruned"] == 3
    assert found["best"]["toml"] == str(folder / "networks" / "best-1.toml")
    assert set(found["front"][0]) >= {
        *("parameters", "macs", "validation_accuracy", "ci95", "run", "toml"),
    }
    assert run_command(["report", str(folder)]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "digits-smal"], 2, "did you mean 'digits-small'?"),
        (["search", "no/such.toml"], 2, "no such file"),
        (["search", ".", "--trials", "3"], 2, "a folder without space.toml"),
        (["search", "mine.toml", "--budget", "100"], 1, "236 parameters the fewest"),
        (["search", "mine.toml", "--budget", "9", "--set", "budget.parameters=8"], 2, "disagree"),
        (["search", "mine.toml", "--set", "choose.widht=[4]"], 2, "choose.widht: is not used"),
        (["search", "mine.toml", "--set", "trial=3"], 2, "unknown key"),
        (["search", "mine.toml", "--on", "slurm"], 2, "should be local, dask"),
        (["search", "mine.toml", "--trials", "0"], 2, "--trials"),
        (["search", "mine.toml", "--storage", "nonsense"], 1, "storage of the trials"),
        (["search", "mine.toml", "--data", "no-such-folder"], 1, "no-such-folder"),
        (["search", "study.toml"], 2, "unknown key"),
    ],
)
def test_what_cannot_be_searched(
    spec: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    Path("study.toml").write_text('name = "x"\ntarget = 99.0\n[net]\ninput = [1, 2, 2]\n')
    assert run_command(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_without_optuna(
    spec: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert run_command(["search", spec]) == 2
    assert "pip install 'kilonet[search]'" in capsys.readouterr().err
    assert not Path("kilonet-searches").exists()


def test_show_prints_a_space_that_loads_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["show", "digits-small"]) == 0
    (tmp_path / "mine.toml").write_text(capsys.readouterr().out)
    assert load_space("mine.toml") == load_space()
    assert run_command(["show", "digits-small", "--set", "budget.parameters=4000"]) == 0
    (tmp_path / "mine.toml").write_text(capsys.readouterr().out)
    assert load_space("mine.toml") == load_space().replace({"budget.parameters": 4000})
