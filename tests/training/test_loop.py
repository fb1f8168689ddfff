"""The training loop: what it writes, and that a resumed run has the same bits."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kilonet.data import load_dataset
from kilonet.engine import choose_engine
from kilonet.errors import DataError, EngineError, KilonetError, StorageError
from kilonet.spec import Run, load_run, to_toml
from kilonet.storage.provenance import Normalization
from kilonet.storage.record import EpochRow
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.run_state import RunState
from kilonet.training.loop import default_folder, folder_name, train
from kilonet.training.observer import Observer
from run_folders import reads
from stopped_runs import StopAt


def state(folder: Path) -> RunState:
    found = RunFolder(folder).read()
    assert found is not None
    return found


def bits(folder: Path) -> dict[str, bytes]:
    return {k: v.tobytes() for k, v in RunFolder(folder).weights().items()}


@pytest.fixture(scope="module")
def uninterrupted(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "whole"
    train(small_run, folder=folder)
    return folder


def test_a_run_writes_everything_the_design_promises(small_run: Run, uninterrupted: Path) -> None:
    found = state(uninterrupted)
    assert found.finished
    record = found.record
    assert record.run == small_run
    assert [row.epoch for row in record.rows] == [0, 1, 2]
    assert record.rows[-1].train_accuracy > record.rows[0].train_accuracy
    assert record.rows[-1].train_accuracy > 30, "it learns: chance is 10"
    assert all(row.lr == 0.01 and row.seconds > 0 for row in record.rows)
    provenance = record.provenance
    assert provenance.engine.name == choose_engine(small_run.net).engine
    assert len(provenance.source.sha256) == 64
    assert provenance.versions["numpy"] == np.__version__


def test_rows_follow_from_the_steps(uninterrupted: Path) -> None:
    record = RunFolder(uninterrupted).record()
    with np.load(uninterrupted / "steps.npz", allow_pickle=False) as steps:
        losses, corrects = steps["loss"].reshape(3, 10), steps["correct"].reshape(3, 10)
    for row, loss, correct in zip(record.rows, losses, corrects, strict=True):
        assert row.train_loss == pytest.approx(loss.mean(), rel=1e-12)
        assert row.train_accuracy == pytest.approx(100 * correct.sum() / 640, rel=1e-12)


class Steps(Observer):
    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.steps: list[tuple[int, int]] = []

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        self.epochs.append(num_steps)

    def step(self, *, step: int, batch: int, loss: float, accuracy: float, lr: float) -> None:
        self.steps.append((step, batch))


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_batch_schedule(small_run: Run, tmp_path: Path, drop_last: bool) -> None:
    """640 images in batches of 60, 120 and 240; also after an interruption in each epoch."""
    run = small_run.replace(
        {
            "train.batch_size": 60,
            "train.batch_schedule": {"milestones": [1, 2]},
            "train.drop_last": drop_last,
            "train.schedule": "onecycle",
        }
    )
    observer = Steps()
    record = train(run, folder=tmp_path / "whole", observer=observer)
    lengths = [10, 5, 2] if drop_last else [11, 6, 3]
    assert observer.epochs == lengths
    batches = [batch for length in lengths for batch in range(length)]
    assert observer.steps == list(enumerate(batches))
    with np.load(tmp_path / "whole" / "steps.npz", allow_pickle=False) as steps:
        losses, corrects = steps["loss"], steps["correct"]
    assert len(losses) == sum(lengths)
    seen = [600, 600, 480] if drop_last else [640] * 3
    firsts = [0, lengths[0], lengths[0] + lengths[1]]
    for row, images, first, length in zip(record.rows, seen, firsts, lengths, strict=True):
        correct = corrects[first : first + length].sum()
        assert row.train_accuracy == pytest.approx(100 * correct / images, rel=1e-12)
    # The last step is the last of the cycle: 1 / (25 · 10⁴) of the rate.
    assert record.rows[-1].lr == pytest.approx(0.01 / 25 / 1e4)
    for stop in (lengths[0] + 2, lengths[1] + 1):
        with pytest.raises(KeyboardInterrupt):
            train(run, folder=tmp_path / "again", resume=True, observer=StopAt(stop))
    again = state(tmp_path / "again").checkpoint
    assert again is not None
    assert len(again.steps.loss) == lengths[0] + lengths[1]
    train(run, folder=tmp_path / "again", resume=True)
    assert bits(tmp_path / "again") == bits(tmp_path / "whole")
    with np.load(tmp_path / "again" / "steps.npz", allow_pickle=False) as steps:
        np.testing.assert_array_equal(steps["loss"], losses)


@pytest.mark.parametrize(
    "average", [{"name": "ema", "recompute_statistics": True}, {"name": "swa", "start": 1}]
)
def test_averages_resume_to_the_same_bits(
    small_run: Run, tmp_path: Path, average: dict[str, object]
) -> None:
    run = small_run.replace({"train.average": average})
    train(run, folder=tmp_path / "whole")
    for stop in (5, 15, 8):
        with pytest.raises(KeyboardInterrupt):
            train(run, folder=tmp_path / "again", resume=True, observer=StopAt(stop))
    train(run, folder=tmp_path / "again", resume=True)
    assert bits(tmp_path / "again") == bits(tmp_path / "whole")
    # The predictions are those of the averaged weights, with their statistics.
    record = RunFolder(tmp_path / "whole").record()
    labels = load_dataset(run.data.name).test_labels
    accuracy = 100 * np.mean(RunFolder(tmp_path / "whole").test_logits().argmax(1) == labels)
    assert accuracy == pytest.approx(record.final_test_accuracy)


def test_predictions_are_the_final_weights(uninterrupted: Path, small_mnist: Path) -> None:
    folder = RunFolder(uninterrupted)
    labels = load_dataset(str(small_mnist)).test_labels
    logits = folder.test_logits()
    assert logits.shape == (200, 10)
    accuracy = 100 * np.mean(logits.argmax(axis=1) == labels)
    assert accuracy == pytest.approx(folder.record().final_test_accuracy)
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss = -log_softmax[np.arange(200), labels].mean()
    assert loss == pytest.approx(folder.record().rows[-1].test_loss, rel=1e-5)


def test_the_same_run_gives_the_same_bits(
    small_run: Run, uninterrupted: Path, tmp_path: Path
) -> None:
    train(small_run, folder=tmp_path / "again")
    assert bits(tmp_path / "again") == bits(uninterrupted)
    train(small_run.replace({"train.seed": 2}), folder=tmp_path / "other")
    assert bits(tmp_path / "other") != bits(uninterrupted)


@pytest.mark.parametrize("steps", [5, 15, 30])
def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_bits(
    small_run: Run, uninterrupted: Path, tmp_path: Path, steps: int
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(small_run, folder=folder, observer=StopAt(steps))
    record = train(small_run, folder=folder, resume=True)
    assert bits(folder) == bits(uninterrupted)
    # All but the seconds, which are the machine's.
    expected = RunFolder(uninterrupted).record().rows
    assert [r.train_loss for r in record.rows] == [r.train_loss for r in expected]
    assert [r.test_accuracy for r in record.rows] == [r.test_accuracy for r in expected]


KILLED = """
import os, signal, sys
from kilonet.training.loop import train
from kilonet.training.observer import Observer
from kilonet.spec import load_run

