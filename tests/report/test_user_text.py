"""What a user writes is text in every output: Markdown, HTML, SVG, terminal, figures."""

from __future__ import annotations

import io
import shlex
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.cells import cell_len
from rich.console import Console

from html_pages import Page
from kilonet.analysis import analyze
from kilonet.data import Dataset
from kilonet.errors import DataError
from kilonet.formatting import markdown_text, one_line, visible
from kilonet.report.charts.files import curves_file, ladder_file
from kilonet.report.content import Content
from kilonet.report.figures.style import new_figure, save_figure, set_title
from kilonet.report.html import render_html
from kilonet.report.markdown import render_markdown
from kilonet.report.rebuild import as_study
from kilonet.report.terminal.ladder import ladder_table
from kilonet.report.terminal.stage import stage_panel
from kilonet.report.terminal.text import print_text
from kilonet.spec import Study
from kilonet.table import Table
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows, seeded_result

NASTY = (
    "A$$B",
    "$100% vs $50",
    r"$\frac{",
    "<b>x</b>",
    "<script>alert(1)</script>",
    "[red]x[/red]",
    "[/]",
    "a|b",
    "`x`",
    "``",
    "*x*",
    "**x",
    "_x_",
    "a_b_",
    "~~x~~",
    "# x",
    "x #",
    "- x",
    "1. x",
    "> x",
    "---",
    "===",
    "[x](y)",
    "[1](http://x)",
    "![x](y)",
    "[x]: y",
    "[ ] x",
    "{{x}}",
    "{% x %}",
    "a\nb\tc",
    "\n\n# x",
    "\x00\x1b[31m\x7f\x85",
    "&amp; &lt; &#38;",
    "\\",
    "\\|",
    ":smile: :1234:",
    "\u202eabc\u2066",
    "שלום",
    "e\u0301",
    "字字",
    "\U0001f600",
    "a" * 200,
    "</title></svg>",
    "]]>",
    '"quoted" \'',
)

texts = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.sampled_from("\\`*_{}[]()#+-.!|~$<>&:=\"'ab1 \n\t"), max_size=12),
    st.text(max_size=8),
)


def typed(text: str) -> str:
    """What a reader of Markdown or HTML sees: their spaces are one."""
    return " ".join(one_line(text).split())


