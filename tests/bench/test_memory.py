"""Peak memory of a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kilonet.bench.memory import peak_memory
from kilonet.errors import EngineError
from kilonet.spec import Run, load_run, to_toml

# In its own process, as this one's peak may be far above its present memory.
FILL = """
import numpy as np
from kilonet.bench.memory import own_peak
print(own_peak().bytes)
filled = np.ones(200_000_000, dtype=np.uint8)
print(filled.sum())
del filled
print(own_peak().bytes)
"""


def test_the_peak_stays_when_the_memory_has_gone() -> None:
    done = subprocess.run([sys.executable, "-c", FILL], capture_output=True, text=True, check=True)
    before, filled, after = map(int, done.stdout.split())
    assert 20_000_000 < before < 200_000_000
    assert after > filled + before / 2


def test_a_process_that_fails_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no such file"):
        peak_memory("native", run_file=tmp_path / "missing.toml", threads=1)


@pytest.mark.skipif(sys.platform != "linux", reason="the mark of the address space is Linux's")
def test_a_training_run_is_measured_on_its_own(tmp_path: Path, small_run: Run) -> None:
    file = tmp_path / "run.toml"
    file.write_text(to_toml(small_run))
    # The parent's memory, more than the child needs, must not be counted.
    filled = np.ones(600_000_000, dtype=np.uint8)
    peak = peak_memory("native", run_file=file, threads=1)
    assert len(filled)
    assert 30_000_000 < peak.bytes < 300_000_000
    assert peak.worker_bytes == 0


@pytest.mark.slow
def test_a_whole_epoch_stays_small(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(to_toml(load_run("interim")))
    assert peak_memory("native", run_file=file, threads=2).bytes < 300_000_000
