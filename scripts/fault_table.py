"""Provoke what goes wrong with disks, folders and machines, and print what came of it as Markdown.

    sudo python scripts/fault_table.py

Each fault is a real one, provoked on the command line in a process of its own: full and read-only
disks are small file systems in memory, mounted for the purpose, hence root; where that is not
allowed, the row says so. The training is a small real one, of 640 digits.
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

from kilonet.sealed import json_from_bytes, json_to_bytes

# Clocks of the process go forward and back by days; what measures durations is left alone.
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
from kilonet.store import RunFolder
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
        told = bench.train(out)
        return bench.row_of_run(
            "disk full at the first write", told, out, mend=lambda: again("size=4m")
        )


def full_in_the_middle(bench: Bench) -> list[str]:
    """A disk with room for two epochs and not for what comes after them."""
    disk = bench.folder / "disk"
    with mounted(disk, size="112k") as again:
        out = disk / "run"
        told = bench.train(out)
        return bench.row_of_run(
            "disk full in a later epoch", told, out, mend=lambda: again("size=4m")
        )


def full_output(bench: Bench) -> list[str]:
    """What is printed goes to a full disk; the run itself does not."""
    with Path("/dev/full").open("w") as full:
        command = [*KILONET, "train", str(bench.whole), "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    told = outcome(done.returncode, done.stderr, folder=bench.folder)
    then = bench.run(command)
    state = bench.state(bench.whole)
    return row("disk full under standard output", told, state, then, state)


def read_only(bench: Bench) -> list[str]:
    """The disk turns read-only before the run goes on."""
    disk = bench.folder / "disk"
    with mounted(disk, size="4m") as again:
        out = Path(shutil.copytree(bench.stopped_copy("source-ro"), disk / "run"))
        again("ro")
        told = bench.train(out, "--resume")
        return bench.row_of_run("file system read-only", told, out, mend=lambda: again("rw"))


def permission(bench: Bench) -> list[str]:
    """The folder may be read, not written into."""
    out = bench.stopped_copy("denied")
    out.chmod(0o555)
    told = bench.train(out, "--resume", before=obey_permissions)
    fault = "folder without write permission"
    return bench.row_of_run(fault, told, out, mend=lambda: out.chmod(0o755))


def unreadable(bench: Bench) -> list[str]:
    """The checkpoint may not be read."""
    out = bench.stopped_copy("unreadable")
    checkpoint = out / "checkpoint.safetensors"
    checkpoint.chmod(0)
    told = bench.train(out, "--resume", before=obey_permissions)
    fault = "checkpoint without read permission"
    return bench.row_of_run(fault, told, out, mend=lambda: checkpoint.chmod(0o644))


def older(bench: Bench) -> list[str]:
    """What the version before wrote goes on here."""
    out = bench.stopped_copy("older")
    environment = json_from_bytes((out / "environment.json").read_bytes())
    environment |= {"format": 1}
    del environment["run_sha256"]
    (out / "environment.json").write_text(json.dumps(environment))
    rows = [json.loads(line) for line in (out / "epochs.jsonl").read_text().splitlines()]
    for each in rows:
        del each["crc32"]
    (out / "epochs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    told = bench.train(out, "--resume")
    again = bench.train(out)
    state = bench.state(out)
    return row("unfinished run of the older format 1", told, state, again, state)


def newer(bench: Bench) -> list[str]:
    """What a later version wrote is left alone."""
    out = bench.finished_copy("newer")
    path = out / "environment.json"
    ours = path.read_bytes()
    path.write_bytes(json_to_bytes({**json_from_bytes(ours), "format": 3}))
    told = bench.train(out, "--resume")
    fault = "run of a newer format"
    return bench.row_of_run(fault, told, out, mend=lambda: path.write_bytes(ours))


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
    """Damage a file of an unfinished run, or of a finished one where only that has it."""
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
    told = read()
    after = {file.name: digest(file) for file in out.iterdir()}
    survived = "every file as it was" if before == after else "FILES CHANGED"
    path.write_bytes(content)
    then = read()
    return row(fault, told, survived, then, bench.state(out))


def killed(bench: Bench) -> list[str]:
    """SIGKILL as soon as rows are there, and what a write had left aside."""
    out = bench.folder / "killed"
    command = [*KILONET, "train", str(bench.spec), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (out / "epochs.jsonl").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (out / f".epochs.jsonl.{'0a' * 8}.tmp").write_text("half")
    survived = bench.state(out).partition("; DEBRIS")[0] + ", a half-written file beside them"
    then = bench.train(out, "--resume")
    told = Outcome(code=process.returncode, line="(nothing: SIGKILL)")
    return row("killed in the middle of a save", told, survived, then, bench.state(out))


def out_of_memory(bench: Bench) -> list[str]:
    """With as much address space as the program needs to begin, and not enough to train."""
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
            told = outcome(done.returncode, last, folder=bench.folder)
            fault = f"out of memory ({megabytes} MiB of address space)"
            return bench.row_of_run(fault, told, out)
        if done.returncode == 0:
            break
    return ["out of memory", "not provoked: less and it does not begin, more and it is enough"]


def jumping_clock(bench: Bench) -> list[str]:
    """Each look at the clock is days from the one before; so are the files' times."""
    out = bench.folder / "clock"
    options = ["train", str(bench.spec), "--out", str(out)]
    told = bench.run([sys.executable, "-c", JUMPING, *options])
    for age, path in enumerate(sorted(out.iterdir())):
        os.utime(path, (age * 1e9, age * 1e9))
    rows = [json.loads(line) for line in (out / "epochs.jsonl").read_text().splitlines()]
    sane = all(0 < each["seconds"] < 60 for each in rows)
    survived = f"{bench.state(out)}; seconds {'right' if sane else 'WRONG'}"
    then = bench.train(out)
    return row("clock jumps by days at every look", told, survived, then, bench.state(out))


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
    columns = ["fault", "what it printed", "exit", "what survived", "mended, the same command"]
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
