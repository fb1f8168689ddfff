from __future__ import annotations

import zlib
from math import sqrt
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kilonet.engine.init import initial_weights
from kilonet.randomness import Purpose, random_words
from kilonet.spec import Net, load_run


def test_names_shapes_types_and_order_are_torchs(case: Any) -> None:
    weights, expected = initial_weights(case.run.net, seed=1), case.twin().state_dict()
    assert list(weights) == list(expected)
    for name, tensor in expected.items():
        assert weights[name].shape == tuple(tensor.shape), name
        assert weights[name].dtype == tensor.numpy().dtype, name


def test_batch_norm_starts_as_torchs(case: Any) -> None:
    weights = initial_weights(case.run.net, seed=1)
    torch = pytest.importorskip("torch")
    norms = {
        f"{name}.{part}": tensor
        for name, module in case.twin().named_modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        for part, tensor in module.state_dict().items()
    }
    assert norms
    for name, tensor in norms.items():
        np.testing.assert_array_equal(weights[name], tensor.numpy(), err_msg=name)


def test_uniform_between_torchs_bounds() -> None:
    torch = pytest.importorskip("torch")
    net = Net(
        input=(3, 8, 8),
        layers=["conv 96 kernel=3x2 groups=3 bias bare", "flatten", "linear 40", "linear 10"],
    )
    weights = initial_weights(net, seed=5)
    # The bound of torch.nn.init.kaiming_uniform_(a=√5): gain · √(3 / fan_in).
    gain = torch.nn.init.calculate_gain("leaky_relu", sqrt(5))
    for layer in ("convblock1.0", "linear1", "linear2"):
        fan_in, _ = torch.nn.init._calculate_fan_in_and_fan_out(
            torch.tensor(weights[f"{layer}.weight"])
        )
        assert gain * sqrt(3 / fan_in) == pytest.approx(1 / sqrt(fan_in))
        for part in ("weight", "bias"):
            values = weights[f"{layer}.{part}"].ravel().astype(np.float64)
            bound = gain * sqrt(3 / fan_in)
            assert np.abs(values).max() < bound
            assert np.abs(values).max() > bound * (1 - 10 / values.size)
            test = stats.kstest(values, stats.uniform(-bound, 2 * bound).cdf)
            assert test.pvalue > 1e-3, (layer, part)


def test_squeeze_excitation_starts_as_two_convolutions() -> None:
    torch = pytest.importorskip("torch")
    net = Net(input=(96, 2, 2), layers=["se reduction=2", "gap", "pointwise 2 bare"])
    weights = initial_weights(net, seed=5)
    for part, fan_in in (("fc1", 96), ("fc2", 48)):
        expected = torch.nn.Conv2d(fan_in, 144 - fan_in, 1).state_dict()
        for kind, tensor in expected.items():
            values = weights[f"se1.{part}.{kind}"]
            assert values.shape == tuple(tensor.shape)
            bound = 1 / sqrt(fan_in)
            test = stats.kstest(values.ravel(), stats.uniform(-bound, 2 * bound).cdf)
            assert test.pvalue > 1e-3, (part, kind)


def test_no_draw_reaches_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the bits: also where 1/√fan_in lies between two float32 numbers."""
    extremes = np.array([0, 2**32 - 1, 511, 2**31], dtype=np.uint32)
    monkeypatch.setattr(
        "kilonet.engine.init.random_words", lambda index, **_: np.tile(extremes, (len(index), 1))
    )
    for fan_in in range(1, 400):
        net = Net(input=(1, 1, fan_in), layers=["flatten", "linear 4"])
        for values in initial_weights(net, seed=0).values():
            largest = np.abs(values).max()
            assert float(largest) < 1 / sqrt(fan_in)
            assert largest < np.float32(1 / sqrt(fan_in))
            assert largest > np.float32((1 - 2**-21) / sqrt(fan_in))


def test_element_takes_its_word_of_the_counter() -> None:
    weights = initial_weights(load_run("interim").net, seed=3)
    name = "convblock4.0.weight"
    element = 333
    words = random_words(
        element // 4, seed=3, purpose=Purpose.INITIAL_WEIGHTS, block=zlib.crc32(name.encode())
    )
    share = (int(words[element % 4]) // 2**9 + 0.5) / 2**23
    expected = np.float32((2 * share - 1) / sqrt(8 * 9))
    assert weights[name].ravel()[element] == expected


def test_other_layers_change_nothing() -> None:
    """Stages compare in pairs: batch norm or a layer behind leaves the draws as they are."""
    run = load_run("interim")
    plain = initial_weights(run.net.replace({"block": ["conv", "relu"]}), seed=2)
    normed = initial_weights(run.net, seed=2)
    shared = [name for name in plain if name in normed]
    assert len(shared) == 8
    for name in shared:
        np.testing.assert_array_equal(plain[name], normed[name])


def test_layers_of_one_shape_and_other_seeds_differ() -> None:
    net = Net(input=(1, 1, 16), layers=["flatten", "linear 16", "linear 16", "linear 2"])
    first, second = initial_weights(net, seed=1), initial_weights(net, seed=2)
    values = [weights[f"linear{i}.weight"].ravel() for weights in (first, second) for i in (1, 2)]
    correlations = np.corrcoef(values)[np.triu_indices(4, k=1)]
    assert np.abs(correlations).max() < 5 / sqrt(256)
