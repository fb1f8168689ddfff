"""Faults while a study runs: memory, disks, and folders with one damaged run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fault_bench import (
    KILONET,
    Bench,
    Outcome,
    address_space,
    is_finished,
    mounted,
    obey_permissions,
    outcome,
    row,
)

from kilonet.storage.checksums import json_from_bytes, json_to_bytes
from kilonet.storage.lock import LOCK

BATCH_NORM, DROPOUT, WIDE = 1, 2, 3
"""The stages of the small study."""


def two_at_once(bench: Bench) -> list[str]:
    """The same command twice at the same time."""
    out = bench.folder / "two"
    command = bench.study_command(out)
    both = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(process.communicate()[1], process.returncode) for process in both]
    # The one that was refused first.
    ended.sort(key=lambda end: -end[1])
    printed = outcome(ended[0][1], ended[0][0], folder=bench.folder)
    survived = f"the other one ended with {ended[1][1]}"
    then = bench.study(out)
    state = bench.study_state(out)
    return row("two studies at once in one folder", printed, survived, then, state)


def starved_worker(bench: Bench) -> list[str]:
    """Address space per process that suffices for all but the worker of one stage."""
    for megabytes in range(300, 1500, 50):
        out = bench.folder / f"starved-{megabytes}"
        done = subprocess.run(
            bench.study_command(out),
            capture_output=True,
            text=True,
            preexec_fn=address_space(megabytes),
            check=False,
        )
        last = (done.stderr.strip().splitlines() or [""])[-1]
        others = all(is_finished(bench.run_of(out, stage)) for stage in (BATCH_NORM, DROPOUT))
        if done.returncode == 1 and "'Wide'" in last and "out of memory" in last and others:
            printed = outcome(done.returncode, done.stderr, folder=bench.folder)
            fault = f"out of memory in a worker ({megabytes} MiB of address space)"
            return bench.row_of_study(fault, printed, out)
        if done.returncode == 0:
            break
    return ["out of memory in a worker", "not provoked: with less the study does not start"]


def killed_worker(bench: Bench) -> list[str]:
    """SIGKILL to the worker of one stage, as the kernel does when memory runs out."""
    out = bench.folder / "killed-worker"
    printed = while_running(bench, out, WIDE, lambda _, worker: os.kill(worker, signal.SIGKILL))
    return bench.row_of_study("a worker killed (SIGKILL)", printed, out)


def terminated(bench: Bench) -> list[str]:
    """SIGTERM to the study alone, as a scheduler does; its workers must end by themselves."""
    out = bench.folder / "terminated"
    printed = while_running(bench, out, WIDE, lambda study, _: os.kill(study, signal.SIGTERM))
    return bench.row_of_study("a study stopped by SIGTERM", printed, out)


def study_disk_full(bench: Bench) -> list[str]:
    """A disk with room for the smaller runs, and not for the wide one or a report."""
    disk = bench.folder / "disk"
    with mounted(disk, size="320k") as again:
        out = disk / "study"
        printed = bench.study(out)
        return bench.row_of_study(
            "disk full while a study runs", printed, out, repair=lambda: again("size=16m")
        )


def report_disk_full(bench: Bench) -> list[str]:
    """A disk that the runs have filled."""
    disk = bench.folder / "disk"
    with mounted(disk, size="16m") as again:
        out = disk / "study"
        shutil.copytree(bench.undisturbed_study / "runs", out / "runs")
        again(f"size={sum(map(pages, disk.rglob('*'))) + 8}k")
        printed = bench.study(out)
        survived = bench.study_state(out)
        again("size=16m")
        then = bench.run([*KILONET, "report", str(out)])
        state = f"{bench.study_state(out)}; report {exists(out / 'report.html')}"
        fault = "disk full as the report is drawn (then `kilonet report`)"
        return row(fault, printed, survived, then, state)


def study_read_only(bench: Bench) -> list[str]:
    """The disk becomes read-only before the study resumes."""
    disk = bench.folder / "disk"
    with mounted(disk, size="16m") as again:
        out = Path(shutil.copytree(bench.study_copy("source-ro-study", without=WIDE), disk / "s"))
        again("ro")
        printed = bench.study(out)
        return bench.row_of_study(
            "study on a read-only file system", printed, out, repair=lambda: again("rw")
        )


def report_read_only(bench: Bench) -> list[str]:
    """`kilonet report` on a read-only disk."""
    disk = bench.folder / "disk"
    with mounted(disk, size="16m") as again:
        out = Path(shutil.copytree(bench.study_copy("source-ro-report"), disk / "s"))
        again("ro")
        command = [*KILONET, "report", str(out)]
        printed = bench.run(command)
        survived = bench.study_state(out)
        again("rw")
        then = bench.run(command)
        return row("`kilonet report`, read-only", printed, survived, then, bench.study_state(out))


def permission_lost(bench: Bench) -> list[str]:
    """A run's folder loses its write permission during its training."""
    out = bench.folder / "denied-study"
    run = bench.run_of(out, WIDE)
    printed = while_running(bench, out, WIDE, lambda *_: run.chmod(0o555), before=obey_permissions)
    return bench.row_of_study(
        "a run's folder loses its write permission", printed, out, repair=lambda: run.chmod(0o755)
    )


