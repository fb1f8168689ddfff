"""Do the analysis' learning-rate rules hold on networks that they were not fitted to?

The thresholds of "diverging" and "stuck" were fitted to trainings of the bundled network. Here
other networks train at a grid of rates, with two optimizers:

    python benchmarks/learning_rates.py --set first --out held-out-first

Two sets of networks were named before anything was trained: the rules were changed after the first
and not after the second. Each set has images of its own, all from MNIST's training set:
TRAIN_IMAGES to train on, and HELD_OUT_IMAGES in the place of a test set. MNIST's test images are
not used.

What counts as true was set before, too. An accuracy is the mean of the last LAST epochs. A rate is
*good* where its error is at most GOOD times the least of its grid, or within ERRORS binomial errors
of that. A worse one is *too low* below the good rates, *too high* above them, and *between* them
neither; more than CLEAR times the least error is *clearly* so. An accuracy of at most CHANCE is
guessing. "Diverging" is right of a rate that is too high, "stuck" of one that guesses. Where the
loss is not a number the engine reports that, and the analysis sees nothing.

The set "fitted" is what the thresholds were fitted to, for comparison: the bundled network, and the
same without batch norm, on all of MNIST, test images and all.

Finished runs stay in ``--out`` and are not trained again. range_test.py tries the range test on the
same grids.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from kilonet.analysis import Kind, Verdict, analyze, binomial_error
from kilonet.data import load_dataset
from kilonet.errors import DivergenceError
from kilonet.spec import Net, Run, Study, load_study
from kilonet.storage.environment import cpu_name
from kilonet.storage.record import RunRecord
from kilonet.study import StageResult, StudyResult
from kilonet.table import Table
from kilonet.training.loop import folder_name, train

EPOCHS, BATCH_SIZE = 15, 128
TRAIN_IMAGES, HELD_OUT_IMAGES = 20_000, 10_000
LAST = 3
GOOD, ERRORS, CLEAR = 1.25, 2.0, 2.0
CHANCE = 12.0
"""Percent: the commonest of ten digits is 11.2 % of MNIST, and two binomial errors are 0.6."""

RATES = {
    "sgd": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    "adam": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
}
CONV_RELU = ["conv", "relu"]
NORMED = ["conv", "relu", "batchnorm"]
NORMED_FIRST = ["conv", "batchnorm", "relu"]
END = ["gap", "pointwise 10 bare"]

# set → name → block, layers
SETS: dict[str, dict[str, tuple[list[str], list]]] = {
    "first": {
        "plain": (CONV_RELU, ["conv 8", "maxpool 2", "conv 16", "maxpool 2", "conv 16", *END]),
        "depthwise": (
            NORMED_FIRST,
            ["conv 8 stride=2 pad=1", "depthwise pad=1", "pointwise 24",
             "depthwise stride=2 pad=1", "pointwise 48", *END],
        ),
        "strided": (
            NORMED, ["conv 8 stride=2 pad=1", "conv 16 stride=2 pad=1", "conv 24 pad=1", *END]
        ),
        "residual": (
            NORMED_FIRST,
            ["conv 8 stride=2 pad=1", {"residual": ["conv 8 pad=1", "conv 8 pad=1"]}, "relu",
             "conv 16 stride=2 pad=1", *END],
        ),
        "perceptron": (CONV_RELU, ["flatten", "linear 32", "relu", "linear 10"]),
    },
    "second": {
        "LeNet": (
            CONV_RELU,
            ["conv 6 kernel=5 pad=2 bias", "avgpool 2", "conv 12 kernel=5 bias", "avgpool 2",
             "flatten", "linear 32", "relu", "linear 10"],
        ),
        "five by five": (
            NORMED, ["conv 8 kernel=5", "maxpool 2", "conv 16 kernel=5", "maxpool 2", *END]
        ),
        "SiLU, dropout": (
            ["conv", "batchnorm", "silu", "dropout 0.1"],
            ["conv 8 stride=2 pad=1", "conv 16 pad=1", "avgpool 2", "conv 24", *END],
        ),
        "grouped": (
            NORMED,
            ["conv 16 stride=2", "conv 24 groups=4 pad=1", "maxpool 2", "conv 32 groups=8 pad=1",
             *END],
        ),
        "seven by seven": (
            CONV_RELU,
            ["conv 8 kernel=7 stride=2 pad=3", "maxpool 2", "conv 16 kernel=5", "flatten",
             "linear 10"],
        ),
    },
}  # fmt: skip

FITTED = "fitted"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A network of a set and an optimizer: what a grid of rates is trained for."""

    network: str
    optimizer: str

    def __str__(self) -> str:
        return f"{self.network}, {self.optimizer}"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained, and where it is kept.

    Attributes:
        name: of the set.
        networks: name → block, layers.
        folder: of the runs.
        data: name of the data set, or an NPZ file.
        train_images, others: how many it has to train on, and to measure accuracy on.
        epochs: of each run.
        rates: optimizer → learning rates.
    """

    name: str
    networks: dict[str, tuple[list[str], list]]
    folder: Path
    data: str
    train_images: int
    others: int
    epochs: int
    rates: dict[str, tuple[float, ...]]

    @property
    def places(self) -> list[Place]:
        return [Place(network=n, optimizer=o) for n in self.networks for o in self.rates]

    def run_at(self, place: Place, lr: float, *, seed: int = 1) -> Run:
        block, layers = self.networks[place.network]
        optimizer: dict[str, Any] = {"name": place.optimizer, "lr": lr}
        if place.optimizer == "sgd":
            optimizer["momentum"] = 0.9
        return Run(
            net=Net.from_dict({"input": [1, 28, 28], "block": block, "layers": layers}),
            data={"name": self.data},
            train={
                "epochs": self.epochs,
                "batch_size": BATCH_SIZE,
                "optimizer": optimizer,
                "seed": seed,
            },
        )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training.

    Attributes:
        record: of the run; None where the loss was no number.
        lr: its learning rate.
        accuracy: percent, mean of the last :data:`LAST` epochs; 0 without a record.
        verdict: of the analysis; None where it has none, and without a record.
    """

    record: RunRecord | None
    lr: float
    accuracy: float
    verdict: Verdict | None

    @property
    def error(self) -> float:
        """Percent."""
        return 100 - self.accuracy


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a rate is, by the accuracies of its grid.

    Attributes:
        word: good, too low, too high or between.
        clear: whether its error is more than :data:`CLEAR` times the least.
        guesses: whether it came to no more than :data:`CHANCE`.
    """

    word: str
    clear: bool
    guesses: bool

    @property
    def right(self) -> frozenset[Verdict]:
        """The verdicts that fit."""
        diverging = {Verdict.DIVERGING} if self.word == "too high" else set()
        return frozenset(diverging | ({Verdict.STUCK} if self.guesses else set()))


def fitted_networks() -> dict[str, tuple[list[str], list]]:
    """The bundled ladder's first network, and the same without batch norm."""
    net = load_study("mnist-8k").stages[0].run.net.to_dict()
    bare = [member for member in net["block"] if member != "batchnorm"]
    return {"batch norm": (net["block"], net["layers"]), "bare": (bare, net["layers"])}


