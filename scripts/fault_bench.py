"""What faults are provoked on: small real trainings, and disks that can be filled up."""

from __future__ import annotations

import ctypes
import hashlib
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from kilonet.atomic import is_aside
from kilonet.data import load_dataset
from kilonet.run import folder_name
from kilonet.spec import load_run, load_study, to_toml

EPOCHS = 3
WIDE = {
    "name": "Wide",
    "change": {
        "net.layers": ["conv 64", "conv 64", "maxpool 2", "pointwise 8", "gap", "pointwise 10"],
        "train.batch_size": 640,
    },
}
"""A step whose training needs several times the memory of those before it."""
KILONET = [sys.executable, "-m", "kilonet"]
Mend = Callable[[], object] | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command came to: its exit code, and its last line on standard error.

    ``before`` is how many such lines of kilonet's own stand before that one.
    """

    code: int
    line: str
    before: int = 0


class Bench:
    """A folder to break things in, a small run, and what it comes to when nothing is broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        mnist = load_dataset("mnist")
        data = folder / "small.npz"
        np.savez(
            data,
            train_images=mnist.train_images[:640],
            train_labels=mnist.train_labels[:640],
            test_images=mnist.test_images[:200],
            test_labels=mnist.test_labels[:200],
        )
        changes = {"data.name": str(data), "train.epochs": EPOCHS, "train.batch_size": 64}
        self.spec = folder / "small.toml"
        self.spec.write_text(to_toml(load_run("interim").replace(changes)))
        study = load_study("mnist-8k").replace(
            {**changes, "seeds": 1, "budget.parameters": 100_000}
        )
        study = study.replace({"step": [*study.to_dict()["step"][:2], WIDE]})
        self.study_spec = folder / "study.toml"
        self.study_spec.write_text(to_toml(study))
        self.study_runs = [folder_name(rung.seeded(1)) for rung in study.rungs]
        self.whole = folder / "whole"
        outcome = self.train(self.whole)
        assert outcome.code == 0, outcome.line
        self.weights = digest(self.whole / "weights.safetensors")

    def train(self, out: Path, *options: str, **how: Callable[[], None]) -> Outcome:
        """``kilonet train``, with ``before`` called in the new process before it begins."""
        return self.run([*KILONET, "train", str(self.spec), "--out", str(out), *options], **how)

    def study(self, out: Path, *options: str, **how: Callable[[], None]) -> Outcome:
        """``kilonet study``, two runs at once; ``before`` as in :meth:`train`."""
        return self.run([*self.study_command(out), *options], **how)

    def study_command(self, out: Path) -> list[str]:
        """The command of :meth:`study`."""
        return [*KILONET, "study", str(self.study_spec), "--out", str(out), "--threads", "2"]

    @cached_property
    def whole_study(self) -> Path:
        """A study that ran undisturbed, one run after another."""
        out = self.folder / "whole-study"
        ended = self.study(out, "--jobs", "1")
        assert ended.code == 0, ended.line
        return out

    def study_copy(self, name: str, *, without: int | None = None) -> Path:
        """A finished study of its own; ``without`` one of its runs, by the number of its rung."""
        out = Path(shutil.copytree(self.whole_study, self.folder / name))
        if without is not None:
            shutil.rmtree(self.run_of(out, without))
        return out

    def run_of(self, study: Path, rung: int) -> Path:
        """The folder of a rung's run."""
        return study / "runs" / self.study_runs[rung - 1]

    def run(self, command: list[str], *, before: Callable[[], None] | None = None) -> Outcome:
        """Run a command and keep its last line."""
        done = subprocess.run(
            command, capture_output=True, text=True, preexec_fn=before, check=False, timeout=300
        )
        return outcome(done.returncode, done.stderr, folder=self.folder)

    def row_of_run(self, fault: str, told: Outcome, out: Path, *, mend: Mend = None) -> list[str]:
        """What a fault left of a run and, once it is mended, what ``--resume`` makes of that."""
        state, again = (lambda: self.state(out)), (lambda: self.train(out, "--resume"))
        return mended_row(fault, told, state=state, mend=mend, again=again)

    def row_of_study(self, fault: str, told: Outcome, out: Path, *, mend: Mend = None) -> list[str]:
        """The same of a study, which goes on by the same command."""
        state, again = (lambda: self.study_state(out)), (lambda: self.study(out))
        return mended_row(fault, told, state=state, mend=mend, again=again)

    def finished_copy(self, name: str) -> Path:
        """A whole, finished run of its own."""
        return Path(shutil.copytree(self.whole, self.folder / name))

    def stopped_copy(self, name: str) -> Path:
        """A run that lost its results and goes on at its checkpoint."""
        folder = self.finished_copy(name)
        for result in ("weights.safetensors", "predictions.npz"):
            (folder / result).unlink()
        return folder

    def state(self, folder: Path) -> str:
        """What a folder holds, in words."""
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        debris = [name for name in names if is_aside(name)]
        rows = folder / "epochs.jsonl"
        epochs = len(rows.read_text().splitlines()) if rows.exists() else 0
        told = f"{epochs} of {EPOCHS} epochs"
        if "weights.safetensors" in names:
            same = digest(folder / "weights.safetensors") == self.weights
            told = f"all {EPOCHS} epochs; weights {'the same' if same else 'OTHER'} bits"
        return told + (f"; DEBRIS {debris}" if debris else "")

    def study_state(self, out: Path) -> str:
        """What a study's folder holds, in words."""
        rungs = range(1, len(self.study_runs) + 1)
        runs = [run for run in (self.run_of(out, rung) for rung in rungs) if is_whole(run)]
        told = f"{len(runs)} of {len(rungs)} runs whole"
        if runs:
            same = all(
                digest(run / name) == digest(self.whole_study / "runs" / run.name / name)
                for run in runs
                for name in ("weights.safetensors", "checkpoint.safetensors")
            )
            told += f"; weights {'the same' if same else 'OTHER'} bits"
        debris = [path.name for path in out.rglob(".*") if is_aside(path.name)]
        return told + (f"; DEBRIS {debris}" if debris else "")


