"""Networks that tell no classes apart: imbalances, class counts, one class alone, some seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.analysis import Errors, Finding, Kind, StageAnalysis, Verdict, analyze
from kilonet.analysis.majority import beats_majority, is_imbalanced, majority
from kilonet.analysis.misclassified import measure_errors
from kilonet.report import tables
from kilonet.report.content import Content
from kilonet.report.markdown import render_markdown
from kilonet.report.rebuild import analyze_records
from kilonet.report.terminal.stage import most_important
from kilonet.spec import Study
from ladders import FOUR_STAGES, made_result, made_rows, seeded_result

STUDY = FOUR_STAGES


def errors_of(
    sizes: Sequence[int],
    *runs: Sequence[int] | None,
    classes: Sequence[str] = (),
    failed: Sequence[Sequence[int]] = (),
) -> Errors:
    """Of a class so many test images; a run predicts class ``run[label]`` for a label.

    None is a run that is right throughout.
    """
    labels = np.repeat(np.arange(len(sizes)), sizes)

    def logits(run: Sequence[int] | None) -> Any:
        predicted = labels if run is None else np.array(run)[labels]
        return np.where(predicted[:, None] == np.arange(len(sizes)), 3.0, 0.0)

    return measure_errors(
        list(map(logits, runs)), labels, classes=classes, failed=list(map(logits, failed))
    )


def found_in(errors: Errors) -> Finding:
    found = majority(errors)
    assert found is not None
    return found


# 379 of 400 are 94.75 %.
IMBALANCED = errors_of([379, 21], [0, 0], [0, 0], [0, 0])


def stage_of(errors: Errors, *, target: float = 90.0, has_target: bool = True) -> StageAnalysis:
    """A stage of as many seeds as the errors, all with the errors' accuracy in each epoch."""
    data = STUDY.to_dict()
    data |= {"stage": data["stage"][:1], "target": target}
    runs = [made_rows([errors.accuracy] * 12, train=errors.accuracy)] * errors.seeds
    result = made_result(Study.from_dict(data), [runs], test_images=errors.images)
    analysis = analyze(result, test_images=errors.images, errors=[errors], has_target=has_target)
    return analysis.stages[0]


def test_one_class_is_never_predicted() -> None:
    found = found_in(IMBALANCED)
    assert found.verdict is Verdict.NEVER_PREDICTED
    assert found.sentence == (
        "Class 1 is never predicted; 94.75% is the share of class 0 in the test set, so always "
        "predicting that class does as well as the 94.75% here."
    )
    assert found.figures["majority_share"] == 94.75
    assert found.figures["never_predicted"] == 1


def test_names_are_the_data_sets() -> None:
    found = found_in(errors_of([90, 10], [0, 0], classes=("sound", "crack [red]*x*")))
    assert found.sentence.startswith(
        "Class crack [red]*x* is never predicted; 90.00% is the share of class sound"
    )


def test_two_of_three_classes() -> None:
    found = found_in(errors_of([60, 25, 15], [0, 0, 0]))
    assert found.sentence.startswith("Classes 1 and 2 are never predicted; 60.00% is the share")
    assert found.figures["never_predicted"] == 2


def test_many_classes_are_counted() -> None:
    found = found_in(errors_of([100] * 10, [3] * 10))
    assert found.sentence.startswith(
        "9 of 10 classes are never predicted (0, 1, 2 and 6 more); 10.00% is the share of class 0"
    )


def test_a_good_network_that_leaves_a_class_out() -> None:
    errors = errors_of([600, 350, 50], [0, 1, 1])
    assert beats_majority(errors)
    found = found_in(errors)
    assert found.sentence == (
        "Class 2 is never predicted; 60.00% is the share of class 0 in the test set, 5.00% that of "
        "what is never predicted."
    )
    # Four images of a class, all wrong, are little.
    assert majority(errors_of([600, 396, 4], [0, 1, 1])) is None


