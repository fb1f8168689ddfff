"""What to try next: ranked, each with its reason and the change line to paste into a study.

A rule answers a finding. :func:`suggestions` drops, for all rules, what the stage has already, what
the spec or the budget does not allow, and what the ladder has measured or plans.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kilonet.analysis.capacity import regularizers
from kilonet.analysis.comparisons import Effect
from kilonet.analysis.findings import Finding, Kind, Verdict
from kilonet.analysis.majority import CLASSES_NAMED, is_imbalanced, rare_classes
from kilonet.analysis.measurements import MIN_WINDOW, Measurements
from kilonet.analysis.misclassified import Errors
from kilonet.errors import SpecError
from kilonet.formatting import count, listed, percent, points
from kilonet.spec import OneCycle, ResolvedStage, Run, Study, graph
from kilonet.spec.inline_toml import inline
from kilonet.spec.invalid import LEFT_OUT
from kilonet.spec.layers import Conv, Linear, Pointwise

WIDENING = (2.0, 1.5, 1.25)
"""Factors on every hidden convolution's channels, the largest that the budget allows first."""

RATE_FACTOR = 3.0
"""How many times higher or lower a learning rate to try: half a decade."""

MORE_EPOCHS = 0.5
"""How many more epochs to train, as a share of those now, where the budget allows them."""

ONE_CYCLE_FACTOR = 10.0
"""A one-cycle schedule's peak with SGD: this many times the rate now …"""

ONE_CYCLE_PEAK = 0.3
"""… but no more than this, unless :data:`RATE_FACTOR` times the rate is:
the highest good rate of the bundled network, docs/analysis.md."""

DECAYS = {"sgd": 0.0005, "adam": 0.0005, "adamw": 0.01, "muon": 0.01}
"""A little weight decay: as an L2 penalty, and decoupled, where AdamW's default is little."""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A change worth a stage.

    Attributes:
        title: what to do, as a stage's name.
        reason: the finding that it answers, figures included.
        change: dotted path in the run → value, as in a stage of a study; empty where it is the
            images that are to change.
    """

    title: str
    reason: str
    change: Mapping[str, Any]

    @property
    def line(self) -> str:
        """The line to paste under ``[[stage]]``: TOML, ``change = { … }``; "" without a change."""
        return f"change = {inline(self.change)}" if self.change else ""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What the rules read.

    Attributes:
        stage: number, change and run.
        study: target, budget, and the other stages.
        measured: the stage's numbers, of the split that choices are read from.
        findings: kind → finding, of the same split.
        effect: against the stage before, of the same split; None for the first.
        errors: on the test set; None where they are not known.
    """

    stage: ResolvedStage
    study: Study
    measured: Measurements
    findings: Mapping[Kind, Finding]
    effect: Effect | None
    errors: Errors | None = None

    @property
    def run(self) -> Run:
        """The stage's."""
        return self.stage.run

    def has(self, *verdicts: Verdict) -> bool:
        """Whether a finding has one of these verdicts, each of which belongs to one kind."""
        return any(finding.verdict in verdicts for finding in self.findings.values())


def suggestions(diagnosis: Diagnosis) -> tuple[Suggestion, ...]:
    """What to try after a stage, the most promising first.

    Each applies with :meth:`Run.replace`, changes the run, stays within the study's budget, and,
    except for taking a change back, is not a stage of the ladder. The first may be about the images
    and without a change; once every seed reached the target there is no other.
    """
    kept = list(_balance(diagnosis))
    if diagnosis.has(Verdict.REACHED):
        return tuple(kept)
    kept += _take_back(diagnosis)
    ladder = [_trained(stage.run) for stage in diagnosis.study.stages]
    rules = (
        _change_rate,
        _train_past_the_start,
        _learn_more,
        _regularize,
        _train_longer,
        _settle,
        _free_capacity,
        _start_faster,
    )
    for rule in rules:
        for suggestion in rule(diagnosis):
            changed = _allowed(suggestion, diagnosis)
            new = changed is not None and _trained(changed) not in ladder
            if new and all(suggestion.change != other.change for other in kept):
                kept.append(suggestion)
    return tuple(kept)


