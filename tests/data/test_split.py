from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.data.split import training_subset, validation_split
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


def subset_of(labels, amount, *, seed=0, index=None):
    index = np.arange(len(labels)) if index is None else index
    return training_subset(labels, index, amount=amount, seed=seed)


def test_subset_by_hand():
    # 50, 30 and 20 images. The first of each come first, then by the least of 3/50, 3/30, 3/20,
    # 5/50, 5/30, 7/50, 9/50, …; of the equal 3/30 and 5/50 the lower class.
    for count, expected in [
        (3, [1, 1, 1]),
        (4, [2, 1, 1]),
        (5, [3, 1, 1]),
        (6, [3, 2, 1]),
        (7, [4, 2, 1]),
        (8, [4, 2, 2]),
        (9, [4, 3, 2]),
        (10, [5, 3, 2]),
        (100, [50, 30, 20]),
    ]:
        assert counts_of(MIXED, subset_of(MIXED, count)) == expected, count


def test_a_subset_by_fraction_is_one_by_count():
    np.testing.assert_array_equal(subset_of(MIXED, 0.25), subset_of(MIXED, 25))
    np.testing.assert_array_equal(subset_of(MIXED, 1.0), np.arange(100))


@settings(max_examples=100, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=2, max_size=120).map(np.array),
    seed=st.integers(0, 3),
    data=st.data(),
)
def test_subsets_are_nested_and_stratified(labels, seed, data):
    index = np.arange(len(labels))
    classes = len(np.unique(labels))
    spare = len(labels) - classes
    if spare and data.draw(st.booleans()):
        amount = data.draw(st.integers(1, spare))
        index, _ = validation_split(labels, amount=amount, seed=seed)
    counts = sorted(data.draw(st.lists(st.integers(classes, len(index)), min_size=2, max_size=2)))
    small, large = (subset_of(labels, count, seed=seed, index=index) for count in counts)
    for subset, count in zip((small, large), counts, strict=True):
        assert len(subset) == len(set(subset)) == count
        assert (np.diff(subset) > 0).all()
        assert set(subset) <= set(index)
        own, every = (
            np.bincount(labels[subset], minlength=6),
            np.bincount(labels[index], minlength=6),
        )
        assert (own[every > 0] >= 1).all()
        # No two classes, one with an image more and one with an image less, would be nearer to
        # equal shares: Webster's condition. The first image of each class is exempt.
        given = [(2 * o - 1) / e for o, e in zip(own, every, strict=True) if o > 1]
        wanted = [(2 * o + 1) / e for o, e in zip(own, every, strict=True) if 0 < o < e]
        assert not given or not wanted or max(given) <= min(wanted)
    assert set(small) <= set(large)


def test_another_seed_has_another_subset():
    one, other = subset_of(MIXED, 40, seed=1), subset_of(MIXED, 40, seed=2)
    assert counts_of(MIXED, one) == counts_of(MIXED, other)
    assert (one != other).any()
    np.testing.assert_array_equal(one, subset_of(MIXED, 40, seed=1))


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        (2, "of 2 of 100 images: must have an image of each of the 3 classes; raise data.subset"),
        (0.01, "of 0.01 of 100 images (1): must have"),
        (101, "of 101 of 100 images; lower data.subset, or remove it"),
        (1.5, "of 1.5: a fraction must be above 0 and at most 1"),
    ],
)
def test_impossible_subsets(amount, message):
    with pytest.raises(DataError) as raised:
        subset_of(MIXED, amount)
    assert message in str(raised.value)
