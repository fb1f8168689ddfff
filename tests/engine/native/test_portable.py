"""The C++ sources are for more than the compiler and the processor of one machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[3] / "native"
FLAGS = ["-std=c++20", "-O3", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-psabi"]


def sources() -> list[Path]:
    """All but binding.cpp, which needs Python's headers, and what tests the others."""
    found = sorted(NATIVE.rglob("*.cpp"))
    tests = NATIVE / "tests"
    return [path for path in found if path.name != "binding.cpp" and tests not in path.parents]


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["g++", "clang++", "aarch64-linux-gnu-g++"])
def test_every_source_compiles_without_a_warning(compiler: str) -> None:
    path = shutil.which(compiler)
    if path is None:
        pytest.skip(f"no {compiler} here")
    assert sources()
    for source in sources():
        done = subprocess.run(
            [path, *FLAGS, f"-I{NATIVE}", "-DKILONET_ISA=baseline", str(source)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{source.relative_to(NATIVE)}:\n{done.stderr}"
