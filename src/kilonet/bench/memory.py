"""Peak memory of training runs, each in its own process.

:func:`peak_memory` starts ``python -m kilonet.bench.memory native``, which is this module.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kilonet.data import RunData, load_dataset
from kilonet.errors import EngineError
from kilonet.spec import load_run
from kilonet.training.loop import train

TRAINERS = ("native", "notebook")
"""kilonet's native engine, and the notebook's own training code."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Peak resident memory.

    Attributes:
        bytes: of the training process.
        worker_bytes: of its largest DataLoader worker, shared pages included; 0 if there is none.
    """

    bytes: int
    worker_bytes: int


def peak_memory(trainer: str, *, run_file: Path, threads: int) -> Peak:
    """Peak memory of training one epoch and testing, in a new process.

    Args:
        trainer: one of :data:`TRAINERS`.
        run_file: the run, as TOML.
        threads: of the engine, or of PyTorch.

    Raises:
        EngineError: if the process failed, with its last line on standard error.
    """
    command = [sys.executable, "-m", "kilonet.bench.memory", trainer, str(run_file), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise EngineError(f"peak memory, {trainer}: the process failed: {lines[-1]}")
    found = json.loads(done.stdout)
    return Peak(bytes=found["bytes"], worker_bytes=found["worker_bytes"])


def own_peak(*, workers: bool = False) -> Peak:
    """This process's peak so far; with ``workers``, also that of its largest ended child."""
    import resource

    # Bytes on macOS, KiB elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    # On Linux ru_maxrss includes the parent's memory at the start of this process; the peak of the
    # address space does not.
    status = Path("/proc/self/status")
    if status.is_file() and (mark := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        own = int(mark[1]) * 1024
    return Peak(bytes=own, worker_bytes=children if workers else 0)


def _train_and_report(trainer: str, run_file: str, threads: str) -> None:
    run = load_run(run_file).replace({"train.epochs": 1})
    if trainer == "native":
        with tempfile.TemporaryDirectory() as folder:
            train(run, folder=Path(folder) / "run", engine="native", threads=int(threads))
    else:
        from kilonet.bench.torch import notebook_epoch, set_threads

        set_threads(int(threads))
        notebook_epoch(run, RunData.of(run, load_dataset(run.data.name)))()
    peak = own_peak(workers=trainer == "notebook")
    sys.stdout.write(json.dumps({"bytes": peak.bytes, "worker_bytes": peak.worker_bytes}))


if __name__ == "__main__":
    _train_and_report(*sys.argv[1:])
