"""Which stages are compared, by what measure, and with which spread.

The final epoch is what is shipped. At a learning rate that stands still it is one draw of a network
that moves from epoch to epoch, and the mean of the last five epochs says the same with less luck.
So that mean decides where both stages train these epochs at one and the same rate. Elsewhere it
would be another question: while a rate falls accuracy climbs, and at a lower rate it has settled,
so that means would compare how early two schedules fall. There the final epoch decides. The rule
reads the learning rates alone, never an accuracy. docs/statistics.md has the coverage and power.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean

from kilonet.analysis.differences import Difference, compare, correct
from kilonet.analysis.failed_seeds import separate_failed
from kilonet.analysis.findings import Verdict
from kilonet.analysis.measurements import window_of
from kilonet.analysis.pooling import Pool, pool_spread
from kilonet.formatting import last_epochs
from kilonet.storage.record import Split
from kilonet.study import StageResult, StudyResult


class DecidedBy(StrEnum):
    """What the verdict about a stage is read from: the names are those of :class:`Effect`."""

    FINAL = "final"
    LAST_FIVE = "last_five"


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A stage against an earlier one: the one before, or the first.

    Attributes:
        against: number of that earlier stage.
        final: difference of the final accuracies.
        last_five: difference of the mean accuracies of the last five epochs: steadier.
        decided_by: which of the two decides: the last five where both stages train them at the same
            learning rate, else the final epoch.
        deciding: that difference, corrected with the deciding ones of the other comparisons. Its
            verdict is the stage's.
        unpaired: seeds that only one of the two stages has, left out of the differences.
        epochs: how many ``last_five`` is the mean of, in both stages: fewer than five where runs of
            either are too short (:func:`~kilonet.analysis.measurements.window_of`), down to 1.
        split: the images that accuracies are measured on.
    """

    against: int
    final: Difference
    last_five: Difference
    decided_by: DecidedBy
    deciding: Difference
    unpaired: int
    epochs: int
    split: Split = Split.TEST

    @property
    def where(self) -> str:
        """``at the final epoch`` or ``in the mean of the last 5 epochs``: what decides."""
        if self.decided_by is DecidedBy.FINAL:
            return "at the final epoch"
        return f"in the mean of {last_epochs(self.epochs)}"


def compare_stages(
    result: StudyResult, *, splits: Sequence[Split], test_images: int
) -> tuple[list[Effect | None], list[Effect | None]]:
    """Of each stage: against the one before, and from the third on against the first.

    All are one family, as large as the planned ladder makes it: for the final epoch, for the mean
    of the last five, and for what decides. Stages that are measured on the same images pool their
    spread; one that is still to come can change it, and with it a verdict that is near its limit.

    Args:
        result: the study, or the part of it that has run.
        splits: what each stage's accuracies are read from.
        test_images: how many the test set has, where the records do not say.
    """
    stages = [
        _Stage(stage, split, test_images)
        for stage, split in zip(result.stages, splits, strict=True)
    ]
    size = num_comparisons(len(result.study.stages))
    pairs = [(i - 1, i) for i in range(1, len(stages))] + [(0, i) for i in range(2, len(stages))]
    alone = [_compare(stages[i], stages[j], among=stages) for i, j in pairs]
    final = correct([effect.final for effect in alone], comparisons=size)
    last_five = correct([effect.last_five for effect in alone], comparisons=size)
    deciding = correct([effect.deciding for effect in alone], comparisons=size)
    effects: list[Effect | None] = [
        replace(effect, final=final[i], last_five=last_five[i], deciding=deciding[i])
        for i, effect in enumerate(alone)
    ]
    after_first = max(0, len(stages) - 1)
    return [None, *effects[:after_first]], [None, None, *effects[after_first:]][: len(stages)]


class _Stage:
    """A stage's accuracies by seed, and which of its seeds fell far behind.

    ``ends_last``: whether every run's final weights are its last epoch's.
    """

    def __init__(self, stage: StageResult, split: Split, test_images: int) -> None:
        records = stage.records
        images = split.num_images(records[0], default=test_images)
        _, failed = separate_failed(records, images=images, split=split)
        self.number, self.split = stage.stage.number, split
        self.images = images_of(stage, split)
        self.curves = {record.run.train.seed: split.accuracies(record) for record in records}
        self.finals = {record.run.train.seed: split.final(record) for record in records}
        self.ends_last = all(record.final is record.rows[-1] for record in records)
        self.failed = {record.run.train.seed for record in failed}
        self.epochs = min(map(len, self.curves.values()))
        self.rates = [[row.lr for row in record.rows] for record in records]

    def last_rates(self, epochs: int) -> set[float]:
        """The learning rates of the last ``epochs`` of every run."""
        return {rate for rates in self.rates for rate in rates[-epochs:]}

    def means(self, epochs: int, *, trained: bool = False) -> dict[int, float]:
        """Seed → mean of its last epochs; ``trained``: without seeds that fell far behind.

        Of one epoch it is that of the final weights, which early stopping may take from another.
        """
        left_out = self.failed if trained else set[int]()
        return {
            seed: self.finals[seed] if epochs == 1 else mean_of_last(curve, epochs)
            for seed, curve in self.curves.items()
            if seed not in left_out
        }


def _compare(old: _Stage, new: _Stage, *, among: Sequence[_Stage]) -> Effect:
    epochs = window_of(min(old.epochs, new.epochs))
    # Accuracies on other images are no pair.
    if old.images != new.images:
        final = last_five = Difference(differences=(), verdict=Verdict.OTHER_IMAGES)
    else:
        same = [stage for stage in among if stage.images == new.images]
        final = compare(old.means(1), new.means(1), pool=_pool(old, new, same=same, epochs=1))
        window = window_of(min(stage.epochs for stage in same))
        pool = _pool(old, new, same=same, epochs=window)
        last_five = compare(old.means(epochs), new.means(epochs), pool=pool)
    one_rate = len(old.last_rates(epochs) | new.last_rates(epochs)) == 1
    steady = epochs > 1 and one_rate and old.ends_last and new.ends_last
    return Effect(
        against=old.number,
        final=final,
        last_five=last_five,
        decided_by=DecidedBy.LAST_FIVE if steady else DecidedBy.FINAL,
        deciding=last_five if steady else final,
        unpaired=len(old.curves.keys() ^ new.curves.keys()) if final.n else 0,
        epochs=epochs,
        split=new.split,
    )


def _pool(old: _Stage, new: _Stage, *, same: Sequence[_Stage], epochs: int) -> Pool | None:
    """The spread of the stages on these images, of the seeds that trained.

    None where a seed of the two stages fell far behind: such differences spread like no others.
    """
    if old.failed or new.failed:
        return None
    return pool_spread([stage.means(epochs, trained=True) for stage in same])


def images_of(stage: StageResult, split: Split) -> frozenset[tuple[str, float, int]]:
    """The images that a stage's accuracies are measured on, by fingerprint."""
    return frozenset(map(split.fingerprint, stage.records))


def num_comparisons(stages: int) -> int:
    """How many comparisons a ladder makes: each stage against the one before and the first.

    The second stage's two are one; a single stage counts as one, for its seeds' power.
    """
    return max(1, 2 * stages - 3)


def mean_of_last(accuracies: Sequence[float], epochs: int) -> float:
    """Over a run's last epochs."""
    return fmean(accuracies[-epochs:])
