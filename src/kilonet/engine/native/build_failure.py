"""Why the native engine was not built: read from the build's output, which is installed instead.

``native/build_backend.py`` writes it. It is that of CMake, Ninja or Make, and GCC or Clang.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

LOG = Path(__file__).parents[1] / "build-failure.log"
"""The output of the build that failed; absent where the engine was built, or installed editable."""

_MOST = 240
"""Characters of a reason; a compiler's line may hold a whole template."""

_NO_COMPILER = re.compile(
    r"(?:Could not find compiler set in environment variable CXX:|The CMAKE_CXX_COMPILER:)"
    r"\s+(?P<name>\S.*?)\.?\s*$|No CMAKE_CXX_COMPILER could be found",
    re.MULTILINE,
)
# The source that a compiler shows below its message: " 126 | void* f() throw(std::bad_alloc)".
_SHOWN_SOURCE = re.compile(r"^\s*\d*\s*\|.*$", re.MULTILINE)
_OUT_OF_MEMORY = re.compile(
    r"Killed signal|Killed \(program|out of memory|memory exhausted|Cannot allocate memory"
    r"|instance of 'std::bad_alloc'|unable to execute command: Killed|^Killed\b",
    re.MULTILINE,
)
# "file.cpp:1:2: error: …", "g++: fatal error: …", "ld: undefined reference to …", "ld: cannot find
# -lm", "No space left".
_ERROR_LINE = re.compile(
    r"^.*(?:\berror: |\bundefined reference to |\bld: cannot find |\bNo space left on device).*$",
    re.MULTILINE | re.IGNORECASE,
)
_COLOR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CMAKE_ERROR = re.compile(r"^CMake Error.*\n(?P<text>(?:\n|[ \t]+\S.*\n)+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class BuildFailure:
    """A failed build.

    Attributes:
        reason: in a few words, or the compiler's first error.
        advice: what to do before kilonet is installed again.
    """

    reason: str
    advice: str


INSTALL_COMPILER = "install a C++ compiler (GCC or Clang)"


def build_log() -> Path | None:
    """The output of the build that failed; None if there is none."""
    if LOG.exists():
        return LOG
    # An editable installation has the package in one folder and what was built in another.
    try:
        installed = files("kilonet") or []
    except PackageNotFoundError:
        return None
    return next((Path(str(f.locate())) for f in installed if f.name == LOG.name), None)


def build_failure() -> BuildFailure | None:
    """Why the engine was not built; None if that is not known."""
    log = build_log()
    try:
        return explain(log.read_text(encoding="utf-8", errors="replace")) if log else None
    except OSError:
        return None


def explain(output: str) -> BuildFailure:
    """The reason in the output of a build that failed."""
    output = _COLOR.sub("", output)
    missing = _NO_COMPILER.search(output)
    if missing:
        sought = missing["name"] or "c++, g++ and clang++"
        return BuildFailure(
            reason=f"no C++ compiler (looked for {sought})", advice=INSTALL_COMPILER
        )
    if _OUT_OF_MEMORY.search(_SHOWN_SOURCE.sub("", output)):
        return BuildFailure(
            reason="the compiler ran out of memory",
            advice="free some memory, or set CMAKE_BUILD_PARALLEL_LEVEL=1",
        )
    line, cmake = _ERROR_LINE.search(output), _CMAKE_ERROR.search(output)
    lines = [text for text in output.splitlines() if text.strip()]
    reason = "the build failed without a message"
    if line:
        reason = line[0]
    elif cmake:
        reason = cmake["text"]
    elif lines:
        reason = lines[-1]
    reason = " ".join(reason.split())
    # Without the folder that an installer unpacked the source to.
    reason = re.sub(r"(?:/[^:]*|\S*)/native/(?:\S+/\.\./)?(\S+:)", r"native/\1", reason)
    if len(reason) > _MOST:
        reason = f"{reason[:_MOST]}…"
    return BuildFailure(reason=reason, advice="fix this")
