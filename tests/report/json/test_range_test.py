"""The range test as plain data; its change is a line that a study takes."""

from __future__ import annotations

import tomllib
from pathlib import Path

from kilonet.report.json.range_test import change_line, range_json
from ladders import plain
from range_results import FOUND, NOTHING


def test_the_promised_keys() -> None:
    data = plain(range_json(FOUND, picture=Path("x.png")))
    assert (data["suggestion"], data["steepest"], data["minimum"]) == (0.002, 1e-3, 1e-1)
    assert tomllib.loads(data["change"]) == {"change": {"train.optimizer.lr": 0.002}}
    assert (data["validation_images"], data["exploded"], data["picture"]) == (6000, True, "x.png")
    assert len(data["points"]) == 8
    assert data["points"][0].keys() == {"lr", "train_loss", "smoothed_loss", "validation_loss"}


def test_without_a_suggestion() -> None:
    data = plain(range_json(NOTHING, picture=Path("x.png")))
    assert data["suggestion"] is data["minimum"] is None
    assert change_line(NOTHING) == data["change"] == ""
