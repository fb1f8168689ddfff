"""A search as plain data."""

from __future__ import annotations

from typing import Any

from kilonet.report.json.records import rounded
from kilonet.search.result import Candidate, SearchResult


def search_json(result: SearchResult) -> dict[str, Any]:
    """A search for ``search … --json``.

    Keys: ``search`` (the space's name), ``folder``, ``finished``, ``seconds``, ``trials`` (counts
    by state), ``best`` (null, or an entry), ``front`` (entries, smallest first), ``confirmed``
    (entries, best mean first) and ``study`` (null, or the file for ``kilonet study``).

    Keys of an entry: ``trial``, ``parameters``, ``macs``, ``validation_accuracy``, ``ci95`` [low,
    high], ``seeds`` (fresh ones; none of a single run, whose accuracy is optimistic), ``run`` (its
    folder) and ``toml`` (null, or the file for ``kilonet train``). Accuracies are of the validation
    split, in percent.
    """
    confirmed = [
        Candidate(trial=c.trial, confirmed=c, toml=result.tomls.get(c.trial.number))
        for c in result.confirmed
    ]
    return rounded(
        {
            "search": result.space.name,
            "folder": str(result.path),
            "finished": result.finished,
            "seconds": result.seconds,
            "trials": {state.replace(" ", "_"): n for state, n in result.counts.items()},
            "best": None if result.best is None else _candidate(result.best),
            "front": [_candidate(each) for each in result.front],
            "confirmed": [_candidate(each) for each in confirmed],
            "study": None if result.study_toml is None else str(result.study_toml),
        }
    )


def _candidate(each: Candidate) -> dict[str, Any]:
    return {
        "trial": each.trial.number,
        "parameters": each.parameters,
        "macs": each.macs,
        "validation_accuracy": each.validation_accuracy,
        # Always two ends, so that programs can unpack it.
        "ci95": [None, None] if each.ci95 is None else list(each.ci95),
        "seeds": [] if each.confirmed is None else list(each.confirmed.seeds),
        "run": None if each.trial.folder is None else str(each.trial.folder),
        "toml": None if each.toml is None else str(each.toml),
    }
