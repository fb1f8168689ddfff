"""The coverage of the report's intervals and the error rate of its verdicts, by simulation."""

from __future__ import annotations

import sys

import pytest

from file_modules import load
from kilonet.analysis.power import power

# Not by its own name: there is a package coverage.
simulation = load("benchmarks/coverage.py", name="interval_coverage")

MILD = [population for population in simulation.POPULATIONS if population.mild]


def test_the_tables_are_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["coverage.py", "--repetitions", "4"])
    simulation.main()
    printed = capsys.readouterr().out
    assert "of 4 repetitions" in printed
    for population in simulation.POPULATIONS:
        assert printed.count(f"| {population.name} |") == len(simulation.SEEDS)


def test_truth_is_what_is_drawn() -> None:
    import numpy as np

    for population in simulation.POPULATIONS:
        drawn = population.draw(np.random.default_rng(3), (100_000, 2))
        error = drawn.std() / np.sqrt(drawn.size)
        assert abs(drawn.mean() - population.mean) < 4 * error, population.name
        assert drawn.max() <= 100


@pytest.mark.slow
@pytest.mark.parametrize("population", MILD, ids=lambda population: population.name)
@pytest.mark.parametrize("seeds", simulation.SEEDS)
def test_intervals_contain_the_mean(population, seeds: int) -> None:
    found = simulation.coverage(population, seeds=seeds)
    assert 0.93 <= found.student <= 0.97
    assert 0.93 <= found.bootstrap <= 0.97
    assert found.disagree <= 0.12
    if seeds <= 5:
        assert found.percentile < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seeds", simulation.SEEDS)
def test_a_long_tail_of_bad_seeds_costs_a_little(seeds: int) -> None:
    population = simulation.POPULATIONS[-1]
    assert not population.mild
    found = simulation.coverage(population, seeds=seeds)
    assert 0.90 <= found.student <= 0.95
    assert found.student <= found.bootstrap <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("seeds", simulation.SEEDS)
def test_ladders_without_effect_get_few_wrong_verdicts(seeds: int) -> None:
    found = simulation.ladders(seeds)
    # 5 % and three standard errors of a share of 2,000.
    assert found.corrected <= 0.05 + 3 * 0.0049
    assert found.uncorrected > 0.15
    # The effect is one standard deviation of the differences; 4 standard errors are 0.045.
    assert found.t_test == pytest.approx(power(1.0, sd=1.0, n=seeds), abs=0.045)
    if found.sign_flip is not None:
        assert found.sign_flip == pytest.approx(found.t_test, abs=0.045)
