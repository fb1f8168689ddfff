"""The documents stay true: their examples hold, and they name all there is."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from kilonet.spec import Data, Study, Train, data, train
from kilonet.spec.layers import LAYERS
from kilonet.storage.run_folder import FILES

ROOT = Path(__file__).parent.parent
SPECS = (ROOT / "docs" / "specs.md").read_text("utf-8")
DESIGN = (ROOT / "docs" / "design.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


def kinds(union: object) -> list[type]:
    return list(get_args(get_args(union)[0]))


def test_the_study_in_the_docs_holds() -> None:
    [example] = re.findall(r"```toml\n(.*?)```", SPECS, re.DOTALL)
    study = Study.from_dict(tomllib.loads(example))
    assert len(study.stages) == 2
    assert study.stages[1].run.train.optimizer.lr == 0.02
    # 72 + 1152 + 2304 + 2304 + 160 weights of convolutions, 2 · (8 + 16 + 16 + 16) of batch norm.
    assert study.budget.parameters is not None
    assert study.stages[0].run.net.num_parameters == 6104 <= study.budget.parameters
    assert all(stage.run.train.epochs <= (study.budget.epochs or 0) for stage in study.stages)


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
        assert f"`{name}`" in SPECS
        for key in kind.model_fields:
            assert f"`{key}`" in SPECS, f"{name} {key}"


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


def test_python_in_the_readme_is_the_example() -> None:
    """The example is run below; the README shows its lines."""
    [shown] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = (ROOT / "examples" / "first_steps.py").read_text("utf-8")
    assert shown.strip() in example


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
