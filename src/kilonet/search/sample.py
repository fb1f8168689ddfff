"""Candidates from Optuna's samplers, in a search or in a user's own study."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kilonet.errors import UsageError
from kilonet.search.space import Drawn, Space
from kilonet.spec import Run

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

_STARTUP_TRIALS = 16
"""Random trials before the sampler models anything. Optuna's own count would include candidates
over the budget: of a tight one, a handful of trials would be all that the model knows."""

_CONSTRAINT = "fits"
"""Optuna's constraint of a candidate: above 0 if it cannot be trained."""


def suggest(trial: Trial, space: Space) -> Run:
    """The run of a trial of your own Optuna study: in ``study.optimize`` or after ``study.ask``.

    ::

        def objective(trial):
            run = kn.suggest(trial, space)
            return kn.train(run).final_validation_accuracy

        optuna.create_study(direction="maximize").optimize(objective, n_trials=100)

    The run has the validation split and no test set, as in a search. It is trained in full: rungs,
    duplicates and confirmations are :func:`kilonet.search.loop.search`'s.

    Args:
        trial: it is asked for each choice that the candidate uses, by the choice's name.
        space: the space.

    Raises:
        optuna.TrialPruned: the candidate is over the budget or makes no network. Optuna's
            ``optimize`` counts such a trial as pruned and goes on; before, the trial is marked as
            infeasible by a constraint, which the TPE sampler learns from.
    """
    import_optuna()
    from optuna import TrialPruned

    drawn = propose(trial, space)
    if drawn.problem or drawn.run is None:
        raise TrialPruned(drawn.problem)
    return drawn.run


def propose(trial: Trial, space: Space) -> Drawn:
    """The candidate of a trial; one that cannot be trained is marked as infeasible."""
    drawn = space.build(lambda name, choice: choice.suggest(trial, name))
    if drawn.problem:
        trial.set_constraint(_CONSTRAINT, _violation(space, drawn))
    return drawn


def ask(
    before: Sequence[FrozenTrial], space: Space, *, seed: str, uniform: bool = False
) -> tuple[Drawn, Trial]:
    """The next candidate, from those before it.

    The sampler is a new one for each candidate, and sees all trials anew. So a candidate depends on
    the trials and the seed alone: a search that was stopped goes on as if it had not been.

    Args:
        before: the trials so far, by number; those that run count against what is near to them.
        space: the space.
        seed: of this candidate.
        uniform: whether to draw at random, without a model.

    Returns:
        The candidate, and the trial in memory with its parameters and distributions.
    """
    import_optuna()
    from optuna import create_study
    from optuna.trial import TrialState

    trained = sum(trial.state != TrialState.FAIL and _fits(trial) for trial in before)
    with quiet():
        sampler = _sampler(seed, uniform=uniform or trained < _STARTUP_TRIALS)
        study = create_study(direction="maximize", sampler=sampler)
        study.add_trials(before)
        trial = study.ask()
        return propose(trial, space), trial


def import_optuna() -> None:
    """Raise UsageError unless Optuna is installed, in a version that has what is used here."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise UsageError("Optuna is not installed; pip install 'kilonet[search]'") from None
    if int(optuna.__version__.partition(".")[0]) < 5:
        raise UsageError(
            f"Optuna {optuna.__version__} is too old; pip install --upgrade 'kilonet[search]'"
        )


def _sampler(seed: str, *, uniform: bool) -> BaseSampler:
    """TPE over all choices together (Bergstra et al., "Algorithms for hyper-parameter
    optimization", 2011; multivariate: Falkner, Klein and Hutter, "BOHB", 2018), with a model for
    each group of choices that occur together.
    """  # noqa: D205  one sentence with its sources
    from optuna.samplers import RandomSampler, TPESampler

    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    if uniform:
        return RandomSampler(seed=number)
    return TPESampler(
        seed=number,
        n_startup_trials=1,
        multivariate=True,
        group=True,
        constant_liar=True,
    )


def _fits(trial: FrozenTrial) -> bool:
    return all(excess <= 0 for excess in trial.constraints.values())


def _violation(space: Space, drawn: Drawn) -> float:
    """How far a candidate is from one that can be trained: the excess of parameters, as a share.

    What makes no network is further away than twice the budget.
    """
    most = space.budget.parameters
    if drawn.parameters is None or most is None:
        return 2.0
    return max((drawn.parameters - most) / most, 0.001)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's lines about each trial, and its warning that ``group`` is experimental."""
    from optuna import logging
    from optuna.exceptions import ExperimentalWarning

    before: Any = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        logging.set_verbosity(before)
