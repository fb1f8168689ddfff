"""Single changes to a run, as suggestions: each gives what applies, and nothing where it does not.

They know of runs alone. Which are worth suggesting, and in what order, is decided in
:mod:`kilonet.analysis.suggestions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kilonet.analysis.toml import inline
from kilonet.spec import OneCycle, Run, graph
from kilonet.spec.layers import Conv, Dropout, Layer, Linear, Pointwise

WIDENING = (2.0, 1.5, 1.25)
"""Factors on every hidden convolution's channels, the largest that the budget allows first."""

RATE_FACTOR = 3.0
"""How many times higher or lower a learning rate to try: half a decade, as a range is searched."""

SMOOTHING = 0.1
"""Of the labels; Szegedy et al. 2016, section 7, and Müller, Kornblith and Hinton 2019."""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A change worth a rung.

    Attributes:
        title: what to do, as a rung would be called.
        reason: the finding it answers, figures included.
        change: dotted path in the run → value, as in a study's step.
    """

    title: str
    reason: str
    change: Mapping[str, Any]

    @property
    def line(self) -> str:
        """The line to paste under ``[[step]]``: TOML, ``change = { … }``."""
        return f"change = {inline(self.change)}"


def block(run: Run) -> list[str]:
    """The network's block as its spec writes it."""
    return list(run.net.to_dict()["block"])


def normalise(run: Run, reason: str) -> Iterator[Suggestion]:
    """Batch normalisation, where there is none."""
    if run.net.uses(graph.BatchNorm):
        return
    members = block(run)
    # After the activation, as the notebook has it; dropout stays last.
    place = next((i for i, text in enumerate(members) if text.startswith("dropout")), len(members))
    yield Suggestion(
        title="Batch normalisation in every block",
        reason=f"{reason}, and there is no batch normalisation",
        change={"net.block": [*members[:place], "batchnorm", *members[place:]]},
    )


def without_dropout(run: Run, reason: str) -> Iterator[Suggestion]:
    """The block without its dropout."""
    members = [
        text
        for text, member in zip(block(run), run.net.block, strict=True)
        if not isinstance(member, Dropout)
    ]
    if members != block(run):
        yield Suggestion(title="Without dropout", reason=reason, change={"net.block": members})


def without_augmentation(run: Run, reason: str) -> Iterator[Suggestion]:
    """The training images as they are."""
    if run.data.augment:
        yield Suggestion(title="Without augmentation", reason=reason, change={"data.augment": []})


def without_weight_decay(run: Run, reason: str) -> Iterator[Suggestion]:
    """No weight decay; an optimiser's own default of it is left alone."""
    optimizer = run.train.optimizer
    if optimizer.weight_decay > type(optimizer).model_fields["weight_decay"].default:
        yield Suggestion(
            title="Without weight decay",
            reason=reason,
            change={"train.optimizer.weight_decay": 0.0},
        )


def without_label_smoothing(run: Run, reason: str) -> Iterator[Suggestion]:
    """The labels as they are."""
    if run.train.label_smoothing:
        yield Suggestion(
            title="Without label smoothing", reason=reason, change={"train.label_smoothing": 0.0}
        )


def smooth_labels(run: Run, reason: str) -> Iterator[Suggestion]:
    """Label smoothing, where there is none."""
    if not run.train.label_smoothing:
        yield Suggestion(
            title="Label smoothing",
            reason=f"{reason}, and the labels are not smoothed",
            change={"train.label_smoothing": SMOOTHING},
        )


def other_rate(run: Run, reason: str, *, higher: bool) -> Iterator[Suggestion]:
    """The highest learning rate of the run, :data:`RATE_FACTOR` times higher or lower."""
    train = run.train
    schedule = train.schedule
    title = f"A {'higher' if higher else 'lower'} learning rate"
    if isinstance(schedule, OneCycle) and schedule.max_lr is not None:
        rate = _rounded(schedule.max_lr * RATE_FACTOR ** (1 if higher else -1))
        kept = schedule.model_dump(mode="json", exclude_defaults=True)
        change: dict[str, Any] = {
            "train.schedule": {"name": schedule.name, **kept, "max_lr": rate},
        }
    else:
        rate = _rounded(train.optimizer.lr * RATE_FACTOR ** (1 if higher else -1))
        change = {"train.optimizer.lr": rate}
    yield Suggestion(title=title, reason=reason, change=change)


def _rounded(rate: float) -> float:
    """To one digit: 0.01 / 3 is 0.003."""
    return float(f"{rate:.0e}")


def wider(
    run: Run, reason: str, *, allowed: Callable[[Mapping[str, Any]], bool]
) -> Iterator[Suggestion]:
    """More channels in every hidden convolution, as many as are allowed."""
    for factor in WIDENING:
        layers = [*map(_written, _widened(run.net.layers, factor=factor))]
        change = {"net.layers": layers}
        if allowed(change):
            yield Suggestion(title=f"{factor:g} times as wide", reason=reason, change=change)
            return


def _widened(layers: Sequence[Layer], *, factor: float) -> Iterator[Layer]:
    """The layers with more channels, all but the last line that sets them: it gives the classes.

    Residuals keep their own channels; where that no longer fits, the spec refuses the whole.
    """
    setting = [i for i, layer in enumerate(layers) if isinstance(layer, Conv | Pointwise | Linear)]
    for i, layer in enumerate(layers):
        if isinstance(layer, Conv | Pointwise) and i != setting[-1]:
            # Unchecked here: the text is read anew when the change is tried.
            yield layer.model_copy(update={"out": round(layer.out * factor)})
        else:
            yield layer


def _written(layer: Layer) -> Any:
    return layer.model_dump(mode="json")