def test_some_seeds_collapse() -> None:
    errors = errors_of([95, 5], [0, 0], None, None)
    found = found_in(errors)
    assert found.verdict is Verdict.NEVER_PREDICTED_BY_SOME
    assert found.sentence.startswith("Class 1 is never predicted in 1 of 3 seeds; 95.00% is")
    # A seed that fell far behind is counted here, though left out of all else.
    errors = errors_of([100] * 10, None, None, failed=[[7] * 10])
    assert errors.accuracy == 100
    found = found_in(errors)
    assert found.sentence.startswith(
        "9 of 10 classes are never predicted (0, 1, 2 and 6 more) in 1 of 3 seeds; 10.00% is"
    )
    # Two seeds that leave out the same class, and two that leave out different ones.
    found = found_in(errors_of([80, 20], [0, 0], [0, 0], None))
    assert found.sentence.startswith("Class 1 is never predicted in 2 of 3 seeds; 80.00% is")
    found = found_in(errors_of([50, 50], [0, 0], [1, 1]))
    assert found.sentence.startswith(
        "2 of 2 seeds never predict some of the classes 0 and 1; 50.00% is"
    )
    collapsed = [[seed] * 10 for seed in range(3)]
    found = found_in(errors_of([10] * 10, *collapsed, None))
    assert found.sentence.startswith(
        "3 of 4 seeds never predict some of the classes 0, 1, 2 and 7 more; 10.00% is"
    )


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_one_class_alone(classes: int) -> None:
    errors = errors_of([50] + [0] * (classes - 1), [0] * classes)
    found = found_in(errors)
    assert found.verdict is Verdict.ONE_CLASS
    assert found.sentence == (
        "All 50 test images are of class 0: an accuracy of 100.00% does not show that classes are "
        "told apart."
    )
    stage = stage_of(errors, target=99.0)
    kinds = [finding.kind for finding in stage.findings]
    assert kinds[:2] == [Kind.CLASSES, Kind.TARGET]
    assert not {Kind.FIT, Kind.CALIBRATION, Kind.WIDTH} & set(kinds)
    assert stage.suggestions[0].title == "Images of more than one class"


# Of 400 images with a share of 379: Wilson's lower end is above it from 388 right on,
# scipy.stats.binomtest(388, 400).proportion_ci(method="wilson").low = 0.9483.
@pytest.mark.parametrize(("right", "better"), [(387, False), (388, True)])
def test_no_better_is_within_the_interval(right: int, better: bool) -> None:
    labels = np.repeat([0, 1], [379, 21])
    predicted = labels.copy()
    predicted[np.flatnonzero(labels == 0)[: 400 - right]] = 1
    errors = measure_errors([np.where(predicted[:, None] == [0, 1], 3.0, 0.0)], labels)
    assert beats_majority(errors) == better
    found = majority(errors)
    if better:
        assert found is None
    else:
        assert found is not None
        assert found.verdict is Verdict.NO_BETTER
        assert found.sentence.startswith(
            "Not shown to be better than always predicting class 0: 94.75% is the share of class 0"
        )


class TestAnalysis:
    """What such a stage is not praised for, and what comes first."""

    STAGE = stage_of(IMBALANCED)

    def test_it_comes_first(self) -> None:
        assert self.STAGE.findings[0].kind is Kind.CLASSES
        assert most_important(self.STAGE)[0].kind is Kind.CLASSES
        assert stage_of(IMBALANCED, has_target=False).findings[0].kind is Kind.CLASSES

    def test_the_target_does_not_stand_alone(self) -> None:
        target = next(f for f in self.STAGE.findings if f.kind is Kind.TARGET)
        assert target.verdict is Verdict.REACHED
        assert target.sentence.endswith(
            " Always predicting the largest class would reach it, with 94.75%."
        )
        above = next(f for f in stage_of(IMBALANCED, target=95).findings if f.kind is Kind.TARGET)
        assert "largest class" not in above.sentence

    def test_it_is_not_praised(self) -> None:
        kinds = {finding.kind for finding in self.STAGE.findings}
        assert not {Kind.FIT, Kind.WIDTH, Kind.REGULARIZER} & kinds
        assert not any("alibrated" in s or "Fits" in s for s in self.STAGE.sentences)

    @pytest.mark.parametrize("target", [90.0, 97.0])
    def test_images_are_suggested_first(self, target: float) -> None:
        stage = stage_of(IMBALANCED, target=target)
        first = stage.suggestions[0]
        assert (first.title, first.change, first.line) == ("More images of class 1", {}, "")
        assert first.reason == "class 0 has 94.75% of the test images"
        assert not any("width" in s for s in stage.sentences)

    def test_balanced_classes_need_no_more_images(self) -> None:
        """A training that is stuck predicts one class of ten; its learning rate is what is off."""
        stage = stage_of(errors_of([100] * 10, [3] * 10), target=90.0)
        assert stage.findings[0].verdict is Verdict.NEVER_PREDICTED
        assert not any("images of" in suggestion.title for suggestion in stage.suggestions)

    def test_the_share_stands_beside_the_accuracy(self) -> None:
        [line] = tables.majority_lines(self.STAGE)
        assert (line.value, line.note[:7]) == ("94.75%", "class 0")
        assert tables.majority_lines(stage_of(errors_of([50, 50], None))) == []

    def test_the_conclusions_and_the_report(self) -> None:
        data = STUDY.to_dict() | {"target": 90.0}
        runs = [made_rows([94.75] * 12, train=94.75)] * 3
        result = made_result(Study.from_dict(data), [runs, runs], test_images=400)
        analysis = analyze(result, test_images=400, errors=[IMBALANCED, IMBALANCED])
        assert analysis.conclusions[0] == (
            "Stages 1 and 2 are not shown to be better than always predicting class 0, which "
            "94.75% of the test images are of."
        )
        other = errors_of([10, 90], [1, 1], classes=("a", "b"))
        apart = analyze(result, test_images=400, errors=[IMBALANCED, other]).conclusions
        assert [sentence.partition(",")[0] for sentence in apart[:2]] == [
            "Stage 1 is not shown to be better than always predicting class 0",
            "Stage 2 is not shown to be better than always predicting class b",
        ]
        assert analysis.conclusions[1].endswith("and by always predicting the largest class.")
        text = render_markdown(Content(result=result, analysis=analysis), folder=result.path)
        assert "### Analysis\n\n- Class 1 is never predicted; 94.75% is the share" in text
        assert "1. **More images of class 1**: class 0 has 94.75% of the test images.\n\n" in text
        assert "change = {}" not in text


