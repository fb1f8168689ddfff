"""How often each test of a stage's effect is right: its coverage, its false alarms, its power.

A ladder of four stages is drawn many times from a model of seeds and images whose truth is known,
and given to every test of stage_tests.py:

    python benchmarks/stage_power.py

The model is fitted to the bundled study's seeds: stage_seeds.py prints its figures beside theirs.
An image is right where a sum is above zero: the image's own ease, what the stage makes of that
image, what this training and what this epoch make of it, and shifts of all images by the seed, by
the training and by the epoch. All are normal, and independent but for what they share.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from stage_tests import LAST, TESTS, Ladder, Test, comparisons, shown

from kilonet.table import Table

SEEDS = (2, 3, 5, 10, 20)
EFFECTS = (0.05, 0.1, 0.2, 0.3)
REPETITIONS = 1000
IMAGES = 10_000
HARD = 600
"""Images that are drawn, the hardest; the others are right in every network."""

TESTED = 1
"""The comparison that has the effect: stage 3 against stage 2."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """How a stage's accuracies come about; spreads in units of an image's whole luck.

    Attributes:
        training: share of an image's luck that a training keeps from epoch to epoch; the rest is
            drawn anew in each epoch.
        shift, epoch_shift: standard deviations of a training's and of an epoch's shift of all
            images.
    """

    training: float
    shift: float
    epoch_shift: float


@dataclass(frozen=True, kw_only=True)
class Model:
    """Where ladders are drawn from.

    Attributes:
        name: for the tables.
        stages: in order.
        error: mean share of wrong images, percent, before any effect.
        ease: standard deviation of the images' ease.
        change: standard deviation of what a stage makes of an image, beside its mean.
        seed_shift: of the shift that a seed has in all stages.
    """

    name: str
    stages: tuple[Stage, ...]
    error: float
    ease: float
    change: float
    seed_shift: float


MOVING = Stage(training=0.15, shift=0.0, epoch_shift=0.06)
"""At a constant learning rate: each epoch is nearly a new draw."""

CALM = Stage(training=0.85, shift=0.0, epoch_shift=0.0)
"""At a tenth of it."""

REAL = Model(
    name="as the real ladder",
    stages=(MOVING, MOVING, MOVING, CALM),
    error=0.7,
    ease=2.5,
    change=0.2,
    seed_shift=0.05,
)
"""Fitted by hand to the bundled study's spreads."""

UNEQUAL = replace(
    REAL,
    name="with a third stage that spreads more than twice as much",
    stages=(MOVING, MOVING, replace(MOVING, shift=0.19), CALM),
)
"""Where the pooled spread is not that of every stage."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A ladder but for its effect, so that the same luck serves all effects.

    Attributes:
        model: where it is drawn from.
        eases: (stages, HARD) of this ladder's images, with what each stage makes of them.
        luck: (stages, seeds, epochs, HARD) all that is drawn beside them.
    """

    model: Model
    eases: np.ndarray
    luck: np.ndarray

    def ladder(self, effect: float, *, new_images: bool = False) -> tuple[Ladder, np.ndarray]:
        """The ladder, and the true accuracy of each stage on these images, percent.

        From stage 3 on all are better by ``effect`` points: on these very images, or with
        ``new_images`` on average over all images, so that on these it may be more or less.
        """
        model, eases = self.model, self.eases.copy()
        chances = np.empty_like(eases)
        for i, stage in enumerate(model.stages):
            spread = (1 + model.seed_shift**2 + stage.shift**2 + stage.epoch_shift**2) ** 0.5
            wrong = (model.error - (effect if i > TESTED else 0.0)) / 100 * IMAGES
            if new_images:
                # What the stage makes of an image, averaged out, is luck too.
                whole = (spread**2 + model.change**2) ** 0.5
                eases[i] += _offset(tuple(_hard(model) / whole), wrong) * whole
            else:
                eases[i] += _shift(eases[i] / spread, wrong) * spread
            chances[i] = ndtr(-eases[i] / spread)
        right = self.luck + eases.astype(np.float32)[:, None, None] > 0
        accuracies = 100 - 100 * (HARD - right.sum(axis=-1)) / IMAGES
        ladder = Ladder(accuracies=accuracies, right=right[:, :, -1], images=IMAGES)
        return ladder, 100 - 100 * chances.sum(axis=1) / IMAGES


def draw(model: Model, *, seeds: int, generator: np.random.Generator) -> Draw:
    """All but the effect."""
    stages, normal = len(model.stages), generator.standard_normal
    eases = _hard(model) + model.change * normal((stages, HARD))

    def of_stages(values: Iterable[float]) -> np.ndarray:
        return np.array(list(values), np.float32)[:, None, None, None]

    luck = normal((stages, seeds, LAST, HARD), dtype=np.float32)
    luck *= of_stages((1 - stage.training) ** 0.5 for stage in model.stages)
    training = normal((stages, seeds, 1, HARD), dtype=np.float32)
    luck += of_stages(stage.training**0.5 for stage in model.stages) * training
    shifts = normal((stages, seeds, 1, 1), dtype=np.float32)
    luck += of_stages(stage.shift for stage in model.stages) * shifts
    epochs = normal((stages, seeds, LAST, 1), dtype=np.float32)
    luck += of_stages(stage.epoch_shift for stage in model.stages) * epochs
    luck += np.float32(model.seed_shift) * normal((1, seeds, 1, 1), dtype=np.float32)
    return Draw(model=model, eases=eases, luck=luck)


