"""Commands that are killed half-way, as by a crash of the machine."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence


def run_and_kill(command: Sequence[str], *, after: float | None) -> bool:
    """Run a command and kill it and all its processes; False if it ended before, without error."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, err = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    assert process.returncode == 0, err
    return False
