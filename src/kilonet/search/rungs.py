"""Which trials go on from a short training to a longer one.

Asynchronous successive halving, in the variant that decides as soon as a trial reaches a rung: it
goes on if it is among the best 1/η of the trials that have reached the rung so far. No trial waits
for another, so no processor does. Source: Li et al., "A system for massively parallel
hyperparameter tuning", MLSys 2020; the rule is that of Optuna's ``SuccessiveHalvingPruner``. Unlike
there, a rung is a training of its own: a one-cycle schedule of five epochs is not the beginning of
one of fifteen, so a checkpoint could not go on.
"""

from __future__ import annotations

from collections.abc import Sequence


def goes_on(accuracy: float, *, others: Sequence[float], reduction_factor: int) -> bool:
    """Whether a trial at a rung is worth the next training.

    Args:
        accuracy: the trial's, on the validation split.
        others: those of the other trials that have reached the same rung.
        reduction_factor: η; of fewer trials than that, the best one goes on.
    """
    reached = sorted([*others, accuracy], reverse=True)
    num_going = max(1, len(reached) // reduction_factor)
    return accuracy >= reached[num_going - 1]
