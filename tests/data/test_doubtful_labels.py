"""The doubted labels are those of the data set that they belong to."""

from __future__ import annotations

from kilonet.data import load_dataset
from kilonet.data.doubtful_labels import RATERS, doubtful_labels

MNIST = load_dataset("mnist")
FOUND = doubtful_labels(MNIST.fingerprint)


def test_the_count_is_the_papers() -> None:
    """Northcutt et al. 2021, table 1: 15 errors in MNIST's test set."""
    assert len(FOUND) == 15
    assert len({label.index for label in FOUND}) == 15


def test_the_labels_are_the_data_sets() -> None:
    assert [MNIST.test_labels[label.index] for label in FOUND] == [label.label for label in FOUND]


def test_fewer_than_three_of_five_confirmed_each() -> None:
    for label in FOUND:
        assert label.votes_label < RATERS / 2
        assert label.votes_label + label.votes_guess <= RATERS
        assert label.guess != label.label


def test_nothing_is_known_of_other_data() -> None:
    assert doubtful_labels("0" * 64) == ()
