"""The one rule for paths: every spelling of a path is the same path."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.errors import UsageError
from kilonet.paths import absolute, expand, relative

# What file systems take for the name of a file: any Unicode but the separator and the NUL.
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda name: name not in (".", "..") and not name.startswith("~"))
FOLDERS = st.lists(NAMES, max_size=3)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="other separators, drives")


@settings(deadline=None)
@given(parts=st.lists(NAMES, min_size=1, max_size=3), start=FOLDERS)
def test_every_spelling_is_the_same_path(parts: list[str], start: list[str]) -> None:
    root = Path(os.path.realpath(tempfile.gettempdir()))
    folder, path = root.joinpath(*start), root.joinpath(*parts)
    up = "/".join([".."] * len(start)) or "."
    inside = "/".join(parts)
    spellings = [
        str(path),
        f"{path}/",
        f"{up}/{inside}",
        f"./{up}/{inside}",
        f"{up}/absent/../{inside}",
    ]
    assert {absolute(spelling, folder=folder) for spelling in spellings} == {path}


@settings(deadline=None)
@given(parts=FOLDERS, start=FOLDERS)
def test_a_relative_path_leads_back(parts: list[str], start: list[str]) -> None:
    root = Path(os.path.realpath(tempfile.gettempdir()))
    path, folder = root.joinpath("data", *parts), root.joinpath(*start)
    text = relative(path, folder=folder)
    assert text.startswith(("./", "../")) or text == ".."
    assert absolute(text, folder=folder) == path


def test_home_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for path in ("~", Path("~")):
        assert expand(path) == tmp_path
    for path in ("~/ä/b", Path("~/ä/b")):
        assert expand(path) == tmp_path / "ä" / "b"
    # Elsewhere in a path it is a character like others.
    for text in ("./~", "a/~/b", "a~", "./~nobody-here"):
        assert expand(text) == Path(text)
    with pytest.raises(UsageError, match=r"^~nobody-here/x: the home folder ~nobody-here is unk"):
        expand("~nobody-here/x")


@pytest.mark.parametrize(("path", "reason"), [("", "empty"), ("a\0b", "NUL"), (b"a", "bytes")])
def test_what_is_no_path(path: str, reason: str) -> None:
    for function in (expand, absolute):
        with pytest.raises(UsageError, match=f"is not a path: .*{reason}"):
            function(path)


def test_links(tmp_path: Path) -> None:
    """Those to folders are followed; a link to a file is a path of its own."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "latest").symlink_to("v2")
    assert absolute("link/latest", folder=tmp_path) == tmp_path / "real" / "latest"
    assert absolute("link/..", folder=tmp_path) == tmp_path
    assert relative(tmp_path / "x", folder=tmp_path / "link") == "../x"
    (tmp_path / "loop").symlink_to("loop")
    assert absolute("loop/x", folder=tmp_path) == tmp_path / "loop" / "x"


def test_a_current_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert expand("x") == Path("x")
    with pytest.raises(UsageError, match="the current folder no longer exists"):
        absolute("x")
