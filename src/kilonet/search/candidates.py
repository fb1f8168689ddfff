"""The next candidate of a search: drawn, and judged before it costs any training."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kilonet.search.result import TRAINED, State
from kilonet.search.sample import ask
from kilonet.search.storage import Entry, Stored
from kilonet.summary import summarize

if TYPE_CHECKING:
    from optuna import Trial

    from kilonet.search.space import Space
    from kilonet.spec import Run

_UNIFORM_AFTER = 20
"""Candidates in a row that train nothing, after which every second one is drawn without a model: a
model that has converged proposes what is known."""

GIVE_UP_AFTER = 200
"""Candidates in a row that train nothing, after which the space counts as searched."""


@dataclass(frozen=True, kw_only=True)
class NewTrial:
    """A trial that the storage does not have yet.

    Attributes:
        trial: Optuna's, in memory, with its parameters and distributions.
        stored: what the storage keeps of it: running if it is to train; else over the budget,
            invalid, or a duplicate.
        run: at full length; None if it is invalid.
    """

    trial: Trial
    stored: Stored
    run: Run | None


def exhausted(before: Sequence[Entry]) -> str:
    """Why the space counts as searched, in words; "" if it does not."""
    if _num_untrained(before) < GIVE_UP_AFTER:
        return ""
    return f"{GIVE_UP_AFTER} candidates in a row were over the budget, invalid or known"


def draw(
    before: Sequence[Entry],
    space: Space,
    *,
    seed: str,
    owner: str,
    seconds: Callable[[], float],
) -> NewTrial:
    """The next candidate, from those before it.

    Args:
        before: the trials so far, by number.
        space: the space.
        seed: of this candidate.
        owner: identifies the folder that trains it.
        seconds: since the search began.
    """
    missed = _num_untrained(before)
    drawn, trial = ask(
        [entry.frozen for entry in before],
        space,
        seed=seed,
        uniform=missed >= _UNIFORM_AFTER and missed % 2 == 0,
    )
    now = seconds()
    stored = Stored(
        state=State.RUNNING.value,
        values=drawn.values,
        parameters=drawn.parameters,
        began=now,
        owner=owner,
        seen=time.time(),
    )
    if drawn.run is None or drawn.problem:
        state = State.INVALID if drawn.run is None else State.OVER_BUDGET
        stored = replace(stored, state=state.value, reason=drawn.problem, ended=now)
        return NewTrial(trial=trial, stored=stored, run=drawn.run)
    stored = replace(stored, run_hash=drawn.run.content_hash, macs=summarize(drawn.run.net).macs)
    equal = next((e for e in before if e.stored.run_hash == stored.run_hash), None)
    if equal is not None:
        stored = replace(
            stored,
            state=State.DUPLICATE.value,
            rungs=equal.stored.rungs,
            duplicate_of=equal.number,
            ended=now,
        )
    return NewTrial(trial=trial, stored=stored, run=drawn.run)


def _num_untrained(entries: Sequence[Entry]) -> int:
    """Candidates in a row, at the end, that train nothing."""
    trained = (State(entry.stored.state) in TRAINED for entry in reversed(entries))
    return next((i for i, is_trained in enumerate(trained) if is_trained), len(entries))
