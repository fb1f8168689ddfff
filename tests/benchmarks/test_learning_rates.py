"""What the benchmark of learning rates takes for true, how it counts, and that it resumes."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from file_modules import load
from kilonet.analysis import Verdict
from kilonet.data import Dataset
from kilonet.spec import graph, load_run, load_study
from kilonet.storage.provenance import Provenance
from kilonet.storage.record import RunRecord
from kilonet.training.range_test import Suggestion
from ladders import ENVIRONMENT, made_record, made_rows

benchmark = load("benchmarks/learning_rates.py")
finder = load("benchmarks/range_test.py", name="range_test_beside_rivals")

STAGE = load_study("mnist-8k").stages[0]


def made(test: list[float], *, train: list[float] | float = 99.0) -> RunRecord:
    environment = {**ENVIRONMENT, "data": {**ENVIRONMENT["data"], "test_images": 10_000}}
    return replace(
        made_record(STAGE, made_rows(test, train=train)),
        provenance=Provenance.from_json(environment),
    )


def setting(name: str, networks: dict[str, Any]) -> Any:
    """To build networks with; nothing is trained."""
    return benchmark.Setting(
        name=name,
        networks=networks,
        folder=Path(),
        data="mnist",
        train_images=0,
        others=0,
        epochs=15,
        rates={"sgd": ()},
    )


STILL = made([99.0] * 10)


def trials(*accuracies: float, verdict: Verdict | None = None) -> list:
    return [
        benchmark.Trial(
            record=STILL if accuracy else None, lr=10.0**i, accuracy=accuracy, verdict=verdict
        )
        for i, accuracy in enumerate(accuracies)
    ]


def words(*accuracies: float) -> list[str]:
    return [truth.word for truth in benchmark.truths(trials(*accuracies), images=10_000)]


class TestTruth:
    # 1.25 times an error of 4 % is 5 %; two binomial errors of 4 % of 10,000 are 0.39 points.
    @pytest.mark.parametrize(("accuracy", "word"), [(95.01, "good"), (94.99, "too low")])
    def test_a_share_of_the_least_error(self, accuracy: float, word: str) -> None:
        assert words(accuracy, 96.0) == [word, "good"]

    # 1.25 times an error of 0.5 % is 0.63 %; two binomial errors of 0.0705 points make it 0.64 %.
    @pytest.mark.parametrize(("accuracy", "word"), [(99.365, "good"), (99.355, "too high")])
    def test_binomial_errors_where_they_are_more(self, accuracy: float, word: str) -> None:
        assert words(99.5, accuracy) == ["good", word]

    def test_sides(self) -> None:
        assert words(10.0, 96.0, 90.0, 95.9, 80.0, 0.0) == [
            "too low", "good", "between", "good", "too high", "too high",
        ]  # fmt: skip

    @pytest.mark.parametrize(("accuracy", "clear"), [(92.1, False), (91.9, True)])
    def test_clearly(self, accuracy: float, clear: bool) -> None:
        [low, _] = benchmark.truths(trials(accuracy, 96.0), images=10_000)
        assert (low.word, low.clear, low.guesses) == ("too low", clear, False)

    @pytest.mark.parametrize(("accuracy", "guesses"), [(12.0, True), (12.1, False)])
    def test_guessing(self, accuracy: float, guesses: bool) -> None:
        [_, high] = benchmark.truths(trials(96.0, accuracy), images=10_000)
        assert high.guesses is guesses
        assert high.right == {Verdict.DIVERGING} | ({Verdict.STUCK} if guesses else set())

    def test_no_verdict_is_right_of_a_good_rate(self) -> None:
        assert benchmark.truths(trials(96.0), images=10_000)[0].right == set()


def test_the_verdict_is_the_analysis() -> None:
    assert benchmark.verdict(STILL) is None
    assert benchmark.verdict(made([99.0] * 10, train=[98.0, 90.0] * 5)) is Verdict.DIVERGING


def test_a_run_is_measured_by_its_last_epochs() -> None:
    run = STAGE.run
    found = benchmark.trial(run, made([90.0] * 12 + [96.0, 97.0, 98.0]))
    assert (found.accuracy, found.lr) == (pytest.approx(97.0), 0.01)
    ended = benchmark.trial(run, None)
    assert (ended.verdict, ended.error) == (None, 100)


def test_verdicts_are_counted_by_what_is_true() -> None:
    verdicts = [
        None,
        Verdict.STUCK,
        Verdict.DIVERGING,
        None,
        Verdict.STUCK,
        Verdict.DIVERGING,
        None,
    ]
    grid = [
        replace(trial, verdict=verdict)
        for trial, verdict in zip(
            trials(85.0, 10.0, 96.0, 95.9, 10.0, 60.0, 0.0), verdicts, strict=True
        )
    ]
    table = benchmark.summary_table(grid, benchmark.truths(grid, images=10_000))
    counted = {name: tuple(map(int, counts)) for name, *counts in table.rows}
    assert counted == {
        "good": (2, 0, 1, 1),
        "too low, clearly": (1, 0, 0, 1),
        "too low, a little": (0, 0, 0, 0),
        "too low, guessing": (1, 1, 0, 0),
        "too high, clearly": (1, 1, 0, 0),
        "too high, a little": (0, 0, 0, 0),
        "too high, guessing": (1, 1, 0, 0),
        "bad between good ones": (0, 0, 0, 0),
    }


def test_no_network_is_the_one_that_was_fitted_on() -> None:
    fitted = {load_run("interim").net.content_hash, STAGE.run.net.content_hash}
    settings = [setting(name, networks) for name, networks in benchmark.SETS.items()]
    nets = [s.run_at(place, 0.1).net for s in settings for place in s.places]
    assert len({net.content_hash for net in nets} | fitted) == len(nets) + 2
    assert all(1_000 < net.num_parameters < 30_000 for net in nets)


def test_what_they_were_fitted_to_is_the_bundled_network_with_and_without_batch_norm() -> None:
    fitted = setting("fitted", benchmark.fitted_networks())
    normed, bare = (fitted.run_at(place, 0.01) for place in fitted.places)
    assert normed.net == STAGE.run.net
    assert normed.train == STAGE.run.train
    operations = [type(node.op).__name__ for node in graph.walk(bare.net.nodes)]
    assert "BatchNorm" not in operations
    assert bare.net.num_parameters < normed.net.num_parameters


def test_each_set_has_images_of_its_own(
    tmp_path: Path, mnist: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbered = replace(mnist, train_images=_numbered(mnist.train_images))
    monkeypatch.setattr(benchmark, "load_dataset", lambda name: numbered)
    seen: list[int] = []
    for name in benchmark.SETS:
        with np.load(benchmark.held_out(name, tmp_path / name)) as arrays:
            assert len(arrays["train_images"]) == len(arrays["train_labels"]) == 20_000
            assert len(arrays["test_images"]) == len(arrays["test_labels"]) == 10_000
            for part in ("train_images", "test_images"):
                numbers = arrays[part][:, 0, :4].copy().view("<u4")
                seen += numbers.ravel().tolist()
    assert sorted(seen) == list(range(60_000))


def _numbered(images: np.ndarray) -> np.ndarray:
    """Each image's number in its first four pixels."""
    images = images.copy()
    images[:, 0, :4] = np.arange(len(images), dtype="<u4").view(np.uint8).reshape(-1, 4)
    return images


