"""Teachers: the loss, its gradient and ten steps against PyTorch's formula, in both engines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kilonet.data.augment import augment
from kilonet.engine import choose_for_run, create_engine
from kilonet.engine.teachers import soft_targets
from kilonet.errors import DataError, StorageError
from kilonet.spec import Net, Run
from small_runs import batch
from trained_runs import NORMALIZATION, trained

torch = pytest.importorskip("torch")

from float64_twin import Twin, distance  # noqa: E402

F = torch.nn.functional
MEAN, STD = 0.1307, 0.3081
STUDENT = Net(
    input=(1, 8, 8),
    block=["conv", "silu", "batchnorm"],
    layers=["conv 6", "conv 5 pad=1", "gap", "pointwise 4 bare"],
)
TEACHERS = [
    Net(
        input=(1, 8, 8),
        block=["conv", "relu", "batchnorm"],
        layers=["conv 9", "gap", "flatten", "linear 4"],
    ),
    Net(input=(1, 8, 8), layers=["conv 7 bias", "maxpool 2", "flatten", "linear 4"]),
]
ROTATION = {"name": "rotation", "degrees": 30, "fill": 1}


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return [
        str(trained(tmp_path / f"teacher-{i}", net, seed=i + 5).path)
        for i, net in enumerate(TEACHERS)
    ]


def run_of(folders: list[str], *, augment: Any = (), **train: Any) -> Run:
    teacher = {"runs": folders, **train.pop("teacher", {})}
    return Run(net=STUDENT, data={"augment": augment}, train={"teacher": teacher, **train})


def twin_of(net: Net, weights: Any, *, mean: float, std: float) -> Twin:
    return Twin(Run(net=net), weights, mean=mean, std=std)


def taught(run: Run, folders: list[str], images: Any) -> Any:
    """The teachers' mean softened probabilities in float64, by PyTorch."""
    from kilonet.storage.run_folder import RunFolder

    [mean], [std] = NORMALIZATION.mean, NORMALIZATION.std
    probabilities = []
    for folder, net in zip(folders, TEACHERS, strict=False):
        twin = twin_of(net, RunFolder(folder).weights(), mean=mean, std=std)
        logits = torch.from_numpy(twin.evaluation(images))
        probabilities.append(F.softmax(logits / run.train.teacher.temperature, dim=1))
    return torch.stack(probabilities).mean(dim=0)


def expected_loss(run: Run, logits: Any, labels: Any, targets: Any) -> Any:
    """Hinton et al. 2015, by PyTorch's own functions."""
    train, teacher = run.train, run.train.teacher
    ce = F.cross_entropy(logits, torch.tensor(labels), label_smoothing=train.label_smoothing)
    student = F.log_softmax(logits / teacher.temperature, dim=1)
    kl = F.kl_div(student, targets, reduction="batchmean")
    return (1 - teacher.weight) * ce + teacher.weight * teacher.temperature**2 * kl


def augmented(run: Run, one: Any) -> Any:
    return augment(
        one.images, one.index, augmentations=run.data.augment, seed=run.train.seed, epoch=one.epoch
    )


@pytest.mark.parametrize("rotated", [False, True], ids=["plain", "augmented"])
@pytest.mark.parametrize(
    ("teacher", "smoothing", "count"),
    [
        ({}, 0.0, 1),
        ({"weight": 0.3, "temperature": 1.0}, 0.1, 2),
        ({"weight": 1.0, "temperature": 0.5}, 0.0, 1),
        ({"weight": 0.5, "temperature": 20.0}, 0.2, 2),
    ],
    ids=["default", "soft", "sharp", "hot"],
)
def test_ten_steps(
    tested: Any, folders: list[str], teacher: Any, smoothing: float, count: int, rotated: bool
) -> None:
    run = run_of(
        folders[:count],
        teacher=teacher,
        label_smoothing=smoothing,
        augment=[ROTATION] if rotated else [],
        optimizer={"name": "sgd", "lr": 0.05, "momentum": 0.9},
    )
    engine = tested(run)
    twin = twin_of(STUDENT, engine.weights(), mean=MEAN, std=STD)
    module = twin.module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    for step in range(10):
        one = batch(step, count=21)
        images = augmented(run, one)
        assert (images == one.images).all() != rotated
        logits = module(twin._input(images))
        loss = expected_loss(run, logits, one.labels, taught(run, folders[:count], images))
        optimizer.zero_grad()
        loss.backward()
        if step in (0, 9):
            found = engine.gradients(one)
            for name, parameter in module.named_parameters():
                exact = parameter.grad.numpy()
                limit = 1e-4 * max(np.linalg.norm(exact), 1e-3)
                assert distance(found[name], exact) <= limit, name
        optimizer.step()
        result = engine.step(one, 0.05)
        assert result.loss == pytest.approx(loss.item(), rel=1e-5, abs=1e-6)
        assert result.correct == (logits.argmax(1).numpy() == one.labels).sum()


