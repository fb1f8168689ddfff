"""The build backend: with the engine if it can be built, else without it and with the reason."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import file_modules


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """``native/build_backend.py`` over a scikit-build-core whose functions a test replaces."""
    package, build = ModuleType("scikit_build_core"), ModuleType("scikit_build_core.build")
    for hook in ("sdist", "wheel", "editable"):
        setattr(build, f"build_{hook}", None)
        setattr(build, f"get_requires_for_build_{hook}", None)
    package.build = build  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "scikit_build_core", package)
    monkeypatch.setitem(sys.modules, "scikit_build_core.build", build)
    monkeypatch.chdir(tmp_path)
    yield file_modules.load("native/build_backend.py")
    del sys.modules["build_backend"]


def build_of(backend: ModuleType, attempt: Callable[..., str]) -> str:
    for hook in ("build_wheel", "build_editable"):
        setattr(backend.backend, hook, attempt)
    found = backend.build_wheel("dist", {"a": "b"}, None)
    assert backend.build_editable("dist", {"a": "b"}, None) == found
    return str(found)


def test_a_build_that_succeeds_is_done_once(backend: ModuleType) -> None:
    calls = []

    def attempt(*arguments: object) -> str:
        calls.append(arguments)
        return "with.whl"

    assert build_of(backend, attempt) == "with.whl"
    assert calls == [("dist", {"a": "b"}, None)] * 2
    assert not backend.LOG.exists()


def test_a_build_that_fails_is_done_without_the_engine(
    backend: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def attempt(*_: object) -> str:
        if backend.FAILED in os.environ:
            seen.append(backend.LOG.read_text(encoding="utf-8"))
            return "without.whl"
        os.write(1, b"configuring\n")
        subprocess.run(["sh", "-c", "echo 'c++: error: $HOME' >&2"], check=True)
        raise SystemExit(1)

    assert build_of(backend, attempt) == "without.whl"
    assert seen == ["configuring\nc++: error: $$HOME\n"] * 2
    assert not backend.LOG.exists()
    assert backend.FAILED not in os.environ
    # What was copied is still printed.
    shown = capfd.readouterr().out
    assert "c++: error: $HOME" in shown
    assert "the package is built without it" in shown


def test_other_errors_are_errors(backend: ModuleType) -> None:
    def attempt(*_: object) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_of(backend, attempt)
    print("the streams are as they were")


@pytest.mark.slow
def test_a_wheel_without_the_engine_tells_why(tmp_path: Path) -> None:
    """Built by pip with a compiler that fails: the wheel is pure and holds the reason."""
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho 'c++: error: no license for $ORG' >&2\nexit 1\n")
    compiler.chmod(0o755)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(tmp_path)]
    done = subprocess.run(
        [*command, str(file_modules.ROOT)],
        env={**os.environ, "CXX": str(compiler)},
        capture_output=True,
        text=True,
    )
    if "Could not find a version" in done.stderr:
        pytest.skip("no package index to get the build's requirements from")
    assert not done.returncode, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as file:
        assert (
            "c++: error: no license for $ORG"
            in file.read("kilonet/engine/build-failure.log").decode()
        )
        file.extractall(target)
    code = "from kilonet.engine.native.machine import unavailable_reason as r; print(r())"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(target)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "was not built: c++: error: no license for $ORG\n"
