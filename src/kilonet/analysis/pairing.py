"""The rungs of a ladder held against one another, as one family of comparisons."""

from __future__ import annotations

import math
from dataclasses import replace

from kilonet.analysis.comparison import OTHER_IMAGES, Difference, Effect, compare, correct
from kilonet.analysis.measurements import WINDOW
from kilonet.record import RunRecord
from kilonet.study import RungResult, StudyResult


def compare_rungs(result: StudyResult) -> tuple[list[Effect | None], list[Effect | None]]:
    """Of each rung: against the one before, and from the third on against the first.

    All are one family, as large as the planned ladder makes it, for the final epoch and again for
    the mean of the last five: what is shown while a study runs is not taken back at its end.
    """
    rungs, size = result.rungs, num_comparisons(len(result.study.rungs))
    pairs = [(i - 1, i) for i in range(1, len(rungs))] + [(0, i) for i in range(2, len(rungs))]
    alone = [_effect(rungs[i], rungs[j]) for i, j in pairs]
    final = correct([effect.final for effect in alone], comparisons=size)
    last_five = correct([effect.last_five for effect in alone], comparisons=size)
    effects: list[Effect | None] = [
        replace(effect, final=final[i], last_five=last_five[i]) for i, effect in enumerate(alone)
    ]
    steps = max(0, len(rungs) - 1)
    return [None, *effects[:steps]], [None, None, *effects[steps:]][: len(rungs)]


def _effect(before: RungResult, after: RungResult) -> Effect:
    old = {record.run.train.seed: record for record in before.records}
    new = {record.run.train.seed: record for record in after.records}
    epochs = min(WINDOW, *(len(record.rows) for record in (*old.values(), *new.values())))
    if tested_on(before) != tested_on(after):
        nothing = Difference(differences=(), verdict=OTHER_IMAGES)
        return Effect(
            against=before.rung.number, final=nothing, last_five=nothing, unpaired=0, epochs=epochs
        )
    return Effect(
        against=before.rung.number,
        final=compare(
            {seed: record.final_test_accuracy for seed, record in old.items()},
            {seed: record.final_test_accuracy for seed, record in new.items()},
        ),
        last_five=compare(
            {seed: mean_of_last(record, epochs) for seed, record in old.items()},
            {seed: mean_of_last(record, epochs) for seed, record in new.items()},
        ),
        unpaired=len(old.keys() ^ new.keys()),
        epochs=epochs,
    )


def tested_on(rung: RungResult) -> frozenset[str | None]:
    """What a rung was tested on, by fingerprint: accuracies on other images are no pair."""
    return frozenset(record.environment.get("data", {}).get("sha256") for record in rung.records)


def num_comparisons(rungs: int) -> int:
    """How many comparisons a ladder makes: each rung against the one before and the first.

    The second rung's two are one; a single rung's none counts as one, for its seeds' power.
    """
    return max(1, 2 * rungs - 3)


def mean_of_last(record: RunRecord, epochs: int) -> float:
    """Of test accuracy over a run's last epochs, or all where it has fewer."""
    last = [row.test_accuracy for row in record.rows[-epochs:]]
    return math.fsum(last) / len(last)
