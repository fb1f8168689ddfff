"""What a rung's learning curves show: fit, gap, trend and fluctuation.

Training accuracy is measured while an epoch trains, with dropout and augmentation on, so it lags
behind the network by half an epoch; gaps are read with that in mind.
"""

from __future__ import annotations

from kilonet.analysis.findings import Figure, Finding
from kilonet.analysis.measurements import Measurements
from kilonet.analysis.words import count, percent, points, signed
from kilonet.spec import Run, graph

UNDERFIT_ERROR_RATIO = 2.0
"""Underfitting: the training error is more than this many times the error the target allows …"""

UNDERFIT_POINTS = 5.0
"""… or exceeds it by more than this many percentage points."""

GAP_IN_ERRORS = 1.0
"""Over-fitting, or a gap turned round: more than this many binomial errors from zero."""

STRONG_GAP_SHARE = 0.5
"""Strong over-fitting: the gap is more than this share of the test error …"""

STRONG_GAP_POINTS = 5.0
"""… or more than this many percentage points."""

CHANGE_IN_ERRORS = 2.0
"""A trend: a change of more than this many standard errors of its own (and material)."""


def fit(measured: Measurements, *, target: float, run: Run) -> Finding:
    """``underfits`` or ``fits``: can the network learn its own training images?

    The better of training and test accuracy answers: test accuracy is free of dropout, augmentation
    and the epoch's lag, and no network does worse on the images it has learned.
    """
    allowed = max(100 - target, measured.material)

    def too_much(error: float) -> bool:
        return error > min(UNDERFIT_ERROR_RATIO * allowed, allowed + UNDERFIT_POINTS)

    error = 100 - max(measured.train, measured.test)
    handicap = " and ".join(_handicaps(run))
    notes = [f"with {handicap} on"] if handicap else []
    if measured.test > measured.train and too_much(100 - measured.train):
        notes.append(f"test accuracy is higher, {percent(measured.test)}")
    under = f" ({'; '.join(notes)})" if notes else ""
    accuracy = f"training accuracy {percent(measured.train)} over the last {_epochs(measured)}"
    figures = {
        "train_accuracy": measured.train,
        "test_accuracy": measured.test,
        "target": target,
    }
    if too_much(error):
        at_best = "at best " if measured.test > measured.train else ""
        sentence = (
            f"Underfits: {accuracy}{under}, {at_best}an error {error / allowed:.1f} times what the "
            "target allows."
        )
        return Finding(kind="fit", verdict="underfits", sentence=sentence, figures=figures)
    sentence = f"Fits the training images well: {accuracy}{under}."
    return Finding(kind="fit", verdict="fits", sentence=sentence, figures=figures)


def gap(measured: Measurements, *, run: Run) -> Finding:
    """``overfits``, ``overfits a little``, ``closed`` or ``reversed``: train minus test accuracy.

    Where the training runs long enough, its trend too: ``widening``, ``narrowing`` or ``steady``.
    Where no over-fitting shows, but dropout or augmentation is on, the sentence says that these
    lower training accuracy: the gap of the same weights on plain images would be larger.
    """
    size, share = measured.gap, measured.gap_share
    threshold = GAP_IN_ERRORS * max(measured.binomial, 100 / measured.images)
    where = f"over the last {_epochs(measured)}"
    above = f"training accuracy is {points(size)} points above test accuracy {where}"
    if size > threshold and (share > STRONG_GAP_SHARE or size > STRONG_GAP_POINTS):
        verdict = "overfits"
        text = f"Over-fits: {above}, {share:.0%} of the test error"
    elif size > threshold:
        verdict = "overfits a little"
        text = f"Over-fits a little: {above}, {share:.0%} of the test error"
    elif size >= -threshold:
        verdict = "closed"
        text = (
            f"No over-fitting to speak of: the gap is {signed(size)} points {where}, within the "
            f"{points(threshold)} that the test set cannot tell from none"
        )
    else:
        verdict = "reversed"
        text = (
            f"No over-fitting: training accuracy is {points(size)} points below test accuracy "
            f"{where}"
        )
    trend = "unknown"
    figures: dict[str, Figure] = {"gap": size, "share_of_test_error": share}
    if measured.gap_change is not None:
        change, error = measured.gap_change.value, measured.gap_change.error
        figures |= {"gap_change": change, "gap_change_error": error}
        clear = abs(change) > max(CHANGE_IN_ERRORS * error, measured.material)
        trend = ("widening" if change > 0 else "narrowing") if clear else "steady"
        catching_up = clear and change > 0 and size - change < 0 and size <= threshold
        how = f"is {trend}"
        if catching_up:
            # From below zero it is training that catches up, not over-fitting.
            trend = "closing"
            how = "is still closing from below" if size < 0 else "has closed from below"
        text += f"; it {how} ({signed(size - change)} in the {measured.window} before)"
    if verdict in ("closed", "reversed") and (handicap := _handicaps(run)):
        text += f"; training accuracy is measured with {' and '.join(handicap)} on, which lowers it"
    figures["widening"] = int(trend == "widening")
    return Finding(kind="gap", verdict=verdict, sentence=f"{text}.", figures=figures)


