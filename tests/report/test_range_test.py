"""What the range test prints and draws."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from kilonet.range_test import RangePoint, RangeTest, Suggestion
from kilonet.report.range_test import change_line, range_figure, range_json, range_text

FOUND = RangeTest(
    points=tuple(
        RangePoint(lr=10.0**e, loss=abs(e + 1) + 0.5, validation_loss=abs(e + 1.0) + 0.4)
        for e in range(-6, 2)
    ),
    smoothed=tuple(abs(e + 1) + 0.5 for e in range(-6, 2)),
    engine="native 1 on cpu",
    key="train.optimizer.lr",
    num_validation=6000,
    held_out=True,
    exploded=True,
    suggestion=Suggestion(steepest=1e-3, minimum=1e-1, best_validation=1e-1, lr=0.002),
)
NOTHING = dataclasses.replace(FOUND, suggestion=None, exploded=False, held_out=False)


def test_text() -> None:
    lines = range_text(FOUND).splitlines()
    assert lines[1].split()[:3] == ["1.0e-06", "5.5000", "5.4000"]
    bars = [line.count("█") for line in lines[1:9]]
    # 40 characters for 5.5; the least, 0.5, is 40 · 0.5 / 5.5 = 3.6 of them.
    assert (max(bars), min(bars)) == (40, 4)
    assert lines[4].endswith("< suggestion, steepest descent")
    assert lines[6].endswith("< least training loss, least validation loss")
    text = "\n".join(lines)
    assert "8 steps, stopped at 1.0e+01, where the loss exploded." in text
    assert "6,000 training images held out for this test (10%); never the test set." in text
    assert 'In a study:   change = { "train.optimizer.lr" = 0.002 }' in text
    assert "For one run:  --set train.optimizer.lr=0.002" in text


def test_text_tells_of_a_limit_only_where_there_is_one() -> None:
    limit = "a tenth of the minimum, but no more than where the validation loss is least."
    assert limit in range_text(FOUND)
    assert FOUND.suggestion is not None
    free = dataclasses.replace(FOUND.suggestion, limited=False)
    text = range_text(dataclasses.replace(FOUND, suggestion=free))
    assert "the steepest and a tenth of the minimum.\n" in text


def test_text_for_a_narrow_screen() -> None:
    wide, narrow = range_text(FOUND), range_text(FOUND, width=80)
    assert max(map(len, narrow.splitlines())) <= 80
    assert [w for w in narrow.split() if "█" not in w] == [w for w in wide.split() if "█" not in w]
    # 80 columns less the 66 beside a bar.
    assert max(line.count("█") for line in narrow.splitlines()) == 14


def test_text_without_a_suggestion() -> None:
    text = range_text(NOTHING)
    assert text.endswith("Nothing to suggest: at no rate did the validation loss fall.")
    assert "to its end" in text
    assert "6,000 validation images; never" in text
    assert "<" not in text
    assert change_line(NOTHING) == ""
    assert range_json(NOTHING, picture=Path("x.png"))["suggestion"] is None


@pytest.mark.parametrize("found", [FOUND, NOTHING], ids=["found", "nothing"])
def test_the_same_test_gives_the_same_picture(found: RangeTest, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        range_figure(found, tmp_path / name)
    picture = (tmp_path / "a.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert picture == (tmp_path / "b.png").read_bytes()
