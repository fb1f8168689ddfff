"""What a ladder has tried and will try: so that suggestions do not go round in circles.

Two runs differ by settings, dotted path → value. A suggestion is held against every step of the
ladder by what it would change from what to what: it can be that step again, or the opposite of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kilonet.analysis.comparison import Effect
from kilonet.spec import Run


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A rung of the planned ladder.

    Attributes:
        number: from 1.
        run: its own.
        effect: against the rung before; None for the first, and for one that has not run.
    """

    number: int
    run: Run
    effect: Effect | None = None

    @property
    def helped(self) -> bool:
        """Whether its step was shown to help, at the final epoch or in the mean of the last."""
        if self.effect is None or self.effect.final.verdict == "worse":
            return False
        return "better" in (self.effect.final.verdict, self.effect.last_five.verdict)


def remark(changed: Run, *, at: int, ladder: Sequence[Tried]) -> str | None:
    """What the ladder says of a change to one of its rungs, or None: not worth a rung of its own.

    Not worth one is what would be a rung that has been measured already, what repeats a step that
    was not shown to help, and what takes back a step, or a part of one, that was.

    Args:
        changed: the run that the change would make.
        at: number of the rung that it would change.
        ladder: all rungs, in order.

    Returns:
        Words to add to the change's reason, beginning with "; ", or nothing to add.
    """
    now = next(tried.run for tried in ladder if tried.number == at)
    if any(not differences(changed, tried.run) for tried in ladder if tried.number < at):
        return None
    change = differences(now, changed)
    opposite = {path: (new, old) for path, (old, new) in change.items()}
    said = ""
    for before, after in pairwise(ladder):
        step = differences(before.run, after.run)
        if after.number > at:
            # Whatever came of it: what is said of a rung stays as it is while the study goes on.
            if _kinds(now, changed) == _kinds(before.run, after.run):
                return said or f"; rung {after.number} tries it"
            continue
        undone = opposite.items() <= step.items()
        if (undone and after.helped) or (change == step and not after.helped):
            return None
        if opposite == step and after.effect is not None:
            word = after.effect.final.verdict.replace(": ", ", ")
            said = f"; rung {after.number} did the opposite ({word})"
        elif after.helped and (kind := _replaced(change, step)):
            said = f"; it takes the place of the {kind} that rung {after.number} gained by"
    return said


def differences(before: Run, after: Run) -> dict[str, tuple[str, str]]:
    """Dotted path → the values of both, as text, where they differ; seeds are no difference."""
    return _changed(_settings(before), _settings(after))


def _kinds(before: Run, after: Run) -> dict[str, tuple[str, str]]:
    """The same, but of augmentation and block the names alone: a rotation is one by any angle."""

    def named(run: Run) -> dict[str, str]:
        block = [str(member).split()[0] for member in run.to_dict()["net"]["block"]]
        augment = [entry.name for entry in run.data.augment]
        return {**_settings(run), "net.block": repr(block), "data.augment": repr(augment)}

    return _changed(named(before), named(after))


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {
        path: (old.get(path, ""), new.get(path, ""))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    }


def _settings(run: Run) -> dict[str, str]:
    """Dotted path → value as text, of all that a run states but its seed; lists are one value."""
    found: dict[str, str] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(inner, f"{path}.{key}" if path else key)
        else:
            found[path] = repr(value)

    walk(run.to_dict(), "")
    found.pop("train.seed", None)
    return found


def _replaced(
    change: Mapping[str, tuple[str, str]], step: Mapping[str, tuple[str, str]]
) -> str | None:
    """Which kind of thing that the step brought in the change replaces: a schedule, for one."""
    for path, (old, _) in change.items():
        if path.endswith(".name") and path in step and step[path][1] == old:
            return path.split(".")[-2]
    return None
