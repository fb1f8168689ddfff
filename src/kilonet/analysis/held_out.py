"""A ladder as the images that its runs hold out show it: what its suggestions are read from.

The test set is there to report. What leads to a choice, as a suggestion does, is read from the
validation split wherever the runs have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from kilonet.record import RunRecord
from kilonet.study import RungResult, StudyResult

Images = Literal["test", "validation"]


def judged_on(records: Sequence[RunRecord]) -> Images:
    """What a rung's suggestions are read from: validation, where every run's every row has it."""
    held_out = all(row.validation_accuracy is not None for record in records for row in record.rows)
    return "validation" if held_out else "test"


def on_held_out(result: StudyResult) -> StudyResult | None:
    """The result with the validation split in the place of the test set, where rungs have one.

    Rungs that hold no images out stay as they are, and no effect is told between one that does and
    one that does not: their images are as different as two data sets'.

    Returns:
        None where no rung holds images out.
    """
    if all(judged_on(rung.records) == "test" for rung in result.rungs):
        return None
    return replace(result, rungs=tuple(map(_held_out, result.rungs)))


def _held_out(rung: RungResult) -> RungResult:
    if judged_on(rung.records) == "test":
        return rung
    return replace(rung, records=tuple(map(_validated, rung.records)))


def _validated(record: RunRecord) -> RunRecord:
    rows = tuple(
        replace(row, test_accuracy=row.validation_accuracy, test_loss=row.validation_loss)
        for row in record.rows
        if row.validation_accuracy is not None and row.validation_loss is not None
    )
    data, measured = record.run.data, record.environment.get("data", {})
    amount = data.validation
    named = f"{measured.get('sha256')}, validation {amount}, {data.validation_seed}"
    held_out = {**measured, "sha256": named}
    # As kilonet.data.validation_split counts them.
    if isinstance(amount, int):
        held_out["test_images"] = amount
    elif "train_images" in measured:
        held_out["test_images"] = round(amount * measured["train_images"])
    return replace(record, rows=rows, environment={**record.environment, "data": held_out})
