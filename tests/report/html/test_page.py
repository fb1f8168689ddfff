"""``report.html``: complete, well formed, self-contained, and true to the records."""

from __future__ import annotations

import base64
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from color_images import color_dataset
from html_pages import Page
from kilonet.analysis import StudyAnalysis, analyze
from kilonet.analysis.misclassified import measure_errors
from kilonet.data import Dataset, load_dataset
from kilonet.errors import DataError
from kilonet.report.content import Content
from kilonet.report.html import render_html, write_html
from kilonet.report.html.page import MAX_LOG_ROWS
from kilonet.report.rebuild import analyze_records, as_study
from kilonet.report.reproduction import with_engine
from kilonet.storage.run_folder import RunFolder
from kilonet.study import StudyResult
from ladders import FOUR_STAGES, made_result, made_rows, notebook_result, seeded_result


def no_images(name: str) -> Dataset:
    raise DataError(f"{name}: not here")


def text_of(
    result: StudyResult,
    analysis: StudyAnalysis | None = None,
    *,
    has_target: bool = True,
    load: Callable[[str], Dataset] = load_dataset,
) -> str:
    analysis = analysis or analyze_records(result, has_target=has_target)
    content = Content(result=result, analysis=analysis)
    return render_html(content, folder=result.path, load=load)


def made_page(result: StudyResult) -> str:
    """The page of a made-up study, which has no images."""
    return text_of(result, analyze(result, test_images=10_000), load=no_images)


def page_of(result: StudyResult, **options: Any) -> Page:
    return Page(text_of(result, **options))


@pytest.fixture(scope="module")
def page(digits: StudyResult) -> Page:
    return page_of(digits)


def test_the_parts_in_their_order(page: Page) -> None:
    assert [text for _, text in page.all("h1")] == ["digits"]
    headings = [attributes["id"] for attributes, _ in page.all("h2")]
    assert headings == [
        "ladder",
        "conclusions",
        "stage-1",
        "stage-2",
        "errors",
        "augmentation",
        "kernels",
        "network",
        "configuration",
        "environment",
        "reproduce",
    ]
    for part in ("Target", "Result", "Analysis", "Log"):
        assert [text for _, text in page.all("h3")].count(part) == 2


def test_the_first_number_has_its_interval(digits: StudyResult, page: Page) -> None:
    best = max(analyze_records(digits).stages, key=lambda stage: stage.final.mean).final
    low, high = best.ci95 or (0.0, 0.0)
    [small] = [text for _, text in page.all("small") if text.startswith("95% interval")]
    assert small.startswith(f"95% interval [{low:.2f}, {high:.2f}]; stage ")


def test_terms_are_explained_where_they_are_used(digits: StudyResult, page: Page) -> None:
    def terms(page: Page) -> str:
        return " ".join(text for _, text in page.all("dt"))

    of_studies = ("Stage", "Reached", "95% interval", "no difference shown", "Holm", "band")
    lone = page_of(as_study(digits.stages[0].records[0]), has_target=False)
    assert all(word in terms(page) for word in (*of_studies, "Calibration"))
    assert not any(word in terms(lone) for word in of_studies)
    assert "Calibration" in terms(lone)


def test_what_no_run_did_has_no_part(digits: StudyResult) -> None:
    plain = StudyResult(study=digits.study, path=digits.path, stages=digits.stages[:1])
    page = page_of(plain)
    assert "augmentation" not in [attributes["id"] for attributes, _ in page.all("h2")]
    assert "Augmentation" not in [text for _, text in page.all("a")]


def test_intervals_are_not_broken(page: Page) -> None:
    cells = [t for n, a, t in page.elements if n == "td" and "l" in a.get("class", "").split()]
    effects = [text for texts in cells for text in texts if "no difference shown" in text]
    assert effects
    assert all(re.search(r"\[[-+0-9.]+,\u00a0[-+0-9.]+\]", text) for text in effects)


def test_headings_and_landmarks(page: Page) -> None:
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    tags = Counter(tag for tag, _, _ in page.elements)
    assert [tags[name] for name in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]
    assert page.all("html")[0][0]["lang"] == "en"


def test_identifiers_are_unique_and_links_lead_somewhere(page: Page) -> None:
    found = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(found) == len(set(found))
    for attributes, _ in page.all("a"):
        assert attributes["href"].startswith("#")
        assert attributes["href"][1:] in found
    for _, attributes, _ in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(attributes.get(name, "").split()) <= set(found)


