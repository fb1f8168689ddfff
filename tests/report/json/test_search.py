"""A search as JSON: DESIGN.md's keys, and numbers that are the result's."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kilonet.report.json.search import search_json
from search_results import made_search

SEARCH = made_search()


def test_the_keys_and_the_numbers() -> None:
    data = json.loads(json.dumps(search_json(SEARCH), allow_nan=False))
    assert data["trials"] == {
        "complete": SEARCH.counts["complete"],
        "pruned": SEARCH.counts["pruned"],
        "running": 0,
        "failed": 1,
        "duplicate": 1,
        "over_budget": SEARCH.counts["over budget"],
        "invalid": 0,
    }
    for entry in (data["best"], *data["front"], *data["confirmed"]):
        assert {"parameters", "macs", "validation_accuracy", "ci95", "run", "toml"} <= set(entry)
        assert len(entry["ci95"]) == 2
    best = SEARCH.confirmed[0]
    assert data["best"] == data["confirmed"][0]
    assert data["best"]["validation_accuracy"] == pytest.approx(best.mean)
    assert data["best"]["ci95"] == pytest.approx(list(best.ci95 or ()))
    assert data["best"]["seeds"] == list(best.seeds)
    assert [e["parameters"] for e in data["front"]] == [e.parameters for e in SEARCH.front]
    single = next(entry for entry in data["front"] if not entry["seeds"])
    assert single["ci95"] == [None, None]
    assert single["toml"] is None


def test_nothing_found_yet() -> None:
    result = replace(SEARCH, trials=(), confirmed=(), tomls={}, study_toml=None)
    data = search_json(result)
    assert (data["best"], data["front"], data["study"]) == (None, [], None)
    assert data["finished"] is False
