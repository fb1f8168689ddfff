"""Networks with a twin written by hand in PyTorch: the references of the parity suite."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import reference_net
from kilonet.data import load_dataset
from kilonet.data.batch import Batch
from kilonet.engine import Engine, create_engine
from kilonet.spec import Net, Run, load_run

torch = pytest.importorskip("torch")
nn = torch.nn

MEAN, STD = 0.1307, 0.3081


class Notebook(nn.Module):
    """The founding notebook's network, as in the notebook."""

    def __init__(self, dropout: float = 0.01) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, padding: int = 0) -> Any:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=(3, 3), padding=padding, bias=False),
                nn.ReLU(),
                nn.BatchNorm2d(outputs),
                nn.Dropout(dropout),
            )

        self.convblock1 = block(1, 8)
        self.convblock2 = block(8, 16)
        self.pool1 = nn.MaxPool2d(2, 2)
        self.convblock3 = nn.Sequential(nn.Conv2d(16, 8, kernel_size=(1, 1), bias=False), nn.ReLU())
        self.convblock4 = block(8, 12)
        self.convblock5 = block(12, 12)
        self.convblock6 = block(12, 16)
        self.convblock7 = block(16, 16, padding=1)
        self.gap = nn.Sequential(nn.AvgPool2d(kernel_size=6))
        self.convblock8 = nn.Sequential(nn.Conv2d(16, 10, kernel_size=(1, 1), bias=False))

    def forward(self, x: Any) -> Any:
        x = self.convblock2(self.convblock1(x))
        x = self.convblock3(self.pool1(x))
        x = self.convblock7(self.convblock6(self.convblock5(self.convblock4(x))))
        x = self.convblock8(self.gap(x))
        return nn.functional.log_softmax(x.view(-1, 10), dim=-1)


class Sum(nn.Module):
    """Layers plus the identity."""

    def __init__(self, **layers: Any) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Any) -> Any:
        y = x
        for layer in self.children():
            y = layer(y)
        return x + y


def chain(**layers: Any) -> Any:
    return nn.Sequential(OrderedDict(layers))


def everything_with_windows() -> Any:
    return chain(
        convblock1=nn.Sequential(
            nn.Conv2d(3, 8, (3, 2), padding=(1, 0)), nn.LeakyReLU(0.2), nn.BatchNorm2d(8)
        ),
        pool1=nn.MaxPool2d((3, 2), stride=(2, 1), padding=1),
        convblock2=nn.Sequential(
            nn.Conv2d(8, 16, 3, padding=1, groups=8, bias=False),
            nn.LeakyReLU(0.2),
            nn.BatchNorm2d(16),
        ),
        silu1=nn.SiLU(),
        pool2=nn.AvgPool2d(3, stride=2, padding=1),
        convblock3=nn.Sequential(nn.Conv2d(16, 12, 3, stride=2, groups=4, bias=False)),
        hardswish1=nn.Hardswish(),
        batchnorm1=nn.BatchNorm2d(12, eps=0.001, momentum=0.3),
        convblock4=nn.Sequential(nn.Conv2d(12, 7, 1), nn.LeakyReLU(0.2)),
        gap1=nn.AvgPool2d((1, 2)),
        flatten1=nn.Flatten(),
    )


def residual_and_linear() -> Any:
    return chain(
        convblock1=nn.Sequential(nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.ReLU()),
        residual1=Sum(
            convblock1=nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.ReLU()),
            residual1=Sum(convblock1=nn.Sequential(nn.Conv2d(6, 6, 1, bias=False))),
            batchnorm1=nn.BatchNorm2d(6),
        ),
        relu1=nn.ReLU(),
        flatten1=nn.Flatten(),
        linear1=nn.Linear(6 * 9 * 7, 20, bias=False),
        batchnorm1=nn.BatchNorm1d(20),
        silu1=nn.SiLU(),
        linear2=nn.Linear(20, 5),
    )


