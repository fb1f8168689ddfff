"""A module of the user's own: a run is known by what was trained."""

from __future__ import annotations

import enum
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kilonet.data import load_dataset
from kilonet.errors import EngineError, KilonetError, StorageError, UsageError
from kilonet.spec import Run, load_run
from kilonet.storage.run_folder import RunFolder
from kilonet.training.loop import folder_name, train
from kilonet.training.model import load
from kilonet.training.observer import Observer
from kilonet.training.range_test import find_lr

torch = pytest.importorskip("torch")

from kilonet.engine.torch import TorchEngine  # noqa: E402
from kilonet.engine.torch.module_identity import identity  # noqa: E402

nn = torch.nn


class Small(nn.Module):
    """A batch norm, a dropout, a setting that no shape shows."""

    def __init__(self, width: int = 5, *, p: float = 0.1, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=3), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(p)
        )
        self.out = nn.Linear(width * 64, 10)

    def forward(self, images: Any) -> Any:
        return self.out(self.scale * self.features(images).flatten(1))


class Renamed(Small):
    pass


PARAMETERS = 5 * 25 + 5 + 2 * 5 + 320 * 10 + 10


@pytest.fixture
def run(small_run: Run) -> Run:
    layers = ["gap", "pointwise 10 bare"]
    changes = {"net.block": ["conv"], "net.layers": layers, "data.augment": []}
    return small_run.replace({**changes, "train.epochs": 1})


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def engine_of(run: Run, module: Any, **settings: Any) -> TorchEngine:
    return TorchEngine(run, mean=(0.13,), std=(0.31,), device="cpu", module=module, **settings)


def test_modules_and_a_plain_run_never_share_a_folder(run: Run) -> None:
    """Row 18 of the issue: with an engine, and with the module."""
    first = train(run, engine=engine_of(run, Small()))
    second = train(run, engine=engine_of(run, Small(width=6)))
    third = train(run, module=Renamed())
    plain = train(run)
    records = [first, second, third, plain]
    assert len({record.path for record in records}) == 4
    assert [record.run.num_parameters for record in records] == [
        PARAMETERS,
        6 * 25 + 6 + 12 + 384 * 10 + 10,
        PARAMETERS,
        run.net.num_parameters,
    ]
    assert plain.run == run
    # The folder has the identity, and says the same to the next process.
    assert RunFolder(first.path).record().run == first.run
    assert first.path.name == folder_name(first.run)
    assert load_run(str(first.path)).module == first.run.module
    assert first.run.module is not None
    assert first.run.module.name == "Small"


def test_the_same_module_again_finds_its_run(run: Run) -> None:
    """Its initial weights are other ones."""
    first = train(run, module=Small())
    used = first.provenance.normalization
    written = (first.path / "weights.safetensors").stat().st_mtime_ns
    for again in (
        train(run, module=Small()),
        train(run, module=Small),
        train(run, engine=TorchEngine(run, mean=used.mean, std=used.std, module=Small())),
        train(first.run, module=Small()),
    ):
        assert again.path == first.path
    assert (first.path / "weights.safetensors").stat().st_mtime_ns == written


def test_what_distinguishes_modules() -> None:
    base = identity(Small())
    assert base == identity(Small())
    assert base.num_parameters == PARAMETERS
    trained = Small()
    trained.eval()
    with torch.no_grad():
        trained.out.weight.zero_()
    assert identity(trained) == base
    frozen = Small()
    frozen.out.requires_grad_(False)
    other = [
        identity(Small(width=6)),
        identity(Small(p=0.2)),
        identity(Small(scale=2.0)),
        identity(Renamed()),
        identity(frozen),
        identity(nn.Sequential(nn.Flatten(), nn.Linear(784, 10))),
        identity(nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(784, 10))),
    ]
    assert len({str(each) for each in [base, *other]}) == 8


def test_a_name_stands_for_name_and_source() -> None:
    named = identity(Small(), name="small-2")
    assert (named.name, named.source) == ("small-2", "")
    assert identity(Renamed(), name="small-2").source == ""
    assert identity(Small(width=6), name="small-2") != named


SLOPE = 0.1


def activation(x: Any) -> Any:
    return nn.functional.leaky_relu(x, SLOPE)