def is_whole(run: Path) -> bool:
    """Whether a run trained to its end."""
    return (run / "predictions.npz").exists()


def outcome(code: int, stderr: str, *, folder: Path) -> Outcome:
    """The last line, without the folder's own long name."""
    lines = [line for line in stderr.splitlines() if line.strip()] or [""]
    assert "Traceback" not in stderr, stderr
    ours = sum(line.startswith("kilonet:") for line in lines)
    return Outcome(code=code, line=lines[-1].replace(f"{folder}/", ""), before=max(0, ours - 1))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def mounted(folder: Path, *, size: str) -> Iterator[Callable[[str], None]]:
    """A file system in memory; gives a function that mounts it anew with other options."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)

    def again(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)

    try:
        yield again
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def address_space(megabytes: int) -> Callable[[], None]:
    """What gives a process, and those it begins, that much to live in."""
    size = megabytes << 20
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))


def obey_permissions() -> None:
    """Let root be refused as anybody is: drop CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def mended_row(
    fault: str,
    told: Outcome,
    *,
    state: Callable[[], str],
    mend: Mend,
    again: Callable[[], Outcome],
) -> list[str]:
    """A line of the table: what is left, and what becomes of it once the fault is mended."""
    survived = state()
    if mend is not None:
        mend()
    then = again()
    return row(fault, told, survived, then, state())


def row(fault: str, told: Outcome, survived: str, then: Outcome, after: str) -> list[str]:
    """A line of the table."""
    line = f"`{told.line}`" if told.line.startswith("kilonet:") else "(no complaint)"
    line += f" after {told.before} more such" if told.before else ""
    if told.line.startswith("("):
        line = told.line
    mended = f"exit {then.code}: {after}"
    return [fault, line, str(told.code), survived, mended]
