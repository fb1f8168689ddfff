"""Parallel runs: the time of a study with parallel trials and with one trial after another.

Three variants alternate, each as a command: parallel trials (the default of `kilonet study`), one
trial after another on one thread, and one after another on all threads. The time is that of the
command, reports included; utilization is the CPU seconds of the command and its workers over wall
seconds and processors. The files of all variants must be equal, byte for byte.

    python benchmarks/parallel.py --seeds 3 --epochs 2
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import joblib

from kilonet.spec import load_study
from kilonet.storage.environment import cpu_name


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One command: wall seconds, and CPU seconds of all its processes."""

    wall: float
    cpu: float


def study_command(folder: Path, *, options: list[str], study: list[str]) -> list[str]:
    return [sys.executable, "-m", "kilonet", "study", *study, "--out", str(folder), *options]


def run_study(folder: Path, *, options: list[str], study: list[str]) -> Timed:
    began = time.perf_counter()
    process = subprocess.Popen(
        study_command(folder, options=options, study=study), stdout=subprocess.DEVNULL
    )
    # Includes the children that it waited for, its workers.
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(process.args)}: exit code {process.returncode}")
    return Timed(wall=wall, cpu=usage.ru_utime + usage.ru_stime)


def digest(folder: Path) -> str:
    """SHA-256 of all files of all runs, without the environment and the epochs' seconds."""
    found = hashlib.sha256()
    for path in sorted((folder / "runs").rglob("*")):
        if not path.is_file() or path.name == "environment.json":
            continue
        content = path.read_bytes()
        if path.name == "epochs.jsonl":
            rows = [json.loads(line) for line in content.splitlines()]
            content = json.dumps([{**row, "seconds": 0, "crc32": ""} for row in rows]).encode()
        found.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
    return found.hexdigest()


def measure(study: list[str], *, cores: int, repeats: int) -> dict[str, list[Timed]]:
    variants = {
        "parallel": ["--threads", str(cores)],
        "serial, 1 thread": ["--jobs", "1", "--threads", "1"],
        f"serial, {cores} threads": ["--jobs", "1", "--threads", str(cores)],
    }
    timed: dict[str, list[Timed]] = {variant: [] for variant in variants}
    digests = set()
    with tempfile.TemporaryDirectory() as scratch:
        for repeat in range(repeats):
            for number, (variant, options) in enumerate(variants.items()):
                folder = Path(scratch) / f"{repeat}-{number}"
                one = run_study(folder, options=options, study=study)
                timed[variant].append(one)
                digests.add(digest(folder))
                print(f"{variant}: {one.wall:.1f} s, {one.cpu:.1f} s of CPU", file=sys.stderr)
    if len(digests) != 1:
        raise SystemExit("the variants gave different files")
    return timed


def summary(timed: dict[str, list[Timed]], *, cores: int) -> dict[str, dict[str, float]]:
    first = next(iter(timed.values()))
    return {
        variant: {
            "seconds": statistics.median(one.wall for one in some),
            "utilization": statistics.median(one.cpu / one.wall / cores for one in some),
            # Of the same round, so that the machine's other load affects both.
            "times_as_long": statistics.median(
                one.wall / other.wall for one, other in zip(some, first, strict=True)
            ),
        }
        for variant, some in timed.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", default="mnist-8k", help="a study (mnist-8k)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each stage (3)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each run (2)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")
    parser.add_argument("--data", help="a data set instead of the study's")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    options = parser.parse_args()
    settings = [f"seeds={options.seeds}", f"train.epochs={options.epochs}"]
    if options.data:
        settings.append(f"data.name={options.data!r}")
    spec = load_study(options.study, settings=settings)
    study = [options.study, *(text for setting in settings for text in ("--set", setting))]
    cores = joblib.cpu_count()
    found = summary(measure(study, cores=cores, repeats=options.repeats), cores=cores)
    trials = len(spec.stage) * spec.seeds
    if options.json:
        print(json.dumps({"cpu": cpu_name(), "cores": cores, "trials": trials, **found}, indent=2))
        return
    print(f"{cpu_name()}, {cores} cores; {trials} trials of {options.epochs} epochs")
    for variant, row in found.items():
        print(
            f"  {variant:20} {row['seconds']:8.1f} s   "
            f"utilization {100 * row['utilization']:4.0f} %   "
            f"{row['times_as_long']:.2f} times as long as parallel"
        )


if __name__ == "__main__":
    main()
