"""Test labels that people doubted when asked: MNIST's.

Northcutt, Athalye and Mueller, "Pervasive label errors in test sets destabilize machine learning
benchmarks", NeurIPS 2021, Datasets and Benchmarks, showed five people each image that confident
learning had flagged, and asked for the label, the guess of a model, both or neither. They published
every vote (repository cleanlab/label-errors, ``mturk/mnist_mturk.json``). These are the images
whose label fewer than three of the five chose: the 15 that the paper counts as label errors. Some
are clearly another digit (947, 6651), others no certain digit (2654, 3520).
"""

from __future__ import annotations

from dataclasses import dataclass

RATERS = 5
"""How many people saw each image."""

MNIST_FINGERPRINT = "b2d8f5bf39174ee5ffeefa97e42d673c35432b411bb5d1f74fbbeddae7f1690a"
"""Of the data set whose test images the indices count: :attr:`kilonet.data.Dataset.fingerprint`."""


@dataclass(frozen=True, kw_only=True)
class DoubtfulLabel:
    """A test image whose label most people did not choose.

    Attributes:
        index: in the test set, from 0.
        label: its class, as the data set has it.
        guess: the other class that the raters were offered.
        votes_label: how many of :data:`RATERS` chose the label.
        votes_guess: how many chose the guess; the others chose neither.
    """

    index: int
    label: int
    guess: int
    votes_label: int
    votes_guess: int


# index, label, guess, votes for the label, votes for the guess
_MNIST = (
    (947, 8, 9, 0, 5),
    (1621, 0, 6, 2, 3),
    (1901, 9, 4, 2, 3),
    (2130, 4, 9, 2, 2),
    (2462, 2, 0, 0, 4),
    (2597, 5, 3, 0, 4),
    (2654, 6, 1, 0, 2),
    (3520, 6, 4, 2, 0),
    (3558, 5, 0, 1, 4),
    (5937, 5, 3, 1, 3),
    (6651, 0, 6, 0, 5),
    (6783, 1, 6, 2, 3),
    (8527, 4, 9, 2, 2),
    (9679, 6, 3, 2, 0),
    (9729, 5, 6, 2, 3),
)


def doubtful_labels(fingerprint: str) -> tuple[DoubtfulLabel, ...]:
    """Those known of a data set, by its fingerprint; none of any other."""
    if fingerprint != MNIST_FINGERPRINT:
        return ()
    return tuple(
        DoubtfulLabel(
            index=index,
            label=label,
            guess=guess,
            votes_label=votes_label,
            votes_guess=votes_guess,
        )
        for index, label, guess, votes_label, votes_guess in _MNIST
    )
