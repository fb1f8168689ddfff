"""Networks: names and shapes as in the notebook's class, and invalid ones."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from kilonet.errors import NetError
from kilonet.spec import InvalidSpecError, Net, load_net
from kilonet.spec.graph import BatchNorm, Dropout, Norm, Residual, walk
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


def test_normalizations_and_gates_in_a_block():
    net = Net(
        input=IMAGE,
        block=["conv", "groupnorm 2", "relu", "se reduction=3"],
        layers=["conv 8", "pointwise 4", "instancenorm", "depthwise", "gap", "pointwise 10 bare"],
    )
    kinds = {}
    for node in net.nodes:
        kinds.setdefault(node.path, []).append(type(node.op).__name__)
    whole = ["Conv2d", "GroupNorm", "ReLU", "SqueezeExcitation"]
    assert kinds == {
        "net.layers.0": whole,
        "net.layers.1": ["Conv2d", "ReLU"],
        "net.layers.2": ["InstanceNorm"],
        "net.layers.3": whole,
        "net.layers.4": ["AvgPool2d"],
        "net.layers.5": ["Conv2d"],
    }
    # By hand: weights, two of each channel's norm, and 8 → 2 → 8 and 4 → 1 → 4 with biases.
    assert net.num_parameters == (
        8 * 9 + 16 + (8 * 2 + 2 + 2 * 8 + 8) + 8 * 4 + 4 * 9 + 8 + (4 + 1 + 4 + 4) + 40
    )
    assert net.parameters["convblock1.3.fc1.weight"] == (2, 8, 1, 1)
    assert net.parameters["convblock1.3.fc2.bias"] == (8,)
    assert net.uses(Norm)
    assert not net.uses(BatchNorm)
    assert net.buffers == {}
    assert Net.from_dict(net.to_dict()) == net


def test_the_mean_of_what_an_activation_left_of_a_norm():
    block = ["conv", "instancenorm", "relu"]
    for layers in (["conv 10", "gap"], ["conv 10 bare", "groupnorm 5", "gap"]):
        assert Net(input=IMAGE, block=block, layers=layers).num_classes == 10
    with pytest.raises(NetError, match="its mean is the same for every image"):
        Net(input=IMAGE, block=["conv", "relu", "instancenorm"], layers=["conv 10", "gap"])


def test_defaults_of_the_block_keep_their_hash():
    block = ["conv", "relu", "batchnorm"]
    stated = ["conv", "relu", "batchnorm eps=1e-05 momentum=0.1"]
    layers = ["conv 10", "gap"]
    assert Net(input=IMAGE, block=block, layers=layers) == Net(
        input=IMAGE, block=stated, layers=layers
    )


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
            # In a repeat too: each application begins where the one before it ended.
            if isinstance(node.op, Residual):
                assert check(node.op.body, shape) == node.output_shape
                assert check(node.op.shortcut, shape) == node.output_shape
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
        (
            ["conv 6", "groupnorm 4"],
            "net.layers.1 'groupnorm 4': 4 groups do not divide its 6 channels (input 6 × 26 × 26)",
        ),
        (
            ["gap", "layernorm"],
            "net.layers.1 'layernorm': normalizes groups of one value (input 1 × 1 × 1)",
        ),
        (
            ["conv 4", "gap", "instancenorm"],
            (
                "'instancenorm': normalizes groups of one value (input 4 × 1 × 1), which makes all "
                "of them zero; leave it out, or use batchnorm"
            ),
        ),
        (
            ["conv 4", "instancenorm affine", "dropout 0.1", "gap"],
            (
                "net.layers.3 'gap': each channel before it is normalized by itself, so its mean "
                "is the same for every image; put an activation between them"
            ),
        ),
        (["conv 4", "groupnorm 4", "avgpool 26"], "net.layers.2 'avgpool 26': each channel before"),
        (["flatten", "linear 4", "groupnorm 4"], "groups of one value (input 4)"),
        (["flatten", "instancenorm"], "'instancenorm': needs an image, but its input is flat"),
        (["flatten", "se"], "net.layers.1 'se': needs an image, but its input is flat: 784"),
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
                "8 × 28 × 28; a residual must keep the shape, or have a shortcut that "
            ),
        ),
        (
            ["conv 4", {"residual": ["relu", {"residual": ["conv 4 kernel=27"]}]}],
            "net.layers.1.residual.1.residual.0 'conv 4 kernel=27': kernel 27 × 27 is larger than",
        ),
        (
            ["conv 4", {"repeat": ["conv 8 pad=1"], "times": 3}],
            (
                "net.layers.1.repeat.0 'conv 8 pad=1', application 2 of 3: its input is "
                "8 × 26 × 26, but it shares its weights with application 1, whose input is "
                "4 × 26 × 26; all applications need as many channels"
            ),
        ),
        (
            ["conv 2", {"repeat": ["depthwise multiplier=2"], "times": 2}],
            "net.layers.1.repeat.0 'depthwise multiplier=2', application 2 of 2: its input is 4 ×",
        ),
        (
            ["flatten", {"repeat": ["linear 20"], "times": 2}],
            "input is 20, but it shares its weights with application 1, whose input is 784; all",
        ),
        (
            [{"repeat": [{"repeat": ["maxpool 2"], "times": 3}, "conv 4 kernel=2"], "times": 2}],
            (
                "net.layers.0.repeat.0.repeat.0 'maxpool 2', application 2 of 3 inside application "
                "2 of 2: kernel"
            ),
        ),
        (
            [{"repeat": [{"repeat": ["relu", "relu"], "times": 100}], "times": 100}],
            "the network has more than 10,000 operations; repeat less",
        ),
        (
            [{"residual": ["conv 8 stride=2 pad=1"], "shortcut": ["pointwise 8 bare"]}],
            (
                "shortcut [pointwise 8 bare]': its layers turn 1 × 28 × 28 into 8 × 14 × 14, its "
                "shortcut into 8 × 28 × 28; both must be equal"
            ),
        ),
        (
            [{"residual": ["relu"], "shortcut": ["relu", "conv 1 kernel=29"]}],
            "net.layers.0.shortcut.1 'conv 1 kernel=29': kernel 29 × 29 is larger than its input",
        ),
        (
            ["conv 8 kernel=8x3 dilation=5x1"],
            (
                "net.layers.0 'conv 8 kernel=8x3 dilation=5x1': kernel 8 × 3 with dilation 5 × 1 "
                "is larger than its input 1 × 28 × 28"
            ),
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


def test_names_and_parameters_of_a_repeat():
    net = Net(
        input=(1, 16, 16),
        block=["conv", "relu", "batchnorm"],
        layers=[
            "conv 4 pad=1",
            {"repeat": [{"residual": ["conv 4 pad=1 bias"]}, "maxpool 2"], "times": 2},
            "gap",
            "pointwise 10 bare",
        ],
    )
    assert [(n.name, n.owner, n.path, n.applications) for n in walk(net.nodes)[3:-2]] == [
        (f"repeat1.{i}.{name}", f"repeat1.{owner}.{name}", f"net.layers.1.repeat.{line}", (i + 1,))
        for i in (0, 1)
        for name, owner, line in (
            ("residual1.convblock1.0", 0, "0.residual.0"),
            ("residual1.convblock1.1", i, "0.residual.0"),
            ("residual1.convblock1.2", i, "0.residual.0"),
            ("residual1", i, "0"),
            ("pool1", i, "1"),
        )
    ]
    assert list(net.parameters)[3:-1] == [
        "repeat1.0.residual1.convblock1.0.weight",
        "repeat1.0.residual1.convblock1.0.bias",
        "repeat1.0.residual1.convblock1.2.weight",
        "repeat1.0.residual1.convblock1.2.bias",
        "repeat1.1.residual1.convblock1.2.weight",
        "repeat1.1.residual1.convblock1.2.bias",
    ]
    # Two convolutions of 4 · 9 and of 4 · 4 · 9 + 4, three batch norms, and the output's 40.
    assert net.num_parameters == 36 + 148 + 3 * 8 + 40


def test_the_first_of_nested_applications_owns_the_weights():
    inner = {"repeat": ["conv 1 pad=1 bare"], "times": 2}
    net = Net(input=(1, 4, 4), layers=[{"repeat": [inner], "times": 2}, "flatten", "linear 2"])
    found = [(node.name, node.shared_with, node.applications) for node in net.nodes[:4]]
    first = "repeat1.0.repeat1.0.convblock1.0"
    assert found == [
        (first, "", (1, 1)),
        ("repeat1.0.repeat1.1.convblock1.0", first, (1, 2)),
        ("repeat1.1.repeat1.0.convblock1.0", first, (2, 1)),
        ("repeat1.1.repeat1.1.convblock1.0", first, (2, 2)),
    ]


def test_lines_of_a_repeat_change_by_path():
    repeat = {"repeat": ["conv 4 pad=1"], "times": 2}
    net = Net(input=(4, 8, 8), layers=[repeat, "gap"])
    changed = net.replace({"layers.0.times": 5, "layers.0.repeat.0": "conv 4 pad=1 bias"})
    assert changed.to_dict()["layers"][0] == {"repeat": ["conv 4 pad=1 bias"], "times": 5}
    assert changed.num_parameters == net.num_parameters + 4
    with pytest.raises(InvalidSpecError, match=r"layers\.0\.repeat\.0: 'cnov 4': unknown layer"):
        net.replace({"layers.0.repeat.0": "cnov 4"})


def test_a_shortcut_takes_the_identitys_place():
    layers = [
        {
            "residual": ["conv 8 stride=2 pad=1"],
            "shortcut": ["pointwise 8 stride=2 bare", "batchnorm"],
        },
        "gap",
    ]
    net = Net(input=IMAGE, layers=layers)
    assert [(node.name, node.path) for node in walk(net.nodes)[:-1]] == [
        ("residual1.convblock1.0", "net.layers.0.residual.0"),
        ("residual1.convblock1.1", "net.layers.0.residual.0"),
        ("residual1.shortcut.convblock1.0", "net.layers.0.shortcut.0"),
        ("residual1.shortcut.batchnorm1", "net.layers.0.shortcut.1"),
        ("residual1", "net.layers.0"),
    ]
    assert net.to_dict()["layers"] == layers
    # A shortcut that is set later, and one whose line changes.
    plain = Net(input=IMAGE, layers=[{"residual": ["conv 1 pad=1"]}, "gap"])
    assert plain.replace({"layers.0.shortcut": ["relu"]}).nodes[0].op.shortcut
    assert net.replace({"layers.0.shortcut.1": "silu"}).num_parameters == 72 + 8


@pytest.mark.parametrize(
    ("kernel", "dilation", "padding", "extra"),
    [
        ("3", "1", (1, 1), (0, 0)),
        ("4x2", "1", (1, 0), (1, 1)),
        ("2", "2x3", (1, 1), (0, 1)),
        ("5x1", "3x2", (6, 0), (0, 0)),
    ],
)
def test_same_padding_keeps_the_size(kernel, dilation, padding, extra):
    line = f"conv 3 kernel={kernel} pad=same dilation={dilation}"
    conv = Net(input=(1, 9, 7), layers=[line, "gap"]).nodes[0]
    assert conv.output_shape == (3, 9, 7)
    assert (conv.op.padding, conv.op.extra_padding) == (padding, extra)


def test_new_fields_leave_the_content_hash_as_it_was():
    # Computed before a convolution had a dilation and a residual a shortcut.
    net = Net(
        input=IMAGE,
        layers=["conv 8 kernel=5 pad=1", {"residual": ["depthwise pad=1"]}, "gap"],
    )
    assert net.content_hash == "6e08ce45267192ba8d344e408931347047288187d166f83dadc937e6f3055726"