@cache
def _hard(model: Model) -> np.ndarray:
    """(HARD) the eases of the hardest images: of all they are even over the normal distribution."""
    return model.ease * ndtri((np.arange(HARD) + 0.5) / IMAGES)


@cache
def _offset(eases: tuple[float, ...], wrong: float) -> float:
    return _shift(np.array(eases), wrong)


def _shift(eases: np.ndarray, wrong: float) -> float:
    """The shift of all eases at which so many images are wrong on average."""
    return float(brentq(lambda shift: ndtr(-(eases + shift)).sum() - wrong, -20, 20))


@dataclass(frozen=True, kw_only=True)
class Score:
    """Of a test, a model and a number of seeds: shares of the repetitions.

    Attributes:
        covers: where nothing has an effect, 95 % intervals that contain the true difference on
            this test set, of all comparisons.
        worst: of the comparison with the fewest.
        covers_new: where the change has none on average over all images, intervals of stage 3
            against stage 2 that contain that zero.
        alarms: ladders without any effect with a wrong verdict, corrected as in the report.
        power: effect → stage 3 called better than stage 2, corrected.
    """

    covers: float
    worst: float
    covers_new: float
    alarms: float
    power: dict[float, float]


def score(
    model: Model, *, seeds: int, repetitions: int = REPETITIONS, tests: Sequence[Test] = TESTS
) -> dict[str, Score]:
    """Draw and count; every test gets the same ladders."""
    generator = np.random.Generator(np.random.Philox([seeds, len(model.name)]))
    nothing: dict[str, list[tuple[np.ndarray, bool]]] = {test.name: [] for test in tests}
    new: dict[str, list[bool]] = {test.name: [] for test in tests}
    power: dict[str, dict[float, list[bool]]] = {
        test.name: {effect: [] for effect in EFFECTS} for test in tests
    }
    for _ in range(repetitions):
        drawn = draw(model, seeds=seeds, generator=generator)
        ladder, truth = drawn.ladder(0.0)
        true = np.array([truth[j] - truth[i] for i, j in comparisons(len(truth))])
        for test in tests:
            found = test.estimate(ladder)
            nothing[test.name].append((found.covers(true), bool(shown(found.p()).any())))
        ladder, _ = drawn.ladder(0.0, new_images=True)
        for test in tests:
            new[test.name].append(bool(test.estimate(ladder).covers(np.zeros(len(true)))[TESTED]))
        for effect in EFFECTS:
            ladder, _ = drawn.ladder(effect)
            for test in tests:
                found = test.estimate(ladder)
                better = shown(found.p())[TESTED] and found.mean[TESTED] > 0
                power[test.name][effect].append(bool(better))
    scores = {}
    for test in tests:
        covered = np.mean([covers for covers, _ in nothing[test.name]], axis=0)
        scores[test.name] = Score(
            covers=float(covered.mean()),
            worst=float(covered.min()),
            covers_new=float(np.mean(new[test.name])),
            alarms=float(np.mean([alarm for _, alarm in nothing[test.name]])),
            power={effect: float(np.mean(found)) for effect, found in power[test.name].items()},
        )
    return scores


def table(model: Model, *, repetitions: int) -> Table:
    """A row a test; a cell has a share in percent for each number of seeds."""
    by_seeds = [score(model, seeds=seeds, repetitions=repetitions) for seeds in SEEDS]
    rows = []
    for test in TESTS:
        found = [scores[test.name] for scores in by_seeds]
        columns = [
            [each.covers for each in found],
            [each.worst for each in found],
            [each.covers_new for each in found],
            [each.alarms for each in found],
            *([each.power[effect] for each in found] for effect in EFFECTS),
        ]
        cells = (" ".join(f"{100 * share:.0f}" for share in column) for column in columns)
        rows.append((test.name, *cells))
    effects = (f"Shown: {effect:g}" for effect in EFFECTS)
    columns = ("Test", "Covers", "Worst", "New images", "Alarms", *effects)
    return Table(columns=columns, rows=tuple(rows), left=frozenset(range(len(columns))))


def fill(path: Path, section: str, text: str) -> None:
    """Replace what is between ``<!-- section -->`` and ``<!-- /section -->`` in a document."""
    before, start, rest = path.read_text("utf-8").partition(f"<!-- {section} -->\n")
    _, end, after = rest.partition(f"<!-- /{section} -->")
    if not start or not end:
        raise SystemExit(f"{path}: no section {section}")
    path.write_text(f"{before}{start}{text}\n{end}{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--write", type=Path, metavar="DOC", help="fill its section stage_power")
    arguments = parser.parse_args()
    seeds = ", ".join(map(str, SEEDS))
    parts = []
    for model in (REAL, UNEQUAL):
        title = f"In % of {arguments.repetitions:,} ladders, {model.name}; {seeds} seeds:"
        parts += [title, table(model, repetitions=arguments.repetitions).to_markdown()]
    text = "\n\n".join(parts)
    print(text)
    if arguments.write is not None:
        fill(arguments.write, "stage_power", text)


if __name__ == "__main__":
    main()