class Twice(nn.Module):
    """A block and a pool, twice, with one convolution and two batch norms."""

    def __init__(self) -> None:
        super().__init__()
        norms = [nn.BatchNorm2d(6), nn.BatchNorm2d(6)]
        dilated = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2)
        first = chain(convblock1=nn.Sequential(dilated, nn.SiLU(), norms[0]))
        second = chain(convblock1=chain(**{"2": norms[1]}))
        self.add_module("0", first)
        self.add_module("1", second)
        self.pool = nn.MaxPool2d(2, stride=1)

    def forward(self, x: Any) -> Any:
        first, second = self.get_submodule("0.convblock1"), self.get_submodule("1.convblock1")
        conv, silu, norm = first
        x = self.pool(norm(silu(conv(x))))
        return self.pool(second(silu(conv(x))))


class Projected(nn.Module):
    """A residual block with a projection shortcut, as in ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.convblock1 = nn.Sequential(
            nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), nn.SiLU(), nn.BatchNorm2d(8)
        )
        self.convblock2 = nn.Sequential(nn.Conv2d(8, 8, (3, 5), padding="same", bias=False))
        self.shortcut = chain(
            convblock1=nn.Sequential(nn.Conv2d(6, 8, 1, stride=2, bias=False)),
            batchnorm1=nn.BatchNorm2d(8),
        )

    def forward(self, x: Any) -> Any:
        return self.convblock2(self.convblock1(x)) + self.shortcut(x)


def shared_and_projected() -> Any:
    return chain(
        # Padding of 1 above and 2 below; of 0 at the left and 1 at the right.
        convblock1=nn.Sequential(
            reference_net.Conv2d(1, 6, (4, 2), padding="same"), nn.SiLU(), nn.BatchNorm2d(6)
        ),
        repeat1=Twice(),
        residual1=Projected(),
        silu1=nn.SiLU(),
        gap1=nn.AvgPool2d((6, 5)),
        convblock2=nn.Sequential(nn.Conv2d(8, 5, 1), nn.SiLU()),
        flatten1=nn.Flatten(),
    )


@dataclass(frozen=True)
class Case:
    """A run without random layers, and its network in PyTorch."""

    run: Run
    twin: Callable[[], Any]

    @property
    def is_notebook(self) -> bool:
        return self is CASES["notebook"]

    def images(self, count: int, *, seed: int = 0) -> Any:
        """Digits if they fit: with noise many values are near the kinks of ReLU and pooling."""
        channels, height, width = self.run.net.input
        if (channels, height, width) == (1, 28, 28):
            chosen = np.random.default_rng(seed).integers(0, 60_000, count)
            return load_dataset("mnist").train_images[chosen]
        shape = (count, height, width) if channels == 1 else (count, height, width, channels)
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    def batch(self, count: int, *, step: int = 0) -> Batch:
        labels = np.random.default_rng(100 + step).integers(0, self.run.net.num_classes, count)
        return Batch(
            images=self.images(count, seed=step),
            labels=labels,
            index=np.arange(count),
            epoch=0,
            step=step,
        )

    def float64_twin(self, engine: Engine) -> Any:
        """The twin in float64, with the engine's weights."""
        from float64_twin import Twin

        return Twin(self.run, engine.weights(), mean=MEAN, std=STD, module=self.twin())

    def twin_input(self, images: Any) -> Any:
        x = (
            torch.from_numpy(images)
            .reshape(len(images), *images.shape[1:3], -1)
            .permute(0, 3, 1, 2)
        )
        # A copy in plain order: PyTorch takes a single channel's stride for channels last.
        return ((x.float() / 255 - MEAN) / STD).clone(memory_format=torch.contiguous_format)


def make_run(net: dict[str, Any], **train: Any) -> Run:
    return Run(net=Net(**net), train=train)