def damaged_run(bench: Bench) -> list[str]:
    """The rows of a finished run are truncated; another run is unfinished."""
    return damaged(bench, "epochs.jsonl", "a run in a study truncated (`epochs.jsonl`)", cut)


def damaged_logits(bench: Bench) -> list[str]:
    """The logits of a finished run are truncated; another run is unfinished."""
    return damaged(bench, "predictions.npz", "a run in a study truncated (`predictions.npz`)", cut)


def newer_run(bench: Bench) -> list[str]:
    """A run of a later version; another run is unfinished."""

    def newer(content: bytes) -> bytes:
        return json_to_bytes({**json_from_bytes(content), "format": 3})

    return damaged(bench, "environment.json", "a run of a newer format in a study", newer)


def damaged(bench: Bench, name: str, fault: str, damage: Callable[[bytes], bytes]) -> list[str]:
    """Damage a file of one run in a study with another run that is unfinished."""
    out = bench.study_copy(f"study-{len(list(bench.folder.iterdir()))}", without=DROPOUT)
    path = bench.run_of(out, BATCH_NORM) / name
    content = path.read_bytes()
    path.write_bytes(damage(content))
    changed = path.read_bytes()
    printed = bench.study(out)
    others = exists(bench.run_of(out, DROPOUT) / "predictions.npz")
    survived = f"the damaged file {'unchanged' if path.read_bytes() == changed else 'CHANGED'}; "
    survived += f"the other run {others}"
    path.write_bytes(content)
    then = bench.study(out)
    return row(fault, printed, survived, then, bench.study_state(out))


def report_in_the_way(bench: Bench) -> list[str]:
    """A folder has the name of the report; a run is unfinished."""
    out = bench.study_copy("no-report", without=WIDE)
    (out / "report.html").unlink()
    (out / "report.html").mkdir()
    printed = bench.study(out)
    survived = bench.study_state(out)
    (out / "report.html").rmdir()
    then = bench.study(out)
    state = f"{bench.study_state(out)}; report {exists(out / 'report.html')}"
    return row("`report.html` cannot be written", printed, survived, then, state)


def spec_cut(bench: Bench) -> list[str]:
    """Half of ``study.toml``; then the remedy in the error."""
    out = bench.study_copy("cut-spec")
    spec = out / "study.toml"
    spec.write_bytes(cut(spec.read_bytes()))
    printed = bench.study(out)
    return bench.row_of_study("`study.toml` truncated", printed, out, repair=spec.unlink)


def compare_damaged(bench: Bench) -> list[str]:
    """One of two studies that are compared is damaged."""
    out = bench.study_copy("not-comparable")
    path = bench.run_of(out, DROPOUT) / "epochs.jsonl"
    content = path.read_bytes()
    path.write_bytes(cut(content))
    command = [*KILONET, "compare", str(bench.undisturbed_study), str(out)]
    printed = bench.run(command)
    survived = bench.study_state(out)
    path.write_bytes(content)
    then = bench.run(command)
    state = bench.study_state(out)
    return row("`kilonet compare` with a damaged study", printed, survived, then, state)


def while_running(
    bench: Bench,
    out: Path,
    stage: int,
    happen: Callable[[int, int], object],
    *,
    before: Callable[[], None] | None = None,
) -> Outcome:
    """Run a study; ``happen`` gets its process and a run's, once that has begun."""
    study = subprocess.Popen(
        bench.study_command(out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,  # noqa: PLW1509  there are no threads here
    )
    run = bench.run_of(out, stage)
    worker = ""
    while not worker or not (run / "run.toml").exists():
        assert study.poll() is None, study.communicate()
        time.sleep(0.001)
        with suppress(OSError, IndexError):
            worker = (run / LOCK).read_text().split()[0]
    happen(study.pid, int(worker))
    _, stderr = study.communicate()
    return outcome(study.returncode, stderr, folder=bench.folder)


def pages(path: Path) -> int:
    """The size of a file on a file system in memory, KiB."""
    return -(-path.stat().st_size // 4096) * 4 if path.is_file() else 0


def cut(content: bytes) -> bytes:
    """The first half."""
    return content[: len(content) // 2]


def exists(path: Path) -> str:
    """Whether a file exists, in a word."""
    return "made" if path.is_file() else "MISSING"


STUDY_FAULTS: list[Callable[[Bench], list[str]]] = [
    two_at_once,
    starved_worker,
    killed_worker,
    terminated,
    study_disk_full,
    report_disk_full,
    study_read_only,
    report_read_only,
    permission_lost,
    damaged_run,
    damaged_logits,
    newer_run,
    report_in_the_way,
    spec_cut,
    compare_damaged,
]
