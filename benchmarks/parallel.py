"""Many runs at once: a study in parallel, beside the same tasks one after another.

Three ways take turns, each in a process of its own as a user starts it: two or more at a time (what
`kilonet study` does), one after another on one thread, and one after another on all. The time is
that of the whole command, reports included; utilisation is the processor seconds of the command and
its workers over wall seconds and processors. Before it is told, the files of all ways are compared,
byte for byte.

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

from kilonet.environment import cpu_name
from kilonet.spec import load_study


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One study, start to end: wall seconds, and processor seconds of all its processes."""

    wall: float
    cpu: float


def study_command(folder: Path, *, options: list[str], study: list[str]) -> list[str]:
    return [sys.executable, "-m", "kilonet", "study", *study, "--out", str(folder), *options]


def take_turn(folder: Path, *, options: list[str], study: list[str]) -> Turn:
    began = time.perf_counter()
    process = subprocess.Popen(
        study_command(folder, options=options, study=study), stdout=subprocess.DEVNULL
    )
    # With the children that it waited for: the workers.
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(process.args)}: exit code {process.returncode}")
    return Turn(wall=wall, cpu=usage.ru_utime + usage.ru_stime)


def digest(folder: Path) -> str:
    """Of all files of all runs: without the environment, the seconds of each epoch and the check
    of its row, in which they are."""
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


def measure(study: list[str], *, cores: int, repeats: int) -> dict[str, list[Turn]]:
    ways = {
        "at once": ["--threads", str(cores)],
        "in turn, 1 thread": ["--jobs", "1", "--threads", "1"],
        f"in turn, {cores} threads": ["--jobs", "1", "--threads", str(cores)],
    }
    turns: dict[str, list[Turn]] = {way: [] for way in ways}
    digests = set()
    with tempfile.TemporaryDirectory() as scratch:
        for repeat in range(repeats):
            for number, (way, options) in enumerate(ways.items()):
                folder = Path(scratch) / f"{repeat}-{number}"
                turn = take_turn(folder, options=options, study=study)
                turns[way].append(turn)
                digests.add(digest(folder))
                print(f"{way}: {turn.wall:.1f} s, {turn.cpu:.1f} s of processor", file=sys.stderr)
    if len(digests) != 1:
        raise SystemExit("the ways came to different files")
    return turns


def summary(turns: dict[str, list[Turn]], *, cores: int) -> dict[str, dict[str, float]]:
    first = next(iter(turns.values()))
    return {
        way: {
            "seconds": statistics.median(turn.wall for turn in some),
            "utilisation": statistics.median(turn.cpu / turn.wall / cores for turn in some),
            # Of the same turn: what else the machine did then, it did to both.
            "times_as_long": statistics.median(
                turn.wall / other.wall for turn, other in zip(some, first, strict=True)
            ),
        }
        for way, some in turns.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", default="mnist-8k", help="a study (mnist-8k)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each step (3)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each run (2)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each way (3)")
    parser.add_argument("--data", help="a data set in place of the study's own")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    options = parser.parse_args()
    settings = [f"seeds={options.seeds}", f"train.epochs={options.epochs}"]
    if options.data:
        settings.append(f"data.name={options.data!r}")
    spec = load_study(options.study, settings=settings)
    study = [options.study, *(text for setting in settings for text in ("--set", setting))]
    cores = joblib.cpu_count()
    found = summary(measure(study, cores=cores, repeats=options.repeats), cores=cores)
    tasks = len(spec.step) * spec.seeds
    if options.json:
        print(json.dumps({"cpu": cpu_name(), "cores": cores, "tasks": tasks, **found}, indent=2))
        return
    print(f"{cpu_name()}, {cores} cores; {tasks} tasks of {options.epochs} epochs")
    for way, row in found.items():
        print(
            f"  {way:20} {row['seconds']:8.1f} s   utilisation {100 * row['utilisation']:4.0f} %"
            f"   {row['times_as_long']:.2f} times as long as at once"
        )


if __name__ == "__main__":
    main()