class Kill(Observer):
    left = int(sys.argv[3])
    def step(self, *, step, batch, loss, accuracy, lr):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

train(load_run(sys.argv[1]), folder=sys.argv[2], resume=True, observer=Kill())
"""


def test_kill_9_in_the_middle_of_an_epoch(
    small_run: Run, uninterrupted: Path, tmp_path: Path
) -> None:
    spec, folder = tmp_path / "run.toml", tmp_path / "run"
    spec.write_text(to_toml(small_run))
    for steps in (14, 4):
        done = subprocess.run([sys.executable, "-c", KILLED, spec, folder, str(steps)], check=False)
        assert done.returncode == -signal.SIGKILL
        checkpoint = state(folder).checkpoint
        assert checkpoint is not None
        assert checkpoint.epochs == 1
    train(small_run, folder=folder, resume=True)
    assert bits(folder) == bits(uninterrupted)


@pytest.mark.slow
def test_kill_9_on_real_mnist_with_all_threads(tmp_path: Path) -> None:
    """The bundled run as a user has it: every thread, 469 steps an epoch, killed in the second."""
    spec = tmp_path / "run.toml"
    spec.write_text(to_toml(load_run("interim", settings=["train.epochs=2"])))
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    endless = str(10**9)
    for folder, steps in (("killed", "700"), ("killed", endless), ("whole", endless)):
        subprocess.run(
            [sys.executable, "-c", KILLED, spec, tmp_path / folder, steps],
            env=environment,
            check=steps == endless,
        )
    assert bits(tmp_path / "killed") == bits(tmp_path / "whole")


class Epochs(Observer):
    def __init__(self) -> None:
        self.epochs: list[int] = []

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        self.epochs.append(row.epoch)


def test_the_record_that_is_returned_is_that_of_the_folder(small_run: Run, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small_run, folder=tmp_path, observer=StopAt(12), threads=1)
    assert train(small_run, folder=tmp_path, resume=True) == RunFolder(tmp_path).record()
    short = small_run.replace({"train.epochs": 1})
    assert train(short, folder=tmp_path / "short") == RunFolder(tmp_path / "short").record()


def test_a_finished_run_is_read_once_and_not_trained_again(
    small_run: Run, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in uninterrupted.iterdir()}
    expected, observer = RunFolder(uninterrupted).record(), Epochs()
    with reads(monkeypatch) as names:
        record = train(small_run, folder=uninterrupted, observer=observer)
    assert record == expected
    assert observer.epochs == []
    assert [name for name in names if name in before] == [
        "run.toml",
        "environment.json",
        "epochs.jsonl",
    ]
    assert {path.name: path.read_bytes() for path in uninterrupted.iterdir()} == before


def test_a_resumed_run_is_read_once_before_its_lock_and_once_under_it(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small_run, folder=tmp_path, observer=StopAt(12))
    files = ["run.toml", "environment.json", "checkpoint.safetensors", "epochs.jsonl", "steps.npz"]
    with reads(monkeypatch) as names:
        train(small_run, folder=tmp_path, resume=True)
    assert [name for name in names if name in files] == 2 * files


def test_a_finished_run_is_found_before_its_images_are_resized(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = ["conv 8", "gap", "pointwise 10 bare"]
    changes = {"data.resize": [14, 14], "net.input": [1, 14, 14], "net.layers": layers}
    run = small_run.replace({**changes, "train.epochs": 1})
    record = train(run, folder=tmp_path)
    assert record.finished

    def resized(*arguments: object, **options: object) -> None:
        raise AssertionError("a finished run needs no image")

    monkeypatch.setattr("kilonet.data.run_data.resize", resized)
    assert train(run, folder=tmp_path) == record
    with pytest.raises(AssertionError):
        train(run.replace({"train.seed": 2}), folder=tmp_path / "other")


def test_an_unfinished_run_asks_for_resume(small_run: Run, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small_run, folder=tmp_path, observer=StopAt(12))
    with pytest.raises(StorageError, match="stopped here after 1 of 3 epochs; add --resume"):
        train(small_run, folder=tmp_path)
    observer = Epochs()
    train(small_run, folder=tmp_path, resume=True, observer=observer)
    assert observer.epochs == [1, 2]


def test_a_folder_that_holds_another_run(small_run: Run, uninterrupted: Path) -> None:
    """It is refused before any image is loaded."""
    other = small_run.replace({"train.seed": 9, "data.name": "no/such/place"})
    with pytest.raises(StorageError, match="holds another run"):
        train(other, folder=uninterrupted)


def test_data_that_changed_under_a_run(small_run: Run, small_mnist: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    with np.load(small_mnist) as archive:
        arrays = dict(archive)
    np.savez(path, **arrays)
    run = small_run.replace({"data.name": str(path), "train.epochs": 1})
    train(run, folder=tmp_path / "run")
    arrays["train_images"][0, 0, 0] ^= 1
    np.savez(path, **arrays)
    with pytest.raises(StorageError, match="was trained on other images"):
        train(run, folder=tmp_path / "run")


def test_default_folder_is_named_by_content(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = train(small_run.replace({"train.epochs": 1}))
    expected = small_run.replace({"train.epochs": 1})
    assert record.path == default_folder(expected)
    assert record.path.name == folder_name(expected) == expected.content_hash[:12]


def test_what_chooses_sees_the_validation_split_alone(small_run: Run, tmp_path: Path) -> None:
    """Other test images change no weight, though the schedule uses an accuracy."""
    plateau = {"name": "plateau", "patience": 0, "threshold": 1.0, "threshold_mode": "abs"}
    changes = {"data.validation": 100, "train.schedule": plateau}
    run = small_run.replace(changes)
    record = train(run, folder=tmp_path / "a")
    assert all(row.validation_accuracy is not None for row in record.rows)
    assert record.rows[-1].lr < record.rows[0].lr
    dataset = load_dataset(run.data.name)
    turned = dataclasses.replace(dataset, test_images=255 - dataset.test_images)
    train(run, folder=tmp_path / "b", data=turned)
    assert bits(tmp_path / "a") == bits(tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"net.input": [3, 28, 28]}, "3 × 28 × 28"),
        (
            {"net.layers.9": "pointwise 9 bare"},
            "net.layers.9 'pointwise 9 bare': .* has 10 classes",
        ),
        ({"data.name": "no/such/place"}, "no/such/place"),
    ],
)
def test_data_and_network_must_fit(
    small_run: Run, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(KilonetError, match=message) as caught:
        train(small_run.replace(changes), folder=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists(), "a run that cannot be trained is not begun"


def test_a_batch_of_one_through_batch_norm(small_run: Run, tmp_path: Path) -> None:
    layers = ["conv 8", "gap", "batchnorm", "pointwise 10 bare"]
    run = small_run.replace({"net.layers": layers, "train.batch_size": 639})
    with pytest.raises(DataError, match=r"net\.layers\.2 'batchnorm': .* leave a batch of one"):
        train(run, folder=tmp_path / "run")


def test_a_diverging_run_stops_and_keeps_its_last_checkpoint(
    small_run: Run, tmp_path: Path
) -> None:
    """The first epoch has a moderate rate, the second one at which every network diverges."""
    schedule = {"name": "step", "step_size": 1, "gamma": 1e30}
    run = small_run.replace({"net.block": ["conv", "relu"], "train.schedule": schedule})
    with pytest.raises(EngineError, match=r"epoch 1, step \d+: the training diverged") as caught:
        train(run, folder=tmp_path)
    assert "\n" not in str(caught.value)
    checkpoint = state(tmp_path).checkpoint
    assert checkpoint is not None
    assert checkpoint.epochs == 1


def test_diverging_in_the_last_step_of_an_epoch(small_run: Run, tmp_path: Path) -> None:
    """The step's loss is still finite; the weights after it are not."""
    run = small_run.replace(
        {"net.block": ["conv", "relu"], "train.optimizer.lr": 1e38, "train.batch_size": 640}
    )
    with pytest.raises(EngineError, match="epoch 0, after its last step: the training diverged"):
        train(run, folder=tmp_path)
    assert RunFolder(tmp_path).record().rows == ()


