"""The documents name every threshold and statistic, and their examples are what the code says."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

import kilonet.analysis
from kilonet.analysis import analyze, compare, correct, describe
from kilonet.analysis.bootstrap import RESAMPLES
from kilonet.analysis.descriptive import AGREE_WITHIN, binomial_interval, spread_interval
from kilonet.analysis.pooling import Pool, planned_freedom
from kilonet.analysis.power import (
    PAIRED_SD_IN_BINOMIAL_ERRORS,
    POWER,
    WANTED,
    detectable_difference,
    seeds_needed,
    seeds_to_show,
)
from kilonet.report.json.records import study_json
from ladders import TEST_IMAGES, seeded_result

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "statistics.md").read_text("utf-8")
FLAT = " ".join(PAGE.split())


def row(start: str) -> list[float]:
    [line] = [line for line in PAGE.split("\n") if line.startswith(f"| {start}")]
    return [float(cell) for cell in line.split("|")[2:-1]]


FIRST, LAST = row("stage 1, batch"), row("stage 4, step")


def test_every_statistic_is_named() -> None:
    result = seeded_result(seeds=3)
    data = study_json(result, analyze(result, test_images=TEST_IMAGES))
    stage = data["stages"][3]
    elsewhere = {
        "number",
        "name",
        "target",
        "change",
        "parameters",
        "seeds",
        "findings",
        "next",
        "suggestions",
        "best_train_accuracy",
        "mean_last_five",
    }
    differences = stage["effect"]["final"].keys() - {"pairs"}
    for key in {*stage, *differences, *stage["best"], *data["sensitivity"]} - elsewhere:
        assert f"`{key}`" in PAGE, key


def test_the_examples_of_one_stage() -> None:
    found = describe(LAST)
    assert f"mean {found.mean:.3f}, standard deviation {found.sd:.3f}" in FLAT
    assert found.ci95 is not None
    assert found.bootstrap95 is not None
    assert "[{:.2f}, {:.2f}]. *Of all intervals".format(*found.ci95) in FLAT
    assert "the bootstrap has [{:.2f}, {:.2f}], its lower end".format(*found.bootstrap95) in FLAT
    assert f"end {found.disagreement:.2f} half widths below" in FLAT
    assert f"{AGREE_WITHIN} of Student's half width" in FLAT
    assert f"{RESAMPLES:,} draws" in FLAT


def test_the_examples_of_two_stages() -> None:
    found = compare(dict(enumerate(FIRST)), dict(enumerate(LAST)))
    shown = ", ".join(f"{d:+.2f}" for d in found.differences[:-1])
    assert f"{shown} and {found.differences[-1]:+.2f}" in FLAT
    assert f"mean {found.mean:.2f}, standard deviation {found.sd:.3f}." in FLAT
    [corrected] = correct([found], comparisons=5)
    assert corrected.confidence == pytest.approx(0.99)
    assert corrected.verdict == "better"


def test_how_many_seeds() -> None:
    # The bundled study's pooled spread, to the digits that the page has.
    assert "0.098 points over its three changes at a binomial error of 0.082" in FLAT
    assert pytest.approx(0.098 / 0.082, abs=0.01) == PAIRED_SD_IN_BINOMIAL_ERRORS
    pool = Pool(sd=0.0920, freedom=12, stages=4)
    freedom = partial(planned_freedom, pool=pool)
    seen = detectable_difference(sd=pool.sd, n=5, level=0.01, freedom=freedom(5))
    alone = detectable_difference(sd=pool.sd, n=5, level=0.01)
    assert f"own spread alone it would be {alone:.2f})" in FLAT
    assert (
        f"five seeds show a difference of {seen:.2f} points in {POWER:.0%}".replace("%", " %")
        in FLAT
    )
    assert (
        f"points would take {seeds_needed(WANTED, sd=pool.sd, level=0.01, freedom=freedom)}:"
        in FLAT
    )


def test_the_examples_of_wilson_and_of_the_seeds_for_this_difference() -> None:
    assert (
        "10,000 images [{:.2f}, {:.2f}] and".format(*binomial_interval(99.39, images=10_000))
        in FLAT
    )
    assert "right are in [{:.2f}, {:.2f}].".format(*binomial_interval(100, images=120)) in FLAT
    [found] = correct([compare({1: 0.0, 2: 0.0}, {1: 6.4, 2: 4.7})], comparisons=5)
    assert f"mean of {found.mean:.2f} and a standard deviation of {found.sd:.2f};" in FLAT
    assert seeds_to_show(found) == 4
    assert "first of five comparisons that takes four seeds, where no other stage has run." in FLAT
    two, four = (spread_interval(1.0, freedom=n - 1)[1] for n in (2, 4))
    assert f"may be {two:.0f} times as large" in FLAT
    assert f"of four {four:.1f} times" in FLAT


def test_every_threshold_is_documented() -> None:
    page = (DOCS / "analysis.md").read_text("utf-8")
    of_statistics = {"bootstrap", "descriptive", "differences", "pooling", "power", "conclusions"}
    for file in Path(str(kilonet.analysis.__file__)).parent.glob("*.py"):
        names = re.findall(r"^([A-Z][A-Z_]+) = ", file.read_text("utf-8"), re.MULTILINE)
        for name in () if file.stem in of_statistics else names:
            assert f"`{name}`" in page, f"{file.name}: {name}"
