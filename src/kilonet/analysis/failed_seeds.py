"""Seeds far behind the others: trainings that failed, not a spread about a mean.

One such seed of three lowers the mean by tens of points, and rules that read means would call the
network too small; its thousands of errors would hide where those of the others are. So it is named
first. Means and intervals count it; findings about learning curves and single images leave it out.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from kilonet.analysis.descriptive import binomial_error
from kilonet.analysis.findings import Finding, Kind, Verdict
from kilonet.formatting import count, percent
from kilonet.storage.record import RunRecord, Split

FAR_RATIO = 1.5
"""Far behind: the final error is more than this many times the middle seed's …"""

FAR_IN_ERRORS = 10.0
"""… and larger by more than this many binomial errors; seeds of one network spread by about one."""

_Records = tuple[RunRecord, ...]


def separate_failed(
    records: Sequence[RunRecord], *, images: int, split: Split = Split.TEST
) -> tuple[_Records, _Records]:
    """The runs that are not far behind, at least one, and those that are.

    The middle seed is the median; of an even number the better of the two in the middle, so that of
    two seeds the worse can be the one behind.
    """
    finals = [split.final(record) for record in records]
    middle = statistics.median_high(finals)
    allowed = FAR_IN_ERRORS * max(binomial_error(middle, images=images), 100 / images)
    far = [
        100 - final > FAR_RATIO * (100 - middle) and middle - final > allowed for final in finals
    ]
    pairs = list(zip(records, far, strict=True))
    trained = tuple(record for record, is_far in pairs if not is_far)
    return trained, tuple(record for record, is_far in pairs if is_far)


def failed_seeds(
    records: Sequence[RunRecord], *, failed: Sequence[RunRecord], split: Split
) -> Finding | None:
    """``far behind`` or None, of a stage's runs and the second part of :func:`separate_failed`."""
    if not failed:
        return None
    middle = statistics.median_high(split.final(record) for record in records)
    ended = ", ".join(
        f"seed {record.run.train.seed} at {percent(split.final(record))}" for record in failed
    )
    them = "it" if len(failed) == 1 else "them"
    sentence = (
        f"{len(failed)} of {count(len(records), 'seed')} fell far behind in {split} accuracy: "
        f"{ended}, the middle seed at {percent(middle)}. The mean and its interval count {them}; "
        f"findings about curves and single images leave {them} out."
    )
    return Finding(
        kind=Kind.SEEDS,
        verdict=Verdict.FAR_BEHIND,
        sentence=sentence,
        figures={"failed": len(failed), "of": len(records), "middle": middle},
    )