CASES = {
    "notebook": Case(
        run=load_run("interim").replace(
            {"net.block": ["conv", "relu", "batchnorm", "dropout 0"], "data.augment": []}
        ),
        twin=lambda: Notebook(dropout=0),
    ),
    "windows": Case(
        run=make_run(
            {
                "input": (3, 12, 10),
                "block": ["conv", "leaky_relu slope=0.2", "batchnorm"],
                "layers": [
                    "conv 8 kernel=3x2 pad=1x0 bias",
                    "maxpool 3x2 stride=2x1 pad=1",
                    "depthwise pad=1 multiplier=2",
                    "silu",
                    "avgpool 3 stride=2 pad=1",
                    "conv 12 stride=2 groups=4 bare",
                    "hardswish",
                    "batchnorm eps=0.001 momentum=0.3",
                    "pointwise 7 bias",
                    "gap",
                ],
            },
            optimizer={"name": "sgd", "lr": 0.02, "momentum": 0.8, "nesterov": True},
            label_smoothing=0.1,
        ),
        twin=everything_with_windows,
    ),
    "residual": Case(
        run=make_run(
            {
                "input": (1, 9, 7),
                "layers": [
                    "conv 6 pad=1",
                    {
                        "residual": [
                            "conv 6 pad=1",
                            {"residual": ["pointwise 6 bare"]},
                            "batchnorm",
                        ]
                    },
                    "relu",
                    "flatten",
                    "linear 20 nobias",
                    "batchnorm",
                    "silu",
                    "linear 5",
                ],
            },
            optimizer={"name": "sgd", "lr": 0.02, "weight_decay": 0.01},
        ),
        twin=residual_and_linear,
    ),
    "shared": Case(
        run=make_run(
            {
                "input": (1, 14, 12),
                "block": ["conv", "silu", "batchnorm"],
                "layers": [
                    "conv 6 kernel=4x2 pad=same bias",
                    {
                        "repeat": ["conv 6 pad=2 dilation=2 groups=2 bias", "maxpool 2 stride=1"],
                        "times": 2,
                    },
                    {
                        "residual": ["conv 8 stride=2 pad=1", "conv 8 kernel=3x5 pad=same bare"],
                        "shortcut": ["pointwise 8 stride=2 bare", "batchnorm"],
                    },
                    "silu",
                    "gap",
                    "pointwise 5 bias",
                ],
            },
            optimizer={"name": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.001},
        ),
        twin=shared_and_projected,
    ),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads do not speed up such small tensors, and cost much on busy cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """Each network with its twin."""
    return CASES[request.param]


@pytest.fixture
def notebook() -> Case:
    return CASES["notebook"]


@pytest.fixture
def residual() -> Case:
    return CASES["residual"]


@pytest.fixture
def notebook_class() -> type[Notebook]:
    return Notebook


@pytest.fixture
def normalization() -> dict[str, Any]:
    return {"mean": (MEAN,), "std": (STD,)}


@dataclass(frozen=True)
class Tested:
    """An engine under the parity suite, and its tolerances for several steps of training.

    Over several steps float32 passes kinks (a ReLU's zero, two values near a maximum), where a
    gradient changes by up to a percent, and training drifts. PyTorch's float32 drifts from float64
    by about 1e-3 of the loss in ten steps of the bundled network; so the torch engine is compared
    with the same layers in float32. The native engine is compared with float64: it is within 1e-7,
    so PyTorch's drift as tolerance would test nothing.
    """

    name: str
    precision: str
    loss: float
    weights: float

    def __call__(self, run: Run) -> Engine:
        return create_engine(run, engine=self.name, device="cpu", mean=(MEAN,), std=(STD,))


ENGINES = {
    "torch": Tested("torch", precision="float32", loss=1e-6, weights=1e-5),
    "native": Tested("native", precision="float64", loss=1e-5, weights=1e-3),
}


def instruction_sets() -> list[str]:
    """The machine's instruction sets; none if the native engine was not built."""
    try:
        from kilonet.engine import _native
    except ImportError:
        return []
    return list(_native.instruction_sets())


NATIVE = [f"native-{isa}" for isa in instruction_sets()] or ["native"]


@pytest.fixture(params=["torch", *(pytest.param(n, marks=pytest.mark.native) for n in NATIVE)])
def engine_name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each engine, native once for each instruction set of the machine."""
    name, _, isa = request.param.partition("-")
    if isa:
        monkeypatch.setenv("KILONET_ISA", isa)
    return str(name)


@pytest.fixture
def tested(engine_name: str) -> Tested:
    """Each engine."""
    return ENGINES[engine_name]
