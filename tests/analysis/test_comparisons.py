"""What decides about a stage: its measure by the learning rates, its spread, its family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from kilonet.analysis import Effect, analyze
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows

STUDY = FOUR_STAGES
Rates = Callable[[int], float]


def effects(*stages: list[list[float]], rates: tuple[Rates, ...] = ()) -> tuple[Effect | None, ...]:
    """Of a ladder whose runs have these accuracies, and each stage's rate by epoch."""
    histories = []
    for i, stage in enumerate(stages):
        rate = rates[i] if rates else lambda _: 0.01
        runs = [made_rows(curve) for curve in stage]
        histories.append([tuple(replace(row, lr=rate(row.epoch)) for row in rows) for rows in runs])
    result = made_result(STUDY, histories)
    return tuple(stage.effect for stage in analyze(result, test_images=TEST_IMAGES).stages)


def curves(seed: int, *, seeds: int = 3, epochs: int = 15) -> list[list[float]]:
    generator = np.random.default_rng(seed)
    return np.round(generator.normal(99.2, 0.1, (seeds, epochs)), 2).tolist()


def constant(epoch: int) -> float:
    return 0.01


def tenth(epoch: int) -> float:
    return 0.01 if epoch < 10 else 0.001


def early_step(epoch: int) -> float:
    return 0.1 if epoch < 9 else 0.01


def late_step(epoch: int) -> float:
    return 0.1 if epoch < 11 else 0.01


def cosine(epoch: int) -> float:
    return 0.01 * (15 - epoch) / 15


@pytest.mark.parametrize(
    ("before", "after", "decides"),
    [
        (constant, constant, "last_five"),
        # What happens before the last five does not count, their own rates do.
        (constant, early_step, "last_five"),
        (constant, late_step, "final"),
        # At another rate accuracy is elsewhere on its way.
        (constant, tenth, "final"),
        (tenth, tenth, "last_five"),
        (cosine, cosine, "final"),
        (constant, cosine, "final"),
    ],
)
def test_the_rates_of_the_last_epochs_decide(before: Rates, after: Rates, decides: str) -> None:
    _, effect = effects(curves(1), curves(2), rates=(before, after))
    assert effect is not None
    assert effect.decided_by == decides
    assert effect.deciding == (effect.last_five if decides == "last_five" else effect.final)
    words = "mean of the last 5 epochs" if decides == "last_five" else "final epoch"
    assert words in effect.where


def test_short_runs_have_only_their_end() -> None:
    _, effect = effects(curves(1, epochs=5), curves(2, epochs=5))
    assert effect is not None
    assert (effect.decided_by, effect.epochs) == ("final", 1)


def test_each_measure_has_its_pool_and_its_family() -> None:
    """Stage 4 has another rate: its comparison is of final epochs, in the family of five."""
    stages = [curves(key) for key in range(4)]
    found = effects(*stages, rates=(constant, constant, constant, tenth))
    third, fourth = found[2], found[3]
    assert third is not None
    assert fourth is not None
    assert (third.decided_by, fourth.decided_by) == ("last_five", "final")
    for effect, values in (
        (third, [[np.mean(curve[-5:]) for curve in stage] for stage in stages]),
        (fourth, [[curve[-1] for curve in stage] for stage in stages]),
    ):
        rows = np.array(values)
        pairs = [np.var(rows[i] - rows[j], ddof=1) for i in range(4) for j in range(i)]
        difference = rows[effect.against] - rows[effect.against - 1]
        variance = (2 * difference.var(ddof=1) + 4 * np.mean(pairs)) / 6
        p = 2 * stats.t.sf(abs(difference.mean()) / (variance / 3) ** 0.5, 6)
        assert effect.deciding.p_moderated == pytest.approx(p, rel=1e-6)
        assert effect.deciding.comparisons == 5
    # Corrected together: no two of one family are both held against 0.05 / 5 and shown.
    assert third.deciding.p_moderated == third.last_five.p_moderated
    assert fourth.deciding.p_moderated == fourth.final.p_moderated


def test_a_seed_that_fell_far_behind_spoils_no_other_comparison() -> None:
    """It does not count in the pool, and its own comparisons have their own spread."""
    stages = [curves(key, seeds=4) for key in range(4)]
    failed = [*stages[:3], [*stages[3][:3], [11.35] * 15]]
    _, second, third, fourth = effects(*failed)
    assert second is not None
    assert third is not None
    assert fourth is not None
    assert second.deciding.pool == third.deciding.pool
    assert second.deciding.pool is not None
    assert second.deciding.pool.sd < 0.2
    # Fifteen accuracies, four stages, four seeds but for one constant.
    assert second.deciding.pool.freedom == 15 - (4 + 4 - 1)
    assert fourth.deciding.pool is None
    assert fourth.deciding.p_moderated == fourth.deciding.p
    assert not fourth.deciding.shown
