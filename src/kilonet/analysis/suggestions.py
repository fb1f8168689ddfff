"""What to try next: ranked, each with its reason and the change line to paste into a study.

A suggestion answers a finding. Whatever the rung already has, what the spec refuses and what the
budget forbids is dropped at one place, :func:`next_steps`, and so is what the ladder has tried
already; so the rules need not know of either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kilonet.analysis import changes
from kilonet.analysis.changes import Suggestion
from kilonet.analysis.findings import Finding
from kilonet.analysis.held_out import Images
from kilonet.analysis.history import Tried, remark
from kilonet.analysis.measurements import Measurements
from kilonet.analysis.words import count, percent, points
from kilonet.errors import SpecError
from kilonet.spec import OneCycle, Run, Study, graph
from kilonet.spec.train import LEFT_OUT

MORE_EPOCHS = 0.5
"""How many more epochs to train, as a share of those now, where the budget allows them."""

ONE_CYCLE_FACTOR = 10.0
"""A one-cycle schedule's peak with SGD: this many times the rate now …"""

ONE_CYCLE_PEAK = 0.3
"""… but no more than this, unless :data:`kilonet.analysis.changes.RATE_FACTOR` times the rate is:
the highest good rate of the bundled network, docs/analysis.md."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All that the rules look at.

    Attributes:
        number: the rung's, from 1.
        run: its own.
        before: the run of the rung before; None for the first.
        step_change: the rung's own change.
        ladder: all rungs of the study, this one among them.
        measured: its numbers.
        findings: kind → finding.
        study: target and budget.
        judged_on: what images ``measured`` and ``findings`` call the test images.
    """

    number: int
    run: Run
    before: Run | None
    step_change: Mapping[str, Any]
    ladder: Sequence[Tried]
    measured: Measurements
    findings: Mapping[str, Finding]
    study: Study
    judged_on: Images

    def says(self, kind: str, *verdicts: str) -> bool:
        """Whether the finding of a kind is one of these verdicts."""
        return kind in self.findings and self.findings[kind].verdict in verdicts

    @property
    def epochs_left(self) -> bool:
        """Whether the budget allows training for longer."""
        limit = self.study.budget.epochs
        return limit is None or self.run.train.epochs < limit


def next_steps(diagnosis: Diagnosis) -> tuple[Suggestion, ...]:
    """What to try after a rung, the most promising first; none once every seed reached the target.

    Each applies with :meth:`Run.replace`, changes the run and stays within the study's budget. But
    for a step to be taken back, none is a rung that has been measured, repeats a step that was not
    shown to help, or takes back one that was: :func:`kilonet.analysis.history.remark`.
    """
    if diagnosis.says("target", "reached"):
        return ()
    kept = [back for back in _step_back(diagnosis) if _allowed(back.change, diagnosis)]
    rules = (
        _mend_rate,
        _learn_more,
        _regularise,
        _train_longer,
        _settle,
        _widen,
        _free_capacity,
        _be_less_sure,
        _start_faster,
    )
    for rule in rules:
        for suggestion in rule(diagnosis):
            if any(suggestion.change == other.change for other in kept):
                continue
            if not _allowed(suggestion.change, diagnosis):
                continue
            changed = diagnosis.run.replace(suggestion.change)
            said = remark(changed, at=diagnosis.number, ladder=diagnosis.ladder)
            if said is not None:
                kept.append(replace(suggestion, reason=suggestion.reason + said))
    return tuple(kept)


def _allowed(change: Mapping[str, Any], diagnosis: Diagnosis) -> bool:
    try:
        changed = diagnosis.run.replace(change)
    except SpecError:
        return False
    budget = diagnosis.study.budget
    if budget.parameters is not None and changed.net.num_parameters > budget.parameters:
        return False
    if budget.epochs is not None and changed.train.epochs > budget.epochs:
        return False
    run = diagnosis.run
    if changed.net.classes != run.net.classes:
        return False
    # A block that no layer expands to can be rewritten without changing the network.
    return (changed.net.nodes, changed.data, changed.train) != (run.net.nodes, run.data, run.train)


