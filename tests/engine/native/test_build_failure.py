"""The reason of a failed build, in what CMake, Ninja and the compilers print."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilonet.engine.native import build_failure, machine
from kilonet.engine.native.build_failure import INSTALL_COMPILER, explain

CONFIGURING = """\
*** scikit-build-core 1.1.2 using CMake 3.25.1 (wheel)
*** Configuring CMake...
loading initial cache file /tmp/tmpjprfx8wr/build/CMakeInit.txt
"""
BROKEN = """\
-- Check for working CXX compiler: /opt/fakecxx - broken
CMake Error at /usr/share/cmake-3.25/Modules/CMakeTestCXXCompiler.cmake:63 (message):
  The C++ compiler

    "/opt/fakecxx"

  is not able to compile a simple test program.

  It fails with the following output:

    FAILED: CMakeFiles/cmTC_f2323.dir/testCXXCompiler.cxx.o
    fakecxx: error: the license of $ORG has expired
    ninja: build stopped: subcommand failed.

Call Stack (most recent call first):
  CMakeLists.txt:2 (project)
"""
NOT_FOUND = """\
CMake Error at /usr/share/cmake-3.25/Modules/CMakeDetermineCXXCompiler.cmake:48 (message):
  Could not find compiler set in environment variable CXX:

  {name}.

Call Stack (most recent call first):
  CMakeLists.txt:2 (project)


CMake Error: CMAKE_CXX_COMPILER not set, after EnableLanguage
"""
NONE_AT_ALL = """\
CMake Error at CMakeLists.txt:2 (project):
  No CMAKE_CXX_COMPILER could be found.

  Tell CMake where to find the compiler by setting either the environment
  variable "CXX" or the CMake cache entry CMAKE_CXX_COMPILER to the full path
  to the compiler, or to the compiler name if it is in the PATH.
"""
NOT_A_PATH = """\
CMake Error at CMakeLists.txt:2 (project):
  The CMAKE_CXX_COMPILER:

    clang++-99

  is not a full path and was not found in the PATH.
"""
UNFIT = """\
-- The CXX compiler identification is MSVC 19.38
CMake Error at CMakeLists.txt:14 (message):
  kilonet's kernels use the vector types of GCC and Clang


-- Configuring incomplete, errors occurred!
"""
COMPILE = """\
[5/66] Building CXX object CMakeFiles/kernels_baseline.dir/kernels/convolution.cpp.o
FAILED: CMakeFiles/kernels_baseline.dir/kernels/convolution.cpp.o
/usr/bin/g++ -DKILONET_ISA=baseline -Werror=format -c /tmp/a b/native/kernels/convolution.cpp
In file included from /tmp/req-build/native/kernels/vector.h:13:
/tmp/req-build/native/kernels/../kernels.h:20:1: error: expected unqualified-id before ‘this’
   20 | this is no C++;
/tmp/req-build/native/plan.cpp:7:1: error: a later one
ninja: build stopped: subcommand failed.
"""
MISSING_HEADER = """\
/tmp/req-build/native/plan.cpp:3:10: fatal error: vector: No such file or directory
compilation terminated.
"""
KILLED = """\
[7/66] Building CXX object CMakeFiles/kernels_avx512.dir/kernels/winograd.cpp.o
FAILED: CMakeFiles/kernels_avx512.dir/kernels/winograd.cpp.o
g++: fatal error: Killed signal terminated program cc1plus
compilation terminated.
"""
KILLED_CLANG = "clang++: error: unable to execute command: Killed\n"
LINK = """\
/usr/bin/ld: CMakeFiles/_native.dir/plan.cpp.o: in function `run': undefined reference to `x'
collect2: error: ld returned 1 exit status
"""


KILLED_GCC_7 = "c++: internal compiler error: Killed (program cc1plus)\n"
NO_LIBRARY = """/usr/bin/ld: cannot find -latomic: No such file or directory
collect2: error: ld returned 1 exit status
"""
# What GCC 12 says of a file that begins with a word it does not know.
SHOWN = """\
/tmp/x/native/memory.cpp:1:1: error: expected unqualified-id before ‘this’
    1 | this is not C++
      | ^~~~