def held_out(name: str, folder: Path) -> Path:
    """The set's images as an NPZ file in the folder, drawn from MNIST's training set."""
    path = folder / "digits.npz"
    if not path.exists():
        mnist = load_dataset("mnist")
        drawn = np.random.Generator(np.random.Philox(0)).permutation(len(mnist.train_labels))
        count = TRAIN_IMAGES + HELD_OUT_IMAGES
        mine = drawn[list(SETS).index(name) * count :][:count]
        ours, others = np.split(mine, [TRAIN_IMAGES])
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            train_images=mnist.train_images[ours],
            train_labels=mnist.train_labels[ours],
            test_images=mnist.train_images[others],
            test_labels=mnist.train_labels[others],
        )
    return path


def train_one(run: Run, folder: Path) -> RunRecord | None:
    """The run's record, from its folder where it is finished; None where its loss is no number."""
    try:
        return train(run, folder=folder / "runs" / folder_name(run), threads=1, resume=True)
    except DivergenceError:
        return None


def train_all(runs: Sequence[Run], folder: Path) -> list[RunRecord | None]:
    """All of them, one a core."""
    tasks = (joblib.delayed(train_one)(run, folder) for run in runs)
    return list(joblib.Parallel(n_jobs=joblib.cpu_count(), verbose=1)(tasks))


def verdict(record: RunRecord) -> Verdict | None:
    """What the analysis finds about the learning rate, in a study of this one run."""
    base = {"net": record.run.net, "data": record.run.data, "train": record.run.train}
    stage = {"name": "alone", "change": {"train.epochs": record.run.train.epochs}}
    study = Study(name="alone", target=100.0, stage=[stage], **base)
    ran = StageResult(
        stage=study.stages[0], parameters=record.run.net.num_parameters, records=(record,)
    )
    result = StudyResult(study=study, path=record.path, stages=(ran,))
    images = record.provenance.data.test_images
    findings = analyze(result, test_images=images).stages[0].findings
    found = (finding.verdict for finding in findings if finding.kind is Kind.LEARNING_RATE)
    return next(found, None)


def trial(run: Run, record: RunRecord | None) -> Trial:
    lr = run.train.optimizer.lr
    if record is None:
        return Trial(record=None, lr=lr, accuracy=0.0, verdict=None)
    accuracy = statistics.fmean(row.test_accuracy for row in record.rows[-LAST:])
    return Trial(record=record, lr=lr, accuracy=accuracy, verdict=verdict(record))


def train_grids(setting: Setting) -> dict[Place, list[Trial]]:
    """Each place's trainings, by rising rate, seed 1."""
    keys = [(place, lr) for place in setting.places for lr in setting.rates[place.optimizer]]
    runs = [setting.run_at(place, lr) for place, lr in keys]
    grids: dict[Place, list[Trial]] = {place: [] for place in setting.places}
    for (place, _), run, record in zip(keys, runs, train_all(runs, setting.folder), strict=True):
        grids[place].append(trial(run, record))
    return grids


