"""Every kernel of every instruction set against plain loops, in C++: ``native/tests``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

native = pytest.importorskip("kilonet.engine._native", reason="no compiler when installed")

SOURCE = Path(__file__).parents[3] / "native"
CMAKE = shutil.which("cmake") or shutil.which("cmake", path=str(Path(sys.executable).parent))

# The build takes two minutes of a processor.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CMAKE is None, reason="no CMake here"),
]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder of the C++ tests, compiled with the extension's flags."""
    assert CMAKE is not None
    folder = tmp_path_factory.mktemp("native")
    choice = ["-DKILONET_MODULE=OFF", "-DKILONET_TESTS=ON"]
    run([CMAKE, "-S", str(SOURCE), "-B", str(folder), *choice])
    run([CMAKE, "--build", str(folder), "--parallel", "2"])
    return folder


def run(command: list[str]) -> str:
    found = subprocess.run(command, capture_output=True, text=True)
    assert not found.returncode, found.stdout[-5000:] + found.stderr[-5000:]
    return found.stdout


def kernels_of(output: str) -> dict[str, list[str]]:
    """Instruction set → the kernels that passed."""
    passed: dict[str, list[str]] = {}
    for line in output.splitlines():
        isa, rest = line.split(maxsplit=1)
        name, _, counts = rest.partition(" ok ")
        assert counts, line
        passed.setdefault(isa, []).append(name.strip())
    return passed


def test_kernels(build: Path) -> None:
    passed = kernels_of(run([str(build / "kernel_tests")]))
    assert sorted(passed) == sorted(native.instruction_sets())
    [first, *others] = passed.values()
    assert len(first) >= 37
    assert all(names == first for names in others)


def test_threads_do_not_show(build: Path) -> None:
    assert "the same bits" in run([str(build / "plan_tests")])


@pytest.mark.parametrize("name", ["thread_tests", "thread_tests_portable"])
def test_waiting_threads_sleep_and_wake(build: Path, name: str) -> None:
    """On a futex, and on the condition variable of systems without one."""
    assert "waiting threads sleep" in run([str(build / name)])


def test_kernels_in_many_more_cases(build: Path) -> None:
    run([str(build / "kernel_tests"), "--scale", "20", "--seed", "2"])


def test_an_unknown_instruction_set_is_a_failure(build: Path) -> None:
    found = subprocess.run(
        [str(build / "kernel_tests"), "--isa", "avx9"], capture_output=True, text=True
    )
    assert found.returncode == 1
    assert "no instruction set of this machine is called avx9" in found.stderr
