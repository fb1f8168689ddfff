"""Snapshots: the wording of the reports, one file a report.

``pytest --renew-snapshots tests/report`` writes them anew; read the
difference before you commit it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.fixture
def check_snapshot(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares text with the file of a name, or writes the file."""

    def check(name: str, text: str) -> None:
        path = SNAPSHOTS / name
        if request.config.getoption("--renew-snapshots"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        assert text == path.read_text("utf-8")

    return check