def truths(grid: Sequence[Trial], *, images: int) -> list[Truth]:
    """What each rate of a grid is; they rise."""
    least = min(trial.error for trial in grid)
    within = ERRORS * binomial_error(100 - least, images=images)
    limit = max(GOOD * least, least + within)
    good = [trial.lr for trial in grid if trial.error <= limit]

    def word(trial: Trial) -> str:
        if trial.error <= limit:
            return "good"
        if trial.lr < good[0]:
            return "too low"
        return "too high" if trial.lr > good[-1] else "between"

    return [
        Truth(
            word=word(trial),
            clear=trial.error > max(CLEAR * least, limit),
            guesses=trial.accuracy <= CHANCE,
        )
        for trial in grid
    ]


def grid_table(
    grids: dict[Place, list[Trial]], known: dict[Place, list[Truth]], optimizer: str
) -> Table:
    """A network a row, a rate a column: accuracy, ✓ where good, and the verdict."""

    def cell(trial: Trial, truth: Truth) -> str:
        if trial.record is None:
            return "no number"
        shown = f"{trial.accuracy:.2f}"
        shown = f"{shown} ✓" if truth.word == "good" else shown
        return f"{shown} {trial.verdict or ''}".strip()

    places = [place for place in grids if place.optimizer == optimizer]
    rates = [f"{trial.lr:g}" for trial in grids[places[0]]]
    rows = [
        (place.network, *(cell(*pair) for pair in zip(grids[place], known[place], strict=True)))
        for place in places
    ]
    return Table(columns=(optimizer, *rates), rows=tuple(rows), left=frozenset({0}))


def summary_table(trials: Sequence[Trial], known: Sequence[Truth]) -> Table:
    """How often a verdict is right, by what the rate is; without those of no number."""
    pairs = [pair for pair in zip(trials, known, strict=True) if pair[0].record is not None]
    groups: dict[str, Callable[[Truth], bool]] = {
        "good": lambda t: t.word == "good",
        "too low, clearly": lambda t: t.word == "too low" and t.clear and not t.guesses,
        "too low, a little": lambda t: t.word == "too low" and not t.clear,
        "too low, guessing": lambda t: t.word == "too low" and t.guesses,
        "too high, clearly": lambda t: t.word == "too high" and t.clear and not t.guesses,
        "too high, a little": lambda t: t.word == "too high" and not t.clear,
        "too high, guessing": lambda t: t.word == "too high" and t.guesses,
        "bad between good ones": lambda t: t.word == "between",
    }
    rows = []
    for name, holds in groups.items():
        some = [(trial.verdict, truth) for trial, truth in pairs if holds(truth)]
        right = sum(verdict in truth.right for verdict, truth in some)
        silent = sum(verdict is None for verdict, _ in some)
        rows.append((name, *map(str, (len(some), right, len(some) - right - silent, silent))))
    columns = ("The rate is", "Trainings", "Right", "Wrong", "No verdict")
    return Table(columns=columns, rows=tuple(rows), left=frozenset({0}))


def read_options(description: str) -> Setting:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--set", choices=[*SETS, FITTED], default="first", help="of networks (first)"
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder to keep the runs in")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of each run ({EPOCHS})")
    parser.add_argument("--only", action="append", help="this network of the set alone")
    parser.add_argument("--rates", type=float, nargs="+", help="these rates alone, rising")
    options = parser.parse_args()
    fitted = options.set == FITTED
    networks = fitted_networks() if fitted else SETS[options.set]
    rates = {"sgd": RATES["sgd"]} if fitted else RATES
    mnist = load_dataset("mnist") if fitted else None
    return Setting(
        name=options.set,
        networks={n: net for n, net in networks.items() if n in (options.only or (n,))},
        folder=options.out,
        data="mnist" if mnist else str(held_out(options.set, options.out)),
        train_images=len(mnist.train_labels) if mnist else TRAIN_IMAGES,
        others=len(mnist.test_labels) if mnist else HELD_OUT_IMAGES,
        epochs=options.epochs,
        rates=dict.fromkeys(rates, tuple(options.rates)) if options.rates else rates,
    )


def main() -> None:
    setting = read_options(__doc__.splitlines()[0])
    grids = train_grids(setting)
    known = {place: truths(grid, images=setting.others) for place, grid in grids.items()}
    every = [trial for grid in grids.values() for trial in grid]
    print(
        f"{cpu_name()}, {joblib.cpu_count()} cores; {len(every)} trainings of the {setting.name} "
        f"set, {setting.epochs} epochs on {setting.train_images:,} images, seed 1. Accuracy in "
        f"percent on {setting.others:,} others, good rates with ✓, and the analysis' verdict:\n"
    )
    for optimizer in setting.rates:
        print(grid_table(grids, known, optimizer).to_markdown(), end="\n\n")
    truth = [truth for place in grids for truth in known[place]]
    print(summary_table(every, truth).to_markdown())


if __name__ == "__main__":
    main()
