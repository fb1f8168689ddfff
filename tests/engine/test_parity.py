"""Parity of every engine with PyTorch, on four networks written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kilonet.data.batch import Batch
from kilonet.engine import create_engine

torch = pytest.importorskip("torch")

from float64_twin import ROUNDING, VALUE_ROUNDING, check, distance  # noqa: E402

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
    """Each array within ``tolerance`` of its norm, or of 0.1 if the norm is less."""
    found = engine.weights()
    for name, expected in twin.state_dict().items():
        error = distance(found[name], expected.numpy())
        assert error <= tolerance * max(np.linalg.norm(expected.numpy()), 0.1), name


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
    images, labels = case.images(517, seed=7), case.batch(517, step=7).labels
    logits = case.float64_twin(engine).evaluation(images)
    found = engine.evaluate(images, labels, logits=True)
    expected = logits
    values = found.logits.astype(np.float64)
    if case.is_notebook:  # whose class gives log probabilities
        values = torch.log_softmax(torch.tensor(values), dim=1).numpy()
    assert distance(values, expected) <= 1e-5 * np.linalg.norm(expected)
    assert found.logits.dtype == np.float32
    assert found.correct == (logits.argmax(1) == labels).sum()
    assert found.count == 517
    assert found.accuracy == pytest.approx(100 * found.correct / 517)
    loss = F.cross_entropy(torch.tensor(logits), torch.tensor(labels)).item()
    assert found.loss == pytest.approx(loss, rel=1e-6)
    assert engine.evaluate(images, labels).logits is None


def test_gradients(tested: Any, case: Any) -> None:
    """At most one gradient may need the looser limit of ``float64_twin``.

    In the network with windows it is that of the first batch norm's weight: the next batch norm
    divides by it, so it is a sum that cancels.
    """
    engine = tested(case.run)
    twin = case.float64_twin(engine)
    # 600 thousand values a batch of 32: some are always near a kink. Fewer, and a narrower margin.
    batches = (case.batch(9, step=step) for step in range(20))
    batch = next(one for one in batches if not twin.near_a_kink(one, rounding=VALUE_ROUNDING / 8))
    before = engine.state()
    exact = twin.training_pass(batch).gradients
    found = engine.gradients(batch)
    assert list(found) == list(exact)

    def rounded() -> Any:
        twins = [case.float64_twin(engine) for _ in range(4)]
        return [
            twin.training_pass(batch, rounding=ROUNDING, seed=seed).gradients
            for seed, twin in enumerate(twins)
        ]

    outright = check(found, exact, share=1e-4, rounded=rounded)
    assert sum(not within for within in outright) <= 1
    for name, array in engine.state().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_training(tested: Any, case: Any) -> None:
    """Ten steps; the notebook's class and loop are those of the founding notebook."""
    engine = tested(case.run)
    twin = loaded_twin(tested, case, engine).train()
    spec = case.run.train.optimizer
    settings = {
        "momentum": spec.momentum,
        "nesterov": spec.nesterov,
        "weight_decay": spec.weight_decay,
    }
    optimizer = torch.optim.SGD(twin.parameters(), lr=spec.lr, **settings)
    for step in range(10):
        batch = case.batch(32, step=step)
        optimizer.zero_grad()
        logits, loss = twin_loss(case, twin, batch)
        loss.backward()
        optimizer.step()
        result = engine.step(batch, spec.lr)
        assert result.loss == pytest.approx(loss.item(), rel=tested.loss, abs=tested.loss)
        assert result.correct == (logits.argmax(1).numpy() == batch.labels).sum()
    assert_close(engine, twin, tested.weights)


def test_the_engines_agree_on_all_test_images(mnist: Any, notebook: Any) -> None:
    """With trained weights both classify as many of the 10,000 test images correctly."""
    native, torch_engine = (
        create_engine(notebook.run, engine=name, device="cpu", mean=(0.1307,), std=(0.3081,))
        for name in ("native", "torch")
    )
    for step in range(60):
        index = np.arange(128 * step, 128 * step + 128)
        native.step(
            Batch(
                images=mnist.train_images[index],
                labels=mnist.train_labels[index],
                index=index,
                epoch=0,
                step=step,
            ),
            0.02,
        )
    images, labels = mnist.test_images, mnist.test_labels
    torch_engine.load_weights(native.weights())
    found = native.evaluate(images, labels, logits=True)
    other = torch_engine.evaluate(images, labels, logits=True)
    assert found.count == other.count == 10_000
    assert found.accuracy > 80
    assert found.correct == other.correct
    assert distance(found.logits, other.logits) <= 1e-5 * np.linalg.norm(other.logits)
    assert found.loss == pytest.approx(other.loss, rel=1e-6)
