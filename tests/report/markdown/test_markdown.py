"""``report.md``: complete, true to the records, free of this machine's paths."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from kilonet.analysis import analyze
from kilonet.errors import StorageError
from kilonet.report.content import Content
from kilonet.report.markdown import render_markdown, write_markdown
from kilonet.report.tables import SUGGESTIONS_NOTES
from kilonet.spec import Study
from kilonet.storage.provenance import Provenance
from kilonet.study import StudyResult
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows, notebook_result, seeded_result


def content_of(result: StudyResult) -> Content:
    return Content(result=result, analysis=analyze(result, test_images=TEST_IMAGES))


def rendered(result: StudyResult, folder: Path | None = None) -> str:
    return render_markdown(content_of(result), folder=result.path if folder is None else folder)


def test_a_report_is_whole(tmp_path: Path) -> None:
    result = seeded_result(seeds=2, folder=tmp_path / "ladder")
    write_markdown(content_of(result), result.path / "report.md")
    text = (result.path / "report.md").read_text("utf-8")
    charts = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert charts == ["figures/ladder.svg", *(f"figures/stage-{i}.svg" for i in (1, 2, 3, 4))]
    assert all((result.path / chart).is_file() for chart in charts)
    assert sorted(p.name for p in result.path.iterdir()) == ["figures", "report.md"]
    assert str(tmp_path) not in text
    for record in (record for ran in result.stages for record in ran.records):
        assert f"[{record.path.name}](runs/{record.path.name})" in text
        assert record.log_table.to_markdown() in text


def test_other_files_among_the_charts_are_kept(tmp_path: Path) -> None:
    """``ladder.png`` too, a chart of an earlier version: it may be the user's own."""
    result = notebook_result(folder=tmp_path)
    (tmp_path / "figures").mkdir()
    others = {"mine.png", "ladder.png", "stage-1.png"}
    for name in others:
        (tmp_path / "figures" / name).write_text("x")
    write_markdown(content_of(result), tmp_path / "report.md")
    assert {path.name for path in (tmp_path / "figures").iterdir()} >= others


def test_stages_that_are_left_out_are_named() -> None:
    assert "**Left out" in rendered(notebook_result()).partition("\n- ")[0]
    assert "Left out" not in rendered(seeded_result(seeds=2))


def test_every_part_of_every_stage() -> None:
    stages = rendered(notebook_result()).split("\n## ")[1:]
    names = [stage.partition("\n")[0] for stage in stages]
    assert names[:3] == ["1. Batch normalization", "2. Dropout", "3. Rotation"]
    assert len(names) == 4
    parts = ["Target", "Result", "Analysis", "Next", "Log"]
    for stage in stages[:3]:
        assert re.findall(r"^### (\w+)", stage, re.MULTILINE) == parts


def test_further_seeds_are_folded_away() -> None:
    stages = rendered(seeded_result(seeds=3)).split("\n## ")[1:]
    assert all(stage.count("<details>") == 2 for stage in stages[:4])


def test_the_last_stage_offers_lines_to_paste() -> None:
    study = FOUR_STAGES.replace({"stage": [FOUR_STAGES.to_dict()["stage"][0]]})
    result = made_result(study, [[made_rows([99.0] * 15, train=99.2)]])
    text = rendered(result)
    assert 'change = { "net.block" = ["conv", "relu", "batchnorm", "dropout 0.01"] }' in text


def test_markdown_is_tidy() -> None:
    text = rendered(seeded_result(seeds=2))
    assert "\n\n\n" not in text
    assert text.endswith("\n")
    assert not re.search(r"[ \t]+$", text, re.MULTILINE)
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if line.startswith(("#", "![", "<details>", "```sh")):
            assert lines[i - 1] == "" or i == 0, line
        if line.startswith("|") and not lines[i - 1].startswith("|"):
            assert lines[i - 1] == ""


def test_a_users_words_cannot_break_the_page() -> None:
    data = FOUR_STAGES.to_dict()
    data["stage"][0]["name"] = "A <b>bold</b> | step\n# not a heading"
    data["stage"][0]["target"] = "Two\n\nlines & <script>alert(1)</script>"
    study = Study.from_dict(data)
    result = made_result(study, [[made_rows([99.0] * 15)]] * 2)
    text = rendered(result)
    assert "<b>" not in text
    assert "<script>" not in text
    assert "\n# not a heading" not in text
    table = next(line for line in text.split("\n") if line.startswith("| 1 |"))
    assert len(re.findall(r"(?<!\\)\|", table)) == 8