def test_every_table_has_a_caption_and_scopes(page: Page) -> None:
    assert len(page.all("table")) == len(page.all("caption")) > 10
    assert all(text for _, text in page.all("caption"))
    assert all(a.get("scope") in {"row", "col"} and text for a, text in page.all("th"))


def test_every_picture_says_what_it_shows(page: Page) -> None:
    assert len(page.all("img")) > 20
    assert all(attributes["alt"] for attributes, _ in page.all("img"))
    shown = [a for a, _ in page.all("svg") if a.get("aria-hidden") != "true"]
    assert len(shown) >= 2 + 8 + 2  # strips, curves, calibration
    assert all(a["role"] == "img" and a["aria-labelledby"] for a in shown)
    assert all(text for _, text in page.all("desc"))


def test_nothing_is_fetched_and_nothing_runs(digits: StudyResult, page: Page) -> None:
    text = text_of(digits)
    assert "script" not in {tag for tag, _, _ in page.elements}
    assert "http:" not in text
    assert "https:" not in text
    assert str(digits.path) not in text
    for _, attributes, _ in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    policy = next(a["content"] for a, _ in page.all("meta") if "http-equiv" in a)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_the_numbers_are_the_analysiss(digits: StudyResult, page: Page) -> None:
    analysis = analyze_records(digits)
    items = [text for _, text in page.all("li")]
    for sentence in (*analysis.conclusions, *(s for r in analysis.stages for s in r.sentences)):
        assert " ".join(sentence.split()) in items
    cells = [text for _, text in page.all("td")]
    for ran in digits.stages:
        for record in ran.records:
            assert record.path.name in cells
            for row in record.log_table.rows:
                assert all(cell in cells for cell in row[1:])


def test_the_matrix_and_the_gallery_are_the_logits(digits: StudyResult, page: Page) -> None:
    analysis = analyze_records(digits)
    best = max(analysis.stages, key=lambda stage: stage.final.mean).number - 1
    data = load_dataset(digits.study.data.name)
    logits = [RunFolder(record.path).test_logits() for record in digits.stages[best].records]
    wrong = np.array([seed.argmax(axis=1) != data.test_labels for seed in logits])
    first = measure_errors(logits, data.test_labels).hard[0]
    assert wrong[:, first.index].all()
    picture = next(
        a["src"] for a, _ in page.all("img") if a["alt"].startswith(f"Test image {first.index},")
    )
    with Image.open(BytesIO(base64.b64decode(picture.partition(",")[2]))) as image:
        assert np.array_equal(np.asarray(image), data.test_images[first.index])
    right = [text for a, text in page.all("td") if a.get("class") == "right"][:10]
    expected = [
        np.mean([(s.argmax(axis=1)[data.test_labels == c] == c).sum() for s in logits])
        for c in range(10)
    ]
    assert [float(text) for text in right] == pytest.approx(expected)


def test_commands_are_whole(digits: StudyResult, page: Page) -> None:
    lines = [text for _, text in page.all("code")]
    engine = digits.stages[0].records[0].provenance.engine
    assert with_engine("kilonet study study.toml --out again", engine, jobs=" --jobs 1") in lines
    assert "kilonet report ." in lines
    cells = [text for _, text in page.all("td")]
    for record in (record for ran in digits.stages for record in ran.records):
        name = record.path.name
        command = f"kilonet train runs/{name}/run.toml --out again-{name}"
        assert with_engine(command, record.provenance.engine) in cells


def test_color_three_classes_one_seed_and_hostile_words(colors: StudyResult) -> None:
    page = page_of(colors, load=color_dataset)
    assert "script" not in {tag for tag, _, _ in page.elements}
    text = text_of(colors, load=color_dataset)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 5
    assert len([1 for a, _ in page.all("td") if a.get("class") == "right"]) == 3
    kernels = [a for a, _ in page.all("img") if a["alt"].startswith("Filter")]
    assert len(kernels) == 4
    with Image.open(BytesIO(base64.b64decode(kernels[0]["src"].partition(",")[2]))) as image:
        assert (image.mode, image.size) == ("RGB", (3, 3))
    logits = RunFolder(colors.stages[0].records[0].path).test_logits()
    wrong = int((logits.argmax(axis=1) != color_dataset("colors").test_labels).sum())
    assert wrong >= 1
    assert re.search(rf"wrong: {wrong}\b", " ".join(text for _, text in page.all("p")))


