"""Networks: names and shapes as in the notebook's class, and invalid ones."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from kilonet.errors import NetError
from kilonet.spec import InvalidSpecError, Net, load_net
from kilonet.spec.graph import BatchNorm, Dropout, Residual, walk
from strategies import nets

IMAGE = (1, 28, 28)


def test_the_bundled_network_has_the_notebooks_names_and_shapes():
    # As the notebook's class would have them in its state_dict.
    expected = {}
    channels = [1, 8, 16, 8, 12, 12, 16, 16, 10]
    for i in range(1, 9):
        kernel = 1 if i in (3, 8) else 3
        expected[f"convblock{i}.0.weight"] = (channels[i], channels[i - 1], kernel, kernel)
        if kernel == 3:
            expected[f"convblock{i}.2.weight"] = (channels[i],)
            expected[f"convblock{i}.2.bias"] = (channels[i],)
    net = load_net("interim")
    assert net.parameters == expected
    assert list(net.buffers) == [
        f"convblock{i}.2.{name}"
        for i in (1, 2, 4, 5, 6, 7)
        for name in ("running_mean", "running_var", "num_batches_tracked")
    ]
    assert net.num_classes == 10


def test_what_a_block_wraps():
    net = Net(
        input=IMAGE,
        block=["batchnorm", "conv", "silu", "dropout 0.1"],
        layers=["conv 4", "conv 4 bare", "pointwise 4", "depthwise", "gap", "pointwise 10 bare"],
    )
    kinds = {}
    for node in net.nodes:
        kinds.setdefault(node.path, []).append(type(node.op).__name__)
    assert kinds == {
        "net.layers.0": ["BatchNorm", "Conv2d", "SiLU", "Dropout"],
        "net.layers.1": ["Conv2d"],
        "net.layers.2": ["Conv2d", "SiLU"],
        "net.layers.3": ["BatchNorm", "Conv2d", "SiLU", "Dropout"],
        "net.layers.4": ["AvgPool2d"],
        "net.layers.5": ["Conv2d"],
    }


def test_the_default_block_is_convolution_and_relu():
    net = Net(input=IMAGE, layers=["conv 10", "gap"])
    assert [type(node.op).__name__ for node in net.nodes] == ["Conv2d", "ReLU", "AvgPool2d"]
    assert net == Net(input=IMAGE, block=["conv", "relu"], layers=["conv 10", "gap"])


def test_walk_puts_a_residual_after_its_body():
    net = Net(
        input=IMAGE,
        layers=[{"residual": ["relu", {"residual": ["conv 1 pad=1"]}]}, "gap"],
    )
    assert [(n.name, n.path, n.text) for n in walk(net.nodes)] == [
        ("residual1.relu1", "net.layers.0.residual.0", "relu"),
        ("residual1.residual1.convblock1.0", "net.layers.0.residual.1.residual.0", "conv 1 pad=1"),
        ("residual1.residual1.convblock1.1", "net.layers.0.residual.1.residual.0", "conv 1 pad=1"),
        ("residual1.residual1", "net.layers.0.residual.1", "residual [conv 1 pad=1]"),
        ("residual1", "net.layers.0", "residual [relu, residual [conv 1 pad=1]]"),
        ("gap1", "net.layers.1", "gap"),
    ]


@settings(max_examples=30, deadline=None)
@given(nets())
def test_shapes_join(net):
    def check(nodes, shape):
        for node in nodes:
            assert node.input_shape == shape
            if isinstance(node.op, Residual):
                assert check(node.op.body, shape) == shape
            shape = node.output_shape
        return shape

    assert check(net.nodes, net.input)[0] == net.num_classes
    assert Net.from_dict(net.to_dict()) == net


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            ["conv 8 kernel=29"],
            "net.layers.0 'conv 8 kernel=29': kernel 29 × 29 is larger than its input 1 × 28 × 28",
        ),
        (
            ["maxpool 20", "conv 8 kernel=5x2 pad=1"],
            (
                "net.layers.1 'conv 8 kernel=5x2 pad=1': kernel 5 × 2 is larger than its input "
                "1 × 1 × 1 with padding 1 × 1"
            ),
        ),
        (["maxpool 29"], "net.layers.0 'maxpool 29': kernel 29 × 29 is larger than its input"),
        (
            ["conv 6", "conv 8 groups=3"],
            (
                "net.layers.1 'conv 8 groups=3': groups=3 does not divide its 6 input and 8 output "
                "channels (input 6 × 26 × 26)"
            ),
        ),
        (["conv 6", "pointwise 9 groups=4"], "groups=4 does not divide its 6 input and 9 output"),
        (["maxpool 2 pad=2"], "padding 2 × 2 is more than half of the kernel 2 × 2"),
        (["linear 10"], "net.layers.0 'linear 10': needs a flat input, but gets 1 × 28 × 28; put"),
        (
            ["flatten", "conv 8"],
            "net.layers.1 'conv 8': needs an image, but its input is flat: 784",
        ),
        (
            ["flatten", "maxpool 2"],
            "net.layers.1 'maxpool 2': needs an image, but its input is flat",
        ),
        (["flatten", "gap"], "net.layers.1 'gap': needs an image, but its input is flat: 784"),
        (
            ["flatten", "depthwise"],
            "net.layers.1 'depthwise': needs an image, but its input is flat",
        ),
        (
            ["flatten", "flatten"],
            "net.layers.1 'flatten': needs an image, but its input is flat: 784",
        ),
        (
            [{"residual": ["conv 8 pad=1"]}],
            (
                "net.layers.0 'residual [conv 8 pad=1]': its layers turn 1 × 28 × 28 into "
                "8 × 28 × 28; a residual must keep the shape"
            ),
        ),
        (
            ["conv 4", {"residual": ["relu", {"residual": ["conv 4 kernel=27"]}]}],
            "net.layers.1.residual.1.residual.0 'conv 4 kernel=27': kernel 27 × 27 is larger than",
        ),
        (
            ["conv 8"],
            (
                "net.layers.0 'conv 8': the network ends in 8 × 26 × 26, not in one number per "
                "class; end with 'gap' and 'pointwise CLASSES bare', or 'flatten' and 'linear "
                "CLASSES'"
            ),
        ),
    ],
)
def test_networks_that_cannot_be_built(layers, message):
    with pytest.raises(NetError) as raised:
        Net(input=IMAGE, layers=layers)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": (1, 28)}, "input: (1, 28) has too few values"),
        ({"input": (1, 28, 28, 3)}, "input: (1, 28, 28, 3) should have at most 3 values"),
        ({"input": (0, 28, 28)}, "input.0: 0 should be greater than or equal to 1"),
        ({"input": (1, 28, 5000)}, "input.2: 5000 should be less than or equal to 4096"),
        ({"input": (True, 28, 28)}, "input.0: 'true' should be a whole number"),
        ({"input": "abc"}, "input: 'abc' should be a list"),
        ({"layers": []}, "layers: [] should have at least 1 value"),
        ({"layers": "conv 8"}, "layers: 'conv 8' should be a list"),
        ({"block": ["relu"]}, "block: needs 'conv' exactly once"),
        ({"block": ["conv", "conv"]}, "block: needs 'conv' exactly once"),
        ({"block": "conv"}, "block: 'conv' should be a list such as ['conv', 'relu']"),
        ({"block": ["conv", "droput 0.1"]}, "block.1: 'droput 0.1': unknown layer 'droput'; did"),
        ({"block": ["conv", "maxpool 2"]}, "block.1: 'maxpool 2' cannot be in a block, which"),
        ({"blok": []}, "blok: unknown key; did you mean 'block'?"),
    ],
)
def test_what_is_wrong_with_a_network(change, message):
    good = {"input": IMAGE, "layers": ["gap", "pointwise 10 bare"]}
    with pytest.raises(InvalidSpecError) as raised:
        Net(**{**good, **change})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_key():
    with pytest.raises(InvalidSpecError, match="input: is missing"):
        Net(layers=["gap"])


def test_uses_looks_inside_residuals():
    body = {"residual": ["conv 8 pad=1", "batchnorm"]}
    layers = ["conv 8", body, "gap", "pointwise 10 bare"]
    net = Net.from_dict({"input": [1, 28, 28], "block": ["conv", "relu"], "layers": layers})
    assert net.uses(BatchNorm)
    assert net.uses(Residual)
    assert not net.uses(Dropout)
