"""``report.md``: complete, true to the records, free of this machine's paths."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from kilonet.analysis import analyse
from kilonet.errors import StoreError
from kilonet.report.markdown import render, write_report
from kilonet.spec import Study, load_study
from kilonet.study import StudyResult
from ladders import TEST_IMAGES, made_result, made_rows, notebook_result, seeded_result


def rendered(result: StudyResult, folder: Path | None = None) -> str:
    analysis = analyse(result, test_images=TEST_IMAGES)
    return render(result, analysis, folder=result.path if folder is None else folder)


def test_a_report_is_whole(tmp_path: Path) -> None:
    result = seeded_result(seeds=2, folder=tmp_path / "ladder")
    path = result.path / "report.md"
    write_report(result, analyse(result, test_images=TEST_IMAGES), path)
    text = path.read_text("utf-8")
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert pictures == ["figures/ladder.png", *(f"figures/rung-{i}.png" for i in (1, 2, 3, 4))]
    assert all((result.path / picture).is_file() for picture in pictures)
    assert sorted(p.name for p in result.path.iterdir()) == ["figures", "report.md"]
    assert str(tmp_path) not in text
    for record in (record for ran in result.rungs for record in ran.records):
        assert f"[{record.path.name}](runs/{record.path.name})" in text


def test_rungs_that_are_left_out_are_named() -> None:
    head = rendered(notebook_result()).partition("\n- ")[0]
    assert head.endswith("left out: rung 4 (Step scheduler).**\n")
    assert "left out" not in rendered(seeded_result(seeds=2))


def test_every_part_of_every_rung() -> None:
    result = notebook_result()
    text = rendered(result)
    assert text.startswith("# mnist-8k\n")
    assert "at least **99.40%** in each of the last three epochs" in text
    assert "at most 8,000 parameters and 15 epochs" in text
    rungs = text.split("\n## ")[1:]
    assert [rung.partition("\n")[0] for rung in rungs] == [
        "1. Batch normalisation",
        "2. Dropout",
        "3. Rotation",
        "How to reproduce",
    ]
    for rung, ran in zip(rungs, result.rungs, strict=False):
        assert re.findall(r"^### (\w+)", rung, re.MULTILINE) == [
            "Target",
            "Result",
            "Analysis",
            "Next",
            "Log",
        ]
        assert ran.rung.step.target in rung
        assert "- Parameters: **7,864** (at most 8,000)" in rung
        assert "chosen on the test set, so optimistic" in rung
        assert ran.records[0].log_table.to_markdown() in rung
    assert "- Best train accuracy: **99.51%**\n" in rungs[0]
    assert "**99.31%** (epoch 13; chosen on the test set, so optimistic)" in rungs[0]
    assert "The study goes on with **Dropout**." in rungs[0]
    # The study has a fourth rung, which these records don't.
    assert "The study goes on with **Step scheduler**." in rungs[2]
    assert "kilonet study study.toml --out again" in rungs[3]
    assert "torch 2.13.0 on cpu, 2 threads" in rungs[3]
    assert "commit efefefefefef" in rungs[3]


def test_further_seeds_are_folded_away() -> None:
    rungs = rendered(seeded_result(seeds=3)).split("\n## ")[1:]
    assert all(rung.count("<details>") == 2 for rung in rungs[:4])
    assert "<summary>Seed 3</summary>" in rungs[0]
    assert "Seed 1; train accuracy" in rungs[0]


def test_the_last_rung_offers_lines_to_paste() -> None:
    study = load_study("mnist-8k").replace({"step": [load_study("mnist-8k").to_dict()["step"][0]]})
    result = made_result(study, [[made_rows([99.0] * 15, train=99.2)]])
    text = rendered(result)
    assert "each a line to paste under a new `[[step]]`" in text
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
    data = load_study("mnist-8k").to_dict()
    data["step"][0]["name"] = "A <b>bold</b> | step\n# not a heading"
    data["step"][0]["target"] = "Two\n\nlines & <script>alert(1)</script>"
    study = Study.from_dict(data)
    result = made_result(study, [[made_rows([99.0] * 15)]] * 2)
    text = rendered(result)
    assert "<b>" not in text
    assert "<script>" not in text
    assert "\n# not a heading" not in text
    table = next(line for line in text.split("\n") if line.startswith("| 1 |"))
    assert len(re.findall(r"(?<!\\)\|", table)) == 8


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("once", "again"):
        result = notebook_result(folder=tmp_path / name)
        write_report(result, analyse(result, test_images=TEST_IMAGES), result.path / "report.md")
        files = sorted(path for path in result.path.rglob("*") if path.is_file())
        written.append([(path.name, path.read_bytes()) for path in files])
    assert written[0] == written[1]


def test_a_report_elsewhere_links_back(tmp_path: Path) -> None:
    result = notebook_result(folder=tmp_path / "a ladder")
    text = rendered(result, folder=tmp_path / "reports")
    assert "](../a%20ladder/runs/" in text
    assert "kilonet study '../a ladder/study.toml' --out again" in text


@pytest.mark.parametrize("name", ["mnist", "/data/t.npz", "~/t.npz"])
def test_images_found_from_anywhere(name: str) -> None:
    text = rendered(with_images(name))
    assert "In this report's folder:\n\n```sh\nkilonet study study.toml --out again" in text
    assert "PATH" not in text


@pytest.mark.parametrize("name", ["t.npz", "./mnist", "images/idx"])
def test_images_found_from_where_the_study_was_started(name: str) -> None:
    text = rendered(with_images(name))
    assert "From the folder the study was started in" in text
    assert "In this report's folder:" not in text
    assert "\n\n```sh\nkilonet study PATH/study.toml --out again\n```\n" in text


def with_images(name: str) -> StudyResult:
    """A study of which the second step, still to be run, has these images."""
    data = load_study("mnist-8k").to_dict()
    data["step"][1]["change"] = {"data.name": name}
    data["step"] = data["step"][:2]
    return made_result(Study.from_dict(data), [[made_rows([99.0] * 15)]])


def test_same_numbers_take_the_same_threads() -> None:
    assert "with the same number of threads" in " ".join(rendered(notebook_result()).split())


def test_suggestions_say_what_they_are_read_from() -> None:
    rungs = rendered(seeded_result(seeds=2)).split("\n## ")[1:5]
    notes = [rung.count("Read from the test set's rows") for rung in rungs]
    # The last rung reached the target: nothing is suggested.
    assert notes == [1, 1, 1, 0]


def test_suggestions_of_a_rung_that_holds_images_out_are_read_from_them() -> None:
    study = load_study("mnist-8k").replace({"data.validation": 0.1})
    rows = tuple(
        replace(row, validation_accuracy=99.0, validation_loss=0.04)
        for row in made_rows([99.0] * 15)
    )
    for environment in (None, {}):
        result = made_result(study, [[rows]])
        if environment is not None:
            [record] = result.rungs[0].records
            bare = replace(result.rungs[0], records=(replace(record, environment=environment),))
            result = replace(result, rungs=(bare,))
        text = rendered(result)
        assert text.count("Read from the rows of data.validation alone") == 1
        assert "Read from the test set's rows" not in text


def test_a_bare_environment_is_enough() -> None:
    result = notebook_result()
    rungs = tuple(
        replace(ran, records=tuple(replace(record, environment={}) for record in ran.records))
        for ran in result.rungs
    )
    text = rendered(replace(result, rungs=rungs))
    assert "- Training time: 6 min 45 s" in text
    assert "- Engine" not in text


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = notebook_result()
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(
            result,
            analyse(result, test_images=TEST_IMAGES),
            tmp_path / "file" / "report.md",
        )
