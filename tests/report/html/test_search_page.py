"""``report.html`` of a search: complete, well formed, self-contained, and nothing is markup."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from color_images import HOSTILE
from html_pages import Page
from kilonet.report.html.search_page import render_search_html
from kilonet.report.searched import SearchContent
from kilonet.search.result import SearchResult, State
from search_results import FOLDER, SPACE, made_search

SEARCH = made_search()


def text_of(result: SearchResult) -> str:
    return render_search_html(SearchContent(result=result), folder=result.path)


@pytest.fixture(scope="module")
def text() -> str:
    return text_of(SEARCH)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_parts_in_their_order(page: Page) -> None:
    assert [text for _, text in page.all("h1")] == ["small"]
    parts = "front confirmed networks course importances trials space environment reproduce"
    assert [attributes["id"] for attributes, _ in page.all("h2")] == parts.split()
    linked = [attributes["href"][1:] for attributes, _ in page.all("a")][1:]
    assert linked == parts.split()


def test_headings_landmarks_and_identifiers(page: Page) -> None:
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    tags = Counter(tag for tag, _, _ in page.elements)
    assert [tags[name] for name in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]
    found = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(found) == len(set(found))
    for _, attributes, _ in page.elements:
        assert set(attributes.get("aria-labelledby", "").split()) <= set(found)
    assert len(page.all("table")) == len(page.all("caption")) > 5


def test_nothing_is_fetched_and_no_folder_is_named(text: str, page: Page) -> None:
    assert "default-src 'none'" in text
    assert not page.all("script")
    assert not page.all("link")
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", text)
    assert str(FOLDER.parent) not in text


def test_it_says_what_was_read(page: Page) -> None:
    assert "the test set was not read" in page.all("p")[1][1]


def test_charts_of_the_front_the_course_and_each_important_choice(text: str) -> None:
    for name in ("front-parameters", "front-multiply-adds", "course-trials", "course-seconds"):
        assert f'id="{name}-title"' in text
    assert len(re.findall(r'id="choice-\d-title"', text)) == len(SPACE.choices)
    marks = SEARCH.counts["complete"]
    [front] = re.findall(r'<svg aria-labelledby="front-parameters.*?</svg>', text) or [text]
    assert front.count("<circle") >= marks


def test_a_small_search_says_why_it_has_no_importances() -> None:
    result = replace(SEARCH, trials=SEARCH.trials[:12], confirmed=(), tomls={}, num_trials=12)
    page = Page(text_of(result))
    assert any("do not tell which choices mattered" in text for _, text in page.all("p"))
    assert "confirmed" not in [attributes["id"] for attributes, _ in page.all("h2")]


def test_a_search_in_which_nothing_went_far() -> None:
    pruned = tuple(t for t in SEARCH.trials if t.state is State.PRUNED)
    result = replace(SEARCH, trials=pruned, confirmed=(), tomls={}, study_toml=None)
    page = Page(text_of(result))
    assert "networks" not in [attributes["id"] for attributes, _ in page.all("h2")]
    assert "No trial was trained at full length yet" in page.text()


def test_hostile_words_stay_text() -> None:
    """Option names, values and reasons are the user's."""
    trials = tuple(
        replace(t, values={**t.values, "net.block": HOSTILE}, reason=HOSTILE) for t in SEARCH.trials
    )
    text = text_of(replace(SEARCH, trials=trials))
    page = Page(text)
    assert not page.all("script")
    assert "<script" not in text
    assert any(HOSTILE.split()[0] in cell for _, cell in page.all("td"))
