"""Small real trainings, and disks that can be filled, on which faults are caused."""

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

from kilonet.data import load_dataset
from kilonet.spec import load_run, load_study, to_toml
from kilonet.storage.atomic import is_temporary
from kilonet.training.loop import folder_name

EPOCHS = 3
WIDE = {
    "name": "Wide",
    "change": {
        "net.layers": ["conv 64", "conv 64", "maxpool 2", "pointwise 8", "gap", "pointwise 10"],
        "train.batch_size": 640,
    },
}
"""A stage whose training needs several times the memory of the earlier ones."""
KILONET = [sys.executable, "-m", "kilonet"]
Repair = Callable[[], object] | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The exit code of a command, and its last line on standard error.

    ``before`` is the number of kilonet's lines before that one.
    """

    code: int
    line: str
    before: int = 0


class Bench:
    """A folder for faults, a small run, and its undisturbed results."""

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
        study = study.replace({"stage": [*study.to_dict()["stage"][:2], WIDE]})
        self.study_spec = folder / "study.toml"
        self.study_spec.write_text(to_toml(study))
        self.study_runs = [folder_name(stage.seeded(1)) for stage in study.stages]
        self.undisturbed = folder / "undisturbed"
        outcome = self.train(self.undisturbed)
        assert outcome.code == 0, outcome.line
        self.weights = digest(self.undisturbed / "weights.safetensors")

    def train(self, out: Path, *options: str, **how: Callable[[], None]) -> Outcome:
        """``kilonet train``, with ``before`` called in the new process first."""
        return self.run([*KILONET, "train", str(self.spec), "--out", str(out), *options], **how)

    def study(self, out: Path, *options: str, **how: Callable[[], None]) -> Outcome:
        """``kilonet study``, two runs at once; ``before`` as in :meth:`train`."""
        return self.run([*self.study_command(out), *options], **how)

    def study_command(self, out: Path) -> list[str]:
        """The command of :meth:`study`."""
        return [*KILONET, "study", str(self.study_spec), "--out", str(out), "--threads", "2"]

    @cached_property
    def undisturbed_study(self) -> Path:
        """An undisturbed study, one run after another."""
        out = self.folder / "undisturbed-study"
        ended = self.study(out, "--jobs", "1")
        assert ended.code == 0, ended.line
        return out

    def study_copy(self, name: str, *, without: int | None = None) -> Path:
        """A copy of the finished study; ``without`` the run of a stage, by its number."""
        out = Path(shutil.copytree(self.undisturbed_study, self.folder / name))
        if without is not None:
            shutil.rmtree(self.run_of(out, without))
        return out

    def run_of(self, study: Path, stage: int) -> Path:
        """The folder of a stage's run."""
        return study / "runs" / self.study_runs[stage - 1]

    def run(self, command: list[str], *, before: Callable[[], None] | None = None) -> Outcome:
        """Run a command and keep its last line."""
        done = subprocess.run(
            command, capture_output=True, text=True, preexec_fn=before, check=False, timeout=300
        )
        return outcome(done.returncode, done.stderr, folder=self.folder)

    def row_of_run(
        self, fault: str, printed: Outcome, out: Path, *, repair: Repair = None
    ) -> list[str]:
        """A run after a fault and, once that is repaired, after ``--resume``."""
        state, again = (lambda: self.state(out)), (lambda: self.train(out, "--resume"))
        return repaired_row(fault, printed, state=state, repair=repair, again=again)

    def row_of_study(
        self, fault: str, printed: Outcome, out: Path, *, repair: Repair = None
    ) -> list[str]:
        """The same of a study, which the same command resumes."""
        state, again = (lambda: self.study_state(out)), (lambda: self.study(out))
        return repaired_row(fault, printed, state=state, repair=repair, again=again)

    def finished_copy(self, name: str) -> Path:
        """A copy of the finished run."""
        return Path(shutil.copytree(self.undisturbed, self.folder / name))

    def stopped_copy(self, name: str) -> Path:
        """A copy of the run without its results, which resumes from its checkpoint."""
        folder = self.finished_copy(name)
        for result in ("weights.safetensors", "predictions.npz"):
            (folder / result).unlink()
        return folder

    def state(self, folder: Path) -> str:
        """The content of a run folder, in words."""
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        debris = [name for name in names if is_temporary(name)]
        rows = folder / "epochs.jsonl"
        epochs = len(rows.read_text().splitlines()) if rows.exists() else 0
        text = f"{epochs} of {EPOCHS} epochs"
        if "weights.safetensors" in names:
            same = digest(folder / "weights.safetensors") == self.weights
            text = f"all {EPOCHS} epochs; weights {'the same' if same else 'OTHER'} bits"
        return text + (f"; DEBRIS {debris}" if debris else "")

    def study_state(self, out: Path) -> str:
        """The content of a study folder, in words."""
        stages = range(1, len(self.study_runs) + 1)
        runs = [run for run in (self.run_of(out, stage) for stage in stages) if is_finished(run)]
        text = f"{len(runs)} of {len(stages)} runs finished"
        if runs:
            same = all(
                digest(run / name) == digest(self.undisturbed_study / "runs" / run.name / name)
                for run in runs
                for name in ("weights.safetensors", "checkpoint.safetensors")
            )
            text += f"; weights {'the same' if same else 'OTHER'} bits"
        debris = [path.name for path in out.rglob(".*") if is_temporary(path.name)]
        return text + (f"; DEBRIS {debris}" if debris else "")


def is_finished(run: Path) -> bool:
    """Whether a run is finished."""
    return (run / "predictions.npz").exists()


def outcome(code: int, stderr: str, *, folder: Path) -> Outcome:
    """The outcome; its line without the folder's long name."""
    lines = [line for line in stderr.splitlines() if line.strip()] or [""]
    assert "Traceback" not in stderr, stderr
    ours = sum(line.startswith("kilonet:") for line in lines)
    return Outcome(code=code, line=lines[-1].replace(f"{folder}/", ""), before=max(0, ours - 1))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def mounted(folder: Path, *, size: str) -> Iterator[Callable[[str], None]]:
    """A file system in memory; yields a function that mounts it again with other options."""
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
    """A function that limits the address space of a process and its children."""
    size = megabytes << 20
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))


def obey_permissions() -> None:
    """Make permissions apply to root: drop CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def repaired_row(
    fault: str,
    printed: Outcome,
    *,
    state: Callable[[], str],
    repair: Repair,
    again: Callable[[], Outcome],
) -> list[str]:
    """A row of the table: what is left after a fault, and after its repair."""
    survived = state()
    if repair is not None:
        repair()
    then = again()
    return row(fault, printed, survived, then, state())


def row(fault: str, printed: Outcome, survived: str, then: Outcome, after: str) -> list[str]:
    """A row of the table."""
    line = f"`{printed.line}`" if printed.line.startswith("kilonet:") else "(no complaint)"
    line += f" after {printed.before} more such" if printed.before else ""
    if printed.line.startswith("("):
        line = printed.line
    repaired = f"exit {then.code}: {after}"
    return [fault, line, str(printed.code), survived, repaired]
