"""What a console shows: framed on a terminal, plain in a pipe, whole at any width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, RenderableType

from kilonet.analysis import analyse
from kilonet.report.terminal import ladder_table, rung_panel
from kilonet.spec import Study, load_study
from ladders import TEST_IMAGES, made_result, made_rows, notebook_result, seeded_result


def shown(renderable: RenderableType, *, width: int, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=terminal, color_system=None, highlight=False
    )
    console.print(renderable)
    return out.getvalue()


def words(text: str) -> str:
    """The text without frames and line breaks."""
    return " ".join(text.replace("│", " ").split())


RESULT = seeded_result(seeds=3)
ANALYSIS = analyse(RESULT, test_images=TEST_IMAGES)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_rung_says_it_all_at_any_width(width: int, terminal: bool) -> None:
    ran, rung = RESULT.rungs[2], ANALYSIS.rungs[2]
    panel = rung_panel(ran, rung, budget=8000, next_rung="Step scheduler")
    text = shown(panel, width=width, terminal=terminal)
    assert max(map(len, text.split("\n"))) <= width
    assert "…" not in text
    flat = words(text)
    assert "3. Rotation" in flat
    for heading in ("Target", "Result", "Analysis", "Next"):
        assert heading in flat
    assert ran.rung.step.target in flat
    assert "7,864 (at most 8,000)" in flat
    for sentence in rung.sentences:
        assert sentence in flat
    assert "The study goes on with: Step scheduler." in flat
    assert "seed 3" in flat
    if width >= 80:
        assert rung.next_steps[0].line in flat


def test_suggestions_say_what_they_are_read_from() -> None:
    ran, rung = RESULT.rungs[2], ANALYSIS.rungs[2]
    flat = words(shown(rung_panel(ran, rung), width=80, terminal=False))
    assert flat.count("Read from the test set's rows") == 1
    assert "confirm a choice among these on data not used for it" in flat
    assert "data.validation" in flat
    # The last rung reached the target: nothing is suggested.
    flat = words(shown(rung_panel(RESULT.rungs[3], ANALYSIS.rungs[3]), width=80, terminal=False))
    assert "Read from the test set" not in flat


def test_frames_are_for_terminals() -> None:
    panel = rung_panel(RESULT.rungs[0], ANALYSIS.rungs[0])
    assert "╭" in shown(panel, width=80, terminal=True)
    for renderable in (panel, ladder_table(RESULT, ANALYSIS)):
        text = shown(renderable, width=80, terminal=False)
        assert text.isascii()
        assert "\x1b" not in text


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("terminal", [True, False])
def test_the_ladder(width: int, terminal: bool) -> None:
    text = shown(ladder_table(RESULT, ANALYSIS), width=width, terminal=terminal)
    assert max(map(len, text.split("\n"))) <= width
    assert "…" not in text
    for rung in ANALYSIS.rungs:
        low, high = rung.final.ci95 or (0.0, 0.0)
        assert f"{rung.final.mean:.2f}% [{low:.2f}, {high:.2f}]" in text
        assert rung.name in text
    flat = words(text)
    assert "chosen on the test set, so optimistic" in flat
    assert all(conclusion in flat for conclusion in ANALYSIS.conclusions)
    assert flat.count("better") >= 2


@pytest.mark.parametrize("terminal", [True, False])
def test_effects_stand_below_where_there_is_no_room(terminal: bool) -> None:
    headings = ("Against the rung before", "Since the first rung")
    # How many of the two are columns: a heading below ends in a colon.
    for width, columns in ((220, 2), (150, 1), (100, 0)):
        text = shown(ladder_table(RESULT, ANALYSIS), width=width, terminal=terminal)
        assert [f"{heading}:" in text for heading in headings] == [columns < 1, columns < 2]
        flat = words(text)
        assert all(heading in flat for heading in headings)
        for rung in ANALYSIS.rungs[2:]:
            assert rung.effect_on_first is not None
            ends = "[{:+.2f}, {:+.2f}]".format(*(rung.effect_on_first.final.interval or (0, 0)))
            assert f"{ends} better" in flat


def test_one_seed() -> None:
    result = notebook_result()
    analysis = analyse(result, test_images=TEST_IMAGES)
    flat = words(shown(ladder_table(result, analysis), width=80, terminal=False))
    assert "2. Dropout: -0.01 (one seed)" in flat
    assert "nothing can be concluded about the steps" in flat
    panel = rung_panel(result.rungs[1], analysis.rungs[1])
    flat = words(shown(panel, width=120, terminal=False))
    assert "no (99.07% no, 99.19% no, 99.26% no)" in flat
    assert "One seed: nothing can be concluded about the step." in flat


def test_a_users_words_are_not_markup() -> None:
    data = load_study("mnist-8k").to_dict()
    data["step"][0] |= {"name": "A [red]step[/red] " + "with a long name " * 3, "target": "[bold]x"}
    study = Study.from_dict(data)
    result = made_result(study, [[made_rows([99.0] * 15)]])
    analysis = analyse(result, test_images=TEST_IMAGES)
    for terminal in (True, False):
        text = shown(rung_panel(result.rungs[0], analysis.rungs[0]), width=100, terminal=terminal)
        assert "1. A [red]step[/red]" in text
        assert "[bold]x" in text
        text = shown(ladder_table(result, analysis), width=80, terminal=terminal)
        assert max(map(len, text.split("\n"))) <= 80
        assert "[red]step[/red]" in text
