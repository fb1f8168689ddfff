"""The processors that a process may use."""

from __future__ import annotations

import builtins
import io
import os
from typing import Any

import pytest

from kilonet.entry import run_command
from kilonet.storage.environment import usable_processors

V2 = {"/sys/fs/cgroup/cpu.max": "{quota} 100000\n"}
V1 = {
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "{quota}\n",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
}


def container(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], *, cores: int = 64) -> None:
    """A machine of ``cores`` processors whose control groups have these files."""
    real_open, real_exists = builtins.open, os.path.exists

    def fake_open(file: Any, *args: Any, **kwargs: Any) -> Any:
        return io.StringIO(files[file]) if file in files else real_open(file, *args, **kwargs)

    def fake_exists(path: Any) -> bool:
        if str(path).startswith("/sys/fs/cgroup"):
            return path in files
        return real_exists(path)

    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(builtins, "open", fake_open)
    monkeypatch.setattr(os.path, "exists", fake_exists)


@pytest.mark.parametrize("files", [V2, V1], ids=["v2", "v1"])
@pytest.mark.parametrize(("quota", "expected"), [(100000, 1), (150000, 2), (50000, 1), (800000, 8)])
def test_a_quota(
    files: dict[str, str], quota: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = {path: text.format(quota=quota) for path, text in files.items()}
    container(monkeypatch, filled)
    assert usable_processors() == expected


@pytest.mark.parametrize(
    "files",
    [
        {},
        {path: text.format(quota="max") for path, text in V2.items()},
        {path: text.format(quota=-1) for path, text in V1.items()},
    ],
    ids=["none", "v2", "v1"],
)
def test_without_a_quota_affinity_decides(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    container(monkeypatch, files)
    assert usable_processors() == 64
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 7})
        assert usable_processors() == 3


def test_the_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    container(monkeypatch, {})
    for text, expected in (("3", 3), ("0", 1), ("1000", 64)):
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", text)
        assert usable_processors() == expected


def test_a_variable_that_is_no_number_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "two")
    assert run_command(["bench", "--quick"]) == 2
    assert capsys.readouterr().err == (
        "kilonet: LOKY_MAX_CPU_COUNT=two: should be a number of processors\n"
    )
