"""Build the native engine with sanitizers and run its tests: `make sanitize`.

    python scripts/sanitize.py [OPTION OF PIP …]

With AddressSanitizer and UndefinedBehaviorSanitizer: every kernel of every instruction set and the
plan in C++, then the engine's tests in Python. With ThreadSanitizer: the plan, stepped by several
threads. Everything is built in ``build/``; the installed kilonet is unchanged. The run ends at the
first finding.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SITE = ROOT / "build" / "sanitize" / "site"
TESTS = [
    "tests/engine/native",
    # These start other programs: kilonet, and the C++ tests, which are run here anyway.
    "--ignore=tests/engine/native/test_kernels.py",
    "--ignore=tests/engine/native/test_machine.py",
    # Limits memory, of which AddressSanitizer reserves terabytes.
    "--deselect=tests/engine/native/test_threads.py::test_more_threads_than_the_system_gives",
    "tests/engine/test_finite_differences.py",
    "tests/engine/test_engines.py",
    "tests/engine/test_parity.py",
    "tests/engine/test_random_networks.py",
    "--timeout=1800",
]

# Without the import hook of an editable installation.
PYTEST = f"""
import sys
sys.meta_path = [f for f in sys.meta_path if "ScikitBuild" not in type(f).__name__]
sys.path.insert(0, {str(SITE)!r})
import kilonet.engine._native as native
assert native.__file__.startswith({str(SITE)!r}), native.__file__
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def run(command: list[str], **environment: str) -> None:
    """Print the command and run it in the project's folder."""
    print("+", " ".join(word for word in command if "\n" not in word), flush=True)
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, **environment})


def build(sanitizers: str, pip: list[str], more: dict[str, str]) -> Path:
    """The package in ``SITE`` and, in the folder returned, the C++ tests.

    ``more`` are further settings of scikit-build-core.
    """
    folder = ROOT / "build" / "sanitize" / sanitizers.replace(",", "-")
    settings = {
        "build-dir": str(folder),
        "cmake.define.KILONET_SANITIZE": sanitizers,
        "cmake.define.KILONET_TESTS": "ON",
        "install.strip": "false",
        **more,
    }
    options = [f"-C{name}={value}" for name, value in settings.items()]
    install = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    shutil.rmtree(SITE, ignore_errors=True)
    run([*install, "--no-deps", "--target", str(SITE), *pip, *options, "."])
    return folder


def runtime(name: str) -> str:
    """The path of a library of the compiler's."""
    compiler = os.environ.get("CXX", "g++")
    found = subprocess.run(
        [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def main() -> None:
    """Build with each sanitizer and run the tests."""
    pip = sys.argv[1:]
    plan_alone = {"cmake.define.KILONET_MODULE": "OFF", "build.targets": "plan_tests"}
    folder = build("thread", pip, plan_alone)
    run([str(folder / "plan_tests")])
    folder = build("address,undefined", pip, {})
    run([str(folder / "plan_tests")])
    run([str(folder / "kernel_tests")])
    run(
        [sys.executable, "-c", PYTEST, "-q", "-p", "no:cacheprovider", *TESTS],
        # The C++ library too: the sanitizer needs it when the process starts.
        LD_PRELOAD=f"{runtime('libasan.so')} {runtime('libstdc++.so.6')}",
        ASAN_OPTIONS="detect_leaks=1",
        LSAN_OPTIONS=f"suppressions={ROOT / 'native' / 'tests' / 'leaks.txt'}:print_suppressions=0",
        UBSAN_OPTIONS="print_stacktrace=1",
        PYTHONMALLOC="malloc",
    )


if __name__ == "__main__":
    main()