/usr/include/c++/12/new:126:26: error: declaration of ‘operator new’ as non-function
  126 | _GLIBCXX_NODISCARD void* operator new(std::size_t) _GLIBCXX_THROW (std::bad_alloc)
      |                          ^~~~~~~~
      | Cannot allocate memory
"""
OUT_OF_MEMORY = "the compiler ran out of memory"
COLORED = (
    "\x1b[01m\x1b[K/home/my files/native/a.cpp:1:2:\x1b[m \x1b[01;31m\x1b[Kerror: \x1b[mno type\n"
)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (BROKEN, "fakecxx: error: the license of $ORG has expired"),
        (NOT_FOUND.format(name="g++"), "no C++ compiler (looked for g++)"),
        (NOT_FOUND.format(name="/opt/c++-9.1"), "no C++ compiler (looked for /opt/c++-9.1)"),
        (NONE_AT_ALL, "no C++ compiler (looked for c++, g++ and clang++)"),
        (NOT_A_PATH, "no C++ compiler (looked for clang++-99)"),
        (UNFIT, "kilonet's kernels use the vector types of GCC and Clang"),
        (COMPILE, "native/kernels.h:20:1: error: expected unqualified-id before ‘this’"),
        (MISSING_HEADER, "native/plan.cpp:3:10: fatal error: vector: No such file or directory"),
        (KILLED, OUT_OF_MEMORY),
        (KILLED_GCC_7, OUT_OF_MEMORY),
        (NO_LIBRARY, "/usr/bin/ld: cannot find -latomic: No such file or directory"),
        (COLORED, "native/a.cpp:1:2: error: no type"),
        (SHOWN, "native/memory.cpp:1:1: error: expected unqualified-id before ‘this’"),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n", OUT_OF_MEMORY),
        (KILLED_CLANG, OUT_OF_MEMORY),
        ("cc1plus: out of memory allocating 65536 bytes\n", OUT_OF_MEMORY),
        ("/tmp/cc.s: No space left on device\n", "/tmp/cc.s: No space left on device"),
        ("*** CMake was not found\n\n", "*** CMake was not found"),
        ("", "the build failed without a message"),
    ],
)
def test_the_reason(output: str, reason: str) -> None:
    found = explain(output and CONFIGURING + output)
    assert found.reason == reason
    if reason.startswith("no C++ compiler"):
        assert found.advice == INSTALL_COMPILER
    elif reason == OUT_OF_MEMORY:
        assert "CMAKE_BUILD_PARALLEL_LEVEL=1" in found.advice
    else:
        assert "install a C++ compiler" not in found.advice


def test_a_linkers_first_line_is_told() -> None:
    assert explain(LINK).reason.endswith("undefined reference to `x'")


def test_a_reason_is_one_line_of_bounded_length() -> None:
    found = explain("a.cpp:1:1: error: " + "std::vector<int, " * 1000)
    assert len(found.reason) < 300
    assert "\n" not in found.reason


def test_the_output_is_read_from_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build_failure.build_failure() is None  # this one was built
    monkeypatch.setattr(build_failure, "LOG", tmp_path / "build-failure.log")
    (tmp_path / "build-failure.log").write_text(COMPILE, encoding="utf-8")
    found = build_failure.build_failure()
    assert found is not None
    assert found.reason.startswith("native/kernels.h:20:1: error: ")
    assert machine.remedy().startswith("fix this and reinstall kilonet (the build's output: ")


def test_an_editable_installation_has_it_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "kilonet-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kilonet\nVersion: 0.1.0\n")
    (info / "RECORD").write_text("kilonet/engine/build-failure.log,,\n")
    (tmp_path / "kilonet" / "engine").mkdir(parents=True)
    (tmp_path / "kilonet" / "engine" / "build-failure.log").write_text(KILLED)
    monkeypatch.syspath_prepend(tmp_path)
    found = build_failure.build_failure()
    assert found is not None
    assert found.reason == OUT_OF_MEMORY
