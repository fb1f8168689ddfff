"""One suite over every engine and network: the engine against the same network typed in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional


def loaded_twin(tested: Any, case: Any, engine: Any) -> Any:
    """The twin with the engine's weights; strict, so names and shapes must all agree."""
    twin = case.twin().to(getattr(torch, tested.precision))
    twin.load_state_dict({n: torch.tensor(a) for n, a in engine.weights().items()}, strict=True)
    return twin


def twin_logits(case: Any, twin: Any, images: Any) -> Any:
    return twin(case.twin_input(images).to(next(twin.parameters()).dtype))


def twin_loss(case: Any, twin: Any, batch: Any) -> Any:
    logits = twin_logits(case, twin, batch.images)
    smoothing = case.run.train.label_smoothing
    return logits, F.cross_entropy(logits, torch.tensor(batch.labels), label_smoothing=smoothing)


def assert_close(engine: Any, twin: Any, tolerance: float) -> None:
    found = engine.weights()
    for name, expected in twin.state_dict().items():
        np.testing.assert_allclose(
            found[name], expected.numpy(), rtol=tolerance, atol=tolerance, err_msg=name
        )


def test_weights_are_the_twins(tested: Any, case: Any) -> None:
    found, expected = tested(case.run).weights(), case.twin().state_dict()
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].shape == tuple(tensor.shape), name
        assert found[name].dtype == tensor.numpy().dtype, name
        assert found[name].flags["C_CONTIGUOUS"], name


def test_evaluation(tested: Any, case: Any) -> None:
    engine = tested(case.run)
    # A few steps first, so that the running statistics are not those of the start.
    for step in range(3):
        engine.step(case.batch(16, step=step), 0.05)
    twin = loaded_twin(tested, case, engine).eval()
    images, labels = case.images(1234, seed=7), case.batch(1234, step=7).labels
    with torch.no_grad():
        logits = twin_logits(case, twin, images)
    found = engine.evaluate(images, labels, logits=True)
    # Cross-entropy takes log probabilities, as the notebook's class gives them, for logits.
    probabilities = torch.log_softmax(torch.tensor(found.logits), dim=1)
    expected = torch.log_softmax(logits, dim=1)
    np.testing.assert_allclose(
        probabilities.numpy(), expected.numpy(), rtol=tested.logits, atol=tested.logits
    )
    assert found.logits.dtype == np.float32
    assert found.correct == (logits.argmax(1).numpy() == labels).sum()
    assert found.count == 1234
    assert found.accuracy == pytest.approx(100 * found.correct / 1234)
    loss = F.cross_entropy(logits.double(), torch.tensor(labels)).item()
    assert found.loss == pytest.approx(loss, rel=tested.loss)
    assert engine.evaluate(images, labels).logits is None


def test_gradients(tested: Any, case: Any) -> None:
    engine, batch = tested(case.run), case.batch(24)
    twin = loaded_twin(tested, case, engine).train()
    before = engine.state()
    found = engine.gradients(batch)
    twin_loss(case, twin, batch)[1].backward()
    expected = {name: p.grad.numpy() for name, p in twin.named_parameters()}
    assert list(found) == list(expected)
    for name, gradient in expected.items():
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(
            found[name], gradient, rtol=0, atol=tested.gradients * max(scale, 1.0), err_msg=name
        )
    for name, array in engine.state().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.parametrize("steps", [1, 10])
def test_training(tested: Any, case: Any, steps: int) -> None:
    engine = tested(case.run)
    twin = loaded_twin(tested, case, engine).train()
    spec = case.run.train.optimizer
    settings = {
        "momentum": spec.momentum,
        "nesterov": spec.nesterov,
        "weight_decay": spec.weight_decay,
    }
    optimizer = torch.optim.SGD(twin.parameters(), lr=spec.lr, **settings)
    for step in range(steps):
        batch = case.batch(32, step=step)
        optimizer.zero_grad()
        logits, loss = twin_loss(case, twin, batch)
        loss.backward()
        optimizer.step()
        result = engine.step(batch, spec.lr)
        assert result.loss == pytest.approx(loss.item(), rel=tested.loss, abs=tested.loss)
        assert result.correct == (logits.argmax(1).numpy() == batch.labels).sum()
    assert_close(engine, twin, tested.weights)


def test_notebooks_own_loop(tested: Any, notebook: Any) -> None:
    engine = tested(notebook.run)
    model = loaded_twin(tested, notebook, engine).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for step in range(10):
        batch = notebook.batch(64, step=step)
        target = torch.tensor(batch.labels)
        optimizer.zero_grad()
        y_pred = twin_logits(notebook, model, batch.images)
        loss = F.nll_loss(y_pred, target)
        loss.backward()
        optimizer.step()
        result = engine.step(batch, 0.01)
        assert result.loss == pytest.approx(loss.item(), rel=tested.loss, abs=tested.loss)
    assert_close(engine, model, tested.weights)