def cells_of(text: str, kind: str) -> list[Token]:
    """The inline tokens within elements of a kind."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    return [inner for outer, inner in pairwise(tokens) if outer.type == f"{kind}_open"]


def read(token: Token) -> str:
    """The text of an inline token that holds nothing but text."""
    assert {child.type for child in token.children or ()} <= {"text"}
    return "".join(child.content for child in token.children or ())


@given(texts)
@example("a\\|b")
def test_markdown_shows_text_as_it_was_typed(text: str) -> None:
    written, seen = markdown_text(text), typed(text)
    if not seen:
        return
    for kind, source in (
        ("paragraph", f"{written}\n"),
        ("heading", f"## {written}\n"),
        ("paragraph", f"- {written}\n"),
    ):
        assert [read(token) for token in cells_of(source, kind)] == [seen]
    table = Table(columns=("x", text), rows=((text, "y"),)).to_markdown()
    assert [read(token) for token in cells_of(table, "th")] == ["x", seen]
    assert [read(token) for token in cells_of(table, "td")] == [seen, "y"]


@pytest.mark.parametrize("text", ["99.16% [98.92, 99.40]", "train.batch_size", "a - b", "3 seeds."])
def test_plain_sentences_stay_readable(text: str) -> None:
    assert markdown_text(text) == text


def no_images(name: str) -> Dataset:
    raise DataError(f"{name}: not here")


@pytest.fixture(scope="module")
def content() -> Content:
    """A study whose stages have these names and targets."""
    data = FOUR_STAGES.to_dict()
    data["stage"] = [
        {"name": text, "target": text, "change": {"train.epochs": 5 + i}}
        for i, text in enumerate(NASTY)
    ]
    data.pop("budget")
    result = made_result(Study.from_dict(data), [[made_rows([99.0] * 5)]] * len(NASTY))
    return Content(result=result, analysis=analyze(result, test_images=TEST_IMAGES))


def test_markdown_report(content: Content) -> None:
    rendered = render_markdown(content, folder=Path("ladder"))
    headings = [read(token) for token in cells_of(rendered, "heading")]
    assert headings.count("Target") == len(NASTY)
    assert [text for text in headings if text[:1].isdigit()] == [
        f"{i}. {typed(text)}" for i, text in enumerate(NASTY, 1)
    ]
    shown = {
        kind: [read(token) for token in cells_of(rendered, kind) if not has_markup(token)]
        for kind in ("td", "paragraph")
    }
    for text in NASTY:
        assert typed(text) in shown["td"]
        assert typed(text) in shown["paragraph"]
    links = [token for token in cells_of(rendered, "td") if has_markup(token)]
    assert len(links) == len(NASTY)  # the run folders


def has_markup(token: Token) -> bool:
    return bool({child.type for child in token.children or ()} - {"text"})


def test_html_report(content: Content) -> None:
    page = render_html(content, folder=Path("ladder"), load=no_images)
    parsed = Page(page)
    assert "script" not in {tag for tag, _, _ in parsed.elements}
    assert not set(page) & {chr(code) for code in (*range(9), *range(11, 32), 0x7F, 0x202E)}
    headings = [text for _, text in parsed.all("h2")]
    for i, text in enumerate(NASTY, 1):
        # A browser shows a line break as a space, as one_line does.
        assert f"Stage {i} {typed(text)}" in headings


def test_charts_are_well_formed(content: Content) -> None:
    charts = [curves_file(stage, target=content.analysis.target) for stage in content.stages]
    for chart in (*charts, ladder_file(content)):
        root = ET.fromstring(chart)
        titles = [element.text or "" for element in root.iter() if element.tag.endswith("title")]
    # The last one, the ladder, has a title for each stage.
    for i, text in enumerate(NASTY, 1):
        assert f"Stage {i}: {one_line(text)}" in titles


@pytest.mark.parametrize("terminal", [True, False])
def test_terminal(content: Content, terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, width=400, force_terminal=terminal, color_system=None)
    for stage in content.stages:
        console.print(stage_panel(stage, width=400, terminal=terminal))
    console.print(ladder_table(content, width=400, terminal=terminal))
    for text in NASTY:
        print_text(console, one_line(text))
    shown = out.getvalue()
    for text in NASTY:
        assert shown.count(one_line(text).strip()) >= 3
    assert not set(shown) & set("\x00\x1b\x7f\x85\u202e\u2066")


def test_figures(tmp_path: Path) -> None:
    """Neither mathematics nor a warning about a glyph, also on a logarithmic axis."""
    figure = new_figure(16, 12)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_xlabel("".join(NASTY))
    set_title(figure, "$x$")
    for i, text in enumerate(NASTY):
        axes.plot([1, 10], [i, i], label=f"{i}. {text}")
        axes.text(1, i, text)
    axes.legend()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert axes.texts[0].get_text() == "A$$B"
    assert not any(text.get_parse_math() for text in (*axes.texts, figure._suptitle))  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["a`b", "```", "a\n```\n# b", "$x '\"", "[red]", "\x1b[31m"])
def test_a_run_in_a_folder_of_this_name(text: str) -> None:
    """Its command is one block of code, whatever backticks the name has."""
    record = seeded_result(seeds=1).stages[0].records[0]
    result = as_study(replace(record, path=Path(text)))
    analysis = analyze(result, test_images=TEST_IMAGES, has_target=False)
    content = Content(result=result, analysis=analysis)
    rendered = render_markdown(content, folder=result.path)
    fences = [t for t in MarkdownIt("commonmark").parse(rendered) if t.type == "fence"]
    assert [fence.info for fence in fences] == ["sh"]
    again = shlex.quote(f"again-{text}")
    assert fences[0].content.startswith(f"kilonet train run.toml --out {visible(again)}")


@settings(max_examples=50)
@given(texts)
def test_text_tables_are_aligned(text: str) -> None:
    table = Table(columns=("x", text), rows=((text, "y"), ("1", text)), left=frozenset({1}))
    rule, *lines = str(table).split("\n")
    assert {cell_len(line) for line in lines} == {len(rule)}
