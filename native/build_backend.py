"""The package's build backend: scikit-build-core, which installs without the engine if it must.

Where the engine cannot be built, the package is built without it, and the build's output goes with
it as ``kilonet/engine/build-failure.log``: an installer shows nothing of a build that succeeds, so
the reason is told where the engine is first missed (:mod:`kilonet.engine.native.build_failure`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scikit_build_core import build as backend

build_sdist = backend.build_sdist
get_requires_for_build_sdist = backend.get_requires_for_build_sdist
get_requires_for_build_wheel = backend.get_requires_for_build_wheel
get_requires_for_build_editable = backend.get_requires_for_build_editable

# What pyproject.toml names in the override for a package without the engine.
FAILED = "KILONET_BUILD_FAILED"
LOG = Path("build/build-failure.log")

Settings = dict[str, str | list[str]] | None


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """The wheel with the engine, or without it and with the reason."""
    return _build(backend.build_wheel, wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """As :func:`build_wheel`, of an editable installation."""
    return _build(backend.build_editable, wheel_directory, config_settings, metadata_directory)


def _build(build: Callable[..., str], *arguments: object) -> str:
    os.environ.update(LC_ALL="C.UTF-8", LANGUAGE="C")  # the reason is looked for in English
    output: list[bytes] = []
    try:
        with _copied(output):
            return build(*arguments)
    except SystemExit:  # how scikit-build-core ends after a failed configuration or compilation
        pass
    # scikit-build-core reads the log as a template, in which a dollar is doubled.
    text = b"".join(output).decode(errors="replace").replace("$", "$$")
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text(text, encoding="utf-8")
    os.environ[FAILED] = "1"
    print("\n*** The engine cannot be built: the package is built without it.", flush=True)
    try:
        return build(*arguments)
    finally:
        del os.environ[FAILED]
        LOG.unlink()


@contextmanager
def _copied(output: list[bytes]) -> Iterator[None]:
    """Copy what this process and its children print, which still goes where it went."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    end, begin = os.pipe()
    for stream in (1, 2):
        os.dup2(begin, stream)
    os.close(begin)

    def copy() -> None:
        while piece := os.read(end, 1 << 16):
            output.append(piece)
            os.write(saved[0], piece)

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in (1, 2):
            os.dup2(saved[stream - 1], stream)
        # A compiler's cache may leave a server that keeps the pipe open.
        thread.join(timeout=10)
