"""Runs that build on others: teachers, initial weights, more epochs; what identifies them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kilonet.errors import DataError, StorageError
from kilonet.report.provenance import environment_lines
from kilonet.spec import Net, Run, Stage, Study, load_run
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.trained import with_digests
from kilonet.study import read_study, run_study
from kilonet.training.loop import folder_name, train
from kilonet.training.model import load
from kilonet.training.range_test import find_lr
from stopped_runs import StopAt

LARGE = Net(
    input=(1, 28, 28), layers=["conv 12 stride=2", "conv 12 stride=2", "gap", "pointwise 10 bare"]
)
SMALL = Net(
    input=(1, 28, 28),
    block=["conv", "relu", "batchnorm", "dropout 0.1"],
    layers=["conv 5 stride=3", "conv 6", "gap", "pointwise 10 bare"],
)
BITS = ("weights.safetensors", "predictions.npz", "steps.npz", "checkpoint.safetensors")
ROTATION = {"name": "rotation", "degrees": 7, "fill": 1}


@pytest.fixture
def base(small_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Three epochs of ten steps of a small network; the current folder is a new one."""
    monkeypatch.chdir(tmp_path)
    data = {"name": str(small_mnist)}
    return Run(net=SMALL, data=data, train={"epochs": 3, "batch_size": 64})


@pytest.fixture
def teacher(base: Run) -> str:
    run = Run(net=LARGE, data=base.data, train={"epochs": 1, "optimizer": "adam"})
    return str(train(run, folder="teacher").path)


