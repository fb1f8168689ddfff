"""Records in results/, and the page that is made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest
from scipy import stats

from file_modules import load
from kilonet.spec import load_study
from kilonet.study.result import StudyResult
from ladders import seeded_result

record = load("scripts/record.py")
update_records = load("scripts/update_records.py")

ROOT = Path(__file__).parent.parent.parent
KEPT = sorted((ROOT / "results").glob("*/record.json"))


def without_accuracy(result: StudyResult, *, lower: float) -> StudyResult:
    """The study with every test accuracy of its last stage lower by this much."""
    stage = result.stages[-1]
    lowered = tuple(
        replace(
            each,
            rows=tuple(replace(r, test_accuracy=r.test_accuracy - lower) for r in each.rows),
        )
        for each in stage.records
    )
    return replace(result, stages=(*result.stages[:-1], replace(stage, records=lowered)))


def test_a_record_is_the_last_stage_over_its_seeds(tmp_path: Path) -> None:
    result = seeded_result()
    folder = record.keep(result, results=tmp_path, claim="A claim", chosen_by="hand")
    kept = json.loads((folder / "record.json").read_text("utf-8"))
    final = [each.rows[-1].test_accuracy for each in result.stages[-1].records]
    half = stats.t.ppf(0.975, len(final) - 1) * stdev(final) / len(final) ** 0.5
    assert kept["mean"] == pytest.approx(fmean(final), abs=1e-4)
    assert kept["ci95"] == pytest.approx([fmean(final) - half, fmean(final) + half], abs=1e-4)
    assert (kept["min"], kept["max"], kept["seeds"]) == (min(final), max(final), len(final))
    assert (kept["claim"], kept["chosen_by"]) == ("A claim", "hand")
    assert kept["command"] == f"kilonet study results/{result.study.name}/study.toml"
    assert load_study(str(folder / "study.toml")) == result.study
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == sum(len(each.rows) for each in result.stages[-1].records)


def test_a_repetition_is_compared_with_the_record(tmp_path: Path) -> None:
    result = seeded_result()
    record.keep(result, results=tmp_path, claim="A claim", chosen_by="hand")
    inside, sentence = record.check(result, results=tmp_path)
    assert inside
    assert "as recorded" in sentence
    inside, sentence = record.check(without_accuracy(result, lower=0.001), results=tmp_path)
    assert inside
    assert "other bits" in sentence
    inside, _ = record.check(without_accuracy(result, lower=2.0), results=tmp_path)
    assert not inside
    other = replace(result, study=result.study.replace({"seeds": 99}))
    with pytest.raises(ValueError, match="another study"):
        record.check(other, results=tmp_path)
    with pytest.raises(ValueError, match="holds no record"):
        record.check(result, results=tmp_path / "none")


def test_the_page_has_every_record(tmp_path: Path) -> None:
    record.keep(seeded_result(), results=tmp_path, claim="A claim", chosen_by="hand")
    [kept] = update_records.read_records(tmp_path)
    page = update_records.page([kept], results=tmp_path)
    assert f"## {kept['name']}" in page
    assert f"{kept['mean']:.3f} %" in page
    assert f"`{kept['command']}`" in page


@pytest.mark.skipif(not KEPT, reason="no record is kept yet")
def test_the_page_is_that_of_the_kept_records() -> None:
    records = update_records.read_records(ROOT / "results")
    page = (ROOT / "docs" / "records.md").read_text("utf-8")
    assert page == update_records.page(records, results=ROOT / "results")


@pytest.mark.parametrize("file", KEPT, ids=[file.parent.name for file in KEPT])
def test_a_kept_record_agrees_with_its_rows(file: Path) -> None:
    kept = json.loads(file.read_text("utf-8"))
    study = load_study(str(file.parent / "study.toml"))
    rows = [json.loads(line) for line in (file.parent / "rows.jsonl").read_text().splitlines()]
    last = max(row["epoch"] for row in rows)
    final = [row["test_accuracy"] for row in rows if row["epoch"] == last]
    assert kept["mean"] == pytest.approx(fmean(final), abs=1e-4)
    assert len(final) == kept["seeds"] == study.seeds
    assert last + 1 == kept["epochs"] == study.stages[-1].run.train.epochs
    assert kept["parameters"] == study.stages[-1].run.num_parameters
