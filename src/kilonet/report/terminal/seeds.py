"""One run with several seeds: a line a seed, then the mean with its interval."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from kilonet.analysis import Statistics, describe
from kilonet.formatting import percent
from kilonet.report.tables import mean_with_interval
from kilonet.storage.record import RunRecord
from kilonet.training.seeds import SeedRuns


def seeds_text(found: SeedRuns, *, begun: Collection[Path]) -> str:
    """The final accuracies, those of held-out images first, as they are the ones to choose by.

    Args:
        found: the runs.
        begun: the folders of those that were trained now, see ``RunProgress``.
    """
    lines = [
        f"Seed {record.run.train.seed}{'' if record.path in begun else ', trained before'}: "
        f"{finals_text(record)}{_epoch(record)}, {record.path}"
        for record in found.records
    ]
    if found.records and not found.failures:
        lines += [f"Mean {line}" for line in _means(found.records)]
    return "\n".join(lines)


def finals(record: RunRecord) -> dict[str, float]:
    """Name → a run's final accuracy, that of held-out images first where there are any."""
    held_out = record.final_validation_accuracy
    validation = {} if held_out is None else {"final validation accuracy": held_out}
    test = {"final test accuracy": record.final_test_accuracy} if record.tested else {}
    return {**validation, **test}


def finals_text(record: RunRecord) -> str:
    """:func:`finals` in words: ``final validation accuracy 98.10%, final test accuracy 98.20%``."""
    return ", ".join(f"{name} {percent(value)}" for name, value in finals(record).items())


def _epoch(record: RunRecord) -> str:
    """Where early stopping is used: whose weights are final, and how many epochs there were."""
    return f" (epoch {record.final.epoch} of {len(record.rows)})" if record.ending else ""


def _means(records: Sequence[RunRecord]) -> list[str]:
    found = [finals(record) for record in records]
    described = {
        name: describe([final[name] for final in found], limits=(0, 100)) for name in found[0]
    }
    return [f"{name}: {mean_with_interval(one)}{_note(one)}" for name, one in described.items()]


def _note(statistics: Statistics) -> str:
    if statistics.n == 1:
        return " (one seed, so no interval)"
    return "" if statistics.ci95 is None else " (95% interval over the seeds)"