def stopped(run: Run, folder: str, *, after: int = 15, **arguments: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(run, folder=folder, observer=StopAt(after), **arguments)


def assert_same_bits(a: Path | str, b: Path | str) -> None:
    for name in BITS:
        assert (Path(a) / name).read_bytes() == (Path(b) / name).read_bytes(), name
    first, second = (RunFolder(path).record() for path in (a, b))
    assert first.run == second.run
    assert [(r.train_loss, r.test_loss, r.lr) for r in first.rows] == [
        (r.train_loss, r.test_loss, r.lr) for r in second.rows
    ]


@pytest.mark.parametrize("augment", [[], [ROTATION]], ids=["plain", "augmented"])
def test_a_student_resumes_to_the_same_bits(base: Run, teacher: str, augment: Any) -> None:
    run = base.replace({"data.augment": augment, "train.teacher": teacher})
    whole = train(run, folder="whole", threads=1)
    stopped(run, "stopped", threads=2)
    record = train(run, folder="stopped", resume=True, threads=2)
    assert_same_bits("whole", "stopped")
    [source] = record.run.train.teacher.runs
    assert len(source.sha256) == 64
    [ancestor] = RunFolder("stopped").record().provenance.lineage
    assert (ancestor.role, ancestor.epochs) == ("train.teacher", 1)
    assert (ancestor.path, ancestor.sha256) == (str(Path(teacher).resolve()), source.sha256)
    assert ancestor.run == RunFolder(teacher).record().run.content_hash
    alone = train(base.replace({"data.augment": augment}), folder="alone")
    assert whole.rows[-1].test_loss != alone.rows[-1].test_loss
    assert load("whole").logits(np.zeros((2, 28, 28), np.uint8)).shape == (2, 10)


def test_the_optimized_loss_is_reported(base: Run, teacher: str) -> None:
    """With the teacher alone, in float64 from the teacher's logits and the first batch's."""
    changes = {"train.teacher": teacher, "train.teacher.weight": 1.0, "train.epochs": 1}
    run = base.replace({"net.block": ["conv", "relu"], "train.batch_size": 640, **changes})
    record = train(run, folder="run")
    from kilonet.data import load_dataset
    from kilonet.engine import create_engine

    images = load_dataset(run.data.name).train_images
    used = record.provenance.normalization
    plain = run.replace({"train.teacher": "none"})
    engine = create_engine(plain, mean=used.mean, std=used.std)

    def softened(logits: Any) -> Any:
        e = np.exp(logits.astype(np.float64) / 4)
        return e / e.sum(axis=1, keepdims=True)

    p, q = softened(load(teacher).logits(images)), softened(engine.logits(images))
    expected = 16 * (p * np.log(p / q)).sum(axis=1).mean()
    assert record.rows[0].train_loss == pytest.approx(expected, rel=1e-5)


def test_a_run_is_known_by_the_weights_of_its_teachers(base: Run, teacher: str) -> None:
    shutil.copytree(teacher, "copy")
    run, copied = (
        with_digests(base.replace({"train.teacher": name})) for name in (teacher, "copy")
    )
    assert run == copied
    assert hash(run.train.teacher) == hash(copied.train.teacher)
    assert run.content_hash == copied.content_hash != base.content_hash
    other = Run(net=LARGE, data=base.data, train={"epochs": 1, "seed": 2})
    train(other, folder="other")
    third = with_digests(base.replace({"train.teacher": "other"}))
    assert third != run
    assert third.content_hash != run.content_hash
    # Set anew, the folder leaves its digest behind.
    again = run.replace({"train.teacher.runs.0.folder": "other"})
    assert again.train.teacher.runs[0].sha256 == ""
    both = with_digests(base.replace({"train.teacher": ["other", teacher]}))
    assert [s.sha256 for s in both.train.teacher.runs] == [
        third.train.teacher.runs[0].sha256,
        run.train.teacher.runs[0].sha256,
    ]


def test_a_teacher_that_is_gone(base: Run, teacher: str) -> None:
    run = base.replace({"train.teacher": teacher})
    finished = train(run)
    stopped(run, "stopped")
    Path(teacher).rename("moved")
    assert load_run(str(finished.path)).content_hash == finished.run.content_hash
    assert train(load_run(str(finished.path))).path == finished.path
    assert finished.model().num_parameters == finished.run.num_parameters
    finished.report()
    with pytest.raises(StorageError, match=r"train.teacher: .*teacher: not a run folder") as caught:
        train(load_run("stopped"), folder="stopped", resume=True)
    assert "\n" not in str(caught.value)
    # Where it is now, it is the same run.
    moved = load_run("stopped", settings=["train.teacher.runs.0=moved"])
    train(moved, folder="stopped", resume=True)
    assert_same_bits(finished.path, "stopped")


def test_a_teacher_that_was_trained_anew(base: Run, teacher: str) -> None:
    run = base.replace({"train.teacher": teacher})
    stopped(run, "stopped")
    shutil.rmtree(teacher)
    train(Run(net=LARGE, data=base.data, train={"epochs": 1, "seed": 5}), folder=teacher)
    with pytest.raises(StorageError, match="holds another network than the one that is stated"):
        train(load_run("stopped"), folder="stopped", resume=True)
    with pytest.raises(StorageError, match=r"holds another run .*train\.teacher"):
        train(run, folder="stopped", resume=True)


def test_a_teacher_of_other_classes(base: Run, teacher: str, small_mnist: Path) -> None:
    with np.load(small_mnist) as arrays:
        names = [f"class {i}" for i in range(10)]
        np.savez("named.npz", **arrays, classes=names)
    run = base.replace({"train.teacher": teacher, "data.name": "named.npz"})
    with pytest.raises(DataError, match=r"its class 0 is '0', that of the images 'class 0'"):
        train(run, folder="run")
    assert not Path("run/run.toml").exists()


def test_a_range_test_with_a_teacher(base: Run, teacher: str) -> None:
    run = base.replace({"train.teacher": teacher})
    assert find_lr(run, num_steps=5).points != find_lr(base, num_steps=5).points


def test_a_study_with_a_teacher(base: Run, teacher: str) -> None:
    """Its stages name folders; a stage that changes the temperature keeps the teacher."""
    study = Study(
        name="students",
        target=50.0,
        seeds=2,
        net=base.net,
        data=base.data,
        train=base.train.replace({"epochs": 1}),
        stage=[
            Stage(name="Labels"),
            Stage(name="Teacher", change={"train.teacher": teacher}),
            Stage(name="Warmer", change={"train.teacher.temperature": 2.0}),
            Stage(name="Start", change={"train.teacher": "none", "train.init": "students-start"}),
        ],
    )
    train(base.replace({"train.epochs": 1, "train.seed": 9}), folder="students-start")
    result = run_study(study, folder="s", jobs=1)
    runs = [stage.records[0].run.train for stage in result.stages]
    assert [run.teacher and run.teacher.temperature for run in runs] == [None, 4.0, 2.0, None]
    assert runs[1].teacher.runs[0].sha256 == runs[2].teacher.runs[0].sha256 != ""
    lines = dict(environment_lines(result))
    assert "train.teacher" in lines["Lineage"]
    assert "train.init" in lines["Lineage"]
    Path(teacher).rename("moved")
    assert read_study("s").stages[3].records[0].path == result.stages[3].records[0].path
    result.report()
    one = train(
        base.replace({"train.epochs": 1, "train.teacher": "moved", "train.seed": 2}), folder="one"
    )
    assert one.rows[0].test_loss == result.stages[1].records[1].rows[0].test_loss


def test_starting_from_another_runs_weights(base: Run) -> None:
    first = train(base, folder="first")
    run = base.replace({"train.init": "first", "train.optimizer.lr": 1e-12})
    record = train(run, folder="second")
    # Nothing is learned; batch norm's running statistics go on.
    before, after = (RunFolder(path).weights() for path in ("first", "second"))
    for name in before:
        if "running" not in name and "tracked" not in name:
            np.testing.assert_allclose(after[name], before[name], atol=1e-7)
    assert after["convblock1.2.num_batches_tracked"] == 60
    assert record.provenance.lineage[0].role == "train.init"
    assert record.run.train.init.sha256 == with_digests(run).train.init.sha256
    assert first.rows[0].train_loss > record.rows[0].train_loss


def test_a_run_with_init_resumes_without_the_other(base: Run) -> None:
    train(base.replace({"train.seed": 4}), folder="first")
    run = base.replace({"train.init": "first"})
    train(run, folder="whole")
    stopped(run, "stopped")
    shutil.rmtree("first")
    train(load_run("stopped"), folder="stopped", resume=True)
    assert_same_bits("whole", "stopped")
    with pytest.raises(StorageError, match=r"train\.init: .*first: not a run folder"):
        train(run, folder="stopped", resume=True)


@pytest.mark.parametrize("engine", [pytest.param("native", marks=pytest.mark.native), "torch"])
def test_weights_that_do_not_fit(base: Run, engine: str) -> None:
    if engine == "torch":
        pytest.importorskip("torch")
    train(base, folder="first")
    wider = base.replace({"net.layers.1": "conv 7", "train.epochs": 1, "train.init": "first"})
    shapes = r"convblock2.0.weight is of shape \(6, 5, 3, 3\) there, and of shape \(7, 5, 3, 3\) in"
    with pytest.raises(StorageError, match=shapes):
        train(wider, folder="run", engine=engine)
    plain = base.replace({"net.block": ["conv", "relu"], "train.init": "first"})
    with pytest.raises(StorageError, match=r"convblock1\.2\.bias is of .* there, and missing in"):
        train(plain, folder="run", engine=engine)
    other = Run(net=LARGE, data=base.data, train={"init": {"folder": "first", "strict": False}})
    nothing = other.replace({"net.layers": ["flatten", "linear 10"]})
    with pytest.raises(StorageError, match=r"linear1.weight is missing there.*; make the networks"):
        train(nothing, folder="run", engine=engine)
    assert not Path("run/run.toml").exists()
    partial = wider.replace({"train.init.strict": False, "train.optimizer.lr": 1e-12})
    train(partial, folder="partial", engine=engine)
    before, after = (RunFolder(path).weights() for path in ("first", "partial"))
    np.testing.assert_allclose(
        after["convblock1.0.weight"], before["convblock1.0.weight"], atol=1e-7
    )
    assert after["convblock2.0.weight"].shape == (7, 5, 3, 3)


def test_a_module_of_the_users_own_starts_from_another_run(base: Run) -> None:
    torch = pytest.importorskip("torch")

    def build() -> Any:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))

    short = base.replace({"train.epochs": 1})
    train(short, folder="first", module=build)
    run = short.replace({"train.init": "first", "train.optimizer.lr": 1e-12})
    train(run, folder="second", module=build)
    before, after = (RunFolder(path).weights() for path in ("first", "second"))
    np.testing.assert_allclose(after["1.weight"], before["1.weight"], atol=1e-7)


