"""The errors of a study that has run, from its runs' test logits and the data set's labels.

The one part of the analysis that reads files: a run folder keeps the logits, but not the labels.
"""

from __future__ import annotations

from collections.abc import Callable

from kilonet.analysis.doubtful import doubtful_labels
from kilonet.analysis.errors import Errors, measure_errors
from kilonet.analysis.failed_seeds import split_failed
from kilonet.data import Dataset, load_dataset
from kilonet.errors import DataError, StoreError
from kilonet.store import RunFolder
from kilonet.study import RungResult, StudyResult


def read_errors(
    result: StudyResult, *, load: Callable[[str], Dataset] = load_dataset
) -> tuple[Errors, ...]:
    """The errors of each rung, in order.

    Args:
        result: the study, or the part of it that has run.
        load: name or path → data set; each is loaded once.

    Raises:
        DataError: if a data set cannot be read, or is not the one that a run was tested on.
        StoreError: if a run's logits are missing or damaged.
    """
    names = {rung.rung.run.data.name for rung in result.rungs}
    datasets = {name: load(name) for name in names}
    return tuple(rung_errors(rung, datasets[rung.rung.run.data.name]) for rung in result.rungs)


def rung_errors(rung: RungResult, dataset: Dataset) -> Errors:
    """The errors of one rung's seeds, but for those that fell far behind: theirs are of all kinds.

    Raises:
        DataError: if the data set is not the one that a run was tested on.
        StoreError: if a run's logits are missing or damaged.
    """
    trained, _ = split_failed(rung.records, test_images=len(dataset.test_labels))
    logits = []
    for record in trained:
        tested_on = record.environment.get("data", {}).get("sha256")
        if tested_on != dataset.fingerprint:
            raise DataError(
                f"{record.path}: was tested on other images than {rung.rung.run.data.name!r} holds "
                "now; bring back the data it was trained on, or train it again"
            )
        logits.append(RunFolder(record.path).test_logits())
    try:
        return measure_errors(
            logits,
            dataset.test_labels,
            classes=dataset.classes,
            doubtful=doubtful_labels(dataset.fingerprint),
        )
    except ValueError as error:
        folder = rung.records[0].path.parent
        raise StoreError(
            f"{folder}: test logits of rung {rung.rung.number} are damaged: {error}; remove its "
            "runs to train them again"
        ) from None
