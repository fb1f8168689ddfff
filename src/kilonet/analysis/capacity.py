"""What a network can learn: regularizers on a network that underfits, a width that is too small."""

from __future__ import annotations

from collections.abc import Mapping

from kilonet.analysis.findings import Finding, Kind, Verdict
from kilonet.analysis.measurements import Measurements
from kilonet.formatting import listed, percent, points, signed
from kilonet.spec import Run, graph


def regularizers(run: Run) -> list[str]:
    """Those that are on: dropout, augmentation, weight decay, label smoothing.

    An optimizer's own default of weight decay (AdamW's) is not one that anybody chose.
    """
    train = run.train
    default = type(train.optimizer).model_fields["weight_decay"].default
    on = {
        "dropout": run.net.uses(graph.Dropout),
        "augmentation": bool(run.data.augment),
        "weight decay": train.optimizer.weight_decay > default,
        "label smoothing": train.label_smoothing > 0,
    }
    return [name for name, is_on in on.items() if is_on]


def regularizer(
    measured: Measurements, *, run: Run, findings: Mapping[Kind, Finding]
) -> Finding | None:
    """``on what underfits`` or None: regularizers on where there is no over-fitting to cure."""
    on = regularizers(run)
    overfits = findings[Kind.GAP].verdict not in (Verdict.CLOSED, Verdict.REVERSED)
    underfits = Kind.FIT in findings and findings[Kind.FIT].verdict is Verdict.UNDERFITS
    if not on or overfits or not underfits:
        return None
    sentence = (
        f"Regularized, but underfits: {listed(on)} make{'s' if len(on) == 1 else ''} learning "
        f"harder where training accuracy is only {percent(measured.train_accuracy)} and there is "
        f"no over-fitting to cure (gap {signed(measured.gap)} points)."
    )
    return Finding(
        kind=Kind.REGULARIZER,
        verdict=Verdict.ON_WHAT_UNDERFITS,
        sentence=sentence,
        figures={"train": measured.train_accuracy, "gap": measured.gap},
    )


def width(
    measured: Measurements, *, target: float, run: Run, findings: Mapping[Kind, Finding]
) -> Finding | None:
    """``out of reach`` or None: short of the target, with only capacity left to change.

    No seed reached the target and the last window's mean is short of it by something material; it
    is on a plateau and settled, so more epochs or a lower rate would not help; it does not
    over-fit, so a regularizer would not either; and the learning rate is not far off.
    """
    short = target - measured.accuracy
    exhausted = (
        findings[Kind.TARGET].verdict is Verdict.NOT_REACHED
        and findings[Kind.TREND].verdict is Verdict.LEVEL
        and findings[Kind.FLUCTUATION].verdict is Verdict.SETTLED
        and findings[Kind.GAP].verdict in (Verdict.CLOSED, Verdict.REVERSED)
        and Kind.LEARNING_RATE not in findings
    )
    if not exhausted or short <= measured.material:
        return None
    parameters = run.num_parameters
    needs = [f"more than these {parameters:,} parameters", "a better use of them"]
    needs += [f"less {name}" for name in regularizers(run)]
    sentence = (
        f"Out of reach at this width: {measured.mean_at_end}, {percent(measured.accuracy)}, is "
        f"{points(short)} points short of the target, on a plateau, settled and without "
        f"over-fitting (gap {signed(measured.gap)} points), so it takes {listed(needs, word='or')}."
    )
    figures = {
        "target": target,
        "short": short,
        "parameters": parameters,
        "train": measured.train_accuracy,
    }
    return Finding(
        kind=Kind.WIDTH, verdict=Verdict.OUT_OF_REACH, sentence=sentence, figures=figures
    )