EXTENDED: dict[str, dict[str, Any]] = {
    "constant": {},
    "warm-up": {"train.schedule": {"name": "constant", "warmup": 2}},
    "step": {"train.schedule": {"name": "step", "step_size": 2}},
    "multistep": {"train.schedule": {"name": "multistep", "milestones": [1, 4]}},
    "cosine": {"train.schedule": {"name": "cosine", "t_max": 6}},
    "plateau": {
        "train.schedule": {"name": "plateau", "patience": 0, "threshold": 0.5},
        "data.validation": 100,
    },
    "adam-ema": {"train.optimizer": {"name": "adam", "lr": 0.01}, "train.average": "ema"},
    "swa": {"train.average": {"name": "swa", "start": 1}},
    "batches": {"train.batch_schedule": {"milestones": [2, 4]}},
    "augmented": {"data.augment": [ROTATION]},
}


@pytest.mark.parametrize("changes", EXTENDED.values(), ids=EXTENDED)
def test_more_epochs_give_the_bits_of_a_run_from_the_start(
    base: Run, changes: dict[str, Any]
) -> None:
    short = base.replace(changes)
    long = short.replace({"train.epochs": 5})
    train(short, folder="short", threads=1)
    before = {path.name: path.read_bytes() for path in Path("short").iterdir()}
    train(long, folder="whole", threads=2)
    record = train(long, folder="extended", extend="short")
    assert_same_bits("whole", "extended")
    assert {path.name: path.read_bytes() for path in Path("short").iterdir()} == before
    [ancestor] = record.provenance.lineage
    assert (ancestor.role, ancestor.epochs) == ("extended", 3)
    assert ancestor.run == short.content_hash
    stopped(long, "stopped", extend="short", after=7)
    train(long, folder="stopped", resume=True)
    assert_same_bits("whole", "stopped")