def test_rules_are_compared_with_the_best_of_the_grid() -> None:
    found = Suggestion(steepest=0.0123, minimum=0.4, best_validation=0.02, lr=0.022)
    rates = finder.rules(found, optimizer="adam", best=0.01)
    # √(0.0123 · 0.04) = 0.0222
    assert list(rates.values()) == [0.001, 0.022, 0.02, 0.022, 0.012, 0.04, 0.01]
    place = benchmark.Place(network="plain", optimizer="adam")
    errors = {0.001: 8.0, 0.022: 5.0, 0.02: 5.0, 0.012: 4.0, 0.04: 6.0, 0.01: 4.0}
    each, over_all = finder.rule_tables(
        {place: rates}, {(place, lr): 100 - e for lr, e in errors.items()}, {place: (0.01, 0.03)}
    )
    assert each.rows[0][:4] == ("plain, adam", "0.01 to 0.03", "92.00 (0.001)", "95.00 (0.022)")
    rows = {row[0]: row[1:] for row in over_all.rows}
    assert rows["default"] == ("0 of 1", "2.00", "2.00", "0.10", "0.10 to 0.10")
    assert rows["suggestion"] == ("1 of 1", "1.25", "1.25", "2.20", "2.20 to 2.20")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for runs of one network at two rates, an epoch on few images each."""
    monkeypatch.setattr(benchmark, "TRAIN_IMAGES", 640)
    monkeypatch.setattr(benchmark, "HELD_OUT_IMAGES", 200)
    # In this process: workers could not import the module.
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    words = ["learning_rates.py", "--out", str(tmp_path), "--epochs", "1", "--only", "perceptron"]
    monkeypatch.setattr(sys, "argv", [*words, "--rates", "0.01", "1e30"])
    return tmp_path


def test_it_runs_and_a_second_time_trains_nothing(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark.main()
    first = capsys.readouterr().out
    assert "4 trainings of the first set, 1 epochs on 640 images" in first
    assert re.search(r"\| perceptron \| \d+\.\d\d ✓", first)
    assert "| no number |" in first
    finished = {path: path.stat().st_mtime_ns for path in tiny.rglob("predictions.npz")}
    assert len(finished) in (2, 3)  # Adam's steps are as long as its rate, and may stay numbers
    benchmark.main()
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("predictions.npz")} == finished
    assert capsys.readouterr().out == first


def test_the_range_test_is_tried_on_the_same_grid(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark.main()
    capsys.readouterr()
    grid = set(tiny.glob("runs/*"))
    finder.main()
    printed = capsys.readouterr().out
    assert "| perceptron, sgd | 0.01 to 0.01 |" in printed
    assert "| grid's best | 2 of 2 | 1.00 | 1.00 | 1.00 | 1.00 to 1.00 |" in printed
    assert "Nothing is suggested for: none." in printed
    added = {path.name for path in set(tiny.glob("runs/*")) - grid}
    seeds = [(tiny / "runs" / name / "run.toml").read_text("utf-8") for name in added]
    assert seeds
    assert all("\nseed = 2\n" in text for text in seeds)
