"""What a network can take and give: regularisers out of place, a width that is too small."""

from __future__ import annotations

from collections.abc import Mapping

from kilonet.analysis.findings import Finding
from kilonet.analysis.measurements import Measurements
from kilonet.analysis.words import count, percent, points, signed
from kilonet.spec import Run, graph


def regularisers(run: Run) -> dict[str, float]:
    """Name → strength of each that is on: dropout, augmentation, weight decay, label smoothing.

    An optimiser's own default of weight decay (AdamW's) is no regulariser that anybody chose.
    """
    train = run.train
    dropout = [
        node.op.p for node in graph.walk(run.net.nodes) if isinstance(node.op, graph.Dropout)
    ]
    default = type(train.optimizer).model_fields["weight_decay"].default
    strengths = {
        "dropout": max(dropout, default=0.0),
        "augmentation": float(len(run.data.augment)),
        "weight decay": max(0.0, train.optimizer.weight_decay - default),
        "label smoothing": train.label_smoothing,
    }
    return {name: strength for name, strength in strengths.items() if strength > 0}


def regulariser(
    run: Run,
    *,
    before: Run | None,
    measured: Measurements,
    measured_before: Measurements | None,
    findings: Mapping[str, Finding],
    fit_before: Finding | None,
) -> Finding | None:
    """``added to what underfits``, ``on what underfits`` or None: regularisers out of place.

    A regulariser cures over-fitting. Added to a network that cannot learn its own training images
    it makes that harder. The first is said of the step that did so, the second of any rung that
    underfits without over-fitting and has one on.

    Args:
        run: the rung's.
        before: the run of the rung before; None for the first.
        measured: the rung's numbers.
        measured_before: those of the rung before.
        findings: kind → finding of the rung: its fit and gap.
        fit_before: fit of the rung before.
    """
    on = regularisers(run)
    if before is not None and measured_before is not None and fit_before is not None:
        was = regularisers(before)
        added = [name for name, strength in on.items() if strength > was.get(name, 0.0)]
        if added and fit_before.verdict == "underfits":
            verb = "was" if len(added) == 1 else "were"
            change = measured.train - measured_before.train
            sentence = (
                f"A regulariser in the wrong place: {_listed(added)} {verb} added to a network "
                f"that underfitted, with training accuracy at {percent(measured_before.train)}; "
                f"since then it is {percent(measured.train)} ({signed(change)} points)."
            )
            return Finding(
                kind="regulariser",
                verdict="added to what underfits",
                sentence=sentence,
                figures={"train_before": measured_before.train, "train_after": measured.train},
            )
    overfits = findings["gap"].verdict not in ("closed", "reversed")
    if not on or findings["fit"].verdict != "underfits" or overfits:
        return None
    verb = "makes" if len(on) == 1 else "make"
    sentence = (
        f"Regularised, but underfits: {_listed(list(on))} {verb} learning harder where training "
        f"accuracy is only {percent(measured.train)} and there is no over-fitting to cure "
        f"(gap {signed(measured.gap)} points)."
    )
    return Finding(
        kind="regulariser",
        verdict="on what underfits",
        sentence=sentence,
        figures={"train": measured.train, "gap": measured.gap},
    )


def width(
    measured: Measurements, *, target: float, run: Run, findings: Mapping[str, Finding]
) -> Finding | None:
    """``out of reach`` or None: short of the target, with nothing left to gain but by capacity.

    That is: no seed reached the target, the last epochs' mean is short of it by something material,
    it lies on a plateau and has settled, so neither more epochs nor a lower rate would help,
    nothing is over-fitted, so neither would a regulariser, and the learning rate is not to blame.

    Args:
        measured: the rung's numbers.
        target: percent.
        run: the rung's.
        findings: kind → finding of the rung: its target, trend, fluctuation and gap, and learning
            rate if there is one.
    """
    short = target - measured.test
    exhausted = (
        findings["target"].verdict == "not reached"
        and findings["trend"].verdict == "level"
        and findings["fluctuation"].verdict == "settled"
        and findings["gap"].verdict in ("closed", "reversed")
        and "learning rate" not in findings
    )
    if not exhausted or short <= measured.material:
        return None
    parameters = run.net.num_parameters
    on = regularisers(run)
    but = f" (or less {_listed(list(on), word='or')})" if on else ""
    sentence = (
        f"Out of reach at this width, as far as the rows tell: the mean of the last "
        f"{count(measured.window, 'epoch')}, {percent(measured.test)}, is {points(short)} points "
        f"short of the target, on a plateau, settled and without over-fitting (gap "
        f"{signed(measured.gap)}), so it takes more than these {parameters:,} parameters, or "
        f"better used{but}."
    )
    return Finding(
        kind="width",
        verdict="out of reach",
        sentence=sentence,
        figures={
            "target": target,
            "short": short,
            "parameters": parameters,
            "train": measured.train,
        },
    )


def _listed(names: list[str], *, word: str = "and") -> str:
    return f" {word} ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])
