"""Classes, images, labels and calibration, on both sides of each threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import poisson

from kilonet.analysis import Errors, Finding, Kind, Verdict, measure_errors
from kilonet.analysis.mistakes import calibration, class_pairs, hard_images, label_errors, mistakes
from kilonet.data.doubtful_labels import DoubtfulLabel
from kilonet.spec import Run
from ladders import FOUR_STAGES

RUN = FOUR_STAGES.stages[0].run
SMOOTHED = RUN.replace({"train.label_smoothing": 0.1})


def errors_of(
    wrong: dict[tuple[int, int], int],
    *,
    right: Sequence[int] = range(10_000),
    classes: int = 10,
    seeds: int = 1,
) -> Errors:
    """(label, predicted) → how many images, the same in every seed, and others that are right.

    Those are of the classes ``right``, modulo their number.
    """
    rights = [label % classes for label in right]
    labels = rights + [label for (label, _), n in wrong.items() for _ in range(n)]
    predicted = rights + [taken for (_, taken), n in wrong.items() for _ in range(n)]
    logits = np.eye(classes)[predicted] * 20
    return measure_errors([logits] * seeds, np.array(labels))


def one_wrong(probability: float, *, seeds: int, failing: int) -> Errors:
    """Image 0 of ten is 1 with this probability, its label 0, in ``failing`` of the seeds."""
    sure = np.log(np.array([[1 - 1e-9, 1e-9]] * 10))
    fails = sure.copy()
    fails[0] = np.log([1 - probability, probability])
    logits = [fails] * failing + [sure] * (seeds - failing)
    return measure_errors(logits, np.zeros(10, dtype=np.int64), classes=("cat", "dog"))


class TestClassPairs:
    # 45 errors over the 45 pairs of ten classes, some gathered in one of them. Spread evenly there
    # is 1 a pair, and 5 or more of them have a probability of 0.00366, 6 or more of 0.000594: times
    # 45 that is 0.165 and 0.027.
    @staticmethod
    def gathered(count: int) -> Errors:
        others = [(a, b) for a in range(10) for b in range(a + 1, 10) if (a, b) != (4, 9)]
        alone = dict.fromkeys(others[: 45 - count], 1)
        return errors_of({**alone, (9, 4): count - 1, (4, 9): 1})

    @pytest.mark.parametrize(("count", "verdict"), [(5, "spread"), (6, "concentrated")])
    def test_threshold(self, count: int, verdict: str) -> None:
        found = class_pairs(self.gathered(count))
        assert found is not None
        assert found.verdict == verdict
        assert found.figures["even"] == 1.0
        # The classes are as large as one another but for these few images.
        tail = poisson.sf(count - 1, 1.0)
        assert found.figures["chance"] == pytest.approx(45 * tail, rel=0.05)
        assert f"4 and 9 ({count}.0)" in found.sentence

    # Seven of 69 in one pair: 45 · P(7 or more of 1.533) = 0.0472; of 70: 0.0513.
    @pytest.mark.parametrize(("total", "verdict"), [(69, "concentrated"), (70, "spread")])
    def test_one_study_in_twenty(self, total: int, verdict: str) -> None:
        others = [(a, b) for a in range(10) for b in range(a + 1, 10) if (a, b) != (4, 9)]
        counts = {pair: 1 + (i < total - 7 - 44) for i, pair in enumerate(others)}
        found = class_pairs(errors_of({**counts, (4, 9): 7}))
        assert found is not None
        assert found.figures["chance"] == pytest.approx(45 * poisson.sf(6, total / 45), rel=0.05)
        assert found.verdict == verdict

    def test_both_directions_are_one_pair(self) -> None:
        found = class_pairs(errors_of({(4, 9): 4, (9, 4): 4}))
        assert found is not None
        assert "4 and 9 (8.0)" in found.sentence
        assert found.figures["share"] == 1

    # Three classes of 800, 100 and 100 images, 40 of which are wrong: spread evenly 18 are between
    # the first and each of the others, 20 · 0.9, and 4, 20 · 0.2, between those two. Eight and more
    # of these have a probability of 0.0511, nine and more of 0.0214, times 3 pairs 0.064.
    @pytest.mark.parametrize(
        ("between_others", "verdict"), [(4, "spread"), (9, "spread"), (10, "concentrated")]
    )
    def test_large_classes_have_more_errors(self, between_others: int, verdict: str) -> None:
        one = (40 - between_others) // 2
        wrong = {(0, 1): one, (0, 2): 40 - between_others - one, (1, 2): between_others}
        right = [0] * (800 - wrong[0, 1] - wrong[0, 2]) + [1] * (100 - between_others) + [2] * 100
        found = class_pairs(errors_of(wrong, right=right, classes=3))
        assert found is not None
        assert found.verdict == verdict
        assert found.figures["chance"] == pytest.approx(
            min(
                1.0,
                3 * poisson.sf(between_others - 1, 4.0),
                3 * poisson.sf(40 - between_others - one - 1, 18.0),
            )
        )
        if verdict == "concentrated":
            assert "25% of the 40.0 wrong images are between 1 and 2 (10.0)" in found.sentence

    @pytest.mark.parametrize(("count", "verdict"), [(2, "spread"), (3, "concentrated")])
    def test_a_pair_has_three_images_at_least(self, count: int, verdict: str) -> None:
        found = class_pairs(errors_of({(4, 9): count}))
        assert found is not None
        assert found.verdict == verdict
        assert ("no more than chance can make" in found.sentence) == (verdict == "spread")

    def test_three_pairs_are_named_at_most(self) -> None:
        wrong = {(0, 1): 40, (2, 3): 30, (4, 5): 20, (6, 7): 15}
        found = class_pairs(errors_of(wrong, seeds=2))
        assert found is not None
        assert "0 and 1 (40.0), 2 and 3 (30.0), 4 and 5 (20.0);" in found.sentence
        assert found.figures["share"] == pytest.approx(90 / 105)

    def test_nothing_to_say(self) -> None:
        assert class_pairs(errors_of({})) is None
        assert class_pairs(errors_of({(0, 1): 9}, classes=2)) is None


class TestHardImages:
    # Three seeds: `shared` images are wrong in all of them, three in one seed each: with 1 shared
    # the hard ones make up 3 of 6 errors, with 2 shared 6 of 9.
    @pytest.mark.parametrize(("shared", "verdict"), [(1, "scattered"), (2, "shared")])
    def test_threshold(self, shared: int, verdict: str) -> None:
        labels = np.zeros(20, dtype=np.int64)
        logits = [np.tile([5.0, 0.0], (20, 1)) for _ in range(3)]
        for seed, of_seed in enumerate(logits):
            of_seed[[*range(shared), 10 + seed]] = [0.0, 5.0]
        found = hard_images(measure_errors(logits, labels))
        assert found is not None
        assert found.verdict == verdict
        assert found.figures["hard"] == found.figures["in_every_seed"] == shared
        assert found.figures["share"] == pytest.approx(shared / (shared + 1))

    @pytest.mark.parametrize(("alone", "verdict"), [(30, "scattered"), (29, "shared")])
    def test_just_over_half(self, alone: int, verdict: str) -> None:
        """Ten images wrong in each of three seeds, others in one alone: 30 of 60 errors, of 59."""
        wrong = np.zeros((3, 60), dtype=bool)
        wrong[:, :10] = True
        wrong[0, 10 : 10 + alone] = True
        logits = [np.where(seed[:, None], [0.0, 5.0], [5.0, 0.0]) for seed in wrong]
        found = hard_images(measure_errors(logits, np.zeros(60, dtype=np.int64)))
        assert found is not None
        assert found.verdict == verdict

    def test_one_seed_shares_nothing(self) -> None:
        assert hard_images(errors_of({(4, 9): 5})) is None
        assert hard_images(errors_of({}, seeds=3)) is None


class TestDoubtful:
    @pytest.mark.parametrize(("probability", "found_one"), [(0.91, True), (0.89, False)])
    def test_surely_wrong_is_worth_a_look(self, probability: float, found_one: bool) -> None:
        found = label_errors(one_wrong(probability, seeds=3, failing=3))
        assert (found is not None) == found_one
        if found is not None:
            assert found.verdict == "worth a look"
            assert "0 (cat predicted as dog, 91.0%)" in found.sentence

    def test_one_seed_that_gets_it_right_is_enough(self) -> None:
        assert label_errors(one_wrong(0.999, seeds=10, failing=9)) is None

    def test_one_seed_is_sure_of_too_much(self) -> None:
        assert label_errors(one_wrong(0.999, seeds=1, failing=1)) is None

    def test_five_are_named(self) -> None:
        found = label_errors(errors_of({(4, 9): 7}, right=range(3), seeds=2))
        assert found is not None
        assert "7 (4 predicted as 9, 100.0%) and 2 more; look" in found.sentence

    @pytest.mark.parametrize(("seeds", "who"), [(1, "The seed"), (2, "Most seeds")])
    def test_labels_that_people_doubted(self, seeds: int, who: str) -> None:
        plain = errors_of({(4, 9): 2}, right=range(98), seeds=seeds)
        labels = [
            DoubtfulLabel(index=index, label=4, guess=9, votes_label=1, votes_guess=4)
            for index in (99, 5)
        ]
        known = Errors(**{**vars(plain), "doubtful": tuple(labels)})
        found = label_errors(known)
        assert found is not None
        assert found.verdict == "doubtful labels"
        assert found.sentence.startswith(f"{who} failed on 1 of the 2 test images")
        assert "All 2 are worth 2.00 points" in found.sentence
        # The other one, of which nobody was asked, only where several seeds are sure.
        assert found.figures == {"doubtful": 1, "known": 2, "sure": int(seeds > 1)}


def of_calibration(errors: Errors, *, run: Run = RUN) -> Finding:
    found = calibration(errors, run=run)
    assert found is not None
    return found


class TestCalibration:
    @staticmethod
    def errors(confidence: float, *, right: int, images: int = 1000) -> Errors:
        """So many of the images right, all with the same confidence; two classes by turns."""
        labels = np.arange(images) % 2
        predicted = np.where(np.arange(images) < right, labels, 1 - labels)
        shares = np.where(predicted[:, None] == [0, 1], confidence, 1 - confidence)
        return measure_errors([np.log(shares)], labels)

    # 9,600 of 10,000 right: a quarter of the error is 1 point, 2 standard errors
    # 2 · √(0.96 · 0.04 / 9,999) = 0.392 points.
    @pytest.mark.parametrize(
        ("confidence", "verdict"),
        [
            (0.9701, "over-confident"),
            (0.9699, "slightly over-confident"),
            (0.964, "slightly over-confident"),
            (0.9639, "calibrated"),
            (0.9561, "calibrated"),
            (0.956, "slightly under-confident"),
            (0.9501, "slightly under-confident"),
            (0.9499, "under-confident"),
        ],
    )
    def test_share_of_the_error(self, confidence: float, verdict: str) -> None:
        found = of_calibration(self.errors(confidence, right=9600, images=10_000))
        assert found.verdict == verdict
        excess = abs(100 * confidence - 96)
        assert found.figures["excess"] == pytest.approx(100 * confidence - 96)
        assert found.figures["ece"] == pytest.approx(excess)
        if verdict != "calibrated":
            assert found.sentence.startswith(f"{verdict.capitalize()} by {excess:.2f} points: ")

    # 9 of 10 right: 2 standard errors are 20 points, so that nothing less can be told.
    @pytest.mark.parametrize(
        ("confidence", "verdict"),
        [
            (0.69, "under-confident"),
            (0.71, "too few images to say"),
            (0.9, "too few images to say"),
        ],
    )
    def test_against_its_own_error(self, confidence: float, verdict: str) -> None:
        assert of_calibration(self.errors(confidence, right=9, images=10)).verdict == verdict

    # 50 % right: a quarter of the error would be 12.5 points; 2 are enough. 2 standard errors of
    # 40,000 images are 0.5 points.
    @pytest.mark.parametrize(
        ("confidence", "verdict"),
        [(0.521, "over-confident"), (0.519, "slightly over-confident"), (0.504, None)],
    )
    def test_many_points_are_never_calibrated(self, confidence: float, verdict: str | None) -> None:
        found = calibration(self.errors(confidence, right=20_000, images=40_000), run=RUN)
        # Half right of two equal classes is no better than the majority: no praise.
        assert (found and found.verdict) == verdict

    def test_the_reported_case(self) -> None:
        """2.13 points off with a standard error of 0.21: no word for that but over-confident."""
        found = of_calibration(self.errors(0.9013, right=22_230, images=25_259))
        assert found.sentence.startswith("Over-confident by 2.12 points")

    def test_the_mean_is_not_all(self) -> None:
        """Right on average, wrong by 10 points either way: the calibration error says so."""
        sure, unsure = np.log([0.9, 0.1]), np.log([0.6, 0.4])
        # Half of either class, 2,000 images each: 70 % right where it is unsure, 80 % where sure.
        logits, labels = [], []
        for label in (0, 1):
            for row, right in ((unsure, 700), (sure, 800)):
                logits += [row[:: 1 if label == 0 else -1]] * 1000
                labels += [label] * right + [1 - label] * (1000 - right)
        found = of_calibration(measure_errors([np.array(logits)], np.array(labels)))
        assert found.verdict is Verdict.CALIBRATED
        assert found.figures["ece"] == pytest.approx(10.0)

    @pytest.mark.parametrize(
        ("confidence", "verdict"), [(0.997, "calibrated"), (0.989, "under-confident")]
    )
    def test_where_nothing_is_wrong_one_image_is_the_least(
        self, confidence: float, verdict: str
    ) -> None:
        """A hundred right: an image is one point, and Wilson's standard error half of one."""
        found = of_calibration(self.errors(confidence, right=100, images=100))
        assert found.verdict == verdict
        assert found.figures["error"] == pytest.approx(0.5 / 1.01)

    def test_few_images_are_not_called_calibrated(self) -> None:
        few = of_calibration(self.errors(0.9, right=45, images=50))
        assert few.verdict is Verdict.TOO_FEW_IMAGES
        assert few.sentence.startswith("50 test images are too few to say whether it is calibrated")

    def test_smooth_labels_ask_for_less_confidence(self) -> None:
        under, over = self.errors(0.8, right=900), self.errors(0.95, right=900)
        assert "label smoothing of 0.1 causes that" in of_calibration(under, run=SMOOTHED).sentence
        assert "smoothing" not in of_calibration(over, run=SMOOTHED).sentence
        assert "smoothing" not in of_calibration(under).sentence

    def test_one_image_shows_nothing(self) -> None:
        assert calibration(self.errors(0.9, right=1, images=1), run=RUN) is None


@pytest.mark.parametrize(("better", "kinds"), [(True, 4), (False, 1)])
def test_what_a_majority_network_gets_wrong_tells_nothing(better: bool, kinds: int) -> None:
    """It is wrong on all images of the other classes, and sure of it: no label is doubted."""
    right = [0] * 9_000 + [1, 2] * (200 if better else 0)
    errors = errors_of({(1, 0): 40, (2, 0): 30}, right=right, classes=3, seeds=2)
    found = [finding.kind for finding in mistakes(errors, run=RUN)]
    assert len(found) == kinds
    assert (Kind.LABELS in found) == better
    assert found[-1] is Kind.CALIBRATION


def test_labels_that_were_mixed_up_are_worth_a_look() -> None:
    """Worse than guessing: each class is taken for the next."""
    errors = errors_of({(0, 1): 50, (1, 2): 40, (2, 0): 30}, right=range(6), classes=3, seeds=2)
    assert [finding.kind for finding in mistakes(errors, run=RUN)] == [
        Kind.CLASS_PAIRS,
        Kind.HARD_IMAGES,
        Kind.LABELS,
        Kind.CALIBRATION,
    ]
