"""What goes into docs/sprint.md of a race."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from file_modules import load

ROOT = Path(__file__).resolve().parents[2]
load("scripts/update_engine_doc.py")
update = load("scripts/update_sprint_doc.py")


def measured(mean: float, spread: float, *, interval: bool = True) -> dict[str, Any]:
    ends = [mean - spread, mean + spread]
    return {
        "values": ends,
        "mean": mean,
        "ci95": ends if interval else None,
        "min": ends[0],
        "max": ends[1],
    }


def race(*, interval: bool = True) -> dict[str, Any]:
    return {
        "cpu": "A processor",
        "threads": 2,
        "engine": "native 9.9 on CPU (avx512), 2 threads",
        "torch": "3.4",
        "stages": [
            {
                "name": "To 99 %",
                "parameters": 25794,
                "epochs": 1,
                "seeds": [1, 2],
                "variant": "channels_last",
                "kilonet": {
                    "accuracy": measured(99.051, 0.02, interval=interval),
                    "seconds": measured(0.5, 0.01, interval=interval),
                },
                "torch": {
                    "accuracy": measured(99.06, 0.03, interval=interval),
                    "seconds": measured(4.5, 0.1, interval=interval),
                },
                "ratio": {"median": 9.04, "min": 8.6, "max": 9.25},
            }
        ],
    }


def test_the_section_has_the_machine_a_sentence_and_the_table() -> None:
    section = update.section(race())
    lines = section.splitlines()
    assert lines[0] == (
        "Measured on A processor: native 9.9 on CPU (avx512), 2 threads; PyTorch 3.4, 2 threads. "
        "2 seeds a stage."
    )
    assert lines[2] == (
        "- **To 99 %**: a mean of 99.05 % (95 % interval 99.03 to 99.07) after 0.50 seconds, "
        "1 epoch of 25,794 parameters. PyTorch takes 9.0 times as long (8.6 to 9.2)."
    )
    assert "| To 99 %: kilonet | 99.05 | 99.03 to 99.07 |" in section
    assert "| 4.500 | 4.400 to 4.600 | 4.400 to 4.600 | 9.0 (8.6 to 9.2) |" in section


def test_one_seed_has_no_interval() -> None:
    section = update.section(race(interval=False))
    assert "a mean of 99.05 % after 0.50 seconds" in section
    assert "| To 99 %: kilonet | 99.05 | – |" in section


def test_the_page_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "sprint.md"
    page.write_text("before\n<!-- sprint -->\nold\n<!-- /sprint -->\nafter\n", "utf-8")
    found = tmp_path / "race.json"
    found.write_text(json.dumps(race()), "utf-8")
    monkeypatch.setattr(update, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["update_sprint_doc.py", str(found)])
    update.main()
    text = page.read_text("utf-8")
    assert text.startswith("before\n<!-- sprint -->\nMeasured on A processor")
    assert text.endswith("<!-- /sprint -->\nafter\n")
    assert "old" not in text
    found.write_text("{}", "utf-8")
    with pytest.raises(SystemExit, match="the race has no 'stages'"):
        update.main()


def test_the_page_of_today_has_the_section() -> None:
    text = (ROOT / "docs" / "sprint.md").read_text("utf-8")
    assert text.count("<!-- sprint -->") == text.count("<!-- /sprint -->") == 1
