"""The curve of a learning-rate range test."""

from __future__ import annotations

from pathlib import Path

from kilonet.report.figures.style import TARGET, TEST, TRAIN, new_figure, save_figure, set_title
from kilonet.training.range_test import RangeTest

STYLES = {
    "suggestion": (TARGET, "-."),
    "steepest descent": (TRAIN, ":"),
    "lowest train loss": (TRAIN, (0, (1, 4))),
    "lowest validation loss": (TEST, ":"),
}


def named_rates(found: RangeTest) -> list[tuple[str, float]]:
    """The suggested rate and those it is based on, with their names; none without a suggestion."""
    suggestion = found.suggestion
    if suggestion is None:
        return []
    rates = (suggestion.lr, suggestion.steepest, suggestion.minimum, suggestion.best_validation)
    return list(zip(STYLES, rates, strict=True))


def range_figure(found: RangeTest, path: Path) -> None:
    """Draw loss against learning rate, with the rates that the suggestion is based on.

    Raises:
        StorageError: if it cannot be written.
    """
    figure = new_figure(7.5, 4.2)
    axes = figure.add_subplot()
    rates = [point.lr for point in found.points]
    losses, label = [point.loss for point in found.points], "training loss, each step"
    axes.plot(rates, losses, color=TRAIN, alpha=0.25, linewidth=0.8, label=label)
    axes.plot(rates, found.smoothed, color=TRAIN, linestyle="--", label="training loss, smoothed")
    validated = [(p.lr, p.validation_loss) for p in found.points if p.validation_loss is not None]
    axes.plot(
        *zip(*validated, strict=True), "o-", color=TEST, markersize=3, label="validation loss"
    )
    for name, lr in named_rates(found):
        color, style = STYLES[name]
        label = f"{name}: {lr:.2g}"
        axes.axvline(lr, color=color, linestyle=style, linewidth=1.2, label=label)
    axes.set_xscale("log")
    # The exploding loss at the end would flatten the rest of the curve.
    highest = max(found.smoothed[: max(1, len(found.smoothed) // 2)])
    axes.set_ylim(0, 1.6 * highest or 1.0)  # 0 with a single class
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss (nats)")
    set_title(figure, "Learning-rate range test")
    axes.legend(fontsize=8, frameon=False, loc="lower left")
    save_figure(figure, path)
