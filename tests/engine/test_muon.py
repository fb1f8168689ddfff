"""Muon: against the formula in float64, PyTorch's own class, and between the engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kilonet.engine import Engine, create_engine
from kilonet.spec import Muon, Net, Run
from small_runs import assert_same, batch

torch = pytest.importorskip("torch")

Array = NDArray[Any]

# Wide, square and tall matrices, one of a single column, groups, biases and a batch norm.
NET = Net(
    input=(1, 8, 8),
    block=["conv", "batchnorm", "relu"],
    layers=[
        "conv 6",
        "pointwise 20 bias",
        "conv 6 groups=2",
        "depthwise",
        "gap",
        "flatten",
        "linear 4",
    ],
)
OUTPUT = "linear1.weight"
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "no nesterov": {"nesterov": False, "momentum": 0.8},
    "decay of all": {"weight_decay": 0.5},
    "decay of weights": {"weight_decay": 0.5, "decay": "weights"},
    "match": {"adjust_lr": "match_rms_adamw", "rest_ratio": 0.5},
    "three iterations": {"ns_steps": 3},
    "no momentum": {"momentum": 0.0},
    "output by sgd": {"output": "sgd", "weight_decay": 0.5, "decay": "weights"},
}


def engine_of(name: str, run: Run, **settings: Any) -> Engine:
    return create_engine(run, engine=name, device="cpu", mean=(0.5,), std=(0.25,), **settings)


def run_of(net: Net = NET, **settings: Any) -> Run:
    return Run(net=net, train={"optimizer": {"name": "muon", **settings}})


def parts(state: dict[str, Array], net: Net = NET) -> tuple[dict[str, Array], dict[str, Array]]:
    """Parameters and momentum buffers, float64."""
    return (
        {n: state[f"weights/{n}"].astype(float) for n in net.parameters},
        {n: state[f"optimizer/{n}/momentum_buffer"].astype(float) for n in net.parameters},
    )


def orthogonalized(x: Array, steps: int) -> Array:
    x = x / max(float(np.linalg.norm(x)), 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x - 4.7750 * gram @ x + 2.0315 * gram @ gram @ x
    return x


def test_convolutions_are_flattened_and_vectors_are_the_rest() -> None:
    assert Muon().matrices(NET.parameters) == {
        "convblock1.0.weight": (6, 9),
        "convblock2.0.weight": (20, 6),
        "convblock3.0.weight": (6, 90),
        "convblock4.0.weight": (6, 9),
        OUTPUT: (4, 6),
    }
    assert list(Muon(output="sgd").matrices(NET.parameters)) == [
        f"convblock{i}.0.weight" for i in (1, 2, 3, 4)
    ]


def test_rate_factors() -> None:
    assert Muon().rate_factor(6, 9) == 1.0
    assert Muon().rate_factor(36, 9) == 2.0
    assert Muon(adjust_lr="match_rms_adamw").rate_factor(25, 9) == pytest.approx(0.2 * 5)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_updates_are_the_formula(engine_name: str, settings: dict[str, Any]) -> None:
    """Each step, from the engine's own weights, buffers and gradients; the momentum is cycled."""
    run = run_of(**settings)
    spec = run.train.optimizer
    assert isinstance(spec, Muon)
    engine = engine_of(engine_name, run)
    for step in range(4):
        lr, given = 0.01 * (step + 1), 0.85 if step % 2 else None
        momentum = spec.momentum if given is None else given
        gradients = engine.gradients(batch(step))
        weights, buffers = parts(engine.state())
        engine.step(batch(step), lr, momentum=given)
        found, found_buffers = parts(engine.state())
        for name, array in gradients.items():
            g, w, b = array.astype(float), weights[name], buffers[name]
            matrix = w.ndim > 1 and not (spec.output == "sgd" and name == OUTPUT)
            rate = lr if matrix else lr * spec.rest_ratio
            b = momentum * b + ((1 - momentum) * g if matrix else g)
            if matrix:
                u = (1 - momentum) * g + momentum * b if spec.nesterov else b
                flat = u.reshape(len(u), -1)
                u = orthogonalized(flat, spec.ns_steps).reshape(u.shape)
                rows, columns = flat.shape
                longest = max(rows, columns) ** 0.5
                scale = (
                    0.2 * longest if settings.get("adjust_lr") else max(1, rows / columns) ** 0.5
                )
            else:
                u, scale = g + momentum * b if spec.nesterov else b, 1.0
                b = b if momentum else buffers[name]  # as in PyTorch: no momentum, no buffer
            kept = 1.0
            if spec.decay == "all" or w.ndim > 1:
                kept = 1 - rate * spec.weight_decay
            # Newton-Schulz multiplies a rounding by up to 3.4445 an iteration: 485 in all.
            error = 485 * 2.0**-23 * rate * scale if matrix else 0.0
            np.testing.assert_allclose(
                found[name], kept * w - rate * scale * u, rtol=1e-5, atol=error + 1e-7, err_msg=name
            )
            np.testing.assert_allclose(found_buffers[name], b, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("adjust_lr", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="a PyTorch without Muon")
def test_matrices_are_torch_optims(
    engine_name: str, adjust_lr: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's class, as it is and with iterations in float64, and its SGD for the others."""
    if precision == "float64":

        def iterate(grad: Any, coefficients: Any, steps: int, eps: float) -> Any:
            assert (coefficients, eps) == ((3.4445, -4.7750, 2.0315), 1e-7)
            return torch.tensor(orthogonalized(grad.double().numpy(), steps)).to(grad.dtype)

        monkeypatch.setattr(torch.optim._muon, "_zeropower_via_newtonschulz", iterate)
    run = run_of(lr=0.03, weight_decay=0.2, adjust_lr=adjust_lr, decay="weights")
    engine = engine_of(engine_name, run)
    before, _ = parts(engine.state())
    values = {
        n: torch.nn.Parameter(torch.tensor(a).float().flatten(1 if a.ndim > 1 else 0))
        for n, a in before.items()
    }
    matrices = [p for p in values.values() if p.ndim > 1]
    muon = torch.optim.Muon(matrices, lr=0.03, weight_decay=0.2, adjust_lr_fn=adjust_lr)
    vectors = [p for p in values.values() if p.ndim == 1]
    sgd = torch.optim.SGD(vectors, lr=0.09, momentum=0.95, nesterov=True)
    for step in range(3):
        gradients = engine.gradients(batch(step))
        engine.step(batch(step), 0.03)
        for name, parameter in values.items():
            parameter.grad = torch.tensor(gradients[name]).flatten(1 if parameter.ndim > 1 else 0)
        muon.step()
        sgd.step()
    after, _ = parts(engine.state())
    for name, parameter in values.items():
        moved = after[name] - before[name]
        expected = parameter.detach().numpy().reshape(moved.shape) - before[name]
        if precision == "bfloat16" and name == OUTPUT:
            # The rows of its gradient add up to zero, as those of every softmax's input do. For
            # the singular value of zero bfloat16's roundings are large: 485 times themselves.
            continue
        share = 0.1 if precision == "bfloat16" and moved.ndim > 1 else 2e-4
        assert np.linalg.norm(moved - expected) <= share * np.linalg.norm(expected), name


@pytest.mark.parametrize("shape", [(8, 8), (6, 90), (40, 10), (1, 9), (5, 1)])
def test_directions_are_orthogonal(shape: tuple[int, int]) -> None:
    """Singular values of about 1, with the gradient's singular vectors."""
    from kilonet.engine.torch.muon import orthogonalized as torchs

    matrix = np.random.default_rng(shape[0]).normal(size=shape)
    if shape == (8, 8):
        matrix += 3 * np.eye(8)  # the least singular value of a random one may be near zero
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    found = u.T @ torchs(torch.tensor(matrix), steps=5).numpy() @ vt.T
    values = np.diag(found)
    np.testing.assert_allclose(found, np.diag(values), atol=1e-10)
    assert 0.65 < values.min() <= values.max() < 1.25


def test_a_gradient_of_zero_moves_nothing(engine_name: str) -> None:
    """Where no pixel differs from another the first convolution has no gradient."""
    run = run_of(
        Net(input=(1, 8, 8), block=["conv"], layers=["conv 6", "gap", "flatten", "linear 4"])
    )
    engine = engine_of(engine_name, run)
    data = batch(0)
    data.images[...] = 0
    flat = create_engine(run, engine=engine_name, device="cpu", mean=(0.0,), std=(1.0,))
    before = flat.weights()
    flat.step(data, 0.1)
    np.testing.assert_array_equal(
        flat.weights()["convblock1.0.weight"], before["convblock1.0.weight"]
    )
    assert np.isfinite(engine.step(data, 0.1).loss)


@pytest.mark.native
def test_ten_steps_agree_between_the_engines() -> None:
    run = run_of(lr=0.03, weight_decay=0.01)
    native, reference = (engine_of(name, run) for name in ("native", "torch"))
    for step in range(10):
        data = batch(step, count=64)
        loss = reference.step(data, 0.03).loss
        assert native.step(data, 0.03).loss == pytest.approx(loss, rel=1e-4)


@pytest.mark.native
def test_bits_do_not_depend_on_threads_nor_on_a_resume() -> None:
    run = run_of(weight_decay=0.1, decay="weights")
    states = []
    for threads in (1, 2, 3):
        engine = engine_of("native", run, threads=threads)
        for step in range(4):
            if step == 2:
                saved = engine.state()
                engine = engine_of("native", run, threads=threads)
                engine.load_state(saved)
            engine.step(batch(step, count=90), 0.02)
        states.append(engine.state())
    for other in states[1:]:
        assert_same(other, states[0])


def test_a_module_of_the_users_own() -> None:
    """Parameters that are frozen or unused stay as they are."""
    nn = torch.nn
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 4))
    module.frozen = nn.Parameter(torch.ones(3, 3), requires_grad=False)
    engine = create_engine(
        run_of(), engine="torch", device="cpu", mean=(0.5,), std=(0.25,), module=module
    )
    names = {n for n in engine.state() if n.startswith("optimizer/")}
    assert names == {
        f"optimizer/{i}.{part}/momentum_buffer" for i in (1, 3) for part in ("weight", "bias")
    }
    before = module[1].weight.detach().clone()
    engine.step(batch(0), 0.02)
    moved = (module[1].weight.detach() - before).numpy() / 0.02
    values = np.linalg.svd(moved, compute_uv=False)
    assert values.max() < 1.3
    assert torch.equal(module.frozen, torch.ones(3, 3))


def test_a_network_without_matrices_has_sgd(engine_name: str) -> None:
    net = Net(input=(1, 2, 2), layers=["batchnorm", "flatten"])
    engine = engine_of(engine_name, run_of(net))
    data = batch(0, shape=(2, 2))
    (before, _), gradients = parts(engine.state(), net), engine.gradients(data)
    engine.step(data, 0.1)
    for name, array in parts(engine.state(), net)[0].items():
        moved = -0.3 * (1 + 0.95) * gradients[name]
        np.testing.assert_allclose(array, before[name] + moved, rtol=1e-5, atol=1e-7)