def activated(power: int = 2) -> Any:
    class Activated(Small):
        def forward(self, images: Any, *, offset: float = SLOPE) -> Any:
            return activation(super().forward(images)) ** power + offset

    return Activated()


def test_what_the_classes_read_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enclosing values, global constants, and functions of the same package."""
    first = identity(activated())
    assert identity(activated()) == first
    sources = [first.source, identity(activated(power=3)).source]
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "SLOPE", 0.2)
        sources.append(identity(activated()).source)
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "activation", lambda x: x)
        sources.append(identity(activated()).source)
    assert len(set(sources)) == 4
    # Global values of an attribute's name, as in a notebook, are others.
    monkeypatch.setitem(globals(), "features", 3)
    assert identity(activated()) == first


class Act(enum.Enum):
    RELU = 1
    GELU = 2


class Power:
    """Callable, with a state."""

    def __init__(self, power: int) -> None:
        self.power = power

    def __call__(self, x: Any) -> Any:
        return x**self.power


def leaky(slope: float) -> Any:
    return partial(nn.functional.leaky_relu, negative_slope=slope)


def with_setting(setting: Any) -> Any:
    return Small(scale=setting)


def with_buffer(value: float) -> Any:
    module = Small()
    module.register_buffer("kernel", torch.full((3,), value), persistent=False)
    return module


def with_hook(hook: Any) -> Any:
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    module[1].register_forward_hook(hook)
    return module


DOUBLE, TRIPLE = (lambda x: 2 * x), (lambda x: 3 * x)


@pytest.mark.parametrize(
    ("build", "first", "second"),
    [
        (with_setting, DOUBLE, TRIPLE),  # of one name, on one line
        (with_setting, [DOUBLE], [TRIPLE]),
        (with_setting, leaky(0.1), leaky(0.2)),
        (with_setting, partial(DOUBLE), partial(TRIPLE)),
        (with_setting, Power(2), Power(3)),
        (with_setting, Act.RELU, Act.GELU),
        (with_setting, SimpleNamespace(act=Power(2)), SimpleNamespace(act=Power(3))),
        (with_setting, torch.full((2,), 1.0), torch.full((2,), 2.0)),
        (with_setting, np.float32(1), np.float32(2)),
        (with_setting, np.arange(2000), np.arange(2000) // 2),
        (with_setting, torch.float32, torch.float64),
        (with_buffer, 1.0, 2.0),
        (with_hook, lambda module, given, out: 2 * out, lambda module, given, out: 3 * out),
    ],
)
def test_what_no_shape_shows_counts(build: Any, first: Any, second: Any) -> None:
    assert identity(build(first)) == identity(build(first))
    assert identity(build(first)) != identity(build(second))


def test_a_class_that_a_method_reads_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    first = identity(Activated())
    assert identity(Activated()) == first
    monkeypatch.setattr(Doubled, "forward", lambda context, x: 3 * x)
    assert identity(Activated()).source != first.source


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Any) -> Any:
        return 2 * x


class Activated(Small):
    def forward(self, images: Any) -> Any:
        return Doubled.apply(super().forward(images))


def written_class(body: str) -> type:
    """A class without a source file, as in a Python shell."""
    scope: dict[str, Any] = {"nn": nn, "__name__": "__main__"}
    code = f"""class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(784, 10)
    def forward(self, x):
        {body}
"""
    exec(code, scope)
    kind: type = scope["Net"]
    return kind


def test_classes_without_source() -> None:
    first = identity(written_class("return self.out(x.flatten(1))")())
    assert identity(written_class("return self.out(x.flatten(1))")()) == first
    for body in (
        "return self.out(2 * x.flatten(1))",
        "return self.out(x.flatten(1)).relu()",
        "return self.out((lambda y: y + 1)(x.flatten(1)))",
    ):
        assert identity(written_class(body)()).source != first.source


SHELL = """
import torch
from kilonet.engine.torch.module_identity import identity
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.out = torch.nn.Linear(4, 2)
    def forward(self, x):
        return self.out(x) if self.out.bias is not None and "a" in {"a", "b", "c"} else x