def _step_back(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """A step that hurt is undone, and so is a regulariser that a network still underfits with."""
    hurt = diagnosis.says("effect", "worse")
    misplaced = diagnosis.says("regulariser", "added to what underfits")
    misplaced = misplaced and diagnosis.says("fit", "underfits")
    if diagnosis.before is None or not (hurt or (misplaced and not _helped(diagnosis))):
        return
    now, was = diagnosis.run.to_dict(), diagnosis.before.to_dict()
    # Undone by top-level field, as a schedule's old keys must go with its old name.
    fields = {tuple(path.split(".")[:2]) for path in diagnosis.step_change}
    change = {
        ".".join(path): was[path[0]].get(path[1], LEFT_OUT)
        for path in sorted(fields)
        if was[path[0]].get(path[1]) != now[path[0]].get(path[1])
    }
    try:
        undone = diagnosis.run.replace(change) == diagnosis.before
    except SpecError:
        undone = False  # some of what was left out before cannot be left out again in TOML
    if undone:
        lost = diagnosis.findings["effect"].figures["difference"]
        reason = f"it cost {points(lost or 0.0)} points of final {diagnosis.judged_on} accuracy"
        if not hurt:
            reason = "it added a regulariser to a network that underfitted and still does"
        yield Suggestion(title="Take this step back", reason=reason, change=change)


def _helped(diagnosis: Diagnosis) -> bool:
    return any(tried.helped for tried in diagnosis.ladder if tried.number == diagnosis.number)


def _mend_rate(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """A learning rate that shows itself too high or too low: half a decade the other way."""
    run, peak = diagnosis.run, diagnosis.measured.lr_peak
    if diagnosis.says("learning rate", "too high"):
        reason = f"the learning rate of {peak:g} makes the training jump"
        yield from changes.other_rate(run, reason, higher=False)
    if diagnosis.says("learning rate", "too low"):
        fall = diagnosis.findings["learning rate"].figures["loss_fall"] or 0.0
        reason = (
            f"at {peak:g} the training loss still fell by {fall:.0%} over the last "
            f"{diagnosis.measured.window} epochs, and the network underfits"
        )
        yield from changes.other_rate(run, reason, higher=True)
    if diagnosis.says("seeds", "far behind") and not diagnosis.says("learning rate", "too low"):
        figures = diagnosis.findings["seeds"].figures
        reason = f"{figures['failed']} of {figures['of']} seeds fell far behind"
        yield from changes.other_rate(
            run, f"{reason}, which a lower rate often prevents", higher=False
        )
        yield from changes.normalise(run, reason)
    if diagnosis.says("learning rate", "stuck"):
        reason = f"at {peak:g} the training never did better than guessing"
        yield from changes.normalise(run, reason)
        yield from changes.other_rate(run, reason, higher=True)
        yield from changes.other_rate(run, reason, higher=False)


def _learn_more(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """An underfitting network: let it go on, help it learn, take what holds it back, widen it."""
    if not diagnosis.says("fit", "underfits"):
        return
    yield from _train_longer(diagnosis)
    run = diagnosis.run
    reason = f"it underfits: training accuracy is only {percent(diagnosis.measured.train)}"
    yield from changes.normalise(run, reason)
    yield from changes.without_dropout(run, f"{reason}, and dropout holds it back further")
    yield from changes.without_augmentation(run, f"{reason}, and augmentation makes it harder")
    yield from changes.without_weight_decay(run, f"{reason}, and weight decay holds it back")
    yield from changes.without_label_smoothing(run, f"{reason}, and smooth labels hold it back")
    yield from _wider(diagnosis, reason)


def _regularise(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """An over-fitting network: dropout, then augmentation, then weight decay."""
    strong = diagnosis.says("gap", "overfits")
    if not strong and not diagnosis.says("gap", "overfits a little"):
        return
    # It has to learn its own images first; regularising would make that harder.
    if diagnosis.says("fit", "underfits"):
        return
    amount = "over-fits" if strong else "over-fits a little"
    reason = f"it {amount}: the gap is {points(diagnosis.measured.gap)} points"
    if not diagnosis.run.net.uses(graph.Dropout):
        p = 0.05 if strong else 0.01
        yield Suggestion(
            title="A little dropout in every block",
            reason=f"{reason}, and there is no dropout",
            change={"net.block": [*changes.block(diagnosis.run), f"dropout {p}"]},
        )
    # Defaults left out, as people write them.
    augment: list[dict[str, Any]] = [
        {"name": entry.name, **entry.model_dump(mode="json", exclude_defaults=True)}
        for entry in diagnosis.run.data.augment
    ]
    had = {entry["name"] for entry in augment}
    if not had & {"rotation", "affine"}:
        rotation = {"name": "rotation", "degrees": 7}
        yield Suggestion(
            title="Rotate the training images by up to 7 degrees",
            reason=f"{reason}, and the images are not turned",
            change={"data.augment": [*augment, rotation]},
        )
    if not had & {"crop", "affine"}:
        yield Suggestion(
            title="Shift the training images by up to 2 pixels",
            reason=f"{reason}, and the images are not shifted",
            change={"data.augment": [*augment, {"name": "crop", "padding": 2}]},
        )
    if not diagnosis.run.train.optimizer.weight_decay:
        yield Suggestion(
            title="A little weight decay",
            reason=f"{reason}, and there is no weight decay",
            change={"train.optimizer.weight_decay": 0.0005},
        )
    if strong:
        yield from changes.smooth_labels(diagnosis.run, reason)


def _train_longer(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """A network that still improves, if the budget has epochs left."""
    if not diagnosis.says("trend", "improving") or diagnosis.measured.test_change is None:
        return
    epochs = diagnosis.run.train.epochs
    limit = diagnosis.study.budget.epochs
    more = epochs + max(1, round(MORE_EPOCHS * epochs))
    more = more if limit is None else min(more, limit)
    gain = diagnosis.measured.test_change.value
    yield Suggestion(
        title=f"Train for {more} epochs",
        reason=f"it still improves, by {points(gain)} points in the last epochs",
        change={"train.epochs": more},
    )


def _settle(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """A fluctuating network: lower the learning rate at the end, or average the weights."""
    movement = diagnosis.measured.movement
    if movement is None or not diagnosis.says("fluctuation", "fluctuates"):
        return
    # What learns too slowly wants no lower rate yet.
    if diagnosis.says("learning rate", "too low", "stuck"):
        return
    by = f"{points(movement)} points from epoch to epoch"
    reason = f"{diagnosis.judged_on} accuracy fluctuates by {by}"
    train = diagnosis.run.train
    if train.schedule.name == "constant":
        held = f"{reason} at a constant learning rate"
        if train.epochs >= 3:
            yield Suggestion(
                title="Step scheduler for the last third",
                reason=held,
                change={
                    "train.schedule": {
                        "name": "step",
                        "step_size": round(train.epochs * 2 / 3),
                        "gamma": 0.1,
                    }
                },
            )
        yield Suggestion(
            title="Cosine schedule",
            reason=held,
            change={"train.schedule": {"name": "cosine"}},
        )
    if train.average is None:
        yield Suggestion(
            title="Average the weights",
            reason=reason,
            change={"train.average": {"name": "ema", "decay": 0.99}},
        )


def _widen(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """A target that is out of reach at this width."""
    if diagnosis.says("width", "out of reach"):
        short = diagnosis.findings["width"].figures["short"] or 0.0
        reason = f"{points(short)} points short on a plateau, settled and without over-fitting"
        yield from _wider(diagnosis, reason)


def _free_capacity(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """No over-fitting left and still short: what regularises is in the way, or it is too small."""
    measured, target = diagnosis.measured, diagnosis.study.target
    if not diagnosis.says("gap", "closed", "reversed") or measured.train >= target:
        return
    reason = f"no over-fitting shows, but training accuracy is {percent(measured.train)} itself"
    run = diagnosis.run
    yield from changes.normalise(run, reason)
    yield from changes.without_dropout(run, f"{reason}, so dropout may cost more than it gives")
    yield from changes.without_weight_decay(
        run, f"{reason}, so weight decay may cost more than it gives"
    )
    yield from _wider(diagnosis, f"{reason}, and the budget has parameters left")


def _be_less_sure(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """An over-confident network that can learn: smoother labels ask for less certainty."""
    if not diagnosis.says("calibration", "over-confident") or diagnosis.says("fit", "underfits"):
        return
    excess = diagnosis.findings["calibration"].figures["excess"]
    reason = f"it is over-confident by {points(excess or 0.0)} points"
    yield from changes.smooth_labels(diagnosis.run, reason)


def _start_faster(diagnosis: Diagnosis) -> Iterator[Suggestion]:
    """Short of the target, and no more epochs that would help: learn faster early on.

    It changes the whole course of the training, so it is the last thing offered.
    """
    if diagnosis.says("trend", "improving") and diagnosis.epochs_left:
        return
    train, measured = diagnosis.run.train, diagnosis.measured
    unstable = diagnosis.says("seeds", "far behind")
    unstable = unstable or diagnosis.says("learning rate", "too high", "stuck")
    if isinstance(train.schedule, OneCycle) or unstable:
        return
    peak = train.optimizer.lr * changes.RATE_FACTOR
    if train.optimizer.name == "sgd":
        peak = max(peak, min(train.optimizer.lr * ONE_CYCLE_FACTOR, ONE_CYCLE_PEAK))
    reached = percent(measured.test)
    if diagnosis.judged_on == "validation":
        reached = f"validation accuracy {reached}"
    reason = (
        f"{reached} in the mean of the last {count(measured.window, 'epoch')}: a "
        f"higher rate early may cover more ground in {measured.epochs}, and it ends near zero"
    )
    schedule: dict[str, Any] = {"name": "onecycle", "max_lr": round(peak, 10)}
    if train.optimizer.name == "sgd" and not train.optimizer.momentum:
        schedule["cycle_momentum"] = False
    yield Suggestion(title="One-cycle schedule", reason=reason, change={"train.schedule": schedule})


def _wider(diagnosis: Diagnosis, reason: str) -> Iterator[Suggestion]:
    yield from changes.wider(
        diagnosis.run, reason, allowed=lambda change: _allowed(change, diagnosis)
    )