def test_a_report_elsewhere_links_back(tmp_path: Path) -> None:
    result = notebook_result(folder=tmp_path / "a ladder")
    text = rendered(result, folder=tmp_path / "reports")
    assert "](../a%20ladder/runs/" in text
    assert "kilonet study '../a ladder/study.toml' --out again" in text


def test_the_command_works_in_the_reports_folder_wherever_the_images_are(tmp_path: Path) -> None:
    for name in ("mnist", str(tmp_path / "t.npz")):
        text = rendered(with_images(name))
        assert "In this report's folder:\n\n```sh\nkilonet study study.toml --out again" in text


def test_a_change_of_the_images_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    data = FOUR_STAGES.to_dict()
    data["stage"] = [{"name": "Mine", "change": {"data.name": str(tmp_path / "my data" / "t.npz")}}]
    result = made_result(
        Study.from_dict(data), [[made_rows([99.0] * 15)]], folder=tmp_path / "a" / "ladder"
    )
    text = rendered(result, folder=result.path)
    assert 'change = { "data.name" = "../../my data/t.npz" }' in text
    assert str(tmp_path) not in text


def with_images(name: str) -> StudyResult:
    """A study whose second stage, still to be run, has these images."""
    data = FOUR_STAGES.to_dict()
    data["stage"][1]["change"] = {"data.name": name}
    data["stage"] = data["stage"][:2]
    return made_result(Study.from_dict(data), [[made_rows([99.0] * 15)]])


def test_suggestions_name_the_images_they_are_based_on() -> None:
    stages = rendered(seeded_result(seeds=2)).split("\n## ")[1:5]
    # The last stage reached the target: nothing is suggested.
    assert [stage.count(SUGGESTIONS_NOTES["test"]) for stage in stages] == [1, 1, 1, 0]


def test_suggestions_of_a_stage_that_holds_images_out_are_read_from_them() -> None:
    study = FOUR_STAGES.replace({"data.validation": 0.1})
    rows = tuple(
        replace(row, validation_accuracy=99.0, validation_loss=0.04)
        for row in made_rows([99.0] * 15)
    )
    for provenance in (None, Provenance()):
        result = made_result(study, [[rows]])
        if provenance is not None:
            [record] = result.stages[0].records
            bare = replace(result.stages[0], records=(replace(record, provenance=provenance),))
            result = replace(result, stages=(bare,))
        text = rendered(result)
        assert text.count(SUGGESTIONS_NOTES["validation"]) == 1
        assert SUGGESTIONS_NOTES["test"] not in text


def test_unknown_provenance_is_left_out() -> None:
    result = notebook_result()
    stages = tuple(
        replace(
            ran, records=tuple(replace(record, provenance=Provenance()) for record in ran.records)
        )
        for ran in result.stages
    )
    text = rendered(replace(result, stages=stages))
    assert "- Training time: 6 min 45 s" in text
    assert "- Engine" not in text


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = notebook_result()
    with pytest.raises(StorageError, match="cannot be written"):
        write_markdown(content_of(result), tmp_path / "file" / "report.md")


def test_a_stage_without_a_change_is_the_base_run() -> None:
    bundled = FOUR_STAGES.to_dict()
    stages = [{"name": "First", "target": "As it is."}, bundled["stage"][0]]
    study = Study.from_dict({**bundled, "stage": stages})
    text = rendered(made_result(study, [[made_rows([99.0, 99.1, 99.2])]] * 2))
    first, second = text.split("## 1. First")[1].split("## 2. ")
    assert "### Target\n\nAs it is.\n\nThe base run, unchanged.\n\n### Result" in first
    assert "```toml" not in first
    assert "The base run" not in second
    assert 'change = { "net.block" = ["conv", "relu", "batchnorm"] }' in second
    # A study that states no stages.
    text = rendered(made_result(study.replace({"stage": []}), [[made_rows([99.0, 99.1, 99.2])]]))
    assert "## 1. Baseline\n\n### Target\n\nThe base run, unchanged.\n" in text
