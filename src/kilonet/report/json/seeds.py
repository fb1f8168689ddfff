"""One run with several seeds as plain data."""

from __future__ import annotations

from typing import Any

from kilonet.analysis import describe
from kilonet.report.json.records import rounded, run_json, values_of
from kilonet.training.seeds import SeedRuns

_STATISTICS = ("mean", "sd", "ci95", "minimum", "maximum")


def seeds_json(found: SeedRuns) -> dict[str, Any]:
    """Several seeds for ``train … --seeds N --json``.

    Keys: ``runs`` (each as of ``train --json``), ``failures``, and of the final test accuracies
    ``mean``, ``sd``, ``ci95`` [low, high], ``minimum`` and ``maximum``; under ``validation`` those
    of the final validation accuracies, where images are held out. A run that failed leaves them
    out, as the others would be biased; runs that do not use the test set have those under
    ``validation`` alone.
    """
    data: dict[str, Any] = {
        "runs": [run_json(record) for record in found.records],
        "failures": list(found.failures),
    }
    if not found.failures:
        held_out = [record.final_validation_accuracy for record in found.records]
        if all(record.tested for record in found.records):
            tests = [record.final_test_accuracy for record in found.records]
            data |= values_of(describe(tests, limits=(0, 100)), *_STATISTICS)
        if (shown := [value for value in held_out if value is not None]) == held_out:
            data["validation"] = values_of(describe(shown, limits=(0, 100)), *_STATISTICS)
    return rounded(data)
