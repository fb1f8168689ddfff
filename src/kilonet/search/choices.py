"""The choices of a space: a list of values, named options, or a range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from kilonet.errors import did_you_mean
from kilonet.spec.base import InvalidSpecError
from kilonet.spec.inline_toml import inline

if TYPE_CHECKING:
    import random

    from optuna import Trial

_DIGITS = 4
"""Significant digits of a number from a range without steps: more decide nothing, and a run that is
exported should read like one that a person wrote."""

_RANGE_KEYS = ("from", "to", "step", "log")


@dataclass(frozen=True, kw_only=True)
class OneOf:
    """One of several values.

    Attributes:
        options: label → value. Of a plain value the label is the value itself; of a list or a
            table it is its TOML, or the name that the space gives it.
        step: between values that are evenly spaced whole numbers, which a sampler may treat as
            ordered; else None.
    """

    options: Mapping[Any, Any]
    step: int | None = None

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The labels to try when a space is checked: all."""
        return tuple(self.options)

    def suggest(self, trial: Trial, name: str) -> Any:
        """A label, from Optuna."""
        labels = list(self.options)
        if self.step is not None:
            return trial.suggest_int(name, min(labels), max(labels), step=self.step)
        return trial.suggest_categorical(name, labels)

    def draw(self, rng: random.Random) -> Any:
        """A label, uniformly."""
        return rng.choice(list(self.options))

    def value(self, label: Any) -> Any:
        """The value of a label."""
        return self.options[label]


@dataclass(frozen=True, kw_only=True)
class Range:
    """A number from ``low`` to ``high``, both included; whole if both are.

    Attributes:
        step: between values; None for any number of ``_DIGITS`` digits.
        log: whether equal ratios are equally probable, instead of equal differences.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole."""
        return isinstance(self.low, int)

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The numbers to try when a space is checked: both ends."""
        return (self.low, self.high)

    def suggest(self, trial: Trial, name: str) -> Any:
        """A number, from Optuna, as :meth:`value` rounds it."""
        if self.whole:
            step = 1 if self.step is None else int(self.step)
            drawn: float = trial.suggest_int(
                name, int(self.low), int(self.high), step=step, log=self.log
            )
        else:
            drawn = trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)
        return self.value(drawn)

    def draw(self, rng: random.Random) -> Any:
        """A number, by the same distribution."""
        if self.step is not None or self.whole:
            if self.log:
                low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
                drawn = round(math.exp(rng.uniform(low, high)))
                return min(max(drawn, int(self.low)), int(self.high))
            step = 1 if self.step is None else self.step
            steps = math.floor((self.high - self.low) / step + 1e-9)
            return self.value(self.low + step * rng.randint(0, steps))
        if self.log:
            return self.value(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))
        return self.value(rng.uniform(self.low, self.high))

    def value(self, label: Any) -> Any:
        """The number of a label: itself, rounded within the range."""
        if self.whole:
            return int(label)
        rounded = float(f"{label:.{_DIGITS}g}")
        return min(max(rounded, float(self.low)), float(self.high))


Choice = OneOf | Range


def parse_choice(value: Any) -> Choice:
    """A choice as a space states it: a list, ``{ from, to, step, log }`` or ``{ options }``.

    Raises:
        InvalidSpecError: it is none of these.
    """
    if isinstance(value, OneOf | Range):
        return value
    if isinstance(value, list | tuple):
        return _listed(list(value))
    if isinstance(value, Mapping):
        if set(value) == {"options"}:
            options = value["options"]
            if not isinstance(options, Mapping) or not options:
                raise InvalidSpecError("should be a table of names and values", path=("options",))
            return OneOf(options={str(name): option for name, option in options.items()})
        if "from" in value or "to" in value:
            return _range(value)
    raise InvalidSpecError(
        f"{_short(value)} is no choice; write a list of values, {{ from = 4, to = 16 }}, or "
        "{ options = { name = value, … } }"
    )


def _listed(values: list[Any]) -> OneOf:
    if not values:
        raise InvalidSpecError("is empty; give at least one value")
    options: dict[Any, Any] = {}
    for i, value in enumerate(values):
        if value is None:
            raise InvalidSpecError("has no value", path=(str(i),))
        label = value if isinstance(value, str | int | float | bool) else inline(value)
        # True equals 1 in Python; a list with both would lose one of them.
        if label in options:
            raise InvalidSpecError(f"{_short(value)} is given twice", path=(str(i),))
        options[label] = value
    return OneOf(options=options, step=_spacing(values))


def _spacing(values: list[Any]) -> int | None:
    """The distance between evenly spaced whole numbers; None for all other values."""
    if len(values) < 2 or any(type(value) is not int for value in values):
        return None
    ordered = sorted(values)
    gaps = {after - before for before, after in pairwise(ordered)}
    return gaps.pop() if len(gaps) == 1 else None


def _range(table: Mapping[str, Any]) -> Range:
    for key in table:
        if key not in _RANGE_KEYS:
            hint = did_you_mean(key, _RANGE_KEYS)
            raise InvalidSpecError(f"unknown key of a range; {hint}", path=(str(key),))
    for key in ("from", "to"):
        if key not in table:
            raise InvalidSpecError("is missing; a range has both ends", path=(key,))
    for key in ("from", "to", "step"):
        number = table.get(key, 1)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise InvalidSpecError(f"{_short(number)} should be a number", path=(key,))
        if not math.isfinite(number):
            raise InvalidSpecError(f"{number} should be a finite number", path=(key,))
    low, high, step, log = table["from"], table["to"], table.get("step"), table.get("log", False)
    if not isinstance(log, bool):
        raise InvalidSpecError(f"{_short(log)} should be true or false", path=("log",))
    if low >= high:
        raise InvalidSpecError(f"{low} should be below to, which is {high}", path=("from",))
    whole = isinstance(low, int) and isinstance(high, int) and isinstance(step, int | None)
    if step is not None and not 0 < step <= high - low:
        raise InvalidSpecError(
            f"{step} should be above 0 and at most to − from, {high - low}", path=("step",)
        )
    if log and low <= 0:
        raise InvalidSpecError(f"{low} should be above 0 with log = true", path=("from",))
    if log and step is not None:
        raise InvalidSpecError("leave it out with log = true", path=("step",))
    if step is not None:
        # Optuna's ends are both values; what lies beyond the last step is never one.
        high = low + step * math.floor((high - low) / step + 1e-9)
    if whole:
        return Range(low=low, high=high, step=step, log=log)
    return Range(
        low=float(low), high=float(high), step=None if step is None else float(step), log=log
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
