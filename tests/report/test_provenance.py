"""What the reports say of where runs were made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kilonet.analysis import analyse
from kilonet.report.markdown import render
from kilonet.report.provenance import environment_lines
from kilonet.spec import Run, load_study
from kilonet.study import StudyResult, run_study
from ladders import ENVIRONMENT, TEST_IMAGES, seeded_result


def with_second(result: StudyResult, environment: dict[str, Any]) -> StudyResult:
    """The result, with another environment of the first rung's second run."""
    first = result.rungs[0]
    other = replace(first.records[1], environment=environment)
    rungs = (replace(first, records=(first.records[0], other)), *result.rungs[1:])
    return replace(result, rungs=rungs)


def lines(environment: dict[str, Any]) -> dict[str, str]:
    return dict(environment_lines(with_second(seeded_result(seeds=2), environment)))


@pytest.mark.native
def test_a_study_trained_here_was_made_in_one_place(small_run: Run, tmp_path: Path) -> None:
    """Each run has a digest and a time of its own in its environment; one has other threads."""
    study = load_study("mnist-8k").replace(
        {"data.name": small_run.data.name, "train.epochs": 1, "seeds": 2}
    )
    study = study.replace({"step": study.to_dict()["step"][:2]})
    one_rung = study.replace({"step": study.to_dict()["step"][:1]})
    run_study(one_rung, folder=tmp_path, jobs=1, threads=2)
    result = run_study(study, folder=tmp_path, jobs=1, threads=1)
    threads = [ran.records[0].environment["engine"]["description"] for ran in result.rungs]
    assert [text[-9:] for text in threads] == ["2 threads", " 1 thread"]
    found = dict(environment_lines(result))
    assert list(found) == ["Engine", "Versions", "Machine", "Source", "Data", "Training time"]


@pytest.mark.parametrize(
    ("changed", "differing"),
    [
        ({"cpu": "Another"}, "cpu"),
        ({"cores": 64, "python": "3.13.1"}, "cores, python"),
        ({"packages": {"kilonet": "0.1.0", "numpy": "2.0.0"}}, "packages"),
        ({"source": {"sha256": "00" * 32}}, "source"),
        ({"engine": {"name": "native"}}, "engine"),
        ({"engine": ENVIRONMENT["engine"] | {"threads": 3}}, "engine"),
    ],
)
def test_what_differs_is_named(changed: dict[str, Any], differing: str) -> None:
    note = lines({**ENVIRONMENT, **changed})["Note"]
    assert f"different environments (differing in {differing});" in note


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


def test_runs_resumed_elsewhere_are_told() -> None:
    elsewhere = {**ENVIRONMENT, "resumed": [{"cores": 64, "after_epoch": 6}]}
    found = lines(elsewhere)
    assert found["Resumed"].startswith("1 run resumed in a changed environment")
    assert "Note" not in found
    here = {**ENVIRONMENT, "resumed": [{"after_epoch": 6, "engine": ENVIRONMENT["engine"]}]}
    assert "Resumed" not in lines(here)
    assert "Resumed" not in lines({**ENVIRONMENT, "resumed": []})


def test_the_report_has_the_lines() -> None:
    result = with_second(seeded_result(seeds=2), {**ENVIRONMENT, "cpu": "Another"})
    text = render(result, analyse(result, test_images=TEST_IMAGES), folder=Path())
    for label, value in environment_lines(result):
        assert f"- {label}: {value}" in text