print(identity(Net()).source)
"""


def test_the_identity_is_the_same_in_every_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", SHELL],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_module_that_is_built_by_the_runs_seed(run: Run) -> None:
    records = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(len(records))
        records.append(train(run.replace({"train.seed": seed}), folder=name, module=Small))
    weights = [RunFolder(record.path).weights()["out.weight"].tobytes() for record in records]
    assert weights[0] == weights[1] != weights[2]


class Stop(Observer):
    def end_epoch(self, row: Any, *, correct: int, count: int) -> None:
        raise KeyboardInterrupt


def test_a_stopped_run_resumes_to_the_same_bits(run: Run) -> None:
    run = run.replace({"train.epochs": 2})
    whole = train(run, folder="whole", module=Small)
    with pytest.raises(KeyboardInterrupt):
        train(run, folder="stopped", module=Small, observer=Stop())
    with pytest.raises(StorageError, match="another run"):
        train(run, folder="stopped", module=Renamed, resume=True)
    train(run, folder="stopped", module=Small, resume=True)
    for name in ("weights.safetensors", "predictions.npz"):
        assert (whole.path / name).read_bytes() == Path("stopped", name).read_bytes()


def test_a_model_of_it(run: Run) -> None:
    record = train(run, module=Small)
    images = load_dataset(run.data.name).test_images
    expected = RunFolder(record.path).test_logits()
    own = Small()
    before = own.out.weight.clone()
    for model in (load(record.path, module=own), record.model(module=Small)):
        assert model.logits(images).tobytes() == expected.tobytes()
        assert model.logits(images[3]).tobytes() == expected[3:4].tobytes()
        assert model.num_parameters == PARAMETERS
        module = model.to_torch()
        assert type(module) is Small
        with torch.inference_mode():
            logits = module(torch.from_numpy(model.preprocess(images))).numpy()
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(own.out.weight, before)
    with pytest.raises(UsageError, match="your own module 'Small', which is not in the folder"):
        load(record.path)
    with pytest.raises(StorageError, match=r"not the module 'Small' .*: its structure differs"):
        load(record.path, module=Small(p=0.2))
    with pytest.raises(StorageError, match=r"not the module 'Small' .*: its number of parameters"):
        load(record.path, module=Small(width=6))
    with pytest.raises(StorageError, match=r"not the module 'Small' .*: its name differs"):
        load(record.path, module=Renamed())


def test_a_model_of_a_named_module(run: Run) -> None:
    record = train(run, module=Small, module_name="mine")
    images = load_dataset(run.data.name).test_images
    expected = RunFolder(record.path).test_logits()
    assert load(record.path, module=Small).logits(images).tobytes() == expected.tobytes()
    assert train(record.run, module=Small).path == record.path


def test_the_run_without_its_module(run: Run) -> None:
    record = train(run, module=Small)
    assert train(record.run) == record  # finished: nothing to train
    for call in (
        lambda: train(record.run, folder="other"),
        lambda: train(record.run.replace({"train.seed": 9})),
        lambda: find_lr(record.run),
    ):
        with pytest.raises(UsageError, match="your own module 'Small'") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not Path("other", "run.toml").exists()


def test_a_range_test_of_a_module(run: Run) -> None:
    own = Small()
    before = own.out.weight.clone()
    found = find_lr(run, module=own, num_steps=12)
    assert len(found.points) == 12
    assert "module Small" in found.engine
    assert torch.equal(own.out.weight, before)
    seeded = find_lr(run, module=Small, num_steps=3)
    assert seeded.points == find_lr(run, module=Small, num_steps=3).points


class OneDimension(Small):
    """Fails on one image alone."""

    def forward(self, images: Any) -> Any:
        return super().forward(images).squeeze()


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        (OneDimension, r"the module returned \(10,\) for 1 image"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 12)), "12 outputs for 10 classes"),
        (nn.Flatten, "no parameter to train"),
        (lambda: nn.LazyLinear(10), "'weight' has no shape yet"),
        (lambda: 3, "built int, which is no torch.nn.Module"),
        (nn.Linear, r"arguments.*; give a module, or a function without arguments"),
        (3, "int is no torch.nn.Module"),
        ("Small", "str is no torch.nn.Module"),
    ],
    ids=["squeeze", "outputs", "flatten", "lazy", "function", "arguments", "number", "text"],
)
def test_a_module_that_cannot_be_trained(run: Run, module: Any, problem: str) -> None:
    with pytest.raises(KilonetError, match=problem) as caught:
        train(run, module=module)
    assert "\n" not in str(caught.value)
    assert not list(Path().glob("kilonet-runs/*/run.toml"))


def test_an_error_of_the_users_own_keeps_its_traceback(run: Run) -> None:
    def build() -> Any:
        return len(3)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="has no len"):
        train(run, module=build)


def test_engines_that_train_no_module(run: Run) -> None:
    with pytest.raises(UsageError, match="'native': trains no module of your own"):
        train(run, module=Small, engine="native")
    with pytest.raises(UsageError, match="the engine by its name"):
        train(run, module=Small, engine=engine_of(run, Small()))
    with pytest.raises(UsageError, match="module_name 'small': names no module"):
        train(run, module_name="small")


def test_an_engine_of_another_run(run: Run) -> None:
    other = run.replace({"train.optimizer.lr": 0.5})
    with pytest.raises(UsageError, match="created for another run"):
        train(run, engine=TorchEngine(other, mean=(0.1,), std=(0.3,)))


def test_the_normalization_of_the_engine_is_recorded(run: Run) -> None:
    run = run.replace({"train.epochs": 2})
    with pytest.raises(KeyboardInterrupt):
        train(run, folder="run", engine=engine_of(run, Small()), observer=Stop())
    recorded = RunFolder("run").record().provenance.normalization
    assert (recorded.mean, recorded.std) == ((0.13,), (0.31,))
    other = TorchEngine(run, mean=(0.5,), std=(0.5,), module=Small())
    with pytest.raises(
        StorageError, match=r"holds another run .* data.mean = \[0\.13\], not \[0\.5\]"
    ):
        train(run, folder="run", engine=other, resume=True)


def test_runs_of_other_normalizations_never_share_a_folder(run: Run) -> None:
    plain = train(run)
    used = plain.provenance.normalization
    records = [
        plain,
        train(run, engine=TorchEngine(run, mean=(0.5,), std=(0.5,), device="cpu")),
        train(run, engine=TorchEngine(run, mean=(0.2,), std=(0.5,), device="cpu")),
    ]
    assert len({record.path for record in records}) == 3
    assert [record.run.data.mean for record in records] == [None, (0.5,), (0.2,)]
    assert train(records[1].run).path == records[1].path
    same = TorchEngine(run, mean=used.mean, std=used.std, device="cpu")
    assert train(run, engine=same).path == plain.path


def test_a_folder_of_version_0_1_is_not_the_plain_runs(run: Run) -> None:
    """It was named by the placeholder's hash, and its spec has no module."""
    from kilonet.spec import to_toml
    from kilonet.storage.checksums import json_from_bytes, json_to_bytes
    from kilonet.storage.run_folder import sha256

    folder = train(run, folder=Path("kilonet-runs", folder_name(run)), module=Small).path
    spec = to_toml(run).encode()
    (folder / "run.toml").write_bytes(spec)
    path = folder / "environment.json"
    content = json_from_bytes(path.read_bytes())
    path.write_bytes(json_to_bytes({**content, "run_sha256": sha256(spec)}))
    with pytest.raises(StorageError, match="an earlier version trained the module Small here"):
        train(run)


def test_without_torch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise EngineError("PyTorch is not installed; pip install 'kilonet[torch]'")

    monkeypatch.setattr("kilonet.engine.torch_engine", missing)
    with pytest.raises(EngineError, match="PyTorch is not installed"):
        train(run, module=Small)


def test_what_completes_a_run_is_a_call_in_python(run: Run, tmp_path: Path) -> None:
    """The command line has no module."""
    record = train(run, folder=tmp_path / "r", module=Small())
    (record.path / "predictions.npz").unlink()
    call = f"kilonet.train(…, folder={str(record.path)!r}, module=…, resume=True) co"
    with pytest.raises(StorageError, match=re.escape(f"{call}mpletes it")):
        record.report()
    with pytest.raises(StorageError, match=re.escape(f"{call}ntinues it")):
        load(record.path)
    train(run, folder=record.path, module=Small(), resume=True)
    record.report()
