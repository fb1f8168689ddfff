"""A comparison of studies or runs as plain data."""

from __future__ import annotations

from typing import Any

from kilonet.report.compared import Comparison, Entry
from kilonet.report.json.records import difference_json, rounded, values_of
from kilonet.report.settings import differing


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison for ``compare … --json``.

    Keys: ``folders``; ``compared_on`` (``test`` or ``validation``, which the differences are of);
    ``rows``, each a list of entries (each: ``folder``, ``stage`` (null of a run), ``parameters``,
    ``seeds``; ``mean``, ``sd`` and ``ci95`` [low, high] of the final test accuracy, null where a
    run does not use the test set; ``validation``, null or the same of the final validation
    accuracy; ``difference`` (null, or as in ``study --json``) and ``note``); ``settings``, for each
    row dotted path → a value an entry, null without one: of the spec and of environment.json.
    """
    return rounded(
        {
            "folders": list(comparison.labels),
            "compared_on": comparison.split.value,
            "rows": [
                [_entry_json(entry, folder=comparison.labels[entry.folder]) for entry in row]
                for row in comparison.rows
            ],
            "settings": [differing([entry.settings for entry in row]) for row in comparison.rows],
        }
    )


def _entry_json(entry: Entry, *, folder: str) -> dict[str, Any]:
    return {
        "folder": folder,
        "stage": entry.stage or None,
        "parameters": entry.result.parameters,
        "seeds": list(entry.finals),
        **(
            {"mean": None, "sd": None, "ci95": [None, None]}
            if entry.final is None
            else values_of(entry.final, "mean", "sd", "ci95")
        ),
        "validation": None
        if entry.final_validation is None
        else values_of(entry.final_validation, "mean", "sd", "ci95"),
        "difference": None if entry.difference is None else difference_json(entry.difference),
        "note": entry.note,
    }