def test_without_the_images_the_rest_stands(digits: StudyResult) -> None:
    page = page_of(digits, load=no_images)
    missing = [text for a, text in page.all("p") if a.get("class") == "missing"]
    # Both stages' errors and the augmented samples; kernels need no image.
    assert [text.endswith("not here.") for text in missing] == [True] * 3
    assert len(page.all("h2")) == 11


def test_the_page_names_no_folder_of_this_machine(colors: StudyResult) -> None:
    """Not where images are missing, nor in the commands, which work in the report's folder."""
    text = text_of(colors, load=no_images)
    assert colors.study.data.name == str(Path("colors.npz").resolve())
    # A path from the report may lead through the folder, as ../../folder does.
    assert not re.search(rf"(?<!\.\.){re.escape(str(Path.cwd()))}", text)
    assert str(colors.path.parent) not in text
    page = page_of(colors, load=no_images)
    missing = [text for a, text in page.all("p") if a.get("class") == "missing"]
    assert all("colors.npz: not here" in text for text in missing)
    lines = [text for _, text in page.all("code")]
    relative = Path(os.path.relpath("colors.npz", colors.path)).as_posix()
    assert f"kilonet data {relative}" in lines
    assert "kilonet report ." in lines


def test_other_images_are_not_taken_for_those_of_the_study(digits: StudyResult) -> None:
    def others(name: str) -> Dataset:
        data = load_dataset(name)
        return Dataset(
            name=name,
            train_images=data.train_images,
            train_labels=data.train_labels,
            test_images=data.test_images[::-1],
            test_labels=data.test_labels,
        )

    page = page_of(digits, load=others)
    missing = [text for a, text in page.all("p") if a.get("class") == "missing"]
    assert len(missing) == 3
    assert all("have changed" in text for text in missing)


@pytest.mark.parametrize(
    "result", [notebook_result(), seeded_result(seeds=5)], ids=["one seed", "five seeds"]
)
def test_records_alone_are_enough(result: StudyResult) -> None:
    """Made ladders have no run folders: no logits, no weights, no counts of images."""
    page = Page(made_page(result))
    assert len(page.all("h2")) == 2 + len(result.stages) + 7


def test_rows_at_the_edge_of_what_is_possible() -> None:
    study = notebook_result().study
    for rows in (
        made_rows([10.0], train=9.0),
        made_rows([100.0] * 4, train=100.0),
        made_rows([99.4] * 3, train=99.4, lr=0.0),
    ):
        result = made_result(study.replace({"target": 100.0}), [[rows, rows]])
        text = made_page(result)
        assert "nan" not in text.lower().replace("nanobind", "")
        Page(text)


def test_stages_that_are_left_out_are_named() -> None:
    page = Page(made_page(notebook_result()))
    [notice] = [text for a, text in page.all("p") if a.get("class") == "notice"]
    assert "stage 4 (Step scheduler)" in notice


def test_a_lone_run_is_compared_with_no_target(digits: StudyResult) -> None:
    record = digits.stages[1].records[0]
    page = page_of(as_study(record), has_target=False)
    headings = [attributes["id"] for attributes, _ in page.all("h2")]
    assert headings[:3] == ["stage-1", "errors", "augmentation"]
    text = " ".join(text for _, text in page.all("main"))
    assert "100.00%" not in text
    assert "arget" not in text
    assert "Stage 1" not in text
    half = as_study(replace(record, rows=record.rows[:2]))
    notices = [a for a, _ in page_of(half, has_target=False).all("p") if a.get("class") == "notice"]
    assert len(notices) == 1


def test_many_epochs_keep_the_file_small() -> None:
    study = notebook_result().study
    rows = made_rows([99.0] * (MAX_LOG_ROWS // 4 + 1), train=99.0)
    result = made_result(study, [[rows, rows]] * 2)
    text = made_page(result)
    assert text.count("epochs.jsonl in their folders") == 2
    assert len(text) < 3e6


def test_the_same_records_give_the_same_bytes(digits: StudyResult, tmp_path: Path) -> None:
    content = Content(result=digits, analysis=analyze_records(digits))
    for name in ("a", "b"):
        write_html(content, tmp_path / name / "report.html")
    written = [(tmp_path / name / "report.html").read_bytes() for name in ("a", "b")]
    assert written[0] == written[1]
    assert len(written[0]) < 3e6


def test_a_stage_without_a_change_is_the_base_run() -> None:
    study = FOUR_STAGES.replace({"stage": []})
    text = made_page(made_result(study, [[made_rows([99.0, 99.1, 99.2])]]))
    assert "<h3>Target</h3>\n<p>The base run, unchanged.</p>\n<h3>Result</h3>" in text
