"""The documents stay true: their examples hold, and they name all there is."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest

from kilonet.spec import (
    SGD,
    Adam,
    Data,
    Erasing,
    Run,
    Study,
    Train,
    data,
    load_run,
    load_spec,
    train,
)
from kilonet.spec.layers import LAYERS
from kilonet.storage.run_folder import FILES
from kilonet.study import run_study
from kilonet.study.executors import dask_cluster, dask_worker
from small_studies import contents, study_of

ROOT = Path(__file__).parent.parent
SPECS = (ROOT / "docs" / "specs.md").read_text("utf-8")
RECIPES = (ROOT / "docs" / "recipes.md").read_text("utf-8")
DESIGN = (ROOT / "docs" / "design.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


def kinds(union: object) -> list[type]:
    return list(get_args(get_args(union)[0]))


def test_the_study_in_the_docs_holds() -> None:
    example, _ = re.findall(r"```toml\n(.*?)```", SPECS, re.DOTALL)
    study = Study.from_dict(tomllib.loads(example))
    assert len(study.stages) == 3
    assert study.stages[0].run == study.run
    assert study.stages[1].run.train.optimizer == Adam(lr=0.005)
    # 72 + 1152 + 2304 + 2304 + 160 weights of convolutions, 2 · (8 + 16 + 16 + 16) of batch norm.
    assert study.budget.parameters is not None
    assert study.stages[0].run.net.num_parameters == 6104 <= study.budget.parameters
    assert all(stage.run.train.epochs <= (study.budget.epochs or 0) for stage in study.stages)


def test_batch_norm_in_one_layer_alone_is_what_the_docs_show() -> None:
    _, example = re.findall(r"```toml\n(.*?)```", SPECS, re.DOTALL)
    run = Run.from_dict(tomllib.loads(example))
    assert [(node.path, type(node.op).__name__) for node in run.net.nodes[:5]] == [
        ("net.layers.0", "Conv2d"),
        ("net.layers.0", "ReLU"),
        ("net.layers.1", "Conv2d"),
        ("net.layers.2", "ReLU"),
        ("net.layers.3", "BatchNorm"),
    ]
    assert sum(type(node.op).__name__ == "BatchNorm" for node in run.net.nodes) == 1


@pytest.mark.parametrize(
    "line", re.findall(r"^kilonet (?:train|study|summary) .*--set.*$", SPECS, re.MULTILINE)
)
def test_settings_in_the_docs_hold(line: str) -> None:
    _, _, name, *options = shlex.split(line)
    settings = [value for key, value in pairwise(options) if key == "--set"]
    spec = load_spec(name, settings=settings)
    assert spec != load_spec(name)


def test_the_rules_of_order_in_the_docs_hold() -> None:
    def optimizer(*settings: str) -> object:
        return load_run("interim", settings=settings).train.optimizer

    rate = "train.optimizer.lr=0.005"
    assert optimizer(rate, "train.optimizer=adam") == Adam(lr=0.005)
    assert optimizer(rate, "train.optimizer.name=adam") == Adam(lr=0.005)
    assert optimizer("train.optimizer=sgd") == SGD(momentum=0)
    assert optimizer("train.optimizer.name=sgd") == SGD(momentum=0.9)
    assert Data.from_dict({"augment": ["erasing"]}).augment == (Erasing(),)


def test_every_layer_and_its_keys_are_documented() -> None:
    for word, layer in LAYERS.items():
        assert f"`{word}`" in SPECS
        for key in layer.model_fields:
            if key != layer.main:
                assert f"`{key}`" in SPECS, f"{word} {key}"


@pytest.mark.parametrize(
    "union", [data.Augmentation, train.Optimizer, train.Schedule], ids=["augment", "opt", "sched"]
)
def test_every_choice_and_its_keys_are_documented(union: object) -> None:
    for kind in kinds(union):
        name = kind.model_fields["name"].default
        assert f"`{name}`" in SPECS + RECIPES
        for key in kind.model_fields:
            assert f"`{key}`" in SPECS + RECIPES, f"{name} {key}"


@pytest.mark.parametrize("spec", [Data, Train])
def test_every_key_is_documented(spec: type[Data | Train]) -> None:
    for key in spec.model_fields:
        assert f"`{key}`" in SPECS


def test_every_file_of_a_run_folder_is_documented() -> None:
    for name in FILES:
        assert f"`{name}`" in SPECS


def test_every_room_is_in_the_design() -> None:
    package = ROOT / "src" / "kilonet"
    rooms = {path.name for path in package.iterdir()} - {"__init__.py", "__main__.py"}
    for room in rooms - {"py.typed", "__pycache__"}:
        shown = f"`{room}/`" if (package / room).is_dir() else f"`{room}`"
        assert shown in DESIGN, room


def test_links_in_the_documents_lead_somewhere() -> None:
    for file in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", file.read_text("utf-8")):
            if "://" not in link:
                assert (file.parent / link).exists(), f"{file.name}: {link}"


def test_the_tracker_in_the_docs_tracks_and_its_errors_touch_nothing(
    small_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (ROOT / "docs" / "trackers.md").read_text("utf-8")
    assert page.count("\n") <= 40
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    study = study_of(small_run)
    names: dict[str, Any] = {"study": study}
    exec(compile(example, "trackers.md", "exec"), names)
    lines = [json.loads(line) for line in Path("track.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * 2 * 2
    assert {(line["stage"], line["seed"]) for line in lines} == {
        (stage.name, seed) for stage in study.stages for seed in (1, 2)
    }
    # The last step of each epoch, of which the second stage has twice as many.
    for stage, steps in zip(study.stages, ([9, 19], [19, 39]), strict=True):
        for seed in (1, 2):
            which = [line for line in lines if (line["stage"], line["seed"]) == (stage.name, seed)]
            assert [line["step"] for line in which] == steps
    assert {line["lr"] for line in lines} == {0.01}
    assert capsys.readouterr().err == ""

    tracker, calls = names["JsonLines"], []
    write = tracker.end_epoch

    def refused(self: object, row: object, **counts: int) -> None:
        calls.append(row)
        if len(calls) > 3:
            raise ConnectionError("the server is gone")
        write(self, row, **counts)

    monkeypatch.setattr(tracker, "end_epoch", refused)
    run_study(study, folder="kilonet-studies/again", observer=names["Track"]())
    assert 3 < len(calls) < 8
    assert contents(Path("kilonet-studies/again")) == contents(Path("kilonet-studies/small"))
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("kilonet: observer JsonLines failed in end_epoch: ConnectionError: the")


def test_the_times_in_the_page_on_clusters() -> None:
    page = " ".join((ROOT / "docs" / "cluster.md").read_text("utf-8").split())
    assert dask_worker.PIECE_SECONDS == 2
    assert "as many epochs as fit into two seconds" in page
    assert f"after {dask_cluster.SILENT_SECONDS:.0f} s without a sign of life" in page


def test_python_in_the_readme_is_the_example() -> None:
    """The example is run below; the README shows its lines."""
    [shown] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = (ROOT / "examples" / "first_steps.py").read_text("utf-8")
    assert shown.strip() in example


@pytest.mark.parametrize("page", ["python.md", "your-own-module.md"])
def test_the_code_of_a_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a script, so that classes have their source; the page's assertions are the test."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / page).read_text("utf-8")
    script = tmp_path / f"{Path(page).stem}.py"
    script.write_text("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), "utf-8")
    runpy.run_path(str(script))


@pytest.mark.slow
def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "first_steps.py"))
    out = capsys.readouterr().out
    assert "Receptive fields" in out
    assert "| Epoch | Training Accuracy |" in out
    accuracy = float(re.findall(r"\(([\d.]+)%\)", out)[-1])
    assert accuracy > 90