def _allowed(suggestion: Suggestion, diagnosis: Diagnosis) -> Run | None:
    """The changed run; None where the spec or the budget does not allow it."""
    budget = diagnosis.study.budget
    try:
        changed = diagnosis.run.replace(suggestion.change)
    except SpecError:
        return None
    if budget.parameters is not None and changed.net.num_parameters > budget.parameters:
        return None
    if budget.epochs is not None and changed.train.epochs > budget.epochs:
        return None
    return changed if changed.net.num_classes == diagnosis.run.net.num_classes else None


def _trained(run: Run) -> Any:
    """What is trained: a block that no layer expands to does not count."""
    return run.net.nodes, run.data, run.train


def _balance(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """Images of the classes that the network does not tell from the largest one."""
    errors = diagnosis.errors
    if errors is None or Kind.CLASSES not in diagnosis.findings or not is_imbalanced(errors):
        return
    share = f"class {errors.classes[errors.majority]} has {percent(errors.majority_share)}"
    rare = rare_classes(errors)
    title = f"More images of class{'' if len(rare) == 1 else 'es'} {listed(rare)}"
    if diagnosis.has(Verdict.ONE_CLASS):
        title = "Images of more than one class"
    elif len(rare) > CLASSES_NAMED:
        title = "More images of the rare classes"
    yield Suggestion(title=title, reason=f"{share} of the test images", change={})


def _take_back(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """A change that is shown to be worse is undone."""
    stage, effect = diagnosis.stage, diagnosis.effect
    if effect is None or effect.deciding.verdict is not Verdict.WORSE:
        return
    if effect.against != stage.number - 1:
        return  # of an unfinished study, whose stage before has not run
    before = diagnosis.study.stages[stage.number - 2].run
    if before == stage.run:
        return  # a stage that repeats the one before
    now, was = stage.run.to_dict(), before.to_dict()
    # Undone by top-level field, as a schedule's old keys must go with its old name.
    fields = {tuple(path.split(".")[:2]) for path in stage.change}
    back = Suggestion(
        title="Take this change back",
        reason=f"it cost {points(effect.deciding.mean or 0.0)} points of "
        f"{diagnosis.measured.split} accuracy {effect.where}",
        change={
            ".".join(path): was[path[0]].get(path[1], LEFT_OUT)
            for path in sorted(fields)
            if was[path[0]].get(path[1]) != now[path[0]].get(path[1])
        },
    )
    # Some of what was left out before cannot be left out again in TOML.
    if _allowed(back, diagnosis) == before:
        yield back


def _change_rate(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """A learning rate that is far off, or at which a seed failed."""
    run, peak = diagnosis.run, diagnosis.measured.lr_peak
    if diagnosis.has(Verdict.DIVERGING):
        yield _other_rate(run, f"training diverges at {peak:g}", higher=False)
    if diagnosis.has(Verdict.FAR_BEHIND):
        figures = diagnosis.findings[Kind.SEEDS].figures
        reason = f"{figures['failed']} of {figures['of']} seeds fell far behind"
        yield _other_rate(run, f"{reason}, which a lower rate often prevents", higher=False)
        yield from _normalize(run, reason)
    if diagnosis.has(Verdict.STUCK):
        reason = f"at {peak:g} the training never did better than guessing"
        yield from _normalize(run, reason)
        yield _other_rate(run, reason, higher=True)
        yield _other_rate(run, reason, higher=False)


def _train_past_the_start(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """As many epochs as have two windows: fewer show how a training starts, and little else."""
    epochs, limit = diagnosis.run.train.epochs, diagnosis.study.budget.epochs
    enough = 2 * MIN_WINDOW if limit is None else min(2 * MIN_WINDOW, limit)
    if epochs < enough:
        yield Suggestion(
            title=f"Train for {count(enough, 'epoch')}",
            reason=f"runs of {count(epochs, 'epoch')} are too short to show where they are heading",
            change={"train.epochs": enough},
        )


def _learn_more(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """An underfitting network: train on, or learn more easily."""
    if diagnosis.has(Verdict.UNDERFITS):
        train = percent(diagnosis.measured.train_accuracy)
        yield from _train_longer(diagnosis)
        reason = f"it underfits: training accuracy is only {train}"
        yield from _learn_easier(diagnosis, reason, without=regularizers(diagnosis.run))


def _learn_easier(
    diagnosis: Diagnosis, reason: str, *, without: Sequence[str]
) -> Iterator[Suggestion]:
    """Batch normalization, less regularization, more channels by what the budget allows."""
    run = diagnosis.run
    yield from _normalize(run, reason)
    for name in without:
        yield _without(run, name, f"{reason}, and {name} makes learning harder")
    for factor in WIDENING:
        suggestion = _wider(run, factor=factor, reason=reason)
        if _allowed(suggestion, diagnosis) is not None:
            yield suggestion
            return


def _regularize(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """An over-fitting network that fits: dropout, then augmentation, then weight decay."""
    strong, run = diagnosis.has(Verdict.OVERFITS), diagnosis.run
    if not (strong or diagnosis.has(Verdict.OVERFITS_A_LITTLE)) or diagnosis.has(Verdict.UNDERFITS):
        return
    amount = "over-fits" if strong else "over-fits a little"
    reason = f"it {amount}: the gap is {points(diagnosis.measured.gap)} points"
    # Without defaults, as people write them.
    augment: list[dict[str, Any]] = [
        {"name": entry.name, **entry.model_dump(mode="json", exclude_defaults=True)}
        for entry in run.data.augment
    ]
    had = {entry["name"] for entry in augment}
    if not run.net.uses(graph.Dropout):
        yield Suggestion(
            title="A little dropout in every block",
            reason=f"{reason}, and there is no dropout",
            change={"net.block": [*_block(run), f"dropout {0.05 if strong else 0.01}"]},
        )
    for name, title, entry in (
        ("rotation", "Rotate the training images by up to 7 degrees", {"degrees": 7}),
        ("crop", "Shift the training images by up to 2 pixels", {"padding": 2}),
    ):
        if not had & {name, "affine"}:
            yield Suggestion(
                title=title,
                reason=f"{reason}, and there is no such augmentation",
                change={"data.augment": [*augment, {"name": name, **entry}]},
            )
    if not run.train.optimizer.weight_decay:
        yield Suggestion(
            title="A little weight decay",
            reason=f"{reason}, and there is no weight decay",
            change={"train.optimizer.weight_decay": DECAYS[run.train.optimizer.name]},
        )


def _train_longer(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """A network that still improves, if the budget has epochs left."""
    epochs, limit = diagnosis.run.train.epochs, diagnosis.study.budget.epochs
    more = epochs + max(1, round(MORE_EPOCHS * epochs))
    more = more if limit is None else min(more, limit)
    if diagnosis.has(Verdict.IMPROVING):
        gain = points(diagnosis.findings[Kind.TREND].figures["change"] or 0.0)
        yield Suggestion(
            title=f"Train for {more} epochs",
            reason=f"it still improves, by {gain} points in the last epochs",
            change={"train.epochs": more},
        )


def _settle(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """A fluctuating network: lower the learning rate at the end, or average the weights."""
    if not diagnosis.has(Verdict.FLUCTUATES) or diagnosis.has(Verdict.STUCK):
        return
    train, measured = diagnosis.run.train, diagnosis.measured
    movement = points(measured.movement or 0.0)
    reason = f"{measured.split} accuracy fluctuates by {movement} points from epoch to epoch"
    schedules: dict[str, dict[str, Any]] = {}
    if train.schedule.name == "constant":
        step = {"name": "step", "step_size": round(train.epochs * 2 / 3), "gamma": 0.1}
        schedules = {
            **({"Step scheduler for the last third": step} if train.epochs >= 3 else {}),
            "Cosine schedule": {"name": "cosine"},
        }
    for title, schedule in schedules.items():
        yield Suggestion(
            title=title,
            reason=f"{reason} at a constant learning rate",
            change={"train.schedule": schedule},
        )
    if train.average is None:
        average = {"train.average": {"name": "ema", "decay": 0.99}}
        yield Suggestion(title="Average the weights", reason=reason, change=average)


def _free_capacity(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """No over-fitting and still short: regularized too much, or too small."""
    train = diagnosis.measured.train_accuracy
    begun = diagnosis.measured.window >= MIN_WINDOW
    short = train < diagnosis.study.target
    if begun and short and diagnosis.has(Verdict.CLOSED, Verdict.REVERSED):
        reason = f"it does not over-fit, and training accuracy itself is only {percent(train)}"
        on = [name for name in regularizers(diagnosis.run) if name in ("dropout", "weight decay")]
        yield from _learn_easier(diagnosis, reason, without=on)


def _start_faster(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """Short of the target, and no more epochs that would help: a higher rate early.

    It changes the whole course of the training, so it is the last suggestion.
    """
    train, measured, limit = diagnosis.run.train, diagnosis.measured, diagnosis.study.budget.epochs
    if diagnosis.has(Verdict.IMPROVING) and (limit is None or train.epochs < limit):
        return
    unstable = diagnosis.has(Verdict.FAR_BEHIND, Verdict.DIVERGING, Verdict.STUCK)
    there = measured.accuracy >= diagnosis.study.target
    if isinstance(train.schedule, OneCycle) or unstable or there:
        return
    optimizer = train.optimizer
    peak = optimizer.lr * RATE_FACTOR
    if optimizer.name == "sgd":
        peak = max(peak, min(optimizer.lr * ONE_CYCLE_FACTOR, ONE_CYCLE_PEAK))
    schedule: dict[str, Any] = {"name": "onecycle", "max_lr": round(peak, 10)}
    if optimizer.name == "sgd" and not optimizer.momentum:
        schedule["cycle_momentum"] = False
    reason = (
        f"{measured.mean_at_end} is {percent(measured.accuracy)}: a higher rate early may learn "
        f"more in {count(measured.epochs, 'epoch')}, and it ends near zero"
    )
    yield Suggestion(title="One-cycle schedule", reason=reason, change={"train.schedule": schedule})


def _block(run: Run) -> list[Any]:
    """The network's block as its spec writes it."""
    return list(run.net.to_dict()["block"])


def _normalize(run: Run, reason: str) -> Iterator[Suggestion]:
    """Batch normalization, where nothing normalizes."""
    if run.net.uses(graph.Norm):
        return
    members = _block(run)
    # After the activation, as in the notebook; dropout stays last.
    place = next((i for i, member in enumerate(members) if _is_dropout(member)), len(members))
    yield Suggestion(
        title="Batch normalization in every block",
        reason=f"{reason}, and there is no normalization",
        change={"net.block": [*members[:place], "batchnorm", *members[place:]]},
    )


def _without(run: Run, regularizer: str, reason: str) -> Suggestion:
    """The run without one of :func:`kilonet.analysis.capacity.regularizers`."""
    changes: dict[str, Mapping[str, Any]] = {
        "dropout": {"net.block": [member for member in _block(run) if not _is_dropout(member)]},
        "augmentation": {"data.augment": []},
        "weight decay": {"train.optimizer.weight_decay": 0.0},
        "label smoothing": {"train.label_smoothing": 0.0},
    }
    return Suggestion(title=f"Without {regularizer}", reason=reason, change=changes[regularizer])


def _is_dropout(member: Any) -> bool:
    return str(member).startswith("dropout")


def _other_rate(run: Run, reason: str, *, higher: bool) -> Suggestion:
    """The highest learning rate of the run, :data:`RATE_FACTOR` times higher or lower."""
    schedule, factor = run.train.schedule, RATE_FACTOR if higher else 1 / RATE_FACTOR
    if isinstance(schedule, OneCycle) and schedule.max_lr is not None:
        kept = schedule.model_dump(mode="json", exclude_defaults=True)
        cycle = {"name": schedule.name, **kept, "max_lr": _rounded(schedule.max_lr * factor)}
        change: dict[str, Any] = {"train.schedule": cycle}
    else:
        change = {"train.optimizer.lr": _rounded(run.train.optimizer.lr * factor)}
    return Suggestion(
        title=f"A {'higher' if higher else 'lower'} learning rate",
        reason=f"{reason}; 'kilonet train RUN --find-lr' measures a range of rates",
        change=change,
    )


def _rounded(rate: float) -> float:
    """To one digit: 0.01 / 3 is 0.003."""
    return float(f"{rate:.0e}")


def _wider(run: Run, *, factor: float, reason: str) -> Suggestion:
    """More channels in every hidden convolution: not in the last line that sets the classes.

    Residuals and repeats keep their own channels; where that no longer fits, the spec refuses it.
    """
    layers = run.net.layers
    ends = [i for i, layer in enumerate(layers) if isinstance(layer, Conv | Pointwise | Linear)]
    last = max(ends, default=None)  # None: all are in residuals and repeats
    widened = [
        # Not validated here: the change is, as a whole, where it is applied.
        layer.model_copy(update={"out": round(layer.out * factor)})
        if isinstance(layer, Conv | Pointwise) and i != last
        else layer
        for i, layer in enumerate(layers)
    ]
    return Suggestion(
        title=f"{factor:g} times as wide",
        reason=reason,
        change={"net.layers": [layer.model_dump(mode="json") for layer in widened]},
    )