def test_without_the_test_images_it_is_not_known() -> None:
    """The records are of other images than the package's, so that these cannot be read."""
    analysis = analyze_records(seeded_result(seeds=2))
    for stage in analysis.stages:
        assert stage.findings[0].verdict is Verdict.NOT_KNOWN
        assert stage.errors is None
    assert not any("class" in sentence for sentence in analysis.conclusions)
    # A run that is not finished has no logits yet, which says nothing of its images.
    [first, *_] = seeded_result(seeds=1).stages
    cut = replace(first, records=(replace(first.records[0], rows=first.records[0].rows[:8]),))
    [stage] = analyze_records(replace(seeded_result(seeds=1), stages=(cut,))).stages
    assert all(found.kind is not Kind.CLASSES for found in stage.findings)


@pytest.mark.parametrize("better", [True, False])
def test_who_tells_nothing_apart_is_not_more_robust(better: bool) -> None:
    """It stopped to move since it always predicts one class."""
    moving, still = [*[95.5, 94.0] * 5, 95.5, 94.75], [94.75] * 12
    errors = errors_of([379, 21], None if better else [0, 0])
    histories = [[made_rows(rows, train=rows)] for rows in (moving, still)]
    result = made_result(STUDY, histories, test_images=400)
    stage = analyze(result, test_images=400, errors=[errors, errors]).stages[1]
    assert any(found.verdict is Verdict.MORE_ROBUST for found in stage.findings) == better


@pytest.mark.parametrize(
    ("sizes", "imbalanced"),
    [
        ([75, 25], True),
        ([74, 26], False),
        ([50, 25, 25], True),
        ([49, 26, 25], False),
        ([50, *[10] * 5], True),
        ([10] * 10, False),
        ([5], True),
    ],
)
def test_imbalanced(sizes: list[int], imbalanced: bool) -> None:
    assert is_imbalanced(errors_of(sizes, [0] * len(sizes))) == imbalanced


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any),
    st.integers(1, 4),
    st.data(),
)
def test_a_constant_network_is_never_praised(sizes: list[int], seeds: int, data: Any) -> None:
    """Whatever the shares: it is told first, with the largest share, and never fits."""
    predicted = [data.draw(st.integers(0, len(sizes) - 1)) for _ in range(seeds)]
    errors = errors_of(sizes, *([each] * len(sizes) for each in predicted))
    assert not beats_majority(errors)
    stage = stage_of(errors, target=data.draw(st.sampled_from([10.0, 50.0, 100.0])))
    first = stage.findings[0]
    assert first.kind is Kind.CLASSES
    assert first.figures["majority_share"] == pytest.approx(100 * max(sizes) / sum(sizes))
    verdicts = {finding.verdict for finding in stage.findings}
    assert not verdicts & {Verdict.FITS, Verdict.CALIBRATED, Verdict.OUT_OF_REACH}
    for sentence in stage.sentences:
        assert sentence.endswith(".")
        assert not any(word in sentence for word in ("nan", "inf", "None", "\n"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(10, 40), min_size=2, max_size=10), st.integers(1, 4))
def test_a_network_that_is_right_is_not_accused(sizes: list[int], seeds: int) -> None:
    errors = errors_of([3 * size for size in sizes], *[None] * seeds)
    if beats_majority(errors):
        assert majority(errors) is None
