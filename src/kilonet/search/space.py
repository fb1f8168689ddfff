"""A search space: a run in which choices stand for values, and the budget that a network must keep.

::

    name = "small"
    budget = { parameters = 8000, epochs = 15 }
    rungs = [{ epochs = 2 }, { epochs = 5 }]

    [net]
    input = [1, 28, 28]
    layers = ["conv {width}", "{down}", "conv {width}", "gap", "pointwise 10 bare"]

    [data]
    validation = 10000

    [train]
    epochs = 15

    [choose]
    width = { from = 8, to = 20, step = 2 }
    down = ["maxpool 2", "avgpool 2"]
    "train.optimizer.lr" = { from = 0.01, to = 0.2, log = true }
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, model_validator

from kilonet.errors import BudgetError, NetError, did_you_mean
from kilonet.search.choices import Choice, OneOf, parse_choice
from kilonet.search.template import NAME, fill, names_in
from kilonet.spec import Budget, Run
from kilonet.spec.base import InvalidSpecError, Spec
from kilonet.spec.lengths import with_epochs

SEARCH_SEED = 1000
"""The seed of every trial. A confirmation trains the next ones, and studies the seeds from 1: what
chose a network never measures it."""

_SECTIONS = ("net", "data", "train")
_CHECKS = 60
"""Draws with a value, all of which must fail before it counts as one that never fits."""

_FITTING_DRAWS = 500
"""Draws of which one must be within the budget."""


class ShortRun(Spec):
    """A short training, which decides whether a longer one is worth its time.

    Attributes:
        epochs: of the training.
        images: fraction of the training images.
    """

    epochs: Annotated[int, Field(ge=1)]
    images: Annotated[float, Field(gt=0, le=1)] = 1.0


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The values of a candidate, and what they make.

    Attributes:
        values: name of each choice that it uses → the label of its value.
        run: at full length; None if the values make none.
        parameters: of its network; None without a run.
        problem: why it cannot be trained, in a line; "" if it can.
    """

    values: Mapping[str, Any]
    run: Run | None
    parameters: int | None
    problem: str = ""


