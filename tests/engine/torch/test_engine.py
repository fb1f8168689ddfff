from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from kilonet.errors import EngineError, UsageError
from kilonet.spec import Run
from small_runs import OPTIMIZERS, assert_same, batch, run_of

torch = pytest.importorskip("torch")

from kilonet.engine.torch import TorchEngine  # noqa: E402

nn, F = torch.nn, torch.nn.functional


def engine_of(run: Run, **settings: Any) -> TorchEngine:
    return TorchEngine(run, mean=(0.5,), std=(0.25,), **{"device": "cpu", **settings})


def test_dropout_depends_on_seed_and_step_and_layer() -> None:
    base = engine_of(run_of())

    def loss(engine: TorchEngine, step: int) -> float:
        same = dataclasses.replace(batch(0), step=step)
        start = engine_of(run_of()).weights()
        engine.load_weights(start)
        return engine.step(same, 0.1).loss

    assert loss(base, 3) == loss(engine_of(run_of()), 3)
    assert loss(base, 3) != loss(base, 4)
    assert loss(base, 3) != loss(engine_of(run_of(seed=2)), 3)
    first, second = base._dropouts.values()
    assert first.seed != second.seed


def test_chunks_do_not_show() -> None:
    engine = engine_of(run_of())
    data = batch(1, count=1201)
    whole = engine.evaluate(data.images, data.labels, logits=True)
    one_by_one = [
        engine.evaluate(data.images[i : i + 1], data.labels[i : i + 1], logits=True)
        for i in (0, 249, 250, 1200)
    ]
    for i, single in zip((0, 249, 250, 1200), one_by_one, strict=True):
        np.testing.assert_allclose(whole.logits[i], single.logits[0], rtol=1e-5, atol=1e-6)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    from kilonet.engine.torch.device import select_device

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("auto").type == "cpu"
    with pytest.raises(EngineError, match="device 'cuda': not available; here is cpu"):
        select_device("cuda")
    with pytest.raises(EngineError, match="device 'mps'"):
        select_device("mps")
    with pytest.raises(UsageError, match="did you mean 'cuda'"):
        select_device("cud")
    with pytest.raises(UsageError, match="device 'cpu:x'"):
        select_device("cpu:x")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert select_device("auto").type == "cuda"
    assert select_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(EngineError, match="device 'cuda:2': not available; here is cuda and cpu"):
        select_device("cuda:2")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert select_device("auto").type == "mps"


def test_description_and_threads() -> None:
    engine = engine_of(run_of(), threads=1)
    version = torch.__version__.partition("+")[0]
    assert engine.description == f"torch {version} on cpu, 1 thread"
    assert engine.name == "torch"
    engine_of(run_of(), threads=2)
    assert torch.get_num_threads() == 2
    assert engine.description == f"torch {version} on cpu, 2 threads"


def test_out_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(run_of())

    def exhausted(*_: Any, **__: Any) -> Any:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried…")

    monkeypatch.setattr(engine._module, "forward", exhausted)
    with pytest.raises(EngineError, match="epoch 0, step 0: out of memory"):
        engine.step(batch(0), 0.1)


class Own(nn.Module):
    """What a user might bring: random layers, a view, log probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.drop = nn.Dropout2d(0.4)
        self.frozen = nn.Linear(5 * 36, 7).requires_grad_(False)
        self.out = nn.Linear(7, 4)

    def forward(self, x: Any) -> Any:
        x = self.drop(F.relu(self.norm(self.conv(x))))
        return F.log_softmax(self.out(self.frozen(x.view(len(x), -1))), dim=1)


def test_a_users_own_module() -> None:
    torch.manual_seed(0)
    own = Own()
    start = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    run = run_of(optimizer=OPTIMIZERS["momentum"], average="ema")
    engine = engine_of(run, module=own)
    for name, tensor in start.items():
        np.testing.assert_array_equal(engine.weights()[name], tensor.numpy())
    assert "frozen.weight" not in engine.gradients(batch(0))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for step in range(3):
        engine.step(batch(step), 0.1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(0)
    resumed = engine_of(run, module=Own())
    resumed.load_state(engine.state())
    torch.manual_seed(99)
    for step in range(3, 6):
        assert engine.step(batch(step), 0.1) == resumed.step(batch(step), 0.1)
    assert_same(engine.state(), resumed.state())
    assert torch.equal(own.frozen.weight, start["frozen.weight"])
    assert not torch.equal(own.conv.weight, start["conv.weight"])


def test_a_users_batch_norm_and_one_image() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4))
    engine = engine_of(run_of(), module=flat)
    with pytest.raises(EngineError, match="batch norm has one value per channel"):
        engine.step(batch(0, count=1), 0.1)


def test_a_users_module_that_cannot_be_trained() -> None:
    for module, problem in (
        (nn.Flatten(), "no parameter to train"),
        (nn.Linear(3, 2).double(), "'weight' is torch.float64; .*module.float"),
    ):
        with pytest.raises(EngineError, match=problem):
            engine_of(run_of(), module=module)
    with pytest.raises(EngineError, match=r"the module returned \(16, 6, 6, 6\) for 16 images"):
        engine_of(run_of(), module=nn.Conv2d(1, 6, 3)).step(batch(0), 0.1)
