"""Philox against Random123's known answers, and what kilonet builds on it against statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kilonet import randomness
from kilonet.randomness import (
    MAX_SEED,
    Purpose,
    permutation,
    philox4x32,
    random_uniform,
    random_words,
)

ONES = 0xFFFFFFFF


def test_philox_of_many_counters_is_that_of_each():
    counter = np.random.default_rng(0).integers(0, 2**32, (3, 9001, 4), dtype=np.uint32)
    whole = philox4x32(counter, seed=7)
    assert whole.dtype == np.uint32
    for place in [(0, 0), (1, 7382), (1, 7383), (2, 9000), *np.ndindex(3, 5)]:
        assert np.array_equal(philox4x32(counter[place], seed=7), whole[place])


# Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, result.
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ONES] * 4, [ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_known_answers(counter, key, expected):
    seed = key[0] | key[1] << 32  # low word first
    assert philox4x32(np.array(counter, dtype=np.uint32), seed=seed).tolist() == expected
    # The same in the middle of an array of any shape.
    many = np.zeros((3, 2, 4), dtype=np.uint32)
    many[1, 1] = counter
    assert philox4x32(many, seed=seed)[1, 1].tolist() == expected


def test_the_counters_layout():
    words = random_words(7, seed=5, purpose=Purpose.DROPOUT, epoch=3, block=2)
    counter = np.array([7, 3, 2, Purpose.DROPOUT], dtype=np.uint32)
    assert words.tolist() == philox4x32(counter, seed=5).tolist()


@given(
    index=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 2**32 - 1),
    seed=st.integers(0, MAX_SEED),
    purpose=st.sampled_from(Purpose),
)
def test_a_draw_depends_on_its_own_name_alone(index, epoch, seed, purpose):
    alone = random_words([index], seed=seed, purpose=purpose, epoch=epoch)
    among = random_words([0, index, 1], seed=seed, purpose=purpose, epoch=epoch)
    assert alone[0].tolist() == among[1].tolist()
    assert alone.dtype == np.uint32


def test_no_two_draws_share_bits():
    index = np.arange(500)
    draws = [
        random_words(index, seed=seed, purpose=purpose, epoch=epoch, block=block)
        for seed in (0, 1, 2**32, MAX_SEED)
        for purpose in Purpose
        for epoch in (0, 1, 2)
        for block in (0, 1, 2)
    ]
    words = np.concatenate(draws)
    # 90,000 draws of 128 bits: two alike by chance once in 10²⁸ tries.
    assert len(np.unique(words, axis=0)) == len(words)


def test_uniform_is_a_word_over_two_to_the_32():
    words = random_words([0, 9], seed=3, purpose=Purpose.AUGMENTATION)
    numbers = random_uniform([0, 9], seed=3, purpose=Purpose.AUGMENTATION)
    assert numbers.dtype == np.float64
    assert (numbers * 2**32).tolist() == words.tolist()


@pytest.mark.parametrize("word", range(4))
def test_uniform_is_uniform(word):
    numbers = random_uniform(np.arange(100_000), seed=1, purpose=Purpose.DROPOUT)[:, word]
    assert numbers.min() >= 0
    assert numbers.max() < 1
    # Each draw is fixed, so these hold for good; a true generator would fail one in a thousand.
    assert stats.kstest(numbers, "uniform").pvalue > 1e-3
    counts = np.bincount((numbers * 64).astype(int), minlength=64)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 4 / np.sqrt(len(numbers))


def test_every_bit_is_fair():
    words = random_words(np.arange(100_000), seed=2, purpose=Purpose.INITIAL_WEIGHTS)
    for bit in range(32):
        ones = ((words >> np.uint32(bit)) & 1).sum(axis=0, dtype=np.int64)
        deviations = (ones - 50_000) / np.sqrt(25_000)
        assert np.abs(deviations).max() < 4.5


def test_words_of_neighboring_epochs_are_uncorrelated():
    index = np.arange(100_000)
    one, two = (
        random_uniform(index, seed=1, purpose=Purpose.AUGMENTATION, epoch=epoch)[:, 0]
        for epoch in (0, 1)
    )
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / np.sqrt(len(index))


@given(st.integers(0, 300), st.integers(0, MAX_SEED), st.integers(0, 1000))
def test_permutation_is_a_permutation(count, seed, epoch):
    order = permutation(count, seed=seed, purpose=Purpose.SHUFFLE, epoch=epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


@pytest.mark.parametrize("levels", [1, 5, 2**32])
def test_permutation_keeps_equal_keys_in_order(levels, monkeypatch):
    words = np.random.default_rng(0).integers(0, levels, (3000, 4)).astype(np.uint32)
    monkeypatch.setattr(randomness, "random_words", lambda index, **_: words[index])
    order = permutation(3000, seed=0, purpose=Purpose.SHUFFLE)
    keys = words[:, :2].tolist()
    assert order.tolist() == sorted(range(3000), key=lambda item: keys[item])


def test_permutation_places_everything_everywhere():
    # Where the first and the last of 10 are in 1,500 epochs.
    orders = np.array(
        [permutation(10, seed=1, purpose=Purpose.SHUFFLE, epoch=epoch) for epoch in range(1500)]
    )
    for item in (0, 9):
        positions = np.argwhere(orders == item)[:, 1]
        assert stats.chisquare(np.bincount(positions, minlength=10)).pvalue > 1e-3


def test_permutation_orders_are_equally_likely():
    orders = [
        tuple(permutation(3, seed=seed, purpose=Purpose.VALIDATION_SPLIT).tolist())
        for seed in range(1200)
    ]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3
