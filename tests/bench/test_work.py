"""Nominal work, counted by hand."""

from __future__ import annotations

import pytest

from kilonet.bench.work import layer_work, step_flop
from kilonet.spec import Net, load_run


def test_the_bundled_network() -> None:
    # 1,045,312 multiply-adds forward, of which 26 · 26 · 8 · 9 in the first layer, whose input
    # needs no gradient.
    assert step_flop(load_run("interim").net) == 2 * (3 * 1_045_312 - 26 * 26 * 8 * 9)


def test_a_small_network_by_hand() -> None:
    net = Net.from_dict(
        {
            "input": [2, 6, 6],
            "block": ["conv", "relu"],
            "layers": [
                "conv 4",
                {"residual": ["depthwise pad=1 bias"]},
                "flatten",
                "linear 3",
            ],
        }
    )
    first, depthwise, linear = layer_work(net)
    assert first.macs == first.macs_inside == 4 * 4 * 4 * 2 * 9
    assert not first.needs_input_gradient
    assert (first.image_bytes, first.weight_bytes) == (4 * (72 + 64), 4 * 72)
    assert depthwise.layer == "residual1.convblock1.0"
    assert depthwise.macs == 4 * 16 * 9
    # Along an axis of 4 outputs with 3 taps each, 2 of 12 taps fall on padding.
    assert depthwise.macs_inside == 4 * 10 * 10
    assert depthwise.needs_input_gradient
    assert depthwise.weight_bytes == 4 * (36 + 4)
    assert linear.macs == 64 * 3
    assert step_flop(net) == 2 * (2 * first.macs + 3 * depthwise.macs + 3 * linear.macs)
    assert linear.intensity(batch_size=10) == pytest.approx(
        10 * 2 * 192 / (10 * 4 * (64 + 3) + 4 * (192 + 3))
    )


def test_shared_dilated_and_projected_layers_by_hand() -> None:
    net = Net.from_dict(
        {
            "input": [1, 6, 6],
            "layers": [
                {"residual": ["conv 2 kernel=2 pad=same bare"], "shortcut": ["pointwise 2 bare"]},
                {"repeat": ["conv 2 pad=2 dilation=2 bare bias"], "times": 2},
                "gap",
            ],
        }
    )
    body, shortcut, first, second = layer_work(net)
    # Neither branch needs the gradient of the image.
    assert [work.needs_input_gradient for work in (body, shortcut, first, second)] == [0, 0, 1, 1]
    # Two taps an axis, the last one's second past the end: 11 of 12.
    assert (body.macs, body.macs_inside) == (2 * 36 * 4, 2 * 11 * 11)
    # Three taps an axis, two apart: of 18, 2 are before the start and 2 past the end.
    assert first.macs_inside == second.macs_inside == 2 * 2 * 14 * 14
    assert first.macs == second.macs == 4 * 36 * 9
    # Both read the same weights.
    assert first.weight_bytes == second.weight_bytes == 4 * (4 * 9 + 2)
    assert step_flop(net) == 2 * (2 * (body.macs + shortcut.macs) + 3 * 2 * first.macs)


def test_a_norm_before_the_first_convolution_needs_its_input_gradient() -> None:
    net = Net.from_dict(
        {"input": [1, 4, 4], "layers": ["batchnorm", "conv 2 stride=2 bare", "gap"]}
    )
    [conv] = layer_work(net)
    assert conv.needs_input_gradient
    assert step_flop(net) == 3 * 2 * conv.macs
