"""The lines about where runs were made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kilonet.data import load_dataset
from kilonet.report.provenance import environment_lines
from kilonet.spec import Run
from kilonet.storage.provenance import Provenance
from kilonet.study import StudyResult, run_study
from ladders import ENVIRONMENT, FOUR_STAGES, seeded_result


def with_second(result: StudyResult, environment: dict[str, Any]) -> StudyResult:
    """The result, with another environment of the first stage's second run."""
    first = result.stages[0]
    other = replace(first.records[1], provenance=Provenance.from_json(environment))
    stages = (replace(first, records=(first.records[0], other)), *result.stages[1:])
    return replace(result, stages=stages)


def lines(environment: dict[str, Any]) -> dict[str, str]:
    return dict(environment_lines(with_second(seeded_result(seeds=2), environment)))


@pytest.mark.native
def test_a_study_trained_here_was_made_in_one_place(small_run: Run, tmp_path: Path) -> None:
    """Each run has a digest and a time of its own in its environment; one has other threads."""
    study = FOUR_STAGES.replace({"data.name": small_run.data.name, "train.epochs": 1, "seeds": 2})
    study = study.replace({"stage": study.to_dict()["stage"][:2]})
    one_stage = study.replace({"stage": study.to_dict()["stage"][:1]})
    run_study(one_stage, folder=tmp_path, jobs=1, threads=2)
    result = run_study(study, folder=tmp_path, jobs=1, threads=1)
    threads = [ran.records[0].provenance.engine.description for ran in result.stages]
    assert [text[-9:] for text in threads] == ["2 threads", " 1 thread"]
    found = dict(environment_lines(result))
    assert list(found) == [
        "Engine",
        "Versions",
        "Machine",
        "Source",
        "Data",
        "Normalization",
        "Training time",
    ]
    pixels = load_dataset(small_run.data.name).train_images / 255
    normalized = f"mean {pixels.mean():.4f}, standard deviation {pixels.std():.4f}, "
    assert found["Normalization"].startswith(normalized)


@pytest.mark.parametrize(
    ("changed", "differing"),
    [
        ({"cpu": "Another"}, "machine"),
        ({"cores": 64, "python": "3.13.1"}, "machine, versions"),
        ({"packages": {"kilonet": "0.1.0", "numpy": "2.0.0"}}, "versions"),
        ({"source": {"sha256": "00" * 32}}, "source"),
        ({"engine": {"name": "native"}}, "engine"),
        ({"engine": ENVIRONMENT["engine"] | {"threads": 3}}, "engine"),
    ],
)
def test_what_differs_is_named(changed: dict[str, Any], differing: str) -> None:
    note = lines({**ENVIRONMENT, **changed})["Note"]
    assert f"differ in {differing};" in note


@pytest.mark.parametrize(
    "changed",
    [
        {"started": "2030-01-01T00:00:00+00:00", "run_sha256": "12", "crc32": "34", "format": 2},
        {"engine": ENVIRONMENT["engine"] | {"description": "the same, 5 threads"}},
        {"data": {"name": "other.npz", "sha256": "99" * 32}},
    ],
)
def test_what_belongs_to_a_run_is_no_difference(changed: dict[str, Any]) -> None:
    assert "Note" not in lines({**ENVIRONMENT, **changed})


def test_every_data_set_is_named() -> None:
    found = lines({**ENVIRONMENT, "data": {"name": "other.npz", "sha256": "99" * 32}})
    assert found["Data"] == "mnist, SHA-256 abababababab; other.npz, SHA-256 999999999999"
    assert lines(ENVIRONMENT)["Data"] == "mnist, SHA-256 abababababab"


def test_runs_resumed_elsewhere_are_counted() -> None:
    elsewhere = {**ENVIRONMENT, "resumed": [{**ENVIRONMENT, "cores": 64, "after_epoch": 6}]}
    found = lines(elsewhere)
    assert found["Resumed"].startswith("1 run ")
    assert "Note" not in found
    here = {**ENVIRONMENT, "resumed": [{**ENVIRONMENT, "after_epoch": 6}]}
    assert "Resumed" not in lines(here)
    assert "Resumed" not in lines({**ENVIRONMENT, "resumed": []})
