"""Imports Matplotlib without its messages, and with its files in kilonet's cache.

Left alone, the first import makes folders in the user's home, and says on standard error that it
builds a font cache, or that the home cannot be written.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kilonet.data.mnist import cache_folder
from kilonet.errors import StorageError

_FOLDER = "MPLCONFIGDIR"


def import_matplotlib(*, keep_settings: bool = False) -> None:
    """Import Matplotlib and its fonts.

    Its folder is one in kilonet's cache; without write access there, a temporary one that is
    removed at exit. A program that has imported Matplotlib, or has set ``MPLCONFIGDIR``, keeps its
    own.

    Args:
        keep_settings: whether a user who has files in Matplotlib's own folder (a style sheet, a
            ``matplotlibrc``) keeps that folder.

    Raises:
        StorageError: if no folder can be written.
    """
    with _quiet(), _folder_set(keep_settings=keep_settings):
        import matplotlib.font_manager  # which finds the fonts

        # Both are remembered once they are known: the variable need not stay.
        matplotlib.get_configdir()
        matplotlib.get_cachedir()


@contextmanager
def _quiet() -> Iterator[None]:
    """No messages about folders and fonts; the user can do nothing about them."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _folder_set(*, keep_settings: bool) -> Iterator[None]:
    if "matplotlib" in sys.modules or os.environ.get(_FOLDER):
        yield
        return
    if keep_settings and any(map(_has_files, _own_folders())):
        yield
        return
    os.environ[_FOLDER] = str(_writable_folder())
    try:
        yield
    finally:
        del os.environ[_FOLDER]


def _own_folders() -> list[Path]:
    """Where Matplotlib looks for a user's settings."""
    config = os.environ.get("XDG_CONFIG_HOME")
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home
        return [Path(config, "matplotlib")] if config else []
    return [Path(config or home / ".config", "matplotlib"), home / ".matplotlib"]


def _has_files(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False


def _writable_folder() -> Path:
    cache = cache_folder()
    where = "the temporary folder"
    if cache is not None:
        folder = cache / "matplotlib"
        where = str(folder)
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder.absolute()
    try:
        temporary = tempfile.mkdtemp(prefix="kilonet-matplotlib-")
    except OSError as error:
        raise StorageError(
            f"{where}: cannot be written ({error.strerror}), and Matplotlib needs a folder; "
            f"set {_FOLDER} to one"
        ) from None
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)
