"""Damage to a run folder: noticed, or harmless. Folders of other formats: read, or refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.atomic import write_atomically
from kilonet.errors import StoreError
from kilonet.sealed import json_to_bytes
from kilonet.store import RunFolder
from run_folders import ENVIRONMENT, RUN, begun, checkpoint, finished, plain


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """A finished run, one stopped after two epochs, and one cut off before its checkpoint."""
    cut_off = begun(tmp_path_factory.mktemp("cut-off"), 2)
    kept = (cut_off.path / "checkpoint.safetensors").read_bytes()
    cut_off.save(checkpoint(3))
    (cut_off.path / "checkpoint.safetensors").write_bytes(kept)
    return {
        "finished": finished(tmp_path_factory.mktemp("finished")),
        "stopped": begun(tmp_path_factory.mktemp("stopped"), 2),
        "cut off": cut_off,
    }


def _all_that_is_read(folder: RunFolder) -> dict[str, object]:
    """Everything that kilonet ever reads of a run; StoreError if any of it is refused."""
    read = {"record": folder.record(), "engine": folder.last_engine()}
    if folder.finished():
        read |= {"weights": folder.weights(), "logits": folder.test_logits()}
    else:
        read["checkpoint"] = folder.checkpoint()
    return {key: plain(value) for key, value in read.items()}


FILES = {
    "finished": (
        "run.toml",
        "environment.json",
        "epochs.jsonl",
        "steps.npz",
        "checkpoint.safetensors",
        "weights.safetensors",
        "predictions.npz",
    )
}
FILES["stopped"] = FILES["cut off"] = FILES["finished"][:5]


@pytest.mark.parametrize("state", ["finished", "stopped", "cut off"])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_is_noticed(folders: dict[str, RunFolder], state: str, data: st.DataObject) -> None:
    """A cut or a flipped bit in any file is refused in one line that names it, or changed nothing.

    What changes nothing: of a finished run the checkpoint and the steps, which are no longer
    read; the rows and steps beyond a checkpoint; bytes of a zip file that say nothing.
    """
    folder = folders[state]
    path = folder.path / data.draw(st.sampled_from(FILES[state]), label="file")
    content = path.read_bytes()
    expected = _all_that_is_read(folder)
    damaged = bytearray(content)
    if data.draw(st.booleans(), label="cut"):
        damaged = damaged[: data.draw(st.integers(0, len(content) - 1))]
    else:
        damaged[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    try:
        found = _all_that_is_read(folder)
    except StoreError as error:
        assert "\n" not in str(error)
        assert str(folder.path) in str(error)
    else:
        assert found == expected
    finally:
        path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["finished", "stopped", "cut off"])
@pytest.mark.parametrize("name", FILES["finished"])
def test_every_bit(folders: dict[str, RunFolder], state: str, name: str) -> None:
    """Each bit of each file in turn: nothing is left to what hypothesis happens to draw."""
    folder = folders[state]
    if name not in FILES[state]:
        pytest.skip("an unfinished run has none")
    path = folder.path / name
    content = path.read_bytes()
    expected = _all_that_is_read(folder)
    noticed = 0
    try:
        for bit in range(8 * len(content)):
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            try:
                assert _all_that_is_read(folder) == expected, f"bit {bit}"
            except StoreError:
                noticed += 1
    finally:
        path.write_bytes(content)
    unread = state == "finished" and name in ("checkpoint.safetensors", "steps.npz")
    assert bool(noticed) != unread


FORMAT_1 = Path(__file__).parent / "format_1"
"""Two runs as the first version of kilonet wrote them: ``stopped`` after two of three epochs, and
``finished``; with the values of :func:`checkpoint`."""


def test_a_finished_run_of_format_1_is_read_as_it_is(tmp_path: Path) -> None:
    shutil.copytree(FORMAT_1 / "finished", tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    folder = RunFolder(tmp_path / "run")
    assert folder.finished()
    assert folder.run() == RUN
    assert folder.environment() == {"format": 1, **ENVIRONMENT}
    assert folder.record().rows == checkpoint(3).rows
    np.testing.assert_array_equal(folder.weights()["w"], np.ones(3, np.float32))
    np.testing.assert_array_equal(folder.test_logits(), np.eye(4, 10, dtype=np.float32))
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_a_stopped_run_of_format_1_goes_on_in_format_2(tmp_path: Path) -> None:
    shutil.copytree(FORMAT_1 / "stopped", tmp_path / "run")
    folder, expected = RunFolder(tmp_path / "run"), begun(tmp_path / "new", 2)
    assert plain(folder.checkpoint()) == plain(expected.checkpoint())
    folder.bring_up_to_date()
    for name in FILES["stopped"]:
        assert (folder.path / name).read_bytes() == (expected.path / name).read_bytes(), name
    assert folder.environment()["format"] == 2
    folder.save(checkpoint(3))
    assert folder.record().rows == checkpoint(3).rows


def test_a_kill_while_a_format_1_run_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of its four writes the folder can be read, and brought up to date again."""
    expected = plain(begun(tmp_path / "new", 2).checkpoint())
    for writes in range(4):
        folder = RunFolder(tmp_path / str(writes))
        shutil.copytree(FORMAT_1 / "stopped", folder.path)
        left = [writes]

        def dies(path: Path, content: bytes, left: list[int] = left) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            write_atomically(path, content)

        with monkeypatch.context() as patch:
            patch.setattr("kilonet.store.write_atomically", dies)
            with pytest.raises(KeyboardInterrupt):
                folder.bring_up_to_date()
        assert plain(folder.checkpoint()) == expected
        folder.bring_up_to_date()
        assert folder.environment()["format"] == 2
        assert plain(folder.checkpoint()) == expected


def test_a_run_of_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    newer = json_to_bytes({**folder.environment(), "format": 3})
    (tmp_path / "environment.json").write_bytes(newer)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for read in (RunFolder.run, RunFolder.record, RunFolder.rows, RunFolder.finished):
        with pytest.raises(StoreError, match="format 3, but this kilonet reads formats 1 to 2"):
            read(folder)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
