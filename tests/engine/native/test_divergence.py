"""A diverging training: the run folder and the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilonet.data import load_dataset
from kilonet.engine import create_engine
from kilonet.entry import run_command
from kilonet.errors import EngineError
from kilonet.spec import Run, to_toml
from kilonet.storage.run_folder import RunFolder
from kilonet.training.loop import train

pytest.importorskip("kilonet.engine._native", reason="no compiler when installed")


@pytest.fixture
def run(small_run: Run) -> Run:
    """Two normal epochs, then one with a learning rate at which every network diverges."""
    schedule = {"name": "multistep", "milestones": [2], "gamma": 1e30}
    return small_run.replace({"net.block": ["conv", "relu"], "train.schedule": schedule})


@pytest.mark.usefixtures("isa")
def test_the_last_good_checkpoint_stays_and_is_resumed_from(run: Run, tmp_path: Path) -> None:
    message = r"epoch 2, step 2\d: the training diverged, its loss is (nan|inf)"
    with pytest.raises(EngineError, match=message) as caught:
        train(run, folder=tmp_path / "run", engine="native")
    assert "\n" not in str(caught.value)
    state = RunFolder(tmp_path / "run").read()
    assert state is not None
    checkpoint = state.checkpoint
    assert checkpoint is not None
    assert checkpoint.epochs == 2
    rows = state.record.rows
    assert [row.epoch for row in rows] == [0, 1]

    # It holds the network of the second epoch.
    dataset = load_dataset(run.data.name)
    mean, std = dataset.train_images.mean() / 255, dataset.train_images.std() / 255
    engine = create_engine(run, engine="native", mean=(mean,), std=(std,))
    engine.load_state(checkpoint.state)
    found = engine.evaluate(dataset.test_images, dataset.test_labels)
    assert found.accuracy == rows[-1].test_accuracy
    assert found.loss == pytest.approx(rows[-1].test_loss, rel=1e-5)

    # A resume trains the third epoch again, with the same result.
    before = (tmp_path / "run" / "epochs.jsonl").read_bytes()
    with pytest.raises(EngineError) as again:
        train(run, folder=tmp_path / "run", engine="native", resume=True)
    assert str(again.value) == str(caught.value)
    assert (tmp_path / "run" / "epochs.jsonl").read_bytes() == before


def test_the_command_line_prints_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text(to_toml(run))
    assert run_command(["train", "run.toml", "--engine", "native", "--out", "made"]) == 1
    [line] = [one for one in capsys.readouterr().err.splitlines() if "diverged" in one]
    assert "epoch 2, step 2" in line
    assert "lower train.optimizer.lr" in line
    assert len(RunFolder("made").record().rows) == 2
