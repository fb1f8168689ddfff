"""Cause faults of disks, folders and machines, and print the results as a Markdown table.

    sudo python scripts/fault_table.py

Each fault is real, caused on the command line in a separate process. Full and read-only disks are
small file systems in memory; mounting them needs root, and the row says so where that is not
allowed. The training is small and real: 640 digits.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fault_bench import (
    KILONET,
    Bench,
    Outcome,
    address_space,
    digest,
    mounted,
    obey_permissions,
    outcome,
    row,
)
from study_faults import STUDY_FAULTS

from kilonet.storage.checksums import json_from_bytes, json_to_bytes

# The clock jumps by days, forward and back; the monotonic clock is not changed.
JUMPING = """
import sys, time
real, calls = time.time, [0]
def jumping():
    calls[0] += 1
    return real() + (-1) ** calls[0] * 86400 * calls[0]
time.time = jumping
from kilonet.entry import run_command
sys.exit(run_command(sys.argv[1:]))
"""
READ_WEIGHTS = """
import sys
from kilonet.errors import KilonetError
from kilonet.storage.run_folder import RunFolder
try:
    RunFolder(sys.argv[1]).weights(), RunFolder(sys.argv[1]).test_logits()
except KilonetError as error:
    sys.exit(f"kilonet: {error}")