def few_operations(run: Run) -> Run:
    """PyTorch's threads wait for each other in every operation: long where processors are busy."""
    few = {"net.layers": ["conv 4", "gap", "pointwise 10 bare"], "train.epochs": 2}
    return run.replace({**few, "data.test": False, "data.validation": 20})


def test_resuming_uses_as_many_threads_as_before(small_run: Run, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    run, before = few_operations(small_run), torch.get_num_threads()
    try:
        with pytest.raises(KeyboardInterrupt):
            train(run, folder=tmp_path, engine="torch", threads=2, observer=StopAt(12))
        torch.set_num_threads(1)
        record = train(run, folder=tmp_path, resume=True)
    finally:
        torch.set_num_threads(before)
    assert record.provenance.engine.threads == 2
    assert not record.provenance.resumed


def test_resuming_with_other_threads_is_recorded(small_run: Run, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    run, before = few_operations(small_run), torch.get_num_threads()
    try:
        with pytest.raises(KeyboardInterrupt):
            train(run, folder=tmp_path, engine="torch", threads=1, observer=StopAt(12))
        record = train(run, folder=tmp_path, threads=2, resume=True)
    finally:
        torch.set_num_threads(before)
    [resumed] = record.provenance.resumed
    assert resumed.after_epoch == 0
    assert resumed.engine.threads == 2


def test_an_existing_engine(small_run: Run, tmp_path: Path) -> None:
    """With the user's own module."""
    torch = pytest.importorskip("torch")
    from kilonet.engine.torch import TorchEngine

    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    engine = TorchEngine(small_run, mean=(0.1307,), std=(0.3081,), module=module)
    record = train(small_run, folder=tmp_path, engine=engine)
    assert record.provenance.engine.description.endswith(", module Sequential")
    assert set(RunFolder(tmp_path).weights()) == {"1.weight", "1.bias"}


def test_a_stated_normalization_is_not_computed(tmp_path: Path) -> None:
    """A channel without variance has a standard deviation of 0; the user's value is used."""
    gray = np.full((20, 8, 8), 7, np.uint8)
    path, labels = tmp_path / "flat.npz", np.arange(20) % 2
    np.savez(path, train_images=gray, train_labels=labels, test_images=gray, test_labels=labels)
    net = {"input": [1, 8, 8], "layers": ["conv 2", "gap", "pointwise 2 bare"]}
    data = {"name": str(path), "mean": [0.5], "std": [0.5]}
    run = Run.from_dict({"net": net, "data": data, "train": {"epochs": 1}})
    assert train(run, folder=tmp_path / "run").finished
    with pytest.raises(DataError, match=r"all training pixels have the same value, .*data.std"):
        train(run.replace({"data": {"name": str(path)}}), folder=tmp_path / "other")
    stated = run.replace({"data": {"name": str(path), "std": [1.0]}})
    record = train(stated, folder=tmp_path / "std")
    # 7 / 255 = 0.02745…
    assert record.provenance.normalization == Normalization(mean=(0.0275,), std=(1.0,))


def test_unknown_engine_and_device(small_run: Run, tmp_path: Path) -> None:
    with pytest.raises(KilonetError, match=r"torhc.*torch"):
        train(small_run, folder=tmp_path / "run", engine="torhc")
    with pytest.raises(KilonetError, match="tpu"):
        train(small_run, folder=tmp_path / "run", device="tpu")
    assert not (tmp_path / "run").exists()


# Not getrusage's peak: a process inherits it from its parent.
TRAINING = """
from pathlib import Path
from kilonet.entry import run_command
assert run_command(["train", "interim", "--set", "train.epochs=1", "--out", "run"]) == 0
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.slow
@pytest.mark.native
@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_peak_memory_of_the_bundled_run(tmp_path: Path, cache: str) -> None:
    """At most 300 MB, including 55 MB of MNIST, also when MNIST is unpacked for the first time."""
    environment = dict(os.environ)
    if cache == "cold":
        environment["KILONET_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run(
        [sys.executable, "-c", TRAINING],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kilobytes = int(done.stdout.splitlines()[-1])
    assert kilobytes * 1024 <= 300e6
