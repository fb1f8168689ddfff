"""One finished search that several tests read."""

from __future__ import annotations

from pathlib import Path

import pytest

from guarded_data import load_guarded
from kilonet.search.result import SearchResult
from kilonet.search.space import Space
from small_spaces import run_search, small_space


@pytest.fixture(scope="session")
def space(small_mnist: Path) -> Space:
    return small_space(small_mnist)


@pytest.fixture(scope="session")
def found(space: Space, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A search whose data set raises where its test images are read."""
    pytest.importorskip("optuna")
    folder = tmp_path_factory.mktemp("search") / "found"
    return run_search(space, folder, load=load_guarded)