class Space(Spec):
    """A search space.

    Attributes:
        name: of the search and its folder.
        budget: every network's; a candidate over it is rejected before training.
        net, data, train: the base run as in a run's file, with names in braces in place of values;
            see :mod:`kilonet.search.template`.
        choose: name → its values. A name with dots is the path of a value in the run, as ``--set``
            takes it; another one stands in braces in the run, or in a value of another choice.
        rungs: short trainings, each longer than the one before; only the best go on from each to
            the next, and at last to the full training. Left out: a ninth and a third of the epochs.
            An empty list: every trial is trained in full.
        reduction_factor: of the trials at a rung, the best one in so many goes on.

    Raises:
        InvalidSpecError: a wrong key, an unknown or unused name, or a value that never fits.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)
    budget: Budget = Budget()
    rungs: tuple[ShortRun, ...] | None = None
    reduction_factor: Annotated[int, Field(ge=2, le=100)] = 3
    net: dict[str, Any]
    data: dict[str, Any]
    train: dict[str, Any] = Field(default_factory=dict)
    choose: dict[str, Any]

    @model_validator(mode="after")
    def _is_valid(self) -> Space:
        _check_names(self)
        _check_fixed(self)
        _check_rungs(self)
        _check_values(self)
        return self

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """Name → choice, in the order of the file."""
        choices: dict[str, Choice] = {}
        for name, value in self.choose.items():
            try:
                choices[name] = parse_choice(value)
            except InvalidSpecError as error:
                path = ("choose", name, *error.path)
                raise InvalidSpecError(error.problem, path=path) from None
        return choices

    def build(self, choose: Callable[[str, Choice], Any]) -> Drawn:
        """A candidate.

        Args:
            choose: name and choice → a label of the choice; called once for each choice that the
                candidate uses.
        """
        values: dict[str, Any] = {}

        def pick(name: str) -> Any:
            if name not in values:
                values[name] = choose(name, self.choices[name])
            return self.choices[name].value(values[name])

        try:
            # All choices are made before any is judged: a sampler learns from whole candidates.
            base = fill({part: getattr(self, part) for part in _SECTIONS}, pick)
            changes = {name: fill(pick(name), pick) for name in self.choices if "." in name}
            run = self._run(base, changes)
        except (InvalidSpecError, NetError) as error:
            return Drawn(values=values, run=None, parameters=None, problem=str(error))
        most, epochs = self.budget.parameters, self.budget.epochs
        problem = ""
        if most is not None and run.num_parameters > most:
            problem = f"{run.num_parameters:,} parameters, over the budget of {most:,}"
        elif epochs is not None and run.train.epochs > epochs:
            problem = f"{run.train.epochs} epochs, over the budget of {epochs}"
        return Drawn(values=values, run=run, parameters=run.num_parameters, problem=problem)

    def run_of(self, values: Mapping[str, Any]) -> Run:
        """The run of values that were drawn before.

        Raises:
            InvalidSpecError: they make no run.
            KeyError: one is missing.
        """
        drawn = self.build(lambda name, _: values[name])
        if drawn.run is None:
            raise InvalidSpecError(drawn.problem)
        return drawn.run

    def draw(self, rng: random.Random, *, forced: Mapping[str, Any] | None = None) -> Drawn:
        """A random candidate, each choice by itself; ``forced``: name → label."""
        fixed = forced or {}
        return self.build(lambda name, choice: fixed[name] if name in fixed else choice.draw(rng))

    def check_budget(self) -> None:
        """Raise BudgetError if no network of many random ones is within the budget."""
        rng, smallest, problem = random.Random(0), None, ""  # noqa: S311  nothing secret
        for _ in range(_FITTING_DRAWS):
            drawn = self.draw(rng)
            if drawn.run is not None and not drawn.problem:
                return
            if drawn.parameters is not None and (smallest is None or drawn.parameters < smallest):
                smallest = drawn.parameters
            problem = problem or drawn.problem
        if smallest is None:
            raise InvalidSpecError(
                f"none of {_FITTING_DRAWS:,} random networks can be built, the first because "
                f"{problem}",
                path=("choose",),
            )
        raise BudgetError(
            f"{self.name}: none of {_FITTING_DRAWS:,} random networks is within the budget "
            f"({problem} was the first, {smallest:,} parameters the fewest): add smaller values to "
            "choose, or raise budget"
        )

    def rung_runs(self, run: Run) -> list[Run]:
        """The trainings of a candidate: the short ones, then itself."""
        shorts = _default_rungs(run.train.epochs) if self.rungs is None else self.rungs
        runs = [
            with_epochs(run, short.epochs, images=short.images)
            for short in shorts
            if short.epochs < run.train.epochs
        ]
        return [*runs, run]

    def _run(self, base: dict[str, Any], changes: Mapping[str, Any]) -> Run:
        run = Run.from_dict(base).replace(changes)
        if not run.data.validation:
            raise InvalidSpecError("is missing", path=("data", "validation"))
        # The test set never chooses, so a search's runs do not have it.
        return run.replace({"data.test": False, "train.seed": SEARCH_SEED})


def _default_rungs(epochs: int) -> tuple[ShortRun, ...]:
    """A ninth and a third of the epochs: successive halving with a factor of three."""
    lengths = dict.fromkeys(max(1, round(epochs / divisor)) for divisor in (9, 3))
    return tuple(ShortRun(epochs=length) for length in lengths)


def _check_names(space: Space) -> None:
    """Every name in braces is a choice, every choice is used, and none needs itself."""
    choices = space.choices
    if not choices:
        raise InvalidSpecError("is empty; a search needs a choice", path=("choose",))
    for name in choices:
        head, dot, rest = name.partition(".")
        if dot and (head not in _SECTIONS or not all(rest.split("."))):
            raise InvalidSpecError(
                f"{name!r} is no path in a run; it begins with net, data or train",
                path=("choose", name),
            )
        if not dot and not NAME.fullmatch(name):
            raise InvalidSpecError(
                f"{name!r} should be a letter, then letters, digits, '_' and '-'",
                path=("choose", name),
            )
    plain = [name for name in choices if "." not in name]
    needed = {name: set(_names_of(choices[name])) for name in choices}
    used = set()
    for part in _SECTIONS:
        used |= _known(names_in(getattr(space, part)), plain, (part,))
    for name, names in needed.items():
        used |= _known(names, plain, ("choose", name))
    try:
        TopologicalSorter(needed).prepare()
    except CycleError as error:
        circle = " → ".join(error.args[1])
        raise InvalidSpecError(f"a value contains itself: {circle}", path=("choose",)) from None
    for name in plain:
        if name not in used:
            raise InvalidSpecError(
                f"is not used; write {{{name}}} where its value belongs, or remove it",
                path=("choose", name),
            )


def _names_of(choice: Choice) -> Iterator[str]:
    return names_in(choice.options) if isinstance(choice, OneOf) else iter(())


def _known(names: Any, choices: list[str], path: tuple[str, ...]) -> set[str]:
    found = set(names)
    for name in sorted(found):
        if name not in choices:
            hint = did_you_mean(name, choices)
            raise InvalidSpecError(
                f"{{{name}}} is no choice; {hint} (a brace itself is doubled: {{{{)", path=path
            )
    return found


def _check_fixed(space: Space) -> None:
    """What a search sets itself is not the space's."""
    for path, why in (
        ("train.seed", f"trials have the seed {SEARCH_SEED}, confirmations the next ones"),
        ("data.test", "a search never reads the test set"),
    ):
        part, key = path.split(".")
        if key in getattr(space, part) or path in space.choose:
            raise InvalidSpecError(f"leave it out: {why}", path=(part, key))
    if "validation" not in space.data and "data.validation" not in space.choose:
        raise InvalidSpecError(
            "is missing; a search chooses on the validation split: add validation = 10000, or a "
            "fraction",
            path=("data", "validation"),
        )
    for path in ("data.validation", "data.validation_seed", "data.name"):
        if path in space.choose:
            raise InvalidSpecError(
                "cannot be a choice: accuracies on other images do not compare",
                path=("choose", path),
            )


def _check_rungs(space: Space) -> None:
    rungs = space.rungs or ()
    for i, (before, rung) in enumerate(pairwise(rungs)):
        if (rung.epochs * rung.images) <= (before.epochs * before.images):
            raise InvalidSpecError(
                f"{rung.epochs} epochs of {rung.images:g} of the images are no more than the rung "
                "before; each rung is longer",
                path=("rungs", str(i + 1)),
            )


def _check_values(space: Space) -> None:
    """Each value makes a run with some values of the other choices."""
    rng = random.Random(0)  # noqa: S311  nothing secret
    for name, choice in space.choices.items():
        for label in choice.extremes:
            first = ""
            for _ in range(_CHECKS):
                drawn = space.draw(rng, forced={name: label})
                if name not in drawn.values:
                    continue
                if drawn.run is not None:
                    break
                first = first or drawn.problem
            else:
                if first:
                    raise InvalidSpecError(
                        f"the value {label!r} never fits: {first}", path=("choose", name)
                    )