"""


def full_from_the_start(bench: Bench) -> list[str]:
    """A disk with room for one page of 4 KiB."""
    disk = bench.folder / "disk"
    with mounted(disk, size="4k") as again:
        out = disk / "run"
        printed = bench.train(out)
        return bench.row_of_run(
            "disk full at the first write", printed, out, repair=lambda: again("size=4m")
        )


def full_in_the_middle(bench: Bench) -> list[str]:
    """A disk with room for two epochs and no more."""
    disk = bench.folder / "disk"
    with mounted(disk, size="112k") as again:
        out = disk / "run"
        printed = bench.train(out)
        return bench.row_of_run(
            "disk full in a later epoch", printed, out, repair=lambda: again("size=4m")
        )


def full_output(bench: Bench) -> list[str]:
    """Standard output is on a full disk; the run is not."""
    with Path("/dev/full").open("w") as full:
        command = [*KILONET, "train", str(bench.undisturbed), "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    printed = outcome(done.returncode, done.stderr, folder=bench.folder)
    then = bench.run(command)
    state = bench.state(bench.undisturbed)
    return row("disk full under standard output", printed, state, then, state)


def read_only(bench: Bench) -> list[str]:
    """The disk becomes read-only before the run resumes."""
    disk = bench.folder / "disk"
    with mounted(disk, size="4m") as again:
        out = Path(shutil.copytree(bench.stopped_copy("source-ro"), disk / "run"))
        again("ro")
        printed = bench.train(out, "--resume")
        return bench.row_of_run("file system read-only", printed, out, repair=lambda: again("rw"))


def permission(bench: Bench) -> list[str]:
    """The folder can be read, not written."""
    out = bench.stopped_copy("denied")
    out.chmod(0o555)
    printed = bench.train(out, "--resume", before=obey_permissions)
    fault = "folder without write permission"
    return bench.row_of_run(fault, printed, out, repair=lambda: out.chmod(0o755))


def unreadable(bench: Bench) -> list[str]:
    """The checkpoint cannot be read."""
    out = bench.stopped_copy("unreadable")
    checkpoint = out / "checkpoint.safetensors"
    checkpoint.chmod(0)
    printed = bench.train(out, "--resume", before=obey_permissions)
    fault = "checkpoint without read permission"
    return bench.row_of_run(fault, printed, out, repair=lambda: checkpoint.chmod(0o644))


def older(bench: Bench) -> list[str]:
    """A run of the previous version resumes."""
    out = bench.stopped_copy("older")
    environment = json_from_bytes((out / "environment.json").read_bytes())
    environment |= {"format": 1}
    del environment["run_sha256"]
    (out / "environment.json").write_text(json.dumps(environment))
    rows = [json.loads(line) for line in (out / "epochs.jsonl").read_text().splitlines()]
    for each in rows:
        del each["crc32"]
    (out / "epochs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    printed = bench.train(out, "--resume")
    again = bench.train(out)
    state = bench.state(out)
    return row("unfinished run of the older format 1", printed, state, again, state)


def newer(bench: Bench) -> list[str]:
    """A run of a later version is not changed."""
    out = bench.finished_copy("newer")
    path = out / "environment.json"
    ours = path.read_bytes()
    path.write_bytes(json_to_bytes({**json_from_bytes(ours), "format": 3}))
    printed = bench.train(out, "--resume")
    fault = "run of a newer format"
    return bench.row_of_run(fault, printed, out, repair=lambda: path.write_bytes(ours))


def truncated(bench: Bench, name: str) -> list[str]:
    """Half of a file."""
    return damaged(bench, name, f"`{name}` truncated", lambda content: content[: len(content) // 2])


def flipped(bench: Bench, name: str) -> list[str]:
    """A bit in the middle of a file."""

    def flip(content: bytes) -> bytes:
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]

    return damaged(bench, name, f"`{name}`, one bit flipped", flip)


def damaged(bench: Bench, name: str, fault: str, damage: Callable[[bytes], bytes]) -> list[str]:
    """Damage a file of an unfinished run, or of a finished one if only that has it."""
    result = name in ("weights.safetensors", "predictions.npz")
    copy = bench.finished_copy if result else bench.stopped_copy
    out = copy(f"run-{len(list(bench.folder.iterdir()))}")
    path = out / name
    content = path.read_bytes()
    path.write_bytes(damage(content))

    def read() -> Outcome:
        if result:
            return bench.run([sys.executable, "-c", READ_WEIGHTS, str(out)])
        return bench.train(out, "--resume")

    before = {file.name: digest(file) for file in out.iterdir()}
    printed = read()
    after = {file.name: digest(file) for file in out.iterdir()}
    survived = "no file changed" if before == after else "FILES CHANGED"
    path.write_bytes(content)
    then = read()
    return row(fault, printed, survived, then, bench.state(out))


def killed(bench: Bench) -> list[str]:
    """SIGKILL as soon as rows exist, and a temporary file."""
    out = bench.folder / "killed"
    command = [*KILONET, "train", str(bench.spec), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (out / "epochs.jsonl").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (out / f".epochs.jsonl.{'0a' * 8}.tmp").write_text("half")
    survived = bench.state(out).partition("; DEBRIS")[0] + ", and a half-written file"
    then = bench.train(out, "--resume")
    printed = Outcome(code=process.returncode, line="(nothing: SIGKILL)")
    return row("killed in the middle of a save", printed, survived, then, bench.state(out))


def out_of_memory(bench: Bench) -> list[str]:
    """Address space that suffices to start, and not to train."""
    for megabytes in range(100, 2000, 20):
        out = bench.folder / f"memory-{megabytes}"
        done = subprocess.run(
            [*KILONET, "train", str(bench.spec), "--out", str(out)],
            capture_output=True,
            text=True,
            preexec_fn=address_space(megabytes),
            check=False,
        )
        last = (done.stderr.strip().splitlines() or [""])[-1]
        if done.returncode == 1 and last.startswith("kilonet: out of memory"):
            printed = outcome(done.returncode, last, folder=bench.folder)
            fault = f"out of memory ({megabytes} MiB of address space)"
            return bench.row_of_run(fault, printed, out)
        if done.returncode == 0:
            break
    return ["out of memory", "not provoked: with less it does not start, with more it trains"]


def jumping_clock(bench: Bench) -> list[str]:
    """Two readings of the clock differ by days; so do the files' times."""
    out = bench.folder / "clock"
    options = ["train", str(bench.spec), "--out", str(out)]
    printed = bench.run([sys.executable, "-c", JUMPING, *options])
    for age, path in enumerate(sorted(out.iterdir())):
        os.utime(path, (age * 1e9, age * 1e9))
    rows = [json.loads(line) for line in (out / "epochs.jsonl").read_text().splitlines()]
    sane = all(0 < each["seconds"] < 60 for each in rows)
    survived = f"{bench.state(out)}; seconds {'right' if sane else 'WRONG'}"
    then = bench.train(out)
    return row("clock jumps by days at every reading", printed, survived, then, bench.state(out))


FAULTS: list[Callable[[Bench], list[str]]] = [
    full_from_the_start,
    full_in_the_middle,
    full_output,
    read_only,
    permission,
    unreadable,
    older,
    newer,
    *(
        (lambda bench, damage=damage, name=name: damage(bench, name))
        for damage in (truncated, flipped)
        for name in (
            "run.toml",
            "environment.json",
            "epochs.jsonl",
            "steps.npz",
            "checkpoint.safetensors",
            "weights.safetensors",
            "predictions.npz",
        )
    ),
    killed,
    out_of_memory,
    jumping_clock,
    *STUDY_FAULTS,
]


def main() -> None:
    """Print the table."""
    columns = [
        "fault",
        "what it printed",
        "exit",
        "what survived",
        "after repair, the same command",
    ]
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for provoke in FAULTS:
            try:
                cells = provoke(bench)
            except (subprocess.CalledProcessError, PermissionError) as error:
                cells = [provoke.__name__.replace("_", " "), f"not provoked here: {error}"]
            cells += [""] * (len(columns) - len(cells))
            print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |", flush=True)
            disk = bench.folder / "disk"
            if disk.is_dir():
                disk.rmdir()


if __name__ == "__main__":
    main()
