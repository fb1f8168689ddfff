"""Dask clusters of separate processes on loopback, whose workers can be killed one by one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

LOCAL = ["--host", "127.0.0.1", "--no-dashboard"]


class Processes:
    """A scheduler and its workers.

    Attributes:
        on: ``dask://HOST:PORT``.
        scheduler: its process.
        workers: their processes.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._log = (scratch / "dask.log").open("ab")
        file = scratch / "scheduler.json"
        file.unlink(missing_ok=True)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            "distributed.cli.dask_scheduler", "--port", "0", "--scheduler-file", str(file), *LOCAL
        )
        self.address = ""
        deadline = time.monotonic() + 60
        while not self.address:
            assert self.scheduler.poll() is None, (scratch / "dask.log").read_text()
            assert time.monotonic() < deadline, "the scheduler does not start"
            time.sleep(0.05)
            with suppress(FileNotFoundError, json.JSONDecodeError):  # it is being written
                self.address = json.loads(file.read_text())["address"]
        self.on = self.address.replace("tcp://", "dask://")

    def add_worker(self, *options: str, program: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start a worker; it may join a moment later."""
        module = ["distributed.cli.dask_worker"] if not program else []
        start = self._start if not program else self._start_program
        worker = start(
            *(program or module),
            self.address,
            "--nthreads",
            "1",
            "--no-nanny",
            "--local-directory",
            str(self._scratch),
            *LOCAL,
            *options,
        )
        self.workers.append(worker)
        return worker

    def wait_for(self, count: int) -> None:
        """Wait until that many workers have joined."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        return self._start_program("-m", module, *arguments)

    def _start_program(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdout=self._log,
            stderr=self._log,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def close(self) -> None:
        """Kill all processes."""
        for process in (*self.workers, self.scheduler):
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
        self._log.close()


@contextmanager
def processes(scratch: Path, *, workers: int) -> Iterator[Processes]:
    """A cluster with that many workers of one thread, which have joined."""
    scratch.mkdir(exist_ok=True)
    found = Processes(scratch)
    try:
        for _ in range(workers):
            found.add_worker()
        if workers:
            found.wait_for(workers)
        yield found
    finally:
        found.close()