def test_a_value_that_follows_from_the_epochs_can_be_stated(base: Run) -> None:
    changes = {"train.schedule": "cosine", "train.average": "swa"}
    short = base.replace({"train.schedule": "cosine", "train.average": "swa"})
    train(short, folder="short")
    long = short.replace({"train.epochs": 4})
    with pytest.raises(StorageError, match=r"t_max = 3, not 4 .*; set train\.schedule\.t_max = 3,"):
        train(long, folder="run", extend="short")
    stated = long.replace({"train.schedule.t_max": 3})
    with pytest.raises(StorageError, match=r"set train\.average\.start = 2, as in the finished"):
        train(stated, folder="run", extend="short")
    stated = stated.replace({"train.average.start": 2})
    train(stated, folder="run", extend="short")
    train(stated, folder="whole")
    assert_same_bits("whole", "run")
    assert short.replace(changes) == short


def test_runs_that_cannot_be_extended(base: Run) -> None:
    train(base, folder="short")
    longer = base.replace({"train.epochs": 5})
    train(base.replace({"train.schedule": "onecycle"}), folder="cycle")
    stopped(base, "stopped")
    for run, extended, problem in (
        (longer.replace({"train.schedule": "onecycle"}), "cycle", "'onecycle' spans all epochs"),
        (longer.replace({"train.optimizer.lr": 0.5}), "short", r"lr = 0\.01, not 0\.5"),
        (base.replace({"train.epochs": 2}), "short", "has 3 epochs; to go on, set train.epochs"),
        (longer, "nothing", "not a run folder"),
        (longer, "stopped", "not finished, 1 of 3 epochs"),
    ):
        with pytest.raises(StorageError, match=problem) as caught:
            train(run, folder="run", extend=extended)
        assert "\n" not in str(caught.value)
        assert not Path("run/run.toml").exists()
    Path("short/checkpoint.safetensors").unlink()
    with pytest.raises(StorageError, match=r"checkpoint\.safetensors: missing"):
        train(longer, folder="run", extend="short")


def test_an_extended_run_of_other_images(base: Run, small_mnist: Path) -> None:
    shutil.copy(small_mnist, "own.npz")
    run = base.replace({"data.name": str(Path("own.npz").resolve())})
    train(run, folder="short")
    with np.load("own.npz") as arrays:
        changed = {**arrays, "train_images": 255 - arrays["train_images"]}
    np.savez("own.npz", **changed)
    with pytest.raises(StorageError, match="other images"):
        train(run.replace({"train.epochs": 4}), folder="run", extend="short")
    assert not Path("run/run.toml").exists()


def test_an_extended_student(base: Run, teacher: str) -> None:
    short = base.replace({"train.teacher": teacher})
    long = short.replace({"train.epochs": 4})
    train(short)
    record = train(long, extend=Path("kilonet-runs", folder_name(with_digests(short))))
    train(long, folder="whole")
    assert_same_bits("whole", record.path)
    assert [a.role for a in record.provenance.lineage] == ["train.teacher", "extended"]
