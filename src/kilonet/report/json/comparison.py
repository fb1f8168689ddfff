"""A comparison of studies or runs as plain data."""

from __future__ import annotations

from typing import Any

from kilonet.report.comparison import Comparison, Entry, differing_settings
from kilonet.report.json.records import difference_json, rounded, values_of


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison for ``compare … --json``.

    Keys: ``folders``; ``rows``, each a list of entries (each: ``folder``, ``stage`` (null of a
    run), ``parameters``, ``seeds``, ``mean``, ``sd``, ``ci95`` [low, high], ``difference`` (null,
    or as in ``study --json``) and ``note``); ``settings``, for each row dotted path → a value an
    entry, null without one.
    """
    return rounded(
        {
            "folders": list(comparison.labels),
            "rows": [
                [_entry_json(entry, folder=comparison.labels[entry.folder]) for entry in row]
                for row in comparison.rows
            ],
            "settings": [dict(differing_settings(row)) for row in comparison.rows],
        }
    )


def _entry_json(entry: Entry, *, folder: str) -> dict[str, Any]:
    return {
        "folder": folder,
        "stage": entry.stage or None,
        "parameters": entry.result.parameters,
        "seeds": list(entry.finals),
        **values_of(entry.final, "mean", "sd", "ci95"),
        "difference": None if entry.difference is None else difference_json(entry.difference),
        "note": entry.note,
    }
