"""The tests of stages: each against SciPy or brute force; the model's truth; the tables."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from file_modules import load
from kilonet.analysis import analyze
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows

tests = load("benchmarks/stage_tests.py")
power = load("benchmarks/stage_power.py")
seeds_of = load("benchmarks/stage_seeds.py")

NAMES = [test.name for test in tests.TESTS]
BEFORE, ADOPTED = "paired t, final epoch (before)", "moderated t, by the rates (now)"


def ladder(*, seeds: int = 4, key: int = 1):
    generator = np.random.default_rng(key)
    found, _ = power.draw(power.REAL, seeds=seeds, generator=generator).ladder(0.1)
    return found


def estimates(name: str, found):
    return next(test for test in tests.TESTS if test.name == name).estimate(found)


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        (BEFORE, lambda epochs: epochs[-1]),
        ("paired t, last 3 epochs", lambda epochs: epochs[-3:].mean()),
        ("paired t, last 5 epochs", lambda epochs: epochs.mean()),
        ("paired t, end of a line", lambda epochs: np.polyval(np.polyfit(range(5), epochs, 1), 4)),
    ],
)
def test_paired_tests_are_scipys(name: str, measure) -> None:
    found = ladder()
    values = np.array([[measure(epochs) for epochs in stage] for stage in found.accuracies])
    mine = estimates(name, found)
    for place, (i, j) in enumerate([(0, 1), (1, 2), (2, 3), (0, 2), (0, 3)]):
        expected = stats.ttest_rel(values[j], values[i])
        assert mine.p()[place] == pytest.approx(expected.pvalue, rel=1e-6)
        interval = expected.confidence_interval()
        ends = np.array([interval.low + 1e-6, interval.high - 1e-6])
        inside = [mine.covers(np.full(5, end))[place] for end in ends]
        outside = [mine.covers(np.full(5, end))[place] for end in ends + np.array([-2e-6, 2e-6])]
        assert (inside, outside) == ([True, True], [False, False])


def test_the_unpaired_test_is_welchs() -> None:
    found = ladder()
    last = found.accuracies[..., -1]
    expected = stats.ttest_ind(last[2], last[1], equal_var=False)
    assert estimates("unpaired t, final epoch", found).p()[1] == pytest.approx(expected.pvalue)


def test_pooled_and_moderated_by_hand() -> None:
    found = ladder(seeds=3)
    last = found.accuracies[..., -1]
    variances = [np.var(last[j] - last[i], ddof=1) for i in range(4) for j in range(i)]
    pooled = estimates("pooled t, final epoch", found)
    assert pooled.error == pytest.approx(np.full(5, (np.mean(variances) / 3) ** 0.5))
    assert set(pooled.freedom) == {6}
    own = np.var(last[1] - last[0], ddof=1)
    moderated = estimates("moderated t, final epoch", found)
    expected = ((2 * own + 4 * np.mean(variances)) / 6 / 3) ** 0.5
    assert (moderated.error[0], moderated.freedom[0]) == (pytest.approx(expected), 6)


def test_what_is_adopted_is_what_a_report_says() -> None:
    """The library's own analysis of the same accuracies, the last stage at a tenth of the rate."""
    found = ladder(seeds=3)
    histories = []
    for i, stage in enumerate(found.accuracies):
        rates = [0.01] * 10 + [0.001 if i == 3 else 0.01] * 5
        histories.append(
            [
                tuple(
                    replace(row, lr=lr)
                    for row, lr in zip(made_rows([90.0] * 10 + list(seed)), rates, strict=True)
                )
                for seed in stage
            ]
        )
    result = made_result(FOUR_STAGES, histories)
    analyzed = analyze(result, test_images=TEST_IMAGES).stages
    effects = [stage.effect for stage in analyzed[1:]]
    effects += [stage.effect_on_first for stage in analyzed[2:]]
    assert estimates(ADOPTED, found).p() == pytest.approx(
        [effect.deciding.p_moderated for effect in effects], rel=1e-6
    )
    assert [effect.deciding.shown for effect in effects] == tests.shown(
        estimates(ADOPTED, found).p()
    ).tolist()


def whole_differences(found) -> np.ndarray:
    """(seeds, all images) of stage 2 against stage 1."""
    part = found.right[1].astype(float) - found.right[0]
    return np.pad(part, ((0, 0), (0, found.images - part.shape[1])))


def test_images_only_is_students_over_the_images() -> None:
    found = ladder()
    per_image = 100 * whole_differences(found).mean(axis=0)
    mine = estimates("images only", found)
    assert mine.mean[0] == pytest.approx(per_image.mean())
    assert mine.error[0] == pytest.approx(stats.sem(per_image, ddof=0), rel=1e-9)


