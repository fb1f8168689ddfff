from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.data.split import validation_split
from kilonet.errors import DataError

MIXED = np.repeat([0, 1, 2], [50, 30, 20])


def counts_of(labels, indices):
    return np.bincount(labels[indices], minlength=labels.max() + 1).tolist()


def test_stratified_by_hand():
    # 7 of 100: shares 3.5, 2.1, 1.4; whole 3, 2, 1; the one left goes to the remainder 0.5.
    _, validation = validation_split(MIXED, amount=7, seed=0)
    assert counts_of(MIXED, validation) == [4, 2, 1]


def test_equal_remainders_go_to_the_lower_class():
    labels = np.repeat([0, 1, 2, 3], 10)
    _, validation = validation_split(labels, amount=6, seed=0)
    assert counts_of(labels, validation) == [2, 2, 1, 1]


def test_a_class_keeps_an_image_to_train_on():
    # 9 of 12: shares 7.5, 0.75, 0.75; the classes of one image cannot give it.
    labels = np.repeat([0, 1, 2], [10, 1, 1])
    train, validation = validation_split(labels, amount=9, seed=0)
    assert counts_of(labels, validation) == [9, 0, 0]
    assert counts_of(labels, train) == [1, 1, 1]


def test_a_fraction_is_a_count():
    by_count = validation_split(MIXED, amount=13, seed=4)
    by_fraction = validation_split(MIXED, amount=0.13, seed=4)
    for one, other in zip(by_count, by_fraction, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=100, deadline=None)
@given(
    labels=st.lists(st.integers(0, 6), min_size=2, max_size=60),
    seed=st.integers(0, 2**63 - 1),
    data=st.data(),
)
def test_always_a_stratified_partition(labels, seed, data):
    labels = np.array(labels)
    sizes = np.bincount(labels)
    most = len(labels) - np.count_nonzero(sizes)
    if most == 0:
        with pytest.raises(DataError):
            validation_split(labels, amount=1, seed=seed)
        return
    amount = data.draw(st.integers(1, int(most)))
    train, validation = validation_split(labels, amount=amount, seed=seed)
    assert train.dtype == validation.dtype == np.int64
    assert len(validation) == amount
    np.testing.assert_array_equal(
        np.sort(np.concatenate([train, validation])), np.arange(len(labels))
    )
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(validation) > 0)
    for size, taken in zip(
        sizes, np.bincount(labels[validation], minlength=len(sizes)), strict=True
    ):
        assert taken <= max(size - 1, 0)
        quota = Fraction(amount * int(size), len(labels))
        assert taken >= min(int(quota), max(int(size) - 1, 0))


def test_the_seed_alone_decides():
    first = validation_split(MIXED, amount=10, seed=1)[1]
    np.testing.assert_array_equal(validation_split(MIXED, amount=10, seed=1)[1], first)
    assert not np.array_equal(validation_split(MIXED, amount=10, seed=2)[1], first)


def test_every_image_has_the_same_chance():
    # 800 seeds, 10 of 100: each image is drawn 80 times on average, standard deviation 8.5.
    drawn = np.zeros(100)
    for seed in range(800):
        drawn[validation_split(MIXED, amount=10, seed=seed)[1]] += 1
    assert np.abs(drawn - 80).max() < 5 * 8.5


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        (0, "0 of 100 images: must have at least 1"),
        (-5, "-5 of 100 images: must have at least 1"),
        (0.001, r"0.001 of 100 images \(0\): must have at least 1"),
        (0.0, "must be between 0 and 1"),
        (1.0, "write a count without a decimal point"),
        (500.0, "must be between 0 and 1"),
        (float("nan"), "must be between 0 and 1"),
        (98, "98 of 100 images leaves a class without training images; .* at most 97"),
        (0.99, r"0.99 of 100 images \(99\) leaves a class without training images; .* at most 97"),
        (101, "at most 97"),
    ],
)
def test_impossible(amount, message):
    with pytest.raises(DataError, match=message):
        validation_split(MIXED, amount=amount, seed=0)


def test_no_class_can_spare_an_image():
    with pytest.raises(DataError, match=r"each class has a single image.*; remove data"):
        validation_split(np.arange(4), amount=1, seed=0)
