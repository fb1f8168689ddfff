"""The tests of a stage's effect on real seeds: the bundled study with many of them.

    kilonet study mnist-8k --seeds 20 --out ladder
    python benchmarks/stage_seeds.py ladder

First how the seeds spread, beside the model of stage_power.py that is fitted to them. Then small
studies are picked from the many seeds, a thousand times: how often a test's interval contains the
difference of all the seeds, how often it calls a stage better than another, and how often it calls
one better or worse where there is nothing: in "ladders" whose stages are other seeds of one stage.

The seeds that are picked are among those that are the truth, so an interval misses it less often
than that of infinitely many seeds: n of N seeds are nearer to all by a factor of √(1 − n / N).
Where there is nothing, stages have no seed in common, so nothing is gained by pairing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from stage_power import REAL, draw, fill
from stage_tests import (
    LAST,
    TESTS,
    Ladder,
    comparisons,
    final,
    last_five,
    shown,
)

from kilonet.data import load_dataset
from kilonet.storage.run_folder import RunFolder
from kilonet.study import StudyResult, read_study
from kilonet.table import Table

SUBSETS = 1000
SIZES = (2, 3, 5)
MODEL_SEEDS = 400
COUNTED = 4
"""Seeds whose wrong images are counted: a number that grows with the seeds."""

COLUMNS = (
    "Stage",
    "Final",
    "Last 5",
    "sd, final",
    "sd, independent images",
    "sd, epochs of a run",
    "sd, last 5",
    "sd, final, paired",
    "sd, last 5, paired",
    "sd, images, paired",
    f"Wrong in {COUNTED} seeds",
)


def read(result: StudyResult) -> Ladder:
    """The study's runs."""
    accuracies, right = [], []
    images = 0
    for stage in result.stages:
        labels = load_dataset(stage.stage.run.data.name).test_labels
        images = len(labels)
        curves = [[row.test_accuracy for row in record.rows] for record in stage.records]
        accuracies.append([curve[-LAST:] for curve in curves])
        logits = [RunFolder(record.path).test_logits() for record in stage.records]
        right.append([each.argmax(axis=1) == labels for each in logits])
    return Ladder(accuracies=np.array(accuracies), right=np.array(right), images=images)


def spreads(ladder: Ladder) -> Table:
    """How the seeds spread: a row a stage, paired with the stage before."""
    rows = []
    points = 100 / ladder.images
    for i, (of_stage, right) in enumerate(zip(ladder.accuracies, ladder.right, strict=True)):
        figures = [
            final(of_stage).mean(),
            last_five(of_stage).mean(),
            final(of_stage).std(ddof=1),
            points * right.var(axis=0, ddof=1).sum() ** 0.5,
            of_stage.var(axis=1, ddof=1).mean() ** 0.5,
            last_five(of_stage).std(ddof=1),
        ]
        if i:
            before = ladder.accuracies[i - 1]
            differences = right.astype(float) - ladder.right[i - 1]
            # What a stage makes of an image, beyond the luck of the seeds.
            luck = differences.var(axis=0, ddof=1).sum() / len(right)
            fixed = (differences.mean(axis=0) ** 2).sum() - luck
            figures += [
                (final(of_stage) - final(before)).std(ddof=1),
                (last_five(of_stage) - last_five(before)).std(ddof=1),
                points * max(float(fixed), 0.0) ** 0.5,
            ]
        blank = [""] * (len(COLUMNS) - 2 - len(figures))
        wrong = str((~right[:COUNTED].all(axis=0)).sum())
        rows.append((str(i + 1), *(f"{figure:.3f}" for figure in figures), *blank, wrong))
    return Table(columns=COLUMNS, rows=tuple(rows))


def sizes(seeds: int) -> list[int]:
    """Those of small studies that can be picked twice."""
    return [size for size in SIZES if 2 * size <= seeds]


def subsets(whole: Ladder, *, repetitions: int) -> Table:
    """A row a test; a cell has a share in percent for each number of seeds."""
    generator = np.random.Generator(np.random.Philox(20))
    stages, seeds = whole.accuracies.shape[:2]
    pairs = comparisons(stages)
    found: dict[str, list[list[str]]] = {test.name: [] for test in TESTS}
    for size in sizes(seeds):
        counted: dict[str, list[list[float]]] = {test.name: [] for test in TESTS}
        for repetition in range(repetitions):
            order = generator.permutation(seeds)
            small = _part(whole, order[None, :size], stages=np.arange(stages))
            # As many groups of other seeds as there are stages; of few seeds fewer.
            groups = order[: min(stages, seeds // size) * size].reshape(-1, size)
            nothing = _part(whole, groups, stages=np.full(len(groups), repetition % stages))
            for test in TESTS:
                estimates = test.estimate(small)
                better = shown(estimates.p()) & (estimates.mean > 0)
                alarm = shown(test.estimate(nothing).p()).any()
                covers = [
                    estimates.covers(measure(whole.accuracies).mean(axis=1))
                    for measure in (test.measure, TESTS[0].measure)
                ]
                counted[test.name].append([*np.mean(covers, axis=1), alarm, *better])
        for name, values in counted.items():
            found[name].append([f"{100 * share:.0f}" for share in np.mean(values, axis=0)])
    rows = [
        (name, *(" ".join(cells) for cells in zip(*by_size, strict=True)))
        for name, by_size in found.items()
    ]
    better = (f"{j + 1} over {i + 1}" for i, j in pairs)
    columns = ("Test", "Covers", "Covers final", "Alarms", *better)
    return Table(columns=columns, rows=tuple(rows), left=frozenset(range(len(columns))))


def _part(whole: Ladder, seeds: np.ndarray, *, stages: np.ndarray) -> Ladder:
    """A ladder of ``stages`` of the whole, each with its row of ``seeds``, or all with the one."""
    places = stages[:, None]
    return Ladder(
        accuracies=whole.accuracies[places, seeds],
        right=whole.right[places, seeds],
        images=whole.images,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    parser.add_argument("--subsets", type=int, default=SUBSETS)
    parser.add_argument("--write", type=Path, metavar="DOC", help="fill its section stage_seeds")
    arguments = parser.parse_args()
    whole = read(read_study(arguments.study))
    generator = np.random.Generator(np.random.Philox(14))
    ladder, _ = draw(REAL, seeds=MODEL_SEEDS, generator=generator).ladder(0.0)
    seeds = whole.accuracies.shape[1]
    if not sizes(seeds):
        raise SystemExit(f"{arguments.study}: {seeds} seeds a stage; at least {2 * SIZES[0]}")
    picked = ", ".join(map(str, sizes(seeds)))
    parts = [
        f"{seeds} real seeds a stage:",
        spreads(whole).to_markdown(),
        f"{MODEL_SEEDS} seeds of the model:",
        spreads(ladder).to_markdown(),
        f"In % of {arguments.subsets:,} small studies of the real seeds; {picked} seeds:",
        subsets(whole, repetitions=arguments.subsets).to_markdown(),
    ]
    text = "\n\n".join(parts)
    print(text)
    if arguments.write is not None:
        fill(arguments.write, "stage_seeds", text)


if __name__ == "__main__":
    main()
