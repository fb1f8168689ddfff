"""Peak memory of a training run, each in a process of its own.

``python -m kilonet.bench.memory native`` is such a process; :func:`peak_memory` starts it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kilonet.data import load_dataset
from kilonet.errors import EngineError
from kilonet.run import Images, train
from kilonet.spec import load_run

WAYS = ("native", "notebook")


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Most resident memory at any time.

    Attributes:
        bytes: of the process that trains.
        worker_bytes: of the largest of its DataLoader's workers, pages shared with it included;
            0 where there is none.
    """

    bytes: int
    worker_bytes: int


def peak_memory(way: str, *, run_file: Path, threads: int) -> Peak:
    """Train one epoch in a new process, and test; what that took.

    Args:
        way: one of :data:`WAYS`.
        run_file: the run, as TOML.
        threads: of the engine, or of PyTorch.

    Raises:
        EngineError: with the last line that the process said, if it failed.
    """
    command = [sys.executable, "-m", "kilonet.bench.memory", way, str(run_file), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise EngineError(f"peak memory, {way}: the process failed: {said[-1]}")
    found = json.loads(done.stdout)
    return Peak(bytes=found["bytes"], worker_bytes=found["worker_bytes"])


def own_peak(*, workers: bool = False) -> Peak:
    """This process's so far; where asked for, the largest of those it waited for too."""
    import resource

    # Bytes on macOS, KiB elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    # Linux counts what the parent held when it started this process as this one's own. The
    # address space's own mark is free of that.
    status = Path("/proc/self/status")
    if status.is_file() and (mark := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        own = int(mark[1]) * 1024
    return Peak(bytes=own, worker_bytes=children if workers else 0)


def _train_and_report(way: str, run_file: str, threads: str) -> None:
    run = load_run(run_file).replace({"train.epochs": 1})
    if way == "native":
        with tempfile.TemporaryDirectory() as folder:
            train(run, folder=Path(folder) / "run", engine="native", threads=int(threads))
    else:
        from kilonet.bench.torch import notebook_epoch, set_threads

        set_threads(int(threads))
        notebook_epoch(run, Images.of(run, load_dataset(run.data.name)))()
    peak = own_peak(workers=way == "notebook")
    sys.stdout.write(json.dumps({"bytes": peak.bytes, "worker_bytes": peak.worker_bytes}))


if __name__ == "__main__":
    _train_and_report(*sys.argv[1:])