def test_targets_that_are_known(tested: Any, folders: list[str]) -> None:
    """Without augmentation the training computes them once."""
    run = run_of(folders)
    asked, told = tested(run), tested(run)
    one = batch(0, count=37)
    targets = told.soft_targets(one.images)
    np.testing.assert_allclose(targets, taught(run, folders, one.images), rtol=1e-4, atol=1e-6)
    loss = asked.step(one, 0.05).loss
    assert told.step(replace(one, targets=targets), 0.05).loss == pytest.approx(loss, rel=1e-6)
    uniform = replace(one, targets=np.full_like(targets, 0.25))
    found, other = told.gradients(one), told.gradients(uniform)
    last = list(found)[-1]
    assert distance(found[last], other[last]) > 0.01 * np.linalg.norm(found[last])
    assert told.soft_targets(one.images[:0]).shape == (0, 4)


@pytest.mark.native
def test_known_targets_change_no_bit(folders: list[str]) -> None:
    """Each image's logits depend on that image alone, whatever the threads."""
    run = run_of(folders)
    one = batch(0, count=37)
    engines = [
        create_engine(run, engine="native", mean=(MEAN,), std=(STD,), threads=n) for n in (1, 2, 3)
    ]
    targets = [engines[0].soft_targets(one.images[i : i + 1]) for i in range(37)]
    results = [engines[0].step(replace(one, targets=np.concatenate(targets)), 0.1)]
    results += [engine.step(one, 0.1) for engine in engines[1:]]
    assert results[0] == results[1] == results[2]
    states = [engine.state() for engine in engines]
    for name, array in states[0].items():
        assert all(array.tobytes() == other[name].tobytes() for other in states), name


@pytest.mark.native
def test_a_step_augments_as_without_a_teacher(folders: list[str]) -> None:
    """The native engine augments before the teacher sees the images, and once."""
    run = run_of(folders, augment=[ROTATION, {"name": "erasing", "p": 1.0}])
    engine = create_engine(run, engine="native", mean=(MEAN,), std=(STD,))
    one = batch(3)
    found = replace(one, targets=engine.soft_targets(engine.augmented(one)))
    gradients, expected = engine.gradients(one), engine.gradients(found)
    for name, array in expected.items():
        assert array.tobytes() == gradients[name].tobytes(), name


def test_the_mean_of_several_teachers_by_hand() -> None:
    logits = [np.array([[0.0, 2 * np.log(3)]], np.float32), np.zeros((1, 2), np.float32)]
    np.testing.assert_allclose(
        soft_targets(logits, temperature=2.0), [[0.375, 0.625]], rtol=1e-6
    )  # (1/4 + 1/2) / 2


def test_teachers_that_do_not_fit(folders: list[str], tmp_path: Path) -> None:
    def engine_of(net: Net, folder: str) -> Any:
        run = Run(net=net, train={"teacher": folder})
        return create_engine(run, mean=(MEAN,), std=(STD,))

    larger = Net(input=(1, 9, 8), layers=["gap", "flatten", "linear 4"])
    more = Net(input=(1, 8, 8), layers=["gap", "flatten", "linear 5"])
    with pytest.raises(DataError, match=r"train.teacher: .*: its input is 1 × 8 × 8, that of"):
        engine_of(larger, folders[0])
    with pytest.raises(DataError, match="it has 4 classes, the network 5"):
        engine_of(more, folders[0])
    with pytest.raises(StorageError, match=r"train.teacher: .*: not a run folder"):
        engine_of(STUDENT, str(tmp_path / "nothing"))
    own = {"name": "Mine", "num_parameters": 9, "structure": "x"}
    module = trained(tmp_path / "module", STUDENT, module=own)
    with pytest.raises(StorageError, match="your own module 'Mine', which kilonet does not keep"):
        engine_of(STUDENT, str(module.path))


@pytest.mark.native
def test_auto_needs_kernels_for_the_teacher_too(
    folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kilonet.engine.native import network
    from kilonet.spec import graph

    run = run_of(folders)
    assert choose_for_run(run).engine == "native"
    covered = tuple(kind for kind in network.COVERED if kind is not graph.MaxPool2d)
    monkeypatch.setattr(network, "COVERED", covered)
    choice = choose_for_run(run)
    assert choice.engine == "torch"
    assert choice.reason.startswith("for a teacher, it has no layer for")
