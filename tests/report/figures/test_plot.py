"""Plots: what is drawn is what the records hold; text is text."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from kilonet.errors import UsageError
from kilonet.report.figures.plot import confusion, ladder, learning_curves
from kilonet.spec import Study
from kilonet.storage.record import RunRecord
from kilonet.study import StudyResult
from ladders import FOUR_STAGES, made_result, made_rows, seeded_result

RESULT = seeded_result(seeds=3)


@pytest.fixture(autouse=True)
def _no_figure_stays() -> Iterator[None]:
    plt.switch_backend("agg")
    yield
    plt.close("all")


def axes() -> Axes:
    return Figure(layout="constrained").add_subplot()


def lines(drawn: Axes) -> dict[str, list[tuple[list[float], list[float]]]]:
    """Label → (x, y) of each line; lines without one under ""."""
    found: dict[str, list[tuple[list[float], list[float]]]] = {}
    for line in drawn.get_lines():
        label = str(line.get_label())
        x, y = (np.asarray(values).tolist() for values in line.get_data())
        found.setdefault("" if label.startswith("_") else label, []).append((x, y))
    return found


def test_a_runs_curves() -> None:
    record = RESULT.stages[0].records[0]
    ax = axes()
    assert learning_curves(record, ax=ax) is ax
    found = lines(ax)
    epochs = list(range(15))
    assert found == {
        "train": [(epochs, [row.train_accuracy for row in record.rows])],
        "test": [(epochs, [row.test_accuracy for row in record.rows])],
    }
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "accuracy, %")
    assert ax.get_title() == "seed 1"


def test_a_studys_curves_are_seeds_and_their_mean() -> None:
    found = lines(learning_curves(RESULT, ax=axes()))
    assert len(found.pop("")) == 12  # a thin line a seed
    assert found.pop("target 99.40%") == [([0, 1], [99.4, 99.4])]
    assert list(found) == [f"{s.stage.number}. {s.stage.name}" for s in RESULT.stages]
    for stage in RESULT.stages:
        [(_, mean)] = found[f"{stage.stage.number}. {stage.stage.name}"]
        by_epoch = zip(*(record.rows for record in stage.records), strict=True)
        assert mean == pytest.approx(
            [fmean(row.test_accuracy for row in rows) for rows in by_epoch]
        )


def test_records_of_different_length_have_a_mean_over_what_they_share() -> None:
    long = RESULT.stages[0].records[0]
    short = replace(RESULT.stages[0].records[1], rows=RESULT.stages[0].records[1].rows[:4])
    found = lines(learning_curves([long, short], ax=axes()))
    assert [len(x) for x, _ in found[""]] == [15, 4]
    assert found["mean"][0][0] == [0, 1, 2, 3]


def validated(record: RunRecord) -> RunRecord:
    rows = (
        replace(row, validation_accuracy=row.test_accuracy - 1, validation_loss=0.1)
        for row in record.rows
    )
    return replace(record, rows=tuple(rows))


def test_a_validation_split_leads() -> None:
    stages = tuple(
        replace(stage, records=tuple(map(validated, stage.records))) for stage in RESULT.stages
    )
    result = replace(RESULT, stages=stages)
    assert learning_curves(result, ax=axes()).get_ylabel() == "validation accuracy, %"
    assert ladder(result, ax=axes()).get_xlabel() == "final validation accuracy, %"
    assert set(lines(learning_curves(stages[0].records[0], ax=axes()))) == {
        "train",
        "test",
        "validation",
    }


def test_the_ladder() -> None:
    ax = ladder(RESULT, ax=axes())
    drawn = [line.get_data() for line in ax.get_lines()]
    for y, stage in enumerate(RESULT.stages):
        finals = [record.final_test_accuracy for record in stage.records]
        seeds, interval, mean = drawn[3 * y : 3 * y + 3]
        assert list(seeds[0]) == finals
        ends = stats.t.interval(0.95, 2, np.mean(finals), stats.sem(finals))
        assert list(interval[0]) == pytest.approx(list(ends))
        assert list(mean[0]) == pytest.approx([fmean(finals)])
        assert set(mean[1]) == {y}
    assert list(drawn[-1][0]) == [99.4, 99.4]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [f"{s.stage.number}. {s.stage.name}" for s in RESULT.stages]
    low, high = ax.get_ylim()
    assert low > high  # the first stage is on top


MATRIX = np.array([[3, 1], [0, 4]])


def test_a_confusion_matrix() -> None:
    ax = confusion(MATRIX, classes=["cat", "dog"], ax=axes())
    [image] = ax.get_images()
    assert np.asarray(image.get_array()).tolist() == [[0.75, 0.25], [0.0, 1.0]]
    cells = {text.get_position(): text.get_text() for text in ax.texts}
    assert cells == {(0, 0): "3", (1, 0): "1", (0, 1): "0", (1, 1): "4"}
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["cat", "dog"]
    assert ax.get_title() == "8 images, 87.50% correct"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")


class Model:
    """Stands for a trained model: it sees class 1 everywhere."""

    classes = ("no", "yes")

    def evaluate(self, images: Any, labels: Any) -> Any:
        assert len(images) == len(labels)
        matrix = np.zeros((2, 2), np.int64)
        np.add.at(matrix, (labels, np.ones(len(labels), int)), 1)
        return SimpleNamespace(confusion=matrix)


def test_a_models_confusion() -> None:
    labels = np.array([0, 1, 1])
    ax = confusion(Model(), np.zeros((3, 8, 8), np.uint8), labels, ax=axes())
    assert [t.get_text() for t in ax.texts] == ["0", "1", "0", "2"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["no", "yes"]


def test_many_classes_have_no_numbers_and_a_class_without_images_no_share() -> None:
    assert not confusion(np.eye(30), ax=axes()).texts
    [image] = confusion([[0, 0], [1, 1]], ax=axes()).get_images()
    assert np.asarray(image.get_array()).tolist() == [[0, 0], [0.5, 0.5]]


def test_without_axes_pyplot_has_the_figure() -> None:
    backend = plt.get_backend()
    for function, argument in ((learning_curves, RESULT), (ladder, RESULT), (confusion, MATRIX)):
        drawn = function(argument)  # type: ignore[operator]
        assert plt.gcf() is drawn.figure
    assert len(plt.get_fignums()) == 3
    assert plt.get_backend() == backend


def test_with_axes_pyplot_has_none() -> None:
    for function, argument in ((learning_curves, RESULT), (ladder, RESULT), (confusion, MATRIX)):
        function(argument, ax=axes())  # type: ignore[operator]
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", ["A$$B", "$100% vs $50", "_x_", "字 \U0001f600", "a" * 300])
def test_names_are_text(name: str) -> None:
    data = FOUR_STAGES.to_dict()
    data["stage"] = [{"name": name, "change": {"train.epochs": 2}}]
    result = made_result(Study.from_dict(data), [[made_rows([98.0, 99.0])] * 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for drawn in (
            learning_curves(result, ax=axes()),
            ladder(result, ax=axes()),
            confusion(MATRIX, classes=[name, "b"], ax=axes()),
        ):
            assert isinstance(drawn.figure, Figure)
            drawn.figure.canvas.draw()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: learning_curves(3), "an object of type int has no learning curves"),  # type: ignore[arg-type]
        (lambda: learning_curves([]), "an object of type list has no learning curves"),
        (lambda: ladder(RESULT.stages[0].records[0]), "has no ladder"),  # type: ignore[arg-type]
        (lambda: ladder(empty()), "no stage is finished"),
        (lambda: learning_curves(empty()), "no epoch is finished"),
        (lambda: confusion(Model()), "takes images and labels"),
        (lambda: confusion(MATRIX, [1], [1]), "this is a matrix"),
        (lambda: confusion([[1, 2]]), r"shape \(1, 2\)"),
        (lambda: confusion([["a"]]), "neither a trained model nor"),
        (lambda: confusion([[-1]]), "at least 0"),
        (lambda: confusion(MATRIX, classes=["a"]), "1 class names for 2 classes"),
    ],
)
def test_wrong_use_is_named_and_draws_nothing(call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
    assert plt.get_fignums() == []


def empty() -> StudyResult:
    return replace(RESULT, stages=())
