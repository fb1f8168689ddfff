"""``report.html``: complete, well formed, self-contained, and true to the records."""

from __future__ import annotations

import base64
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colour_images import colour_dataset
from kilonet.analysis import StudyAnalysis, analyse, measure_errors
from kilonet.data import Dataset, load_dataset
from kilonet.errors import DataError
from kilonet.report.html import render_html, write_html
from kilonet.report.html.page import MAX_LOG_ROWS
from kilonet.report.rebuild import analyse_records, as_study
from kilonet.store import RunFolder
from kilonet.study import StudyResult
from ladders import made_result, made_rows, notebook_result, seeded_result

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """What is on a page: its elements in order, each with its attributes and its own text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(text)
        self.close()
        assert self._open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = (tag, {k: v or "" for k, v in attrs}, [])
        self.elements.append(found)
        if tag not in VOID:
            self._open.append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        for _, _, texts in self._open:
            texts.append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str], str]]:
        """(attributes, text) of every such element."""
        return [
            (attributes, " ".join("".join(texts).split()))
            for name, attributes, texts in self.elements
            if name == tag
        ]


def no_images(name: str) -> Dataset:
    raise DataError(f"{name}: not here")


def page_of(result: StudyResult, **options: object) -> Page:
    return Page(render_html(result, analyse_records(result), folder=result.path, **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page(digits: StudyResult) -> Page:
    return page_of(digits)


def test_the_parts_in_their_order(page: Page) -> None:
    assert [text for _, text in page.all("h1")] == ["digits"]
    assert [text for _, text in page.all("h2")] == [
        "The ladder at a glance",
        "Conclusions",
        "Rung 1 Batch normalisation",
        "Rung 2 Rotation",
        "The best rung, closer",
        "What augmentation does",
        "First-layer kernels",
        "The network",
        "The whole configuration",
        "Environment",
        "How to reproduce each number",
    ]
    for part in ("Target", "Result", "Analysis", "Log"):
        assert [text for _, text in page.all("h3")].count(part) == 2


def test_the_first_number_has_its_interval(digits: StudyResult, page: Page) -> None:
    best = max(analyse_records(digits).rungs, key=lambda rung: rung.final.mean).final
    low, high = best.ci95 or (0.0, 0.0)
    [small] = [text for _, text in page.all("small") if text.startswith("95% interval")]
    assert small.startswith(f"95% interval [{low:.2f}, {high:.2f}]; rung ")
    assert "optimistic" in small


def test_words_are_explained_where_they_are_used(digits: StudyResult, page: Page) -> None:
    def terms(page: Page) -> str:
        return " ".join(text for _, text in page.all("dt"))

    assert "How to read this" in [text for _, text in page.all("summary")]
    for word in ("Rung", "Reached", "95% interval", "no difference shown", "Holm", "Calibration"):
        assert word in terms(page)
    lone = page_of(as_study(digits.rungs[0].records[0]), has_target=False)
    assert "Calibration" in terms(lone)
    for word in ("Rung", "Reached", "95% interval", "no difference shown", "Holm", "band"):
        assert word not in terms(lone)


def test_what_no_run_did_has_no_part(digits: StudyResult) -> None:
    plain = StudyResult(study=digits.study, path=digits.path, rungs=digits.rungs[:1])
    page = page_of(plain)
    assert "What augmentation does" not in [text for _, text in page.all("h2")]
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
    text = render_html(digits, analyse_records(digits), folder=digits.path)
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
    analysis = analyse_records(digits)
    items = [text for _, text in page.all("li")]
    for sentence in (*analysis.conclusions, *(s for r in analysis.rungs for s in r.sentences)):
        assert " ".join(sentence.split()) in items
    cells = [text for _, text in page.all("td")]
    for ran in digits.rungs:
        for record in ran.records:
            assert record.path.name in cells
            for row in record.log_table.rows:
                assert all(cell in cells for cell in row[1:])


def test_the_matrix_and_the_gallery_are_the_logits(digits: StudyResult, page: Page) -> None:
    analysis = analyse_records(digits)
    best = max(analysis.rungs, key=lambda rung: rung.final.mean).number - 1
    data = load_dataset(digits.study.data.name)
    logits = [RunFolder(record.path).test_logits() for record in digits.rungs[best].records]
    wrong = np.array([seed.argmax(axis=1) != data.test_labels for seed in logits])
    first = measure_errors(logits, data.test_labels).hard[0]
    assert wrong[:, first.index].all()
    picture = next(
        a["src"] for a, _ in page.all("img") if a["alt"].startswith(f"Test image {first.index},")
    )
    with Image.open(BytesIO(base64.b64decode(picture.partition(",")[2]))) as image:
        assert np.array_equal(np.asarray(image), data.test_images[first.index])
    # People doubted none of the first 200 labels.
    assert "Label doubted" not in " ".join(text for _, text in page.all("p"))
    right = [text for a, text in page.all("td") if a.get("class") == "right"][:10]
    expected = [
        np.mean([(s.argmax(axis=1)[data.test_labels == c] == c).sum() for s in logits])
        for c in range(10)
    ]
    assert [float(text) for text in right] == pytest.approx(expected)


def test_commands_are_whole(digits: StudyResult, page: Page) -> None:
    lines = [text for _, text in page.all("code")]
    assert "kilonet study study.toml --out again" in lines
    assert "kilonet report ." in lines
    cells = [text for _, text in page.all("td")]
    for record in (record for ran in digits.rungs for record in ran.records):
        name = record.path.name
        assert f"kilonet train runs/{name}/run.toml --out again-{name}" in cells


def test_colour_three_classes_one_seed_and_hostile_words(colours: StudyResult) -> None:
    page = page_of(colours, load=colour_dataset)
    assert "script" not in {tag for tag, _, _ in page.elements}
    text = render_html(colours, analyse_records(colours), folder=colours.path, load=colour_dataset)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 5
    assert len([1 for a, _ in page.all("td") if a.get("class") == "right"]) == 3
    kernels = [a for a, _ in page.all("img") if a["alt"].startswith("Filter")]
    assert len(kernels) == 4
    with Image.open(BytesIO(base64.b64decode(kernels[0]["src"].partition(",")[2]))) as image:
        assert (image.mode, image.size) == ("RGB", (3, 3))
    logits = RunFolder(colours.rungs[0].records[0].path).test_logits()
    wrong = int((logits.argmax(axis=1) != colour_dataset("colours").test_labels).sum())
    assert wrong >= 1
    assert f"Images it gets wrong: {wrong}" in " ".join(text for _, text in page.all("p"))


def test_without_the_images_the_rest_stands(digits: StudyResult) -> None:
    page = page_of(digits, load=no_images)
    missing = [text for a, text in page.all("p") if a.get("class") == "missing"]
    # Both rungs' errors and the augmented samples; kernels need no image.
    assert [text.endswith("not here.") for text in missing] == [True] * 3
    assert len(page.all("h2")) == 11


def test_images_that_are_named_from_elsewhere_are_looked_for_there(colours: StudyResult) -> None:
    page = page_of(colours, load=no_images)
    missing = [text for a, text in page.all("p") if a.get("class") == "missing"]
    assert missing
    assert all("started in, so report from there" in text for text in missing)
    lines = [text for _, text in page.all("code")]
    assert "kilonet report PATH" in lines


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
    assert all("holds other images now than those it was trained on" in text for text in missing)


@pytest.mark.parametrize(
    "result", [notebook_result(), seeded_result(seeds=5)], ids=["one seed", "five seeds"]
)
def test_records_alone_are_enough(result: StudyResult) -> None:
    """Made ladders have no run folders: no logits, no weights, no counts of images."""
    page = Page(render_html(result, analysis_of(result), folder=result.path, load=no_images))
    assert len(page.all("h2")) == 2 + len(result.rungs) + 7


def test_rows_at_the_edge_of_what_is_possible() -> None:
    study = notebook_result().study
    for rows in (
        made_rows([10.0], train=9.0),
        made_rows([100.0] * 4, train=100.0),
        made_rows([99.4] * 3, train=99.4, lr=0.0),
    ):
        result = made_result(study.replace({"target": 100.0}), [[rows, rows]])
        text = render_html(result, analysis_of(result), folder=result.path, load=no_images)
        assert "nan" not in text.lower().replace("nanobind", "")
        Page(text)


def test_what_is_missing_is_said() -> None:
    result = notebook_result()
    page = Page(render_html(result, analysis_of(result), folder=result.path, load=no_images))
    notice = [text for a, text in page.all("p") if a.get("class") == "notice"]
    assert notice == ["Not every seed is finished, and so left out: rung 4 (Step scheduler)."]


def test_a_lone_run_is_held_against_no_target(digits: StudyResult) -> None:
    record = digits.rungs[1].records[0]
    result = as_study(record)
    page = page_of(result, has_target=False)
    assert [text for _, text in page.all("h2")][:3] == [
        "Training",
        "The errors, closer",
        "What augmentation does",
    ]
    text = " ".join(text for _, text in page.all("main"))
    assert "100.00%" not in text
    assert "arget" not in text
    assert "kilonet report ." in text
    assert "Seed 1: train accuracy and loss" in text
    assert "Rung 1" not in text
    half = as_study(replace(record, rows=record.rows[:2]))
    notice = page_of(half, has_target=False).all("p")
    assert "Not finished: 2 of 3 epochs are done." in [text for _, text in notice]


def test_many_epochs_keep_the_file_small() -> None:
    study = notebook_result().study
    rows = made_rows([99.0] * (MAX_LOG_ROWS // 4 + 1), train=99.0)
    result = made_result(study, [[rows, rows]] * 2)
    text = render_html(result, analysis_of(result), folder=result.path, load=no_images)
    assert "The tables of 1 further seeds are left out" in text
    assert len(text) < 3e6


def test_the_same_records_give_the_same_bytes(digits: StudyResult, tmp_path: Path) -> None:
    analysis = analyse_records(digits)
    for name in ("a", "b"):
        write_html(digits, analysis, tmp_path / name / "report.html")
    written = [(tmp_path / name / "report.html").read_bytes() for name in ("a", "b")]
    assert written[0] == written[1]
    assert len(written[0]) < 3e6


def analysis_of(result: StudyResult) -> StudyAnalysis:
    return analyse(result, test_images=10_000)
