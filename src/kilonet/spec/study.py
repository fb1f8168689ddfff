"""What is run: one training, or a ladder of them from a first network to a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from kilonet.errors import NetError
from kilonet.randomness import MAX_SEED
from kilonet.spec.base import InvalidSpecError, Spec
from kilonet.spec.data import Data
from kilonet.spec.layers import Layer
from kilonet.spec.net import Net
from kilonet.spec.train import Plateau, Train


class Run(Spec):
    """One training: everything that decides its result. Its content hash names its folder."""

    net: Net
    data: Data = Data()
    train: Train = Train()

    @model_validator(mode="after")
    def _fits(self) -> Run:
        if isinstance(self.train.schedule, Plateau) and not self.data.validation:
            raise InvalidSpecError(
                "plateau looks at the validation split, and there is none; set data.validation",
                path=("train", "schedule"),
            )
        channels, *size = self.net.input
        for name in ("mean", "std"):
            values = getattr(self.data, name)
            if values is not None and len(values) not in (1, channels):
                problem = (
                    f"{len(values)} values for {channels} channels; "
                    "give one a channel, or one for all"
                )
                raise InvalidSpecError(problem, path=("data", name))
        if self.data.resize is not None and tuple(size) != self.data.resize:
            problem = (
                f"{list(self.data.resize)} is not the size of the network's input, {size}; "
                "change one of them"
            )
            raise InvalidSpecError(problem, path=("data", "resize"))
        return self


class Budget(Spec):
    """What a study may spend.

    Attributes:
        parameters: most trained parameters of any rung; left out: no limit.
        epochs: most epochs of any rung; left out: no limit.
    """

    parameters: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None


class StudyStep(Spec):
    """One rung's change on top of the rung before.

    Attributes:
        name: a heading.
        target: what the step is to do, in words.
        change: dotted path in the run → value: ``{ "train.optimizer.lr" = 0.02 }``.
    """

    name: str = Field(min_length=1)
    target: str = ""
    change: dict[str, Any] = Field(min_length=1)

    @field_validator("change", mode="before")
    @classmethod
    def _is_plain_data(cls, change: Any) -> Any:
        """Specs and tuples, as Python states them, become what TOML can hold."""
        return _plain(change, path="")

    @field_validator("change")
    @classmethod
    def _changes_what_a_step_may(cls, change: dict[str, Any]) -> dict[str, Any]:
        if "train.seed" in change:
            raise ValueError("a step cannot set train.seed; the study runs seeds 1 to `seeds`")
        for path in change:
            # TOML reads an unquoted train.epochs as a whole new [train], defaults and all.
            if path in Run.model_fields:
                raise ValueError(
                    f"{path!r} is a whole section; name what changes in it by its path, "
                    f'in quotes, as in "train.epochs" = 10'
                )
        return change


def _plain(value: Any, *, path: str) -> Any:
    if isinstance(value, Layer):
        return value.to_line()
    if isinstance(value, Spec):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _plain(part, path=str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, path=path) for part in value]
    if value is None:
        raise ValueError(f"{path!r} has no value; give one that TOML can hold")
    return value


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A step with the run it leads to.

    Attributes:
        number: from 1.
        step: its name, target and change.
        run: the whole run, still with the base's seed.
    """

    number: int
    step: StudyStep
    run: Run

    def seeded(self, seed: int) -> Run:
        """The rung's run with one seed."""
        return self.run.replace({"train.seed": seed})


class Study(Spec):
    """A ladder: a target, a budget, a first run, and one change a rung.

    Attributes:
        name: names the study's folder.
        target: test accuracy to reach, percent.
        budget: most parameters and epochs.
        seeds: how many; they are 1 to ``seeds``.
        net, data, train: the base run, which the steps change.
        step: the rungs in order.

    Raises:
        InvalidSpecError: for a key, a value or a step's change that does not hold.
        NetError: for a rung whose network cannot be built.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    target: float = Field(gt=0, le=100)
    budget: Budget = Budget()
    seeds: Annotated[int, Field(ge=1, le=MAX_SEED)] = 1
    net: Net
    data: Data = Data()
    train: Train = Train()
    step: tuple[StudyStep, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _target_is_percent(self) -> Study:
        # A fraction, as elsewhere accuracies are: every network would reach it at once.
        if self.target <= 1:
            problem = f"{self.target:g} is in percent; did you mean {100 * self.target:g}?"
            raise InvalidSpecError(problem, path=("target",))
        return self

    @model_validator(mode="after")
    def _rungs_hold(self) -> Study:
        names = [step.name for step in self.step]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise InvalidSpecError(
                    f"a second step named {name!r}", path=("step", str(i), "name")
                )
        _ = self.rungs  # every step's change is tried now
        return self

    @property
    def run(self) -> Run:
        """The base run."""
        return Run(net=self.net, data=self.data, train=self.train)

    @cached_property
    def rungs(self) -> tuple[Rung, ...]:
        """The ladder: each step's run, every change applied on top of the one before."""
        run = self.run
        rungs: list[Rung] = []
        for i, step in enumerate(self.step):
            try:
                run = run.replace(step.change)
            except InvalidSpecError as error:
                path = ("step", str(i), "change", *error.path)
                raise InvalidSpecError(error.problem, path=path) from None
            except NetError as error:
                raise NetError(f"step {i + 1} '{step.name}': {error}") from None
            rungs.append(Rung(number=i + 1, step=step, run=run))
        return tuple(rungs)

    def seed_numbers(self) -> range:
        """The seeds of every rung: 1 to ``seeds``."""
        return range(1, self.seeds + 1)
