from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kilonet.spec import Net, load_run

torch = pytest.importorskip("torch")

from kilonet.engine.torch.module import SeededDropout, _dropped, build_module  # noqa: E402


def seeded(p: float, seed: int) -> Any:
    module = SeededDropout(p)
    module.seed = seed
    return module


def test_state_dict_is_the_nets(case: Any) -> None:
    net = case.run.net
    state = build_module(net).state_dict()
    assert {n: tuple(t.shape) for n, t in state.items()} == {**net.parameters, **net.buffers}


def test_printed_layers_are_torchs_own() -> None:
    """What a user of PyTorch expects to find in the module."""
    kinds = [type(m).__name__ for m in build_module(load_run("interim").net).modules()]
    assert kinds.count("Conv2d") == 8
    assert kinds.count("BatchNorm2d") == 6
    assert kinds.count("AvgPool2d") == 1


def test_building_draws_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    build_module(load_run("interim").net)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("p", [0.01, 0.3, 0.9])
def test_dropout_rate_and_scale(p: float, layout: Any) -> None:
    x = torch.full((50, 8, 30, 30), 3.0).contiguous(memory_format=layout)
    y = seeded(p, 5).train()(x)
    count = x.numel()
    dropped = int((y == 0).sum())
    # Five standard deviations of a binomial.
    assert abs(dropped - count * p) < 5 * (count * p * (1 - p)) ** 0.5
    np.testing.assert_allclose(y[y != 0].numpy(), 3.0 / (1 - p), rtol=1e-6)


def test_dropped_elements_are_independent() -> None:
    """Gaps between them are geometric, and a position's chance does not depend on where it is."""
    p, count = 0.05, 40_000
    positions = _dropped(count, p=p, generator=torch.Generator().manual_seed(3)).numpy()
    assert (np.diff(positions) > 0).all()
    assert positions[0] >= 0
    assert positions[-1] < count
    gaps = np.minimum(np.diff(positions), 60)
    observed = np.bincount(gaps, minlength=61)[1:]
    expected = stats.geom(p).pmf(np.arange(1, 61))
    expected[-1] = stats.geom(p).sf(59)
    assert stats.chisquare(observed, expected * observed.sum()).pvalue > 1e-3
    tenths = np.histogram(positions, bins=10, range=(0, count))[0]
    assert stats.chisquare(tenths).pvalue > 1e-3


def test_dropped_counts_are_binomial() -> None:
    """Over many small tensors, so that the second batch of draws is needed often."""
    trials, p, repeats = 30, 0.2, 3000
    masks = np.zeros((repeats, trials), dtype=bool)
    for seed in range(repeats):
        generator = torch.Generator().manual_seed(seed)
        masks[seed, _dropped(trials, p=p, generator=generator).numpy()] = True
    counts = np.bincount(np.minimum(masks.sum(1), 12), minlength=13)
    expected = stats.binom(trials, p).pmf(np.arange(13))
    expected[-1] = stats.binom(trials, p).sf(11)
    assert stats.chisquare(counts, expected * repeats).pvalue > 1e-3
    by_position = masks.sum(0)
    deviations = (by_position - repeats * p) / (repeats * p * (1 - p)) ** 0.5
    assert np.abs(deviations).max() < 5


def test_dropout_masks_follow_the_seed_alone() -> None:
    x = torch.ones(4, 100)
    torch.manual_seed(1)
    first = seeded(0.5, 9)(x)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(seeded(0.5, 9)(x), first)
    assert not torch.equal(seeded(0.5, 10)(x), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_in_evaluation_and_at_zero_is_the_identity() -> None:
    x = torch.randn(4, 10)
    assert seeded(0.5, 1).eval()(x) is x or torch.equal(seeded(0.5, 1).eval()(x), x)
    assert torch.equal(seeded(0.0, 1).train()(x), x)


def test_dropout_gradient_is_the_mask() -> None:
    x = torch.randn(3, 7, 5, 5, requires_grad=True)
    y = seeded(0.4, 2).train()(x)
    y.sum().backward()
    mask = (y != 0).float() / 0.6
    torch.testing.assert_close(x.grad, mask)
    torch.testing.assert_close(y, x * mask)


def test_dropout_without_a_seed_is_pytorchs() -> None:
    x, module = torch.ones(100, 100), SeededDropout(0.5).train()
    torch.manual_seed(3)
    found = module(x)
    torch.manual_seed(3)
    assert torch.equal(found, torch.nn.functional.dropout(x, 0.5))


def test_logits_are_flat_whatever_the_last_layer() -> None:
    for layers in (["gap", "pointwise 4 bare"], ["flatten", "linear 4"], ["gap", "pointwise 4"]):
        module = build_module(Net(input=(1, 5, 6), layers=layers))
        assert module(torch.zeros(3, 1, 5, 6)).shape == (3, 4)


def test_module_can_be_copied(case: Any) -> None:
    copy.deepcopy(build_module(case.run.net))


def test_norms_without_scale_or_shift_save_and_count_neither() -> None:
    layers = ["conv 4", "batchnorm noaffine", "gap", "pointwise 3 bare"]
    net = Net(input=(1, 5, 6), block=["conv", "batchnorm noscale", "relu"], layers=layers)
    module = build_module(net)
    state = module.state_dict()
    assert {n: tuple(t.shape) for n, t in state.items()} == {**net.parameters, **net.buffers}
    assert [n for n in state if n.startswith(("batchnorm1", "convblock1.1"))] == [
        f"{name}.{part}"
        for name, parts in (("convblock1.1", ["bias"]), ("batchnorm1", []))
        for part in [*parts, "running_mean", "running_var", "num_batches_tracked"]
    ]
    assert sum(p.numel() for p in module.parameters()) == net.num_parameters == 4 * 9 + 4 + 3 * 4
    x = torch.randn(6, 4, 3, 4)
    torch.testing.assert_close(
        module.train().convblock1[1](x),
        torch.nn.functional.batch_norm(x, None, None, training=True),
    )
