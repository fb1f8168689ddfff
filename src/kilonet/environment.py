"""Where a result was made: versions, processor, source revision. Stored with every run."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("kilonet", "numpy", "scipy", "pydantic", "safetensors", "torch")


def describe_environment() -> dict[str, Any]:
    """Versions, system, processor and source, as plain data for ``environment.json``."""
    return {
        "packages": {name: found for name in PACKAGES if (found := package_version(name))},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "source": source_revision(),
    }


def package_version(name: str) -> str | None:
    """The installed version of a distribution, or None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def cpu_name() -> str:
    """The processor's own name where the system tells it, else the architecture."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


@cache
def source_revision() -> dict[str, str | bool]:
    """What code ran: a digest of the package's own files, and git's revision in a checkout.

    The digest tells two sources apart even where kilonet was installed from a wheel.
    """
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*")):
        if file.suffix in {".py", ".toml", ".so", ".pyd"} and file.is_file():
            digest.update(file.relative_to(package).as_posix().encode() + b"\0")
            digest.update(file.read_bytes())
    revision: dict[str, str | bool] = {"sha256": digest.hexdigest()}
    commit = _git(package, "rev-parse", "HEAD")
    if commit is not None and _git(package, "ls-files", "--error-unmatch", "errors.py") is not None:
        revision["commit"] = commit
        revision["modified"] = bool(_git(package, "status", "--porcelain", "."))
    return revision


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints in ``folder``, or None where there is no git or no checkout."""
    try:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607  the user's own git is the one that is meant
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