def trend(measured: Measurements, *, epochs_left: int | None) -> Finding:
    """``improving``, ``level``, ``falling`` or ``too short to say``: test accuracy at the end.

    Where the learning rate fell between the two windows, what it gained is not what more epochs
    would gain: then it improves only if it rises within the last window too.

    Args:
        measured: the rung's numbers.
        epochs_left: epochs that the budget still allows; None without a limit.
    """
    change = measured.test_change
    if change is None:
        sentence = f"{count(measured.epochs, 'epoch')}: too short to say where it is heading."
        return Finding(kind="trend", verdict="too short to say", sentence=sentence)
    figures: dict[str, Figure] = {"change": change.value, "error": change.error}
    clear = abs(change.value) > max(CHANGE_IN_ERRORS * change.error, measured.material)
    means = (
        f"the mean of the last {measured.window} epochs, {percent(measured.test)}, is "
        f"{points(change.value)} points {'above' if change.value > 0 else 'below'} that of the "
        f"{measured.window} before"
    )
    rise = measured.rise
    fell = measured.lr_last < measured.lr_before
    if clear and change.value > 0 and fell and rise is not None:
        figures |= {"rise": rise.value, "rise_error": rise.error}
        if rise.value <= max(CHANGE_IN_ERRORS * rise.error, measured.material):
            sentence = (
                f"On a plateau at the lowered learning rate: {means}, but over these last "
                f"{measured.window} it moved by {signed(rise.value)} points "
                f"(standard error {points(rise.error)})."
            )
            return Finding(kind="trend", verdict="level", sentence=sentence, figures=figures)
    if clear and change.value > 0:
        meanwhile = "; the learning rate fell meanwhile" if fell else ""
        spent = ""
        if epochs_left == 0:
            spent = "; the budget's epochs are spent, so it would have to learn more in these"
        sentence = (
            f"Still improving: {means} (standard error {points(change.error)}){meanwhile}{spent}."
        )
        return Finding(kind="trend", verdict="improving", sentence=sentence, figures=figures)
    if clear:
        sentence = f"Getting worse: {means} (standard error {points(change.error)})."
        return Finding(kind="trend", verdict="falling", sentence=sentence, figures=figures)
    sentence = (
        f"On a plateau: {percent(measured.test)} in the mean of the last {measured.window} epochs, "
        f"{signed(change.value)} points on the {measured.window} before "
        f"(standard error {points(change.error)})."
    )
    return Finding(kind="trend", verdict="level", sentence=sentence, figures=figures)


def fluctuation(measured: Measurements) -> Finding:
    """``fluctuates``, ``climbs``, ``settled`` or ``too short to say``: how far single epochs move.

    Fluctuating is movement that is material, with a fall that is: it makes the last epoch a matter
    of luck. A climb that only bends moves about its straight line, too, but never falls. All epochs
    see the same test images, so the movement is the weights', not the test set's; the binomial
    error stands beside it as the measure of what a difference is worth.
    """
    movement = measured.movement
    if movement is None:
        sentence = f"{count(measured.epochs, 'epoch')}: too short to say how much it fluctuates."
        return Finding(kind="fluctuation", verdict="too short to say", sentence=sentence)
    figures = {
        "movement": movement,
        "range": measured.high - measured.low,
        "binomial_error": measured.binomial,
    }
    if measured.seeds == 1:
        span = f"between {percent(measured.low)} and {percent(measured.high)}"
    else:
        span = f"within {points(measured.high - measured.low)} points (mean of the seeds)"
    spread = (
        f"over the last {_epochs(measured)} test accuracy moved {span}, standard deviation "
        f"{points(movement)} about its trend; for scale, the {measured.images:,} test images carry "
        f"an error of {points(measured.binomial)} by themselves"
    )
    if movement > measured.material and measured.fall <= measured.material:
        sentence = (
            f"Not settled, but not fluctuating: over the last {_epochs(measured)} test accuracy "
            f"moved {span} without a fall of more than {points(measured.fall)}."
        )
        return Finding(kind="fluctuation", verdict="climbs", sentence=sentence, figures=figures)
    if movement > measured.material:
        held = measured.lr_last >= measured.lr_peak
        rate = f", and the learning rate is still at its peak of {measured.lr_last:g}"
        sentence = f"Fluctuates: {spread}{rate if held else ''}."
        return Finding(kind="fluctuation", verdict="fluctuates", sentence=sentence, figures=figures)
    sentence = f"Settled: {spread}."
    return Finding(kind="fluctuation", verdict="settled", sentence=sentence, figures=figures)


def _epochs(measured: Measurements) -> str:
    return count(measured.window, "epoch") if measured.window > 1 else "epoch"


def _handicaps(run: Run) -> list[str]:
    """What lowers training accuracy below what the network can do."""
    return ["dropout"] * run.net.uses(graph.Dropout) + ["augmentation"] * bool(run.data.augment)
