"""Seeds that fell far behind the others: a training that failed, not a spread about a mean.

One such seed of three drags the mean by tens of points, and rules that read means would call the
network too small; and its thousands of errors would hide where the others' lie. So it is named
first; means and intervals count it, as they must, and what is said of the learning curves and of
single images leaves it out.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from kilonet.analysis.findings import Finding
from kilonet.analysis.statistics import binomial_error
from kilonet.analysis.words import count, percent
from kilonet.record import RunRecord

FAR_RATIO = 1.5
"""Far behind: the final test error is more than this many times the middle seed's …"""

FAR_IN_ERRORS = 10.0
"""… and larger by more than this many binomial errors, where seeds of one network spread by one."""


def split_failed(
    records: Sequence[RunRecord], *, test_images: int
) -> tuple[tuple[RunRecord, ...], tuple[RunRecord, ...]]:
    """The runs that are not far behind, never none, and those that are.

    The middle seed is the median; of an even number the better of the two in the middle, so that of
    two seeds the worse can be the one behind.
    """
    middle = _middle(records)
    allowed = max(binomial_error(middle, images=test_images), 100 / test_images)

    def far(record: RunRecord) -> bool:
        final = record.final_test_accuracy
        return 100 - final > FAR_RATIO * (100 - middle) and middle - final > FAR_IN_ERRORS * allowed

    return (
        tuple(record for record in records if not far(record)),
        tuple(record for record in records if far(record)),
    )


def failed_seeds(records: Sequence[RunRecord], *, failed: Sequence[RunRecord]) -> Finding | None:
    """``far behind`` or None.

    Args:
        records: all of the rung's runs.
        failed: those of them that are far behind.
    """
    if not failed:
        return None
    ended = ", ".join(
        f"seed {record.run.train.seed} at {percent(record.final_test_accuracy)}"
        for record in failed
    )
    it = "it" if len(failed) == 1 else "them"
    middle = _middle(records)
    sentence = (
        f"{len(failed)} of {count(len(records), 'seed')} fell far behind: {ended}, the middle seed "
        f"at {percent(middle)}. The mean and its interval count {it}; what is said of the curves "
        f"and of single images leaves {it} out."
    )
    return Finding(
        kind="seeds",
        verdict="far behind",
        sentence=sentence,
        figures={"failed": len(failed), "of": len(records), "middle": middle},
    )


def _middle(records: Sequence[RunRecord]) -> float:
    return statistics.median_high(record.final_test_accuracy for record in records)
