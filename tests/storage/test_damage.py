"""Damage to a run folder is detected or harmless. Other formats are read or refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.errors import StorageError
from kilonet.spec import parse_run
from kilonet.storage.atomic import write_atomically
from kilonet.storage.checksums import json_from_bytes, json_to_bytes
from kilonet.storage.provenance import Provenance
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.run_state import RunState
from run_folders import ENVIRONMENT, RUN, begun, checkpoint, finished, plain


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """A finished run, one stopped after two epochs, and one interrupted before its checkpoint."""
    cut_off = begun(tmp_path_factory.mktemp("cut-off"), 2)
    kept = (cut_off.path / "checkpoint.safetensors").read_bytes()
    cut_off.save(checkpoint(3))
    (cut_off.path / "checkpoint.safetensors").write_bytes(kept)
    return {
        "finished": finished(tmp_path_factory.mktemp("finished")),
        "stopped": begun(tmp_path_factory.mktemp("stopped"), 2),
        "cut off": cut_off,
    }


def everything(folder: RunFolder) -> dict[str, object]:
    """All that kilonet reads of a run; StorageError if any of it is damaged."""
    state = folder.read()
    assert state is not None
    content: dict[str, object] = {"state": state}
    if state.finished:
        content |= {"weights": folder.weights(), "logits": folder.test_logits()}
    return {key: plain(value) for key, value in content.items()}


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
def test_damage_is_detected(folders: dict[str, RunFolder], state: str, data: st.DataObject) -> None:
    """A cut or a flipped bit in any file is an error in one line that names it, or changes nothing.

    It changes nothing in a finished run's checkpoint and steps, which are no longer read; in rows
    and steps beyond a checkpoint; and in bytes of a zip file without meaning.
    """
    folder = folders[state]
    path = folder.path / data.draw(st.sampled_from(FILES[state]), label="file")
    content = path.read_bytes()
    expected = everything(folder)
    damaged = bytearray(content)
    if data.draw(st.booleans(), label="cut"):
        damaged = damaged[: data.draw(st.integers(0, len(content) - 1))]
    else:
        damaged[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    try:
        found = everything(folder)
    except StorageError as error:
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
    """Each bit of each file, rather than those that hypothesis draws."""
    folder = folders[state]
    if name not in FILES[state]:
        pytest.skip("an unfinished run does not have it")
    path = folder.path / name
    content = path.read_bytes()
    expected = everything(folder)
    detected = 0
    try:
        for bit in range(8 * len(content)):
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            try:
                assert everything(folder) == expected, f"bit {bit}"
            except StorageError:
                detected += 1
    finally:
        path.write_bytes(content)
    unread = state == "finished" and name in ("checkpoint.safetensors", "steps.npz")
    assert bool(detected) != unread


FORMAT_1 = Path(__file__).parent / "format_1"
"""Two runs as the first version of kilonet wrote them, with the values of :func:`checkpoint`:
``stopped`` after two of three epochs, and ``finished``."""


def test_a_finished_run_of_format_1_is_read_as_it_is(tmp_path: Path) -> None:
    shutil.copytree(FORMAT_1 / "finished", tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    folder = RunFolder(tmp_path / "run")
    state = folder.read()
    assert state is not None
    assert state.finished
    assert state.format == 1
    assert state.record.run == RUN
    assert state.record.rows == checkpoint(3).rows
    assert state.record.provenance == Provenance.from_json(ENVIRONMENT)
    np.testing.assert_array_equal(folder.weights()["w"], np.ones(3, np.float32))
    np.testing.assert_array_equal(folder.test_logits(), np.eye(4, 10, dtype=np.float32))
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def resume(folder: RunFolder) -> RunState:
    """Continue the run in the same environment; its state before."""
    state = folder.read()
    assert state is not None
    folder.resume(state, state.record.provenance)
    return state


def read(path: Path) -> object:
    """A file's content; of a spec what it says, as this version states more defaults."""
    content = path.read_bytes()
    if path.name == "run.toml":
        return parse_run(content, file=path)
    if path.name == "environment.json":
        return {key: v for key, v in json_from_bytes(content).items() if key != "run_sha256"}
    return content


def test_a_stopped_run_of_format_1_continues_in_format_2(tmp_path: Path) -> None:
    shutil.copytree(FORMAT_1 / "stopped", tmp_path / "run")
    folder, expected = RunFolder(tmp_path / "run"), begun(tmp_path / "new", 2)
    state = resume(folder)
    assert state.format == 1
    assert plain(state.checkpoint) == plain(checkpoint(2))
    for name in FILES["stopped"]:
        found, new = (read(one.path / name) for one in (folder, expected))
        assert found == new, name
    assert resume(folder).format == 2
    folder.save(checkpoint(3))
    assert folder.record().rows == checkpoint(3).rows


def test_a_kill_while_a_run_of_format_1_is_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of its four writes the folder can be read, and rewritten again."""
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
            patch.setattr("kilonet.storage.run_folder.write_atomically", dies)
            with pytest.raises(KeyboardInterrupt):
                resume(folder)
        for format_found in (1, 2):
            state = resume(folder)
            assert state.format == format_found
            assert plain(state.checkpoint) == plain(checkpoint(2))


def test_a_run_of_a_newer_format_is_refused_and_not_changed(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    path = tmp_path / "environment.json"
    path.write_bytes(json_to_bytes({**json_from_bytes(path.read_bytes()), "format": 3}))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for read in (RunFolder.spec, RunFolder.record, RunFolder.read):
        with pytest.raises(StorageError, match="format 3, but this kilonet reads formats 1 to 2"):
            read(folder)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
