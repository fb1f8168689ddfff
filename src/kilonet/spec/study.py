"""A run, which is one training, and a study: stages from a first network to a target."""

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
from kilonet.spec.invalid import dotted
from kilonet.spec.layers import Layer
from kilonet.spec.module import Module
from kilonet.spec.net import Net
from kilonet.spec.schedules import Plateau
from kilonet.spec.train import Train


class Run(Spec):
    """One training: everything that decides its result. The content hash names its folder.

    Attributes:
        net, data, train: see their classes.
        module: of a training of the user's own module, which module; the network then states the
            shape of an image and the number of classes alone.
    """

    net: Net
    data: Data = Data()
    train: Train = Train()
    module: Module | None = None

    @property
    def num_parameters(self) -> int:
        """Trained parameters of the module of the user's own, or else of the network."""
        return self.net.num_parameters if self.module is None else self.module.num_parameters

    @model_validator(mode="after")
    def _parts_fit(self) -> Run:
        if isinstance(self.train.schedule, Plateau) and not self.data.validation:
            raise InvalidSpecError(
                "plateau needs a validation split; set data.validation",
                path=("train", "schedule"),
            )
        if not self.data.test and not self.data.validation:
            raise InvalidSpecError(
                "false leaves no images to evaluate on; set data.validation, or remove it",
                path=("data", "test"),
            )
        if self.train.early_stopping is not None and not self.data.validation:
            raise InvalidSpecError(
                "needs a validation split; set data.validation", path=("train", "early_stopping")
            )
        channels, *size = self.net.input
        for name in ("mean", "std"):
            values = getattr(self.data, name)
            if values is not None and len(values) not in (1, channels):
                problem = (
                    f"{len(values)} values for {channels} channels; "
                    "give one per channel, or one for all"
                )
                raise InvalidSpecError(problem, path=("data", name))
        if self.data.resize is not None and tuple(size) != self.data.resize:
            problem = (
                f"{list(self.data.resize)} is not the size of the network's input, {size}; "
                "make them equal"
            )
            raise InvalidSpecError(problem, path=("data", "resize"))
        return self


class Budget(Spec):
    """Limits for every stage of a study.

    Attributes:
        parameters: most trained parameters; left out: no limit.
        epochs: most epochs; left out: no limit.
    """

    parameters: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None


class Stage(Spec):
    """One stage of a study: a change to the stage before.

    Attributes:
        name: a heading.
        target: what the change is meant to achieve, in words.
        change: dotted path in the run → new value: ``{ "train.optimizer.lr" = 0.02 }``; the order
            does not matter, see :meth:`kilonet.spec.base.Spec.replace`. Left out in a first stage
            that is a baseline: the base run as it is.
    """

    name: str = Field(min_length=1)
    target: str = ""
    change: dict[str, Any] = Field(default_factory=dict)

    @field_validator("change", mode="before")
    @classmethod
    def _is_plain_data(cls, change: Any) -> Any:
        """Specs and tuples from Python become plain data that TOML can hold."""
        return _plain(change, path="")

    @field_validator("change")
    @classmethod
    def _leaves_seeds_and_sections(cls, change: dict[str, Any]) -> dict[str, Any]:
        if "train.seed" in change:
            raise ValueError("a stage cannot set train.seed; the study runs seeds 1 to `seeds`")
        for path in change:
            # In TOML an unquoted train.epochs is a new [train] with defaults for all other keys.
            if path in Run.model_fields:
                raise ValueError(
                    f"{path!r} is a whole section; give the path of the value to change, "
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
class ResolvedStage:
    """A stage with its run, all changes applied.

    Attributes:
        number: from 1.
        name, target, change: as in :class:`Stage`; no change in a baseline.
        run: the run, with the base run's seed.
    """

    number: int
    name: str
    target: str
    change: dict[str, Any]
    run: Run

    def seeded(self, seed: int) -> Run:
        """The run with this seed."""
        return self.run.replace({"train.seed": seed})


BASELINE = "Baseline"
"""The name of the one stage of a study that states none."""


class Study(Spec):
    """A target, a budget, a base run, and stages that change it one after another.

    Attributes:
        name: of the study and its folder.
        target: test accuracy to reach, percent.
        budget: limits of parameters and epochs.
        seeds: number of seeds of each stage; they are 1 to ``seeds``.
        net, data, train: the base run.
        stage: the stages in order, ``[[stage]]`` in TOML; the first may change nothing. Left out:
            one stage, the base run.

    Raises:
        InvalidSpecError: for a wrong key or value, also in a stage's change.
        NetError: for a stage whose network cannot be built.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    target: float = Field(gt=0, le=100)
    budget: Budget = Budget()
    seeds: Annotated[int, Field(ge=1, le=MAX_SEED)] = 1
    net: Net
    data: Data = Data()
    train: Train = Train()
    stage: tuple[Stage, ...] = ()

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except InvalidSpecError as error:
            place = _place_in_stage(error.path, data.get("stage"))
            raise InvalidSpecError(error.problem, path=error.path, place=place) from None

    @model_validator(mode="after")
    def _target_is_percent(self) -> Study:
        # A fraction such as 0.994 would be reached by every network.
        if self.target <= 1:
            problem = f"{self.target:g} is in percent; did you mean {100 * self.target:g}?"
            raise InvalidSpecError(problem, path=("target",))
        return self

    @model_validator(mode="after")
    def _stages_are_valid(self) -> Study:
        names = [stage.name for stage in self.stage]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise InvalidSpecError(
                    f"a second stage named {name!r}", path=("stage", str(i), "name")
                )
            if i and not self.stage[i].change:
                raise InvalidSpecError(
                    "is missing; only the first stage, a baseline, may have none",
                    path=("stage", str(i), "change"),
                )
        _ = self.stages  # applies every change, which validates it
        return self

    @property
    def run(self) -> Run:
        """The base run."""
        return Run(net=self.net, data=self.data, train=self.train)

    @cached_property
    def stages(self) -> tuple[ResolvedStage, ...]:
        """The stages with their runs: each change is applied to the run of the stage before.

        Without stages the base run is the only one, named :data:`BASELINE`.
        """
        run = self.run
        stages: list[ResolvedStage] = []
        for i, stage in enumerate(self.stage or (Stage(name=BASELINE),)):
            try:
                run = run.replace(stage.change)
            except InvalidSpecError as error:
                path = ("stage", str(i), "change", *error.path)
                raise InvalidSpecError(error.problem, path=path) from None
            except NetError as error:
                raise NetError(f"stage {i + 1} '{stage.name}': {error}") from None
            stages.append(
                ResolvedStage(
                    number=i + 1,
                    name=stage.name,
                    target=stage.target,
                    change=stage.change,
                    run=run,
                )
            )
        return tuple(stages)

    def seed_numbers(self) -> range:
        """The seeds of every stage: 1 to ``seeds``."""
        return range(1, self.seeds + 1)


def _place_in_stage(path: tuple[str, ...], stages: Any) -> str | None:
    """A place in a stage, which people know by its number from 1 and its name; None elsewhere."""
    if len(path) < 2 or path[0] != "stage" or not path[1].isdecimal():
        return None
    index = int(path[1])
    stage = stages[index] if isinstance(stages, list | tuple) and index < len(stages) else None
    name = stage.get("name") if isinstance(stage, Mapping) else getattr(stage, "name", None)
    shown = (
        f"stage {index + 1} {name!r}" if isinstance(name, str) and name else f"stage {index + 1}"
    )
    return ": ".join([shown, *filter(None, [dotted(path[2:])])])