def test_the_mixed_model_is_a_two_way_analysis_of_variance() -> None:
    found = ladder()
    x = 100 * whole_differences(found)
    n, images = x.shape
    mean = x.mean()
    rest = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0) + mean
    seeds = images * np.var(x.mean(axis=1), ddof=1)
    of_images = n * np.var(x.mean(axis=0), ddof=1)
    residual = (rest**2).sum() / ((n - 1) * (images - 1))
    variance = max(seeds + of_images - residual, seeds, of_images) / (n * images)
    mine = estimates("seeds and images, mixed model", found)
    assert mine.mean[0] == pytest.approx(mean)
    assert mine.error[0] == pytest.approx(variance**0.5)


def test_the_two_way_bootstrap_is_what_resampling_gives() -> None:
    generator = np.random.default_rng(3)
    right = generator.random((4, 3, 12)) < 0.6
    found = tests.Ladder(accuracies=np.zeros((4, 3, 5)), right=right, images=12)
    x = 100.0 * whole_differences(found)
    drawn = 40_000
    rows = generator.multinomial(3, [1 / 3] * 3, drawn) / 3
    columns = generator.multinomial(12, [1 / 12] * 12, drawn) / 12
    means = np.einsum("ds,si,di->d", rows, x, columns)
    mine = estimates("seeds and images, bootstrap", found)
    assert mine.error[0] == pytest.approx(means.std(), rel=0.02)


def test_holm_by_hand() -> None:
    assert tests.shown(np.array([0.2, 0.009, 0.012, 0.9, 0.02])).tolist() == [0, 1, 1, 0, 0]
    assert not tests.shown(np.array([0.011, 0.0126, 0.5, 0.5, 0.5])).any()


def test_without_a_spread_nothing_is_claimed() -> None:
    none = tests.Estimates(mean=np.ones(2), error=np.zeros(2), freedom=np.ones(2))
    assert none.p().tolist() == [1, 1]
    assert none.covers(np.zeros(2)).all()


def test_the_truth_is_what_is_drawn() -> None:
    generator = np.random.default_rng(2)
    drawn = power.draw(power.REAL, seeds=150, generator=generator)
    for effect in (0.0, 0.3):
        found, truth = drawn.ladder(effect)
        error = 100 - power.REAL.error
        assert truth == pytest.approx([error, error, error + effect, error + effect], abs=1e-6)
        means = found.accuracies.mean(axis=(1, 2))
        spread = found.accuracies.mean(axis=2).std(axis=1, ddof=1) / 150**0.5
        assert (np.abs(means - truth) < 4 * spread).all()


def test_on_new_images_the_truth_is_the_mean_over_images() -> None:
    generator = np.random.default_rng(4)
    truths = [
        power.draw(power.REAL, seeds=2, generator=generator).ladder(0.1, new_images=True)[1]
        for _ in range(150)
    ]
    differences = np.array(truths)[:, 2] - np.array(truths)[:, 1]
    assert differences.mean() == pytest.approx(0.1, abs=4 * stats.sem(differences))
    assert differences.std() > 0.001


def test_the_tables_are_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- stage_power -->\nold\n<!-- /stage_power -->\nafter\n", "utf-8")
    monkeypatch.setattr(power, "SEEDS", (2, 3))
    monkeypatch.setattr(sys, "argv", ["stage_power.py", "--repetitions", "2", "--write", str(page)])
    power.main()
    written = page.read_text("utf-8")
    assert written.startswith("before\n<!-- stage_power -->\nIn % of 2 ladders")
    assert written.endswith("<!-- /stage_power -->\nafter\n")
    assert "old" not in written
    assert capsys.readouterr().out.strip() in written
    assert all(written.count(f"| {name} |") == 2 for name in NAMES)
    with pytest.raises(SystemExit, match="no section nothing"):
        power.fill(page, "nothing", "")


def test_small_studies_of_real_seeds() -> None:
    found = seeds_of.subsets(ladder(seeds=9), repetitions=3)
    assert [row[0] for row in found.rows] == NAMES
    # Of nine seeds no five can be picked twice.
    assert {len(cell.split()) for row in found.rows for cell in row[1:]} == {2}
    spreads = seeds_of.spreads(ladder(seeds=9))
    assert len(spreads.rows) == 4
    assert spreads.rows[0][7:10] == ("", "", "")


@pytest.mark.slow
def test_what_is_adopted_holds_and_shows_more() -> None:
    chosen = [test for test in tests.TESTS if test.name in (BEFORE, ADOPTED)]
    for seeds in (2, 3, 5):
        found = power.score(power.REAL, seeds=seeds, repetitions=600, tests=chosen)
        before, adopted = found[BEFORE], found[ADOPTED]
        # Three standard errors of a share of 600 at 5 % are 2.7 points.
        assert adopted.alarms <= 0.05 + 0.027
        assert adopted.covers >= 0.93
        assert adopted.power[0.2] > before.power[0.2] + 0.2
