"""One run with several seeds as text and as JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kilonet.report.json.seeds import seeds_json
from kilonet.report.terminal.seeds import seeds_text
from kilonet.training.seeds import SeedRuns
from ladders import FOUR_STAGES, made_record, made_rows

[FIRST, *_] = FOUR_STAGES.stages


def found(*, validation: tuple[float, ...] = (), failures: tuple[str, ...] = ()) -> SeedRuns:
    """Two seeds that end at 98 and 99 %."""
    records = []
    for seed, final in enumerate((98.0, 99.0), start=1):
        rows = made_rows([90.0, final])
        if validation:
            rows = (*rows[:-1], replace(rows[-1], validation_accuracy=validation[seed - 1]))
        records.append(made_record(FIRST, rows, seed=seed))
    return SeedRuns(records=tuple(records), failures=failures)


# The half width is t(0.975, 1 degree of freedom) = 12.706 times sd / √2 = 0.5, cut at 100 %.
INTERVAL = "98.50% [92.15, 100.00] (95% interval over the seeds)"


def test_a_line_a_seed_then_the_mean() -> None:
    runs = found()
    folders = [Path(record.path) for record in runs.records]
    assert seeds_text(runs, begun=folders[1:]).splitlines() == [
        f"Seed 1, trained before: final test accuracy 98.00%, {folders[0]}",
        f"Seed 2: final test accuracy 99.00%, {folders[1]}",
        f"Mean final test accuracy: {INTERVAL}",
    ]


def test_held_out_images_come_first() -> None:
    runs = found(validation=(97.0, 97.0))
    lines = seeds_text(runs, begun=[record.path for record in runs.records]).splitlines()
    assert lines[0].startswith("Seed 1: final validation accuracy 97.00%, final test accuracy 98")
    assert lines[2].startswith("Mean final validation accuracy: 97.00% (equal in every seed)")
    assert lines[3].startswith("Mean final test accuracy: 98.50%")


def test_json() -> None:
    data = seeds_json(found(validation=(96.0, 97.0)))
    assert [run["seed"] for run in data["runs"]] == [1, 2]
    assert [run["final_test_accuracy"] for run in data["runs"]] == [98, 99]
    assert (data["mean"], data["minimum"], data["maximum"]) == (98.5, 98, 99)
    assert data["ci95"] == [pytest.approx(98.5 - 12.706 * 0.5, abs=1e-3), 100]
    assert data["validation"]["mean"] == 96.5
    assert data["failures"] == []
    assert "validation" not in seeds_json(found())


def test_no_mean_where_a_seed_failed_as_it_would_be_biased() -> None:
    runs = found(failures=("seed 3: epoch 0: the loss is nan",))
    assert "Mean" not in seeds_text(runs, begun=())
    data = seeds_json(runs)
    assert data["failures"] == ["seed 3: epoch 0: the loss is nan"]
    assert "mean" not in data
    assert "validation" not in data


def test_one_seed_has_no_interval() -> None:
    runs = SeedRuns(records=found().records[:1], failures=())
    text = seeds_text(runs, begun=())
    assert text.endswith("Mean final test accuracy: 98.00% (one seed, so no interval)")
    assert seeds_json(runs)["ci95"] == [None, None]
