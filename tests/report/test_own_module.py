"""What commands and reports say of a run that needs what Python alone can give."""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kilonet
from html_pages import Page
from kilonet.data import Dataset, load_dataset
from kilonet.entry import run_command
from kilonet.report.comparison import compare_folders
from kilonet.report.json.records import run_json
from kilonet.report.rebuild import analyze_records, rebuild, report_study
from kilonet.report.settings import differing
from kilonet.spec import Run, Study
from kilonet.storage.record import RunRecord
from kilonet.study import StudyResult, read_study, run_study
from kilonet.training.loop import train


def a_dataset() -> Dataset:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = (rng.integers(0, 99, (60, 6, 6)) + 60 * labels[:, None, None]).astype(np.uint8)
    return Dataset(
        name="three & more",
        train_images=images[:40],
        train_labels=labels[:40],
        test_images=images[40:],
        test_labels=labels[40:],
        classes=("dark", "gray", "light"),
    )


NET = {"input": [1, 6, 6], "layers": ["flatten", "linear 3"]}
QUICK = {"train": {"epochs": 1, "batch_size": 20}}
PARAMETERS = 36 * 5 + 5 + 5 * 3 + 3


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, data = tmp_path_factory.mktemp("images") / "three.npz", a_dataset()
    arrays = ("train_images", "train_labels", "test_images", "test_labels")
    np.savez(path, **{name: getattr(data, name) for name in arrays})
    return path


@pytest.fixture(scope="module")
def plain(images: Path) -> RunRecord:
    run = Run.from_dict({"net": NET, "data": {"name": str(images)}, "train": {"epochs": 4}})
    return train(run, folder=images.parent / "plain")


@pytest.fixture(scope="module")
def own(plain: RunRecord) -> RunRecord:
    torch = pytest.importorskip("torch")

    def build() -> Any:
        nn = torch.nn
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 3))

    return train(plain.run, folder=plain.path.parent / "own", module=build)


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def finals_of(result: StudyResult) -> list[float]:
    return [run.rows[-1].test_loss for stage in result.stages for run in stage.records]


def test_images_that_were_given_are_known_to_reports_while_they_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = a_dataset()
    study = Study.from_dict({"name": "given", "target": 9.0, "seeds": 1, "net": NET, **QUICK})
    result = run_study(study, data=data, jobs=1, folder=tmp_path / "given")
    with_images = analyze_records(result)
    assert with_images.stages[0].errors is not None
    report_study(result)
    page = (tmp_path / "given" / "report.html").read_text()
    assert "given from Python" not in page
    before, finals = result.path, finals_of(result)
    del data, result  # a result keeps its images too
    gc.collect()
    [stage] = analyze_records(read_study(before)).stages
    assert stage.errors is None
    assert stage.findings[0].verdict == "not known"
    text = (tmp_path / "given" / "report.md").read_text()
    found = reproduced(text, before, data=a_dataset(), monkeypatch=monkeypatch)
    assert found.path == Path("again")
    assert finals_of(found) == finals
    # The finished study, given its images again.
    data = a_dataset()
    run_study(study, data=data, jobs=1, folder=tmp_path / "given")
    again = analyze_records(read_study(before))
    assert again.stages[0].sentences == with_images.stages[0].sentences


def test_a_report_says_what_it_can_of_a_module(own: RunRecord) -> None:
    (markdown, page), data = rebuild(own.path)
    assert data["parameters"] == PARAMETERS == run_json(own)["parameters"]
    text = Page(page.read_text()).text()
    assert f"a module of your own, Sequential, with {PARAMETERS} parameters" in text
    engine = own.provenance.engine
    options = f"engine='torch', device='{engine.device}', threads={engine.threads}"
    call = f"kilonet.train(kilonet.load_run('run.toml'), module=…, {options})"
    assert f"# in Python: {call}" in text
    module = own.run.module
    assert module is not None
    known = f"{PARAMETERS} parameters, structure {module.structure}, source {module.source}"
    assert f"- Module: Sequential, your own, {known}" in markdown.read_text()
    assert "kilonet summary" not in text
    assert "Confusion matrix" in text
    assert "Normalization: mean" in markdown.read_text()


def test_a_comparison_shows_the_module(own: RunRecord, plain: RunRecord) -> None:
    comparison = compare_folders([own.path, plain.path])
    [row] = comparison.rows
    assert [entry.result.parameters for entry in row] == [PARAMETERS, 36 * 3 + 3]
    assert "module.name" in differing([entry.settings for entry in row])


def test_commands_on_a_module(
    own: RunRecord, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = str(own.path)
    code, out, _ = command(capsys, "train", folder)
    assert code == 0
    assert "Test Accuracy" in out
    new = str(tmp_path / "new")
    for arguments, found in [
        (["train", f"{folder}/run.toml", "--out", new], 2),
        (["train", folder, "--set", "train.seed=3", "--out", new], 2),
        (["train", folder, "--find-lr"], 2),
        (["summary", folder], 2),
        (["study", f"{folder}/run.toml", "--out", new], 2),
        (["bench", "--net", folder, "--quick"], 2),
    ]:
        code, out, error = command(capsys, *arguments)
        assert code == found, arguments
        assert error.count("\n") == 1, error
    assert not Path(new).exists()
    assert command(capsys, "compare", folder, folder)[0] == 0


def reproduced(text: str, folder: Path, *, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the report's line of Python returns in its folder, in the environment that it names."""
    [(isa, call)] = set(re.findall(r"# in Python with KILONET_ISA=(\w+): (kilonet\..*\))", text))
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KILONET_ISA", isa)
        return eval(call.replace("data=…", "data=data"), {"kilonet": kilonet, "data": data})


def test_a_report_of_images_that_were_given_from_python(
    plain: RunRecord,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = train(plain.run, folder=tmp_path / "run", data=a_dataset())
    # Not the data set of the path, which has no names of classes.
    assert re.fullmatch(r"python:three-more-[0-9a-f]{12}", record.run.data.name)
    assert record.provenance.data.classes == ("dark", "gray", "light")
    (_, page), _ = rebuild(record.path)
    text = Page(page.read_text()).text()
    assert "were given from Python and are not kept" in text
    again = reproduced(text, record.path, data=a_dataset(), monkeypatch=monkeypatch)
    assert again.rows[-1].test_loss == record.rows[-1].test_loss
    assert again.path != record.path
    assert "kilonet data python" not in text
    code, out, _ = command(capsys, "train", str(record.path))
    assert (code, "Test Accuracy" in out) == (0, True)
    code, _, error = command(capsys, "train", f"{record.path}/run.toml", "--out", "new")
    assert code == 1
    assert "given from Python" in error
    assert error.count("\n") == 1
    assert not Path("new").exists()


def test_images_from_python_that_a_path_leads_to(plain: RunRecord, images: Path) -> None:
    again = train(plain.run, folder=plain.path, data=load_dataset(str(images)))
    assert again == plain
