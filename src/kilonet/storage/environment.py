"""The current environment: package versions, processor, source revision."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

from kilonet.errors import UsageError


class Revision(TypedDict, total=False):
    """Fields of :class:`kilonet.storage.provenance.Source`."""

    sha256: str
    commit: str
    modified: bool


PACKAGES = ("kilonet", "numpy", "scipy", "pydantic", "safetensors", "torch")


def package_versions() -> dict[str, str]:
    """The versions of Python and of the packages that a result may depend on."""
    found = {name: package_version(name) for name in PACKAGES}
    installed = {name: version for name, version in found.items() if version}
    return {"python": platform.python_version(), **installed}


@cache  # metadata is parsed anew each time: 5 ms a run, as much as a small run's steps
def package_version(name: str) -> str | None:
    """The installed version of a distribution, or None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def usable_processors() -> int:
    """Processors that this process may use: the default number of threads, and of runs at once.

    By its affinity, by the CPU quota of its container (cgroup's ``cpu.max`` or ``cfs_quota_us``,
    rounded up) and by the variable ``LOKY_MAX_CPU_COUNT``; at least 1.

    Raises:
        UsageError: if the variable is not a number.
    """
    import joblib

    try:
        return int(joblib.cpu_count())
    except ValueError:
        asked = os.environ.get("LOKY_MAX_CPU_COUNT")
        raise UsageError(f"LOKY_MAX_CPU_COUNT={asked}: should be a number of processors") from None


@cache
def cpu_name() -> str:
    """The processor's name if the system reports it, else the architecture."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


@cache
def source_revision() -> Revision:
    """The code that runs: a digest of the package's files and, in a checkout, git's revision.

    The digest identifies the source even if kilonet was installed from a wheel.
    """
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*")):
        if file.suffix in {".py", ".toml", ".so", ".pyd"} and file.is_file():
            digest.update(file.relative_to(package).as_posix().encode() + b"\0")
            digest.update(file.read_bytes())
    revision: Revision = {"sha256": digest.hexdigest()}
    commit = _git(package, "rev-parse", "HEAD")
    if commit is not None and _git(package, "ls-files", "--error-unmatch", "errors.py") is not None:
        revision["commit"] = commit
        revision["modified"] = bool(_git(package, "status", "--porcelain", "."))
    return revision


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of git in ``folder``, or None without git or a checkout."""
    try:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607  the git on the user's path
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
