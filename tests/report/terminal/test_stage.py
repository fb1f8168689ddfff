"""A stage and the ladder on a console: framed on a terminal, plain in a pipe, at any width."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console, RenderableType

from kilonet.analysis import Finding, analyze, measure_errors
from kilonet.report.content import Content
from kilonet.report.terminal.ladder import ladder_table
from kilonet.report.terminal.stage import IMPORTANCE, most_important, stage_panel
from kilonet.spec import Study
from kilonet.study import StudyResult
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows, notebook_result, seeded_result


def content_of(result: StudyResult) -> Content:
    return Content(result=result, analysis=analyze(result, test_images=TEST_IMAGES))


def shown(renderable: RenderableType, *, width: int, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=terminal, color_system=None, highlight=False
    )
    console.print(renderable)
    return out.getvalue()


def panel(content: Content, number: int, *, width: int = 80, terminal: bool = False) -> str:
    stage = stage_panel(content.stages[number - 1], width=width, terminal=terminal)
    return shown(stage, width=width, terminal=terminal)


def ladder(content: Content, *, width: int, terminal: bool) -> str:
    table = ladder_table(content, width=width, terminal=terminal)
    return shown(table, width=width, terminal=terminal)


def words(text: str) -> str:
    """The text without frames and line breaks."""
    return " ".join(text.replace("│", " ").split())


CONTENT = content_of(seeded_result(seeds=3))


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_stage_is_whole_at_any_width(width: int, terminal: bool) -> None:
    stage = CONTENT.stages[2]
    text = panel(CONTENT, 3, width=width, terminal=terminal)
    assert max(map(len, text.split("\n"))) <= width
    assert "…" not in text
    assert ("╭" in text) == terminal
    assert terminal or text.isascii()
    flat = words(text)
    for heading in ("Target", "Result", "Effect", "Findings"):
        assert heading in flat
    assert "Next" not in flat  # its heading follows
    assert stage.result.stage.target in flat
    assert stage.analysis.effect is not None
    assert stage.analysis.effect.final.verdict in flat
    assert most_important(stage.analysis)[0].sentence in flat


def test_the_last_stage_suggests_one_change() -> None:
    data = FOUR_STAGES.to_dict()
    data["stage"] = data["stage"][:1]
    content = content_of(made_result(Study.from_dict(data), [[made_rows([99.0] * 15, train=99.2)]]))
    flat = words(panel(content, 1))
    first, second, *_ = content.stages[0].suggestions
    assert first.title in flat
    assert first.line in flat
    assert second.title not in flat
    assert "data.validation" in flat


def finding(kind: str, verdict: str) -> Finding:
    return Finding(kind=kind, verdict=verdict, sentence=f"{kind}: {verdict}.")  # type: ignore[arg-type]


def test_problems_come_first_and_effects_have_their_own_place() -> None:
    stage = CONTENT.stages[2].analysis
    found = [
        finding("target", "not reached"),
        finding("fit", "fits"),
        finding("gap", "overfits"),
        finding("trend", "level"),
        finding("effect", "worse"),
        finding("since first", "worse"),
        finding("fluctuation", "fluctuates"),
        finding("seeds", "far behind"),
        finding("calibration", "calibrated"),
    ]
    changed = replace(stage, findings=tuple(found))
    assert [(f.kind, f.verdict) for f in most_important(changed)] == [
        ("seeds", "far behind"),
        ("target", "not reached"),
        ("gap", "overfits"),
    ]
    calm = replace(stage, findings=(found[3], found[8], found[1], found[4]))
    assert [f.kind for f in most_important(calm)] == ["fit", "trend", "calibration"]


def test_every_kind_has_its_place() -> None:
    content = content_of(notebook_result())
    kinds = {f.kind for c in (content, CONTENT) for s in c.stages for f in s.analysis.findings}
    assert kinds <= {*IMPORTANCE, "effect", "climb", "since first"}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("terminal", [True, False])
def test_the_ladder(width: int, terminal: bool) -> None:
    text = ladder(CONTENT, width=width, terminal=terminal)
    assert max(map(len, text.split("\n"))) <= width
    assert "…" not in text
    assert terminal or text.isascii()
    flat = words(text)
    for stage in CONTENT.analysis.stages:
        low, high = stage.final.ci95 or (0.0, 0.0)
        assert f"{stage.final.mean:.2f}% [{low:.2f}, {high:.2f}]" in text
        assert stage.name in text
    assert CONTENT.analysis.conclusions[0] in flat


@pytest.mark.parametrize("terminal", [True, False])
def test_effects_are_listed_where_there_is_no_room(terminal: bool) -> None:
    headings = ("Against the stage before", "Since the first stage")
    # How many of the two are columns: a heading below ends in a colon.
    for width, columns in ((220, 2), (150, 1), (100, 0)):
        text = ladder(CONTENT, width=width, terminal=terminal)
        assert [f"{heading}:" in text for heading in headings] == [columns < 1, columns < 2]
        flat = words(text)
        assert all(heading in flat for heading in headings)
        for stage in CONTENT.analysis.stages[2:]:
            assert stage.effect_on_first is not None
            ends = "[{:+.2f}, {:+.2f}]".format(*(stage.effect_on_first.deciding.interval or (0, 0)))
            assert f"{ends} better" in flat


@pytest.mark.parametrize("terminal", [True, False])
def test_a_users_words_are_not_markup(terminal: bool) -> None:
    data = FOUR_STAGES.to_dict()
    data["stage"][0] |= {
        "name": "A [red]stage[/red] " + "with a long name " * 3,
        "target": "[bold]x",
    }
    content = content_of(made_result(Study.from_dict(data), [[made_rows([99.0] * 15)]]))
    text = panel(content, 1, width=100, terminal=terminal)
    assert ("1. A [red]stage[/red]" in text) == terminal
    assert "[bold]x" in text
    text = ladder(content, width=80, terminal=terminal)
    assert max(map(len, text.split("\n"))) <= 80
    assert "[red]stage[/red]" in text


def test_a_stage_without_a_change_is_the_base_run() -> None:
    study = FOUR_STAGES.replace({"stage": []})
    content = content_of(made_result(study, [[made_rows([99.0, 99.1, 99.2])]]))
    assert "Target    The base run, unchanged." in panel(content, 1)


def test_a_stage_with_a_split_and_one_large_class_takes_a_screen_too() -> None:
    """Less the line of each seed and the heading: 34 lines of 80 columns with three seeds."""
    data = FOUR_STAGES.to_dict()
    data["stage"][0]["change"] |= {"data.validation": 5000}
    study = Study.from_dict(data)
    labels = np.repeat([0, 1], [380, 20])
    errors = measure_errors([np.tile([1.0, 0.0], (400, 1))] * 3, labels)
    rows = [
        tuple(
            replace(row, validation_accuracy=94.0 + seed / 10 - epoch % 2)
            for epoch, row in enumerate(made_rows([95.0 - seed / 10] * 15, train=94.0))
        )
        for seed in range(3)
    ]
    result = made_result(study, [rows] * 3, test_images=400)
    analysis = analyze(result, test_images=400, errors=[errors] * 3)
    content = Content(result=result, analysis=analysis)
    for number in (1, 2, 3):
        text = panel(content, number, terminal=True)
        assert len(text.splitlines()) <= 34 - 5
        assert text.index("Final validation accuracy") < text.index("Final test accuracy")
        assert "Class 1 is never predicted" in words(text)
