"""A study whose processes are all killed (SIGKILL) at random instants, again and again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from killed_commands import run_and_kill
from kilonet.errors import StorageError
from kilonet.spec import load_study, to_toml
from kilonet.storage.run_folder import RunFolder

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")

KILLS = int(os.environ.get("KILONET_KILLS", "30"))
"""Of each executor: 30 on this machine's, 30 on Dask."""

TIMED = {"environment.json", "epochs.jsonl"}
"""The files that contain times or describe the machine."""


def command(spec: Path, folder: Path, on: str) -> list[str]:
    start = [sys.executable, "-m", "kilonet", "study"]
    return [*start, str(spec), "--out", str(folder), "--on", on]


def run_whole(spec: Path, folder: Path, on: str) -> float:
    """Run the study undisturbed; returns the seconds it took."""
    began = time.perf_counter()
    done = subprocess.run(command(spec, folder, on), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - began


def results(folder: Path) -> dict[str, object]:
    """Every run's files: their bytes, and the rows without their seconds and checksums."""
    found: dict[str, object] = {}
    for path in sorted((folder / "runs").rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.name not in TIMED:
            found[name] = path.read_bytes()
        elif path.name == "epochs.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            timed = ("seconds", "train_seconds", "crc32")
            assert all(row.pop(name) for row in rows for name in timed)
            found[name] = rows
        elif path.name == "environment.json":
            found[name] = "exists"
    found["study.toml"] = (folder / "study.toml").read_bytes()
    return found


def assert_records_are_complete(folder: Path) -> int:
    """Read every run; a damaged file raises StorageError. Returns the number of finished epochs."""
    epochs = 0
    runs = sorted((folder / "runs").iterdir()) if (folder / "runs").is_dir() else []
    for run in map(RunFolder, runs):
        state = run.read()
        if state is None:
            continue
        epochs += len(state.record.rows)
        if state.finished:
            assert state.record.finished
            assert run.weights()
            assert run.test_logits().shape == (200, 10)
    return epochs


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("on", ["local", "dask"])
def test_many_kills(small_mnist: Path, tmp_path: Path, on: str) -> None:
    """Killed again and again, resumed each time: the same bytes as an undisturbed study.

    A study that ends before its kill is compared, and another is begun, until all kills are done.
    The undisturbed study always trains on this machine, without Dask.
    """
    study = load_study("mnist-8k").replace(
        {
            "data.name": str(small_mnist),
            "budget.epochs": 40,
            "train.epochs": 40,
            "train.batch_size": 64,
            "seeds": 2,
        }
    )
    study = study.replace({"stage": study.to_dict()["stage"][:2]})
    spec = tmp_path / "small.toml"
    spec.write_text(to_toml(study))
    seconds = run_whole(spec, tmp_path / "whole", "local")
    start = run_whole(spec, tmp_path / "whole", "local")  # all is finished: to start and to end
    expected = results(tmp_path / "whole")
    assert len(expected) == 1 + 4 * 7

    draws = random.Random(0)
    kills = in_training = barren = studies = 0
    reach = 0.3 * (seconds - start)
    if on == "dask":
        # To start the cluster, and for a piece to end.
        seconds = run_whole(spec, tmp_path / "on-dask", on)
        assert results(tmp_path / "on-dask") == expected
        start, reach = start + 2.0, 0.5 * seconds
    while kills < KILLS or studies == 0:
        folder = tmp_path / f"killed-{studies}"
        epochs = 0
        while True:
            # From before its first file to well into its work, so that it progresses in between.
            # How far that is depends on the machine's load, which the reach follows.
            after = draws.uniform(0.5 * start, start + reach)
            if kills == KILLS:
                after = 600.0
            if not run_and_kill(command(spec, folder, on), after=after):
                break
            kills += 1
            found = assert_records_are_complete(folder)
            assert found >= epochs, "finished epochs stay finished"
            in_training += found > epochs
            barren = 0 if found > epochs else barren + 1
            epochs = found
            if barren == 3:
                reach, barren = 1.5 * reach, 0
        assert results(folder) == expected
        studies += 1
        reach *= 0.7
    print(
        f"\n{on}: {kills} kills, {in_training} of them after new epochs, over {studies} studies of "
        f"{seconds:.1f} s; all ended with the bytes of the undisturbed one"
    )
    assert in_training >= KILLS // 5, "most kills came before any work was done"


def test_the_comparison_sees_a_difference(small_mnist: Path, tmp_path: Path) -> None:
    """The test above could not fail if these functions found no difference."""
    study = load_study("mnist-8k").replace(
        {"data.name": str(small_mnist), "train.epochs": 1, "seeds": 1}
    )
    study = study.replace({"stage": study.to_dict()["stage"][:1]})
    spec = tmp_path / "small.toml"
    spec.write_text(to_toml(study))
    run_whole(spec, tmp_path / "whole", "local")
    expected = results(tmp_path / "whole")
    assert assert_records_are_complete(tmp_path / "whole") == 1
    [run] = (tmp_path / "whole" / "runs").iterdir()
    weights = run / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    assert results(tmp_path / "whole") != expected
    with pytest.raises(StorageError, match=r"weights.safetensors: truncated or altered"):
        assert_records_are_complete(tmp_path / "whole")
