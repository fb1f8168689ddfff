"""Matplotlib is imported without a message, and writes nothing but into kilonet's cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DRAW = """
from kilonet.report.figures.style import new_figure, save_figure, set_title
figure = new_figure(3, 2)
figure.add_subplot().plot([0, 1])
set_title(figure, "$x 字")
save_figure(figure, __import__("pathlib").Path("figure.png"))
"""


def files_under(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def draw(home: Path, code: str = DRAW, **variables: str) -> str:
    """Run code in a process of its own with this home; returns what it printed to both streams."""
    work = home.parent / "work"
    work.mkdir(exist_ok=True)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XDG_", "MPL", "KILONET_"))
    }
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=work,
        env={**inherited, "HOME": str(home), "TMPDIR": str(home.parent / "tmp"), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    return tmp_path / "home"


@pytest.mark.skipif(sys.platform != "linux", reason="the cache is elsewhere")
def test_an_empty_home_gets_a_cache_and_nothing_else(home: Path) -> None:
    assert draw(home) == ""
    found = files_under(home)
    assert found
    assert all(name.startswith(".cache/kilonet/matplotlib/") for name in found)
    assert not any((home.parent / "tmp").iterdir())
    assert (home.parent / "work" / "figure.png").is_file()


def test_a_cache_that_cannot_be_written_is_a_temporary_folder(home: Path) -> None:
    (home / "file").write_text("")
    assert draw(home, KILONET_CACHE=str(home / "file")) == ""
    assert files_under(home) == {"file"}
    assert not any((home.parent / "tmp").iterdir())  # removed at exit


def test_the_users_own_folder_is_kept(home: Path) -> None:
    own = home / "own"
    own.mkdir()
    assert draw(home, MPLCONFIGDIR=str(own)) == ""
    assert files_under(home) == {f"own/{name}" for name in files_under(own)}


def test_the_variable_does_not_stay(home: Path) -> None:
    assert draw(home, f"{DRAW}\nimport os; print('MPLCONFIGDIR' in os.environ)") == "False\n"


@pytest.mark.skipif(sys.platform != "linux", reason="the settings are elsewhere")
@pytest.mark.parametrize(("keep", "width"), [(True, "7.0"), (False, "1.5")])
def test_a_users_settings_are_for_plots_not_for_commands(
    home: Path, keep: bool, width: str
) -> None:
    settings = home / ".config" / "matplotlib" / "matplotlibrc"
    settings.parent.mkdir(parents=True)
    settings.write_text("lines.linewidth: 7\n")
    code = (
        "from kilonet.report.figures.library import import_matplotlib\n"
        f"import_matplotlib(keep_settings={keep})\n"
        "import matplotlib; print(matplotlib.rcParams['lines.linewidth'])"
    )
    assert draw(home, code) == f"{width}\n"
